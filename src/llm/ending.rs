//! How a reply ended: its id, and why the model stopped. Only looked for where traces want it.

use bytes::Bytes;
use memchr::memmem;

use crate::llm::json;
use crate::llm::splice::Object;
use crate::llm::sse::Event;

/// Reasons that are kept, one for each choice, and the longest text of one, in bytes.
const REASONS_MAX: usize = 16;
const TEXT_MAX: usize = 128;

/// What a reply says of its end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Its id.
    pub id: Option<String>,
    /// Why each choice ended: `stop`, `length`, `tool_calls`, ...
    pub reasons: Vec<String>,
}

impl Ending {
    /// That of a whole reply.
    pub fn of(reply: &Object<Bytes>) -> Self {
        let mut ending = Self::default();
        ending.read(reply);
        ending
    }

    /// Takes an event of a stream; most say nothing of this.
    pub fn see(&mut self, event: Event<'_>) {
        let ends = |raw: &[u8]| {
            memmem::find(raw, b"\"finish_reason\":\"").is_some()
                || memmem::find(raw, b"\"finish_reason\": \"").is_some()
                || memmem::find(raw, b"\"response.").is_some()
                || memmem::find(raw, b"\"message_delta\"").is_some()
        };
        if self.id.is_some() && !ends(event.raw()) {
            return;
        }
        let Some(data) = event.data() else { return };
        let Ok(event) = Object::read(data.as_ref()) else { return };
        match event.get("response").or_else(|| event.get("message")).map(Object::read) {
            Some(Ok(inner)) => self.read(&inner),
            _ => self.read(&event),
        }
    }

    fn read<B: AsRef<[u8]>>(&mut self, reply: &Object<B>) {
        let text = |object: &Object<B>, name| object.get(name).and_then(short);
        if self.id.is_none() {
            // Azure's first event has an empty one.
            self.id = text(reply, "id").filter(|id| !id.is_empty());
        }
        let choices = reply.get("choices").into_iter().flat_map(json::items);
        for choice in choices.filter_map(|choice| Object::read(choice).ok()) {
            self.add(choice.get("finish_reason").and_then(short));
        }
        // Anthropic's messages, and the ends of their streams.
        self.add(text(reply, "stop_reason"));
        if let Some(Ok(delta)) = reply.get("delta").map(Object::read) {
            self.add(delta.get("stop_reason").and_then(short));
        }
        if text(reply, "object").as_deref() == Some("response") {
            self.reasons.clear();
            self.add(text(reply, "status"));
        }
    }

    fn add(&mut self, reason: Option<String>) {
        if self.reasons.len() < REASONS_MAX {
            self.reasons.extend(reason);
        }
    }
}

fn short(value: &[u8]) -> Option<String> {
    let text = json::text(value)?.into_owned();
    (text.len() <= TEXT_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::sse::Framer;

    fn ending(id: &str, reasons: &[&str]) -> Ending {
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        Ending { id: Some(id.to_owned()), reasons }
    }

    fn of(body: &'static str) -> Ending {
        Ending::of(&Object::read(Bytes::from_static(body.as_bytes())).unwrap())
    }

    fn of_stream(wire: &'static str) -> Ending {
        let mut ending = Ending::default();
        let wire = Bytes::from_static(wire.as_bytes());
        Framer::default().push(wire, |event| ending.see(event)).unwrap();
        ending
    }

    #[test]
    fn a_whole_reply_has_a_reason_for_each_choice() {
        let body = r#"{"id":"c1","choices":[{"finish_reason":"stop"},{"finish_reason":"length"},
            {"finish_reason":null}]}"#;
        assert_eq!(of(body), ending("c1", &["stop", "length"]));
        assert_eq!(of(r#"{"id":5,"choices":7}"#), Ending::default());
        let response = r#"{"id":"r1","object":"response","status":"completed"}"#;
        assert_eq!(of(response), ending("r1", &["completed"]));
    }

    #[test]
    fn a_stream_says_it_at_its_ends() {
        let wire = "data: {\"id\":\"\",\"choices\":[]}\n\n\
            data: {\"id\":\"c2\",\"choices\":[{\"delta\":{},\"finish_reason\":null}]}\n\n\
            data: {\"id\":\"c2\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
            data: [DONE]\n\n";
        assert_eq!(of_stream(wire), ending("c2", &["stop"]));
        let wire = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r2\",\
            \"object\":\"response\",\"status\":\"in_progress\"}}\n\n\
            data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r2\",\
            \"object\":\"response\",\"status\":\"completed\"}}\n\n";
        assert_eq!(of_stream(wire), ending("r2", &["completed"]));
    }

    #[test]
    fn a_message_says_why_it_stopped() {
        let whole = r#"{"id":"msg_1","type":"message","content":[],"stop_reason":"tool_use"}"#;
        assert_eq!(of(whole), ending("msg_1", &["tool_use"]));
        let wire = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":\
            {\"id\":\"msg_2\",\"stop_reason\":null}}\n\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n\
            data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n\
            data: {\"type\":\"message_stop\"}\n\n";
        assert_eq!(of_stream(wire), ending("msg_2", &["end_turn"]));
    }

    #[test]
    fn what_a_reply_repeats_does_not_pile_up() {
        let choice = r#"{"finish_reason":"stop"},"#.repeat(1000);
        let body = format!(r#"{{"id":"{}","choices":[{choice}{{}}]}}"#, "x".repeat(1000));
        let ending = Ending::of(&Object::read(Bytes::from(body)).unwrap());
        assert_eq!((ending.id, ending.reasons.len()), (None, REASONS_MAX));
    }
}
