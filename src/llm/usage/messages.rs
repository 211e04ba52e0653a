//! The tokens of a stream of Anthropic's, which tells them in parts.
//!
//! `message_start` has the prompt and what was said of the answer by then, `message_delta` the
//! answer, and with newer models the prompt once more. Numbers are sums so far, so the last counts.

use super::Usage;
use crate::llm::splice::Object;

/// The members that are kept.
const MEMBERS: [&str; 5] = [
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "output_tokens",
];

/// The longest of them, in bytes: a few numbers.
const MEMBER_MAX: usize = 512;

/// What a stream has told so far.
#[derive(Default)]
pub(super) struct Told {
    members: [Option<Box<[u8]>>; MEMBERS.len()],
    /// The answer has been counted to its end.
    is_whole: bool,
}

impl Told {
    /// Takes a member `usage`, of the end of a message or of its beginning.
    pub(super) fn take(&mut self, usage: &[u8], is_end: bool) {
        let Ok(usage) = Object::read(usage) else { return };
        for (own, name) in self.members.iter_mut().zip(MEMBERS) {
            let told = usage.get(name).filter(|told| *told != b"null" && told.len() <= MEMBER_MAX);
            if let Some(told) = told {
                *own = Some(told.into());
            }
        }
        self.is_whole |= is_end && usage.get("output_tokens").is_some();
    }

    /// The tokens; of an answer that was cut off at least as many as its bytes make.
    pub(super) fn usage(&self, answer_bytes: u64) -> Option<Usage> {
        let told = self.members.iter().zip(MEMBERS).filter_map(|(own, name)| {
            let text = std::str::from_utf8(own.as_deref()?).ok()?;
            Some(format!("\"{name}\":{text}"))
        });
        let told: Vec<_> = told.collect();
        let usage = Usage::read(format!("{{{}}}", told.join(",")).as_bytes())?;
        if self.is_whole {
            return Some(usage);
        }
        let estimate = Usage::estimate(usage.prompt_tokens, answer_bytes);
        let completion_tokens = usage.completion_tokens.max(estimate.completion_tokens);
        let total_tokens = usage.prompt_tokens.saturating_add(completion_tokens);
        Some(Usage { completion_tokens, total_tokens, estimated: true, ..usage })
    }
}

#[cfg(test)]
mod tests {
    use crate::llm::sse::Framer;
    use crate::llm::usage::{Part, StreamUsage};
    use crate::llm::{RouteType, Wire};

    const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":\
        {\"id\":\"msg_1\",\"model\":\"claude-x\",\"usage\":{\"input_tokens\":10,\
        \"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":50,\
        \"cache_creation\":{\"ephemeral_1h_input_tokens\":30},\"output_tokens\":1,\
        \"service_tier\":\"priority\"}}}\n\n";
    const TEXT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
        \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"12345678\"}}\n\n";
    const CALL: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
        \"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\
        \"{\\\"usage\\\":{}}\"}}\n\n";

    fn watch(events: &[&str]) -> StreamUsage {
        let mut usage = StreamUsage::new(Wire::Messages, RouteType::Chat, true);
        let see = |event: crate::llm::sse::Event<'_>| assert!(!usage.see(event));
        Framer::new(Wire::Messages).push(events.concat().into(), see).unwrap();
        usage
    }

    fn delta(usage: &str) -> String {
        format!("event: message_delta\ndata: {{\"type\":\"message_delta\",\"usage\":{usage}}}\n\n")
    }

    #[test]
    fn the_beginning_tells_the_prompt_and_the_end_the_answer() {
        for (end, prompt) in [
            (r#"{"output_tokens":7}"#, 160),
            (r#"{"input_tokens":null,"output_tokens":7}"#, 160),
            (r#"{"input_tokens":12,"cache_read_input_tokens":100,"output_tokens":7}"#, 162),
        ] {
            let seen = watch(&[START, TEXT, CALL, &delta(r#"{"output_tokens":3}"#), &delta(end)]);
            let usage = seen.usage(|| 9).unwrap();
            assert_eq!((usage.prompt_tokens, usage.completion_tokens), (prompt, 7), "{end}");
            assert_eq!((usage.total_tokens, usage.estimated), (prompt + 7, false), "{end}");
            assert_eq!(usage.parts.get(Part::Cached), Some(100));
            assert_eq!(usage.parts.get(Part::Written), Some(50));
            assert_eq!(usage.parts.get(Part::Written1h), Some(30));
            assert_eq!((seen.model(), seen.tier()), (Some("claude-x"), Some("priority")));
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_estimated() {
        let usage = watch(&[START, TEXT, CALL]).usage(|| 9).unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (160, 5));
        assert!(usage.estimated && usage.total_tokens == 165);
        let nothing = watch(&[TEXT]).usage(|| 9).unwrap();
        assert_eq!((nothing.prompt_tokens, nothing.completion_tokens), (9, 2));
    }

    #[test]
    fn what_is_no_number_is_not_kept() {
        let long = format!("{{\"input_tokens\":4,\"output_tokens\":\"{}\"}}", "9".repeat(600));
        let usage = watch(&[START, &delta(&long), &delta("[]"), &delta("{}")]).usage(|| 9).unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (154, 1));
    }
}
