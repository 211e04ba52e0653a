//! A stream of a chat's chunks becomes a stream of blocks.
//!
//! Anthropic's grammar: `message_start`; blocks one after the other, each a `content_block_start`,
//! deltas and a `content_block_stop`; `message_delta` with the reason and the tokens; and
//! `message_stop`. `ping` may stand anywhere behind the start. A stream that fails ends with
//! `error`, wherever it is.

use bytes::Bytes;

use super::{Said, begin, fault, inside, is_said, put, stopped, tool_use, usage_json};
use crate::llm::json;
use crate::llm::splice::{Object, quote};
use crate::llm::sse::{Event, Outcome};
use crate::llm::usage::Usage;

const CUT: &str = "the upstream ended the stream before it was complete";

/// Translates one stream.
pub struct Translator {
    /// The model that was asked, for streams that do not say who answers.
    model: String,
    /// An estimate, until the model has counted.
    prompt_tokens: u64,
    out: Vec<u8>,
    phase: Phase,
    /// Blocks that were begun.
    blocks: u32,
    open: Option<Block>,
    /// Calls that were begun, in the model's count.
    calls: u64,
    has_refused: bool,
    finish_reason: Option<String>,
    sequence: Option<Vec<u8>>,
    usage: Option<Usage>,
    answer_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Within,
    Over,
}

/// The block that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    /// The call of this number.
    Call(u64),
}

impl Translator {
    /// For an answer of `model` to a request of about so many tokens.
    pub fn new(model: &str, prompt_tokens: u64) -> Self {
        Self {
            model: model.to_owned(),
            prompt_tokens,
            out: Vec::new(),
            phase: Phase::Before,
            blocks: 0,
            open: None,
            calls: 0,
            has_refused: false,
            finish_reason: None,
            sequence: None,
            usage: None,
            answer_bytes: 0,
        }
    }

