//! A realtime session as it goes by: what its answers cost.
//!
//! The server ends each answer with the event `response.done`, which has its tokens. Events are
//! messages of a WebSocket (RFC 6455), which a read from the network may cut anywhere. Only texts
//! are looked at, up to a length; whatever else there is passes unseen.

use memchr::memmem;

use crate::llm::json;
use crate::llm::splice::Object;
use crate::llm::usage::Usage;

/// The longest message that is looked at, in bytes.
const MESSAGE_MAX: usize = 1 << 20;

/// Listens to the server's side of one session.
#[derive(Default)]
pub struct SessionUsage {
    frames: Frames,
    usage: Usage,
}

impl SessionUsage {
    /// Takes what goes to the client.
    pub fn hear(&mut self, data: &[u8]) {
        let usage = &mut self.usage;
        self.frames.push(data, |message| {
            if let Some(answer) = answer_usage(message) {
                *usage = usage.plus(&answer);
            }
        });
    }

    /// The tokens of all answers so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }
}

/// The tokens of an answer that is done.
fn answer_usage(message: &[u8]) -> Option<Usage> {
    const DONE: &str = "response.done";
    memmem::find(message, DONE.as_bytes())?;
    let event = Object::read(message).ok()?;
    event.get("type").and_then(json::text).filter(|kind| kind == DONE)?;
    let response = Object::read(event.get("response")?).ok()?;
    response.get("usage").and_then(Usage::read)
}

/// Cuts one direction of a WebSocket into messages.
#[derive(Default)]
struct Frames {
    /// The head of the frame that begins here, as far as it is known.
    head: Vec<u8>,
    /// It is known, and its payload goes by.
    in_payload: bool,
    /// Bytes of its payload that are still to come.
    left: u64,
    /// The payload belongs to a message that is looked at.
    is_ours: bool,
    /// The message ends with this frame.
    is_last: bool,
    /// The beginning of a message whose end is not here yet.
    held: Vec<u8>,
    /// It is too long, or not readable.
    is_skipped: bool,
    /// A message of texts is open, whose next frames say only that they go on.
    is_open: bool,
}

impl Frames {
    fn push(&mut self, mut data: &[u8], mut see: impl FnMut(&[u8])) {
        loop {
            if !self.in_payload {
                let Some((first, rest)) = data.split_first() else { return };
                data = rest;
                self.head.push(*first);
                self.begin();
                continue;
            }
            if data.is_empty() && self.left > 0 {
                return;
            }
            let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
            let (payload, rest) = data.split_at(length);
            data = rest;
            self.left -= length as u64;
            self.take(payload, &mut see);
        }
    }

    /// Reads the head, once it is all there.
    fn begin(&mut self) {
        let [first, second, rest @ ..] = &*self.head else { return };
        let (code, length) = (first & 0x0f, second & 0x7f);
        let wide = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let is_masked = second & 0x80 != 0;
        let mask = if is_masked { 4 } else { 0 };
        if rest.len() < wide + mask {
            return;
        }
        let wide = rest.iter().take(wide).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        self.left = if length < 126 { u64::from(length) } else { wide };
        self.is_last = first & 0x80 != 0;
        // Control frames may come between those of a message.
        self.is_ours = match code {
            0 => self.is_open,
            1 | 2 => {
                self.is_open = code == 1;
                self.held.clear();
                // What is compressed cannot be read, and a server masks nothing.
                self.is_skipped = first & 0x70 != 0 || is_masked;
                code == 1
            }
            _ => false,
        };
        self.head.clear();
        self.in_payload = true;
    }

    /// Takes a piece of the payload.
    fn take(&mut self, payload: &[u8], see: &mut impl FnMut(&[u8])) {
        let is_over = self.left == 0;
        self.in_payload = !is_over;
        if !self.is_ours {
            return;
        }
        let ends = is_over && self.is_last;
        if ends && self.held.is_empty() && !self.is_skipped {
            see(payload); // it lies within the read
        } else if !self.is_skipped && self.held.len() + payload.len() <= MESSAGE_MAX {
            self.held.extend_from_slice(payload);
            if ends {
                see(&self.held);
            }
        } else {
            self.is_skipped = true;
            self.held = Vec::new();
        }
        if ends {
            self.held.clear();
            self.is_open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ 0..126 => out.push(short as u8),
            long => {
                out.push(127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        out
    }

    fn done(tokens: u64) -> Vec<u8> {
        format!(
            r#"{{"type":"response.done","response":{{"output":["{}"],"usage":{{
            "total_tokens":{tokens},"input_tokens":1,"output_tokens":2,
            "input_token_details":{{"cached_tokens":1}}}}}}}}"#,
            "x".repeat(300)
        )
        .into_bytes()
    }

    fn heard(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> u64 {
        let mut session = SessionUsage::default();
        pieces.into_iter().for_each(|piece| session.hear(piece.as_ref()));
        session.usage().total_tokens
    }

    const TEXT: u8 = 0x81;

    #[test]
    fn every_answer_counts_wherever_the_reads_are_cut() {
        let done = done(10);
        let (one, two) = done.split_at(100);
        let wire = [
            frame(TEXT, br#"{"type":"session.created"}"#),
            frame(TEXT, b""),
            frame(TEXT, &done),
            frame(0x89, b"ping"),
            frame(0x01, one), // in three frames, and a pong in between
            frame(0x8a, b""),
            frame(0x00, two),
            frame(0x80, b""),
            frame(0x82, &done), // binary
            frame(TEXT, br#"{"type":"x","text":"response.done","response":{}}"#),
            frame(TEXT, &done),
        ]
        .concat();
        assert_eq!(heard([&wire]), 30);
        for cut in 0..wire.len() {
            assert_eq!(heard([&wire[..cut], &wire[cut..]]), 30, "cut at {cut}");
        }
        assert_eq!(heard(wire.chunks(1)), 30);
        assert_eq!(heard(wire.chunks(7)), 30);
    }

    #[test]
    fn what_cannot_be_read_passes_and_the_next_one_counts() {
        let done = done(10);
        let compressed = frame(0xc1, &done);
        let long = frame(TEXT, &[b'x'; MESSAGE_MAX + 1]);
        let wire = [compressed, long, frame(TEXT, &done)].concat();
        assert_eq!(heard(wire.chunks(8192)), 10);
        let mut session = SessionUsage::default();
        session.hear(&frame(TEXT, &vec![b'x'; 64 << 20])[..32 << 20]);
        assert!(session.frames.held.capacity() <= 2 * MESSAGE_MAX);
        let endless = [&[TEXT, 127][..], &[0xff; 8]].concat();
        session.hear(&endless);
        session.hear(&[0; 1000]);
    }
}
