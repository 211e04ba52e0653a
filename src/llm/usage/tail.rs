//! The end of a reply that is too long to keep, of pictures, vectors, sound: what it cost stands
//! there.

use memchr::memmem;

use super::{Usage, after_colon};
use crate::llm::json::Scanner;

/// What is kept, in bytes.
const KEPT: usize = 8 << 10;

const KEY: &[u8] = b"\"usage\"";

/// The end of a reply, so far.
#[derive(Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    /// Adds a piece.
    pub fn push(&mut self, data: &[u8]) {
        if data.len() >= KEPT {
            self.0.clear();
        } else if self.0.len() + data.len() > 2 * KEPT {
            self.0.drain(..self.0.len() - KEPT);
        }
        self.0.extend_from_slice(&data[data.len().saturating_sub(KEPT)..]);
    }

    /// The tokens that it tells.
    pub fn usage(&self) -> Option<Usage> {
        last_usage(&self.0)
    }
}

/// The last `usage` of a text that is no JSON object, or the end of one.
pub fn last_usage(text: &[u8]) -> Option<Usage> {
    memmem::rfind_iter(text, KEY).find_map(|at| {
        let value = after_colon(&text[at + KEY.len()..]);
        let mut scanner = Scanner::new(value);
        scanner.value(0).ok()?;
        Usage::read(&value[..scanner.at()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_reply_says_what_it_cost() {
        let usage = r#","usage" : {"input_tokens":1,"output_tokens":{},"total_tokens":9}}"#;
        let long = format!(r#"{{"data":["{}"]{usage}"#, "x".repeat(100_000));
        for size in [1, 7, 4096, KEPT, 3 * KEPT, 200_000] {
            let mut tail = Tail::default();
            long.as_bytes().chunks(size).for_each(|piece| tail.push(piece));
            assert!(tail.0.len() <= 2 * KEPT, "{size}");
            assert_eq!(tail.usage().map(|usage| usage.total_tokens), Some(9), "{size}");
        }
    }

    #[test]
    fn what_is_cut_off_or_null_is_no_usage() {
        for text in ["", r#""usage":null"#, r#""usage":{"total_tokens":9"#, r#"\"usage\":{"x":1}"#]
        {
            assert_eq!(last_usage(text.as_bytes()), None, "{text}");
        }
        let two = r#"{"usage":{"total_tokens":1}},{"usage":null}"#;
        assert_eq!(last_usage(two.as_bytes()).map(|usage| usage.total_tokens), Some(1));
    }
}