    /// What may go to the client by now.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.out).into()
    }

    /// Takes an event of the model's.
    pub fn see(&mut self, event: Event<'_>) {
        if self.phase == Phase::Over {
            return;
        }
        let Some(data) = event.data() else {
            // A comment that keeps the connection alive.
            if self.phase == Phase::Within {
                self.send("ping", br#"{"type":"ping"}"#);
            }
            return;
        };
        if event.is_done() {
            return self.end();
        }
        let Ok(chunk) = Object::read(&*data) else {
            return self.fail(&fault::broken("the upstream sent an event that is no JSON object"));
        };
        if chunk.get("error").is_some_and(|error| error != b"null") {
            return self.fail(&fault::in_stream(&data));
        }
        if let Some(usage) = chunk.get("usage").and_then(Usage::read) {
            self.usage = Some(usage);
        }
        let choices = chunk.get("choices").into_iter().flat_map(json::items);
        for choice in choices.filter_map(|choice| Object::read(choice).ok()) {
            // Only one answer was asked for.
            if choice.get("index").is_none_or(|index| index == b"0") {
                self.start(&chunk);
                self.choice(&choice);
            }
        }
    }

    /// Takes the end of the stream.
    pub fn finish(&mut self, outcome: Outcome) {
        match (self.phase, outcome) {
            (Phase::Over, _) => {}
            (_, Outcome::Done) => self.end(),
            (_, Outcome::NotDone) if self.finish_reason.is_some() => self.end(),
            _ => self.break_off(CUT),
        }
    }

    /// Ends the stream with an error in these words.
    pub fn break_off(&mut self, message: &str) {
        if self.phase != Phase::Over {
            self.fail(&fault::broken(message));
        }
    }

    fn start<B: AsRef<[u8]>>(&mut self, chunk: &Object<B>) {
        if self.phase != Phase::Before {
            return;
        }
        let id = chunk.get("id").and_then(json::text).unwrap_or_default().into_owned();
        let model = chunk.get("model").filter(|model| is_said(model)).map(<[u8]>::to_vec);
        self.begin(&id, &model.unwrap_or_else(|| quote(&self.model)));
    }

    fn begin(&mut self, id: &str, model: &[u8]) {
        self.phase = Phase::Within;
        let usage = Usage { prompt_tokens: self.prompt_tokens, ..Usage::default() };
        let mut data = br#"{"type":"message_start","message":"#.to_vec();
        begin(&mut data, id, model);
        put(&mut data, "content", b"[]");
        put(&mut data, "stop_reason", b"null");
        put(&mut data, "stop_sequence", b"null");
        put(&mut data, "usage", usage_json(&usage).as_bytes());
        data.extend_from_slice(b"}}");
        self.send("message_start", &data);
        self.send("ping", br#"{"type":"ping"}"#);
    }

    fn choice(&mut self, choice: &Object<&[u8]>) {
        let delta = choice.get("delta").and_then(|delta| Object::read(delta).ok());
        if let Some(delta) = &delta {
            let text = |name| delta.get(name).filter(|text| is_said(text));
            self.has_refused |= text("refusal").is_some();
            for text in [text("content"), text("refusal")].into_iter().flatten() {
                self.text(text);
            }
            for call in delta.get("tool_calls").into_iter().flat_map(json::items) {
                self.call(call);
            }
        }
        let reason = choice.get("finish_reason").and_then(json::text);
        if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
            self.sequence = choice.get("stop_reason").map(<[u8]>::to_vec);
            self.finish_reason = Some(reason.into_owned());
        }
    }

    fn text(&mut self, text: &[u8]) {
        if self.phase != Phase::Within {
            return;
        }
        if self.open != Some(Block::Text) {
            self.open(Block::Text, br#"{"type":"text","text":""}"#);
        }
        self.delta("text_delta", "text", text);
    }

    /// A piece of a call. Models send one call after the other; a block cannot be opened again.
    fn call(&mut self, call: &[u8]) {
        let Ok(call) = Object::read(call) else { return };
        let number = call.get("index").and_then(|index| std::str::from_utf8(index).ok());
        let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
        let function = call.get("function").and_then(|function| Object::read(function).ok());
        let of = |name| function.as_ref().and_then(|f| f.get(name)).filter(|value| is_said(value));
        if self.phase != Phase::Within {
            return;
        }
        if self.open != Some(Block::Call(number)) {
            let Some(name) = of("name").filter(|_| number >= self.calls) else {
                let text = "the upstream sent pieces of several tool calls in no order";
                return self.fail(&fault::broken(text));
            };
            let made_up = quote(&format!("call_{number}"));
            let id = call.get("id").filter(|id| is_said(id)).unwrap_or(&made_up);
            self.open(Block::Call(number), &tool_use(id, name, b"{}"));
            self.calls = number.saturating_add(1);
        }
        if let Some(arguments) = of("arguments") {
            self.delta("input_json_delta", "partial_json", arguments);
        }
    }

    fn open(&mut self, kind: Block, block: &[u8]) {
        self.close();
        self.open = Some(kind);
        let mut data = br#"{"type":"content_block_start""#.to_vec();
        put(&mut data, "index", self.blocks.to_string().as_bytes());
        put(&mut data, "content_block", block);
        data.push(b'}');
        self.blocks += 1;
        self.send("content_block_start", &data);
    }

    fn delta(&mut self, kind: &str, name: &str, text: &[u8]) {
        self.answer_bytes += inside(text).map_or(0, <[u8]>::len) as u64;
        let mut data = br#"{"type":"content_block_delta""#.to_vec();
        put(&mut data, "index", self.blocks.saturating_sub(1).to_string().as_bytes());
        put(&mut data, "delta", b"{");
        put(&mut data, "type", &quote(kind));
        put(&mut data, name, text);
        data.extend_from_slice(b"}}");
        self.send("content_block_delta", &data);
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            let index = self.blocks.saturating_sub(1);
            let data = format!("{{\"type\":\"content_block_stop\",\"index\":{index}}}");
            self.send("content_block_stop", data.as_bytes());
        }
    }

    fn end(&mut self) {
        if self.phase == Phase::Before {
            let model = quote(&self.model);
            self.begin("", &model);
        }
        self.close();
        let finish = self.finish_reason.take().unwrap_or_default();
        let said = Said { has_calls: self.calls > 0, has_refused: self.has_refused };
        let estimate = || Usage::estimate(self.prompt_tokens, self.answer_bytes);
        let usage = self.usage.unwrap_or_else(estimate);
        let mut data = br#"{"type":"message_delta","delta":{"#.to_vec();
        stopped(&mut data, &finish, self.sequence.as_deref(), said);
        data.push(b'}');
        put(&mut data, "usage", usage_json(&usage).as_bytes());
        data.push(b'}');
        self.send("message_delta", &data);
        self.send("message_stop", br#"{"type":"message_stop"}"#);
        self.phase = Phase::Over;
    }

    fn fail(&mut self, error: &[u8]) {
        // White space between members, which would end the line.
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let line: Vec<u8> = error.iter().map(|b| if is_end(b) { b' ' } else { *b }).collect();
        self.send("error", &line);
        self.phase = Phase::Over;
    }

    fn send(&mut self, name: &str, data: &[u8]) {
        for piece in [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"] {
            self.out.extend_from_slice(piece);
        }
    }
}
