//! Tokens and the answering model: what a reply says, and an estimate where it says nothing.
//!
//! The upstream's own totals are trusted (Kong adds prompt and completion itself, which is wrong
//! for models that count reasoning apart). A reply is never decoded: the `usage` member is found
//! by the scanner, and stream events without `"usage"` are passed unread once the model is known.

mod messages;
mod parts;
mod tail;

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use smallvec::SmallVec;

use crate::llm::json;
use crate::llm::splice::Object;
use crate::llm::sse::Event;
use crate::llm::{RouteType, Wire};

pub use parts::{Part, Parts};
pub use tail::{Tail, last_usage};

/// Tokens of one exchange, in the words of the OpenAI API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens the client sent.
    pub prompt_tokens: u64,
    /// Tokens the model wrote, hidden reasoning included.
    pub completion_tokens: u64,
    /// As reported; the sum of both when the upstream gives none.
    pub total_tokens: u64,
    /// What they are made of, as far as the upstream tells.
    pub parts: Parts,
    /// The upstream says input and output for prompt and completion.
    pub is_input: bool,
    /// Milliseconds of sound, where that is counted in place of tokens.
    pub duration_ms: Option<u64>,
    /// Counted here by a rule of thumb, because the upstream reported nothing.
    pub estimated: bool,
}

impl Usage {
    /// From the `usage` member of a reply or of an event.
    ///
    /// Chats say `prompt_tokens` and `completion_tokens`, all others `input_tokens` and
    /// `output_tokens`; both are read.
    pub fn read(usage: &[u8]) -> Option<Self> {
        let usage = Object::read(usage).ok()?;
        let (mut prompt, mut input, mut completion, mut output) = (None, None, None, None);
        let mut total = None;
        let (mut parts, mut is_beside) = (Parts::default(), false);
        for (name, value) in usage.pairs() {
            let sum = match &*name {
                b"prompt_tokens" => &mut prompt,
                b"input_tokens" => &mut input,
                b"completion_tokens" => &mut completion,
                b"output_tokens" => &mut output,
                b"total_tokens" => &mut total,
                other => {
                    is_beside |= parts.take(other, value);
                    continue;
                }
            };
            *sum = count(value);
        }
        let is_input = prompt.is_none() && input.is_some();
        let (prompt, completion) = (prompt.or(input), completion.or(output));
        let duration_ms = parts::duration_ms(&usage);
        // Something has to be told.
        prompt.or(completion).or(total).or(duration_ms)?;
        let mut prompt_tokens = prompt.unwrap_or(0);
        if is_beside {
            for part in [Part::Cached, Part::Written] {
                prompt_tokens = prompt_tokens.saturating_add(parts.get(part).unwrap_or(0));
            }
        }
        let completion_tokens = completion.unwrap_or(0);
        Some(Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: total.unwrap_or(prompt_tokens.saturating_add(completion_tokens)),
            parts,
            is_input,
            duration_ms,
            estimated: false,
        })
    }

    /// The sum of two replies.
    pub fn plus(self, other: &Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.saturating_add(other.prompt_tokens),
            completion_tokens: self.completion_tokens.saturating_add(other.completion_tokens),
            total_tokens: self.total_tokens.saturating_add(other.total_tokens),
            parts: self.parts.plus(&other.parts),
            is_input: self.is_input || other.is_input,
            duration_ms: self.duration_ms.or(other.duration_ms),
            estimated: self.estimated || other.estimated,
        }
    }

    /// An estimate from the words of the prompt and the bytes of the answer.
    pub fn estimate(prompt_tokens: u64, answer_bytes: u64) -> Self {
        // Kong: four bytes of English text are about one token.
        let completion_tokens = answer_bytes.div_ceil(4);
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            estimated: true,
            ..Self::default()
        }
    }
}

/// Kong's estimate of the tokens of a request: its words, times 1.8 when the reply is a stream.
///
/// Words count in `messages[].content` (text, or the text parts of a list), with what tools were
/// given and gave there in Anthropic's API, and in its `system`; in `prompt`, and in `input` with
/// its `instructions`.
pub fn estimate_prompt(request: &Object<Bytes>, stream: bool) -> u64 {
    let mut words = 0;
    for message in request.get("messages").into_iter().flat_map(json::items) {
        let message = Object::read(message).ok();
        words += message.and_then(|m| m.get("content").map(content_words)).unwrap_or(0);
    }
    words += request.get("system").map_or(0, content_words);
    if words == 0 {
        words = request.get("prompt").map_or(0, words_of);
    }
    if words == 0 {
        words = request.get("input").map_or(0, input_words);
        words += request.get("instructions").map_or(0, words_of);
    }
    let factor = if stream { 1.8 } else { 1.0 };
    (words as f64 * factor).round() as u64
}

fn content_words(content: &[u8]) -> u64 {
    if content.first() != Some(&b'[') {
        return words_of(content);
    }
    let words = |part| {
        let Ok(part) = Object::read(part) else { return 0 };
        let given = part.get("input").filter(|input| input.starts_with(b"{"));
        let got = part.get("content");
        part.get("text").map_or(0, words_of)
            + given.map_or(0, words_within)
            + got.map_or(0, |got| words_of(got) + text_words(got))
    };
    json::items(content).map(words).sum()
}

/// Words of the text parts of a list.
fn text_words(parts: &[u8]) -> u64 {
    let text = |part| Object::read(part).ok().and_then(|part| part.get("text").map(words_of));
    json::items(parts).filter_map(text).sum()
}

/// Words of the names and values in JSON, whatever its shape.
fn words_within(value: &[u8]) -> u64 {
    let (mut words, mut is_text, mut is_word) = (0, false, false);
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        let is_blank = match byte {
            b'"' => {
                is_text = !is_text;
                true
            }
            b'\\' => matches!(bytes.next(), Some(b'n' | b't' | b'r')),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => !is_text,
            other => other.is_ascii_whitespace(),
        };
        words += u64::from(!is_blank && !is_word);
        is_word = !is_blank;
    }
    words
}

/// Words of what a response, a vector or speech is asked of: a text, texts, or messages.
fn input_words(input: &[u8]) -> u64 {
    let words = |item: &[u8]| match Object::read(item) {
        Ok(item) => item.get("content").map_or(0, content_words),
        Err(_) => words_of(item),
    };
    words_of(input) + json::items(input).map(words).sum::<u64>()
}

/// Words of a JSON string; none in another value.
fn words_of(value: &[u8]) -> u64 {
    json::text(value).map_or(0, |text| text.split_ascii_whitespace().count() as u64)
}

/// A token count: a whole number, also when it is written as a float.
fn count(value: &[u8]) -> Option<u64> {
    // No number of so many digits is too large.
    const DIGITS: usize = 19;
    if !value.is_empty() && value.len() <= DIGITS && value.iter().all(u8::is_ascii_digit) {
        return Some(value.iter().fold(0, |count, digit| 10 * count + u64::from(digit - b'0')));
    }
    let text = std::str::from_utf8(value).ok()?;
    if let Ok(count) = text.parse() {
        return Some(count);
    }
    let number: f64 = text.parse().ok()?;
    // Bounded: a cast of what no counter can hold would saturate at 2^64.
    (0.0..1e15).contains(&number).then_some(number as u64)
}

/// The longest name of a tier of service that is one, in bytes.
const TIER_MAX: usize = 64;

/// The name of a tier of service, from a member `service_tier`.
pub(super) fn tier(value: &[u8]) -> Option<String> {
    let tier = json::text(value)?;
    (!tier.is_empty() && tier.len() <= TIER_MAX).then(|| tier.into_owned())
}

/// The same of Anthropic's, which is a member of `usage`.
pub(super) fn tier_in(usage: &[u8]) -> Option<String> {
    // Most say none, and are not read for it. To make a search costs more than this one.
    static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"service_tier\""));
    NAME.find(usage)?;
    tier(Object::read(usage).ok()?.get("service_tier")?)
}

/// Watches the events of one stream for usage and model.
pub struct StreamUsage {
    usage: Option<Usage>,
    model: Option<String>,
    tier: Option<String>,
    /// Bytes of answer text; counted only when an estimate may be wanted.
    answer_bytes: u64,
    answer: SmallVec<[Finder<'static>; 1]>,
    /// What a message has told so far; others tell it once.
    told: Option<messages::Told>,
    needle: Finder<'static>,
}

impl StreamUsage {
    /// `estimate`: also measure the text, for streams that report no usage.
    pub fn new(wire: Wire, route_type: RouteType, estimate: bool) -> Self {
        let keys: &[&str] = match (wire, route_type) {
            (Wire::Messages, _) => &["\"text\"", "\"thinking\"", "\"partial_json\""],
            (_, RouteType::Completions) => &["\"text\""],
            (_, RouteType::Responses) => &["\"delta\""],
            _ => &["\"content\""],
        };
        let keys = keys.iter().filter(|_| estimate);
        Self {
            usage: None,
            model: None,
            tier: None,
            answer_bytes: 0,
            answer: keys.map(Finder::new).collect(),
            told: (wire == Wire::Messages).then(messages::Told::default),
            needle: Finder::new("\"usage\""),
        }
    }

    /// Looks at one event; most are only searched for a few bytes. Says whether it is the one that
    /// `include_usage` brings: tokens, and no choices.
    pub fn see(&mut self, event: Event<'_>) -> bool {
        for key in &self.answer {
            self.answer_bytes += string_after(event.raw(), key);
        }
        if self.model.is_some() && !self.has_usage(event.raw()) {
            return false;
        }
        let Some(data) = event.data() else { return false };
        let Ok(data) = Object::read(data.as_ref()) else { return false };
        // The events of responses tell it all of the response that they have in them; that with
        // which a message begins has the message.
        let inner = if self.told.is_some() { "message" } else { "response" };
        let inner = data.get(inner).and_then(|inner| Object::read(inner).ok());
        let of = |name| data.get(name).or_else(|| inner.as_ref()?.get(name));
        if self.model.is_none() {
            // Azure's first event, the one with the prompt's filter results, has an empty model.
            let model = of("model").and_then(json::text);
            self.model = model.filter(|model| !model.is_empty()).map(|model| model.into_owned());
        }
        self.tier = of("service_tier").and_then(tier).or_else(|| self.tier.take());
        let Some(usage) = of("usage") else { return false };
        if let Some(told) = &mut self.told {
            self.tier = tier_in(usage).or_else(|| self.tier.take());
            told.take(usage, inner.is_none());
            return false;
        }
        let Some(usage) = Usage::read(usage) else { return false };
        self.usage = Some(usage);
        data.get("choices").is_some_and(|choices| json::items(choices).next().is_none())
    }

    /// The model that answers, once an event has named it.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The tier of service, as far as an event that was read has named it.
    pub fn tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    /// What the upstream reported; else, when asked for, an estimate.
    pub fn usage(&self, prompt_tokens: impl FnOnce() -> u64) -> Option<Usage> {
        if let Some(usage) = self.told.as_ref().and_then(|told| told.usage(self.answer_bytes)) {
            return Some(usage);
        }
        let estimate = || Usage::estimate(prompt_tokens(), self.answer_bytes);
        self.usage.or_else(|| (!self.answer.is_empty()).then(estimate))
    }

    /// Whether an object follows `"usage":`; with `include_usage` most events say null.
    fn has_usage(&self, raw: &[u8]) -> bool {
        self.needle.find_iter(raw).any(|at| after_colon(&raw[at + 7..]).starts_with(b"{"))
    }
}

/// What follows the colon after a key, without blanks; empty when there is no colon.
fn after_colon(rest: &[u8]) -> &[u8] {
    rest.trim_ascii_start().strip_prefix(b":").unwrap_or_default().trim_ascii_start()
}

/// The length of the string value of a key in an event, in bytes of text.
fn string_after(raw: &[u8], key: &Finder<'_>) -> u64 {
    let Some(at) = key.find(raw) else { return 0 };
    let Some(text) = after_colon(&raw[at + key.needle().len()..]).strip_prefix(b"\"") else {
        return 0;
    };
    let mut length = 0;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next().filter(|byte| **byte != b'"') {
        length += 1;
        // An escape is one byte of text; \u has four digits more and is two bytes or three.
        if *byte == b'\\' && bytes.next() == Some(&b'u') {
            length += 1;
            bytes.nth(3);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::llm::sse::Framer;

    fn stream(wire: &str, estimate: bool) -> StreamUsage {
        let mut usage = StreamUsage::new(Wire::Openai, RouteType::Chat, estimate);
        let wire = Bytes::copy_from_slice(wire.as_bytes());
        Framer::default()
            .push(wire, |event| {
                usage.see(event);
            })
            .unwrap();
        usage
    }

    fn request(body: &'static str) -> Object<Bytes> {
        Object::read(Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn totals_of_the_upstream_are_trusted() {
        let usage = Usage::read(
            br#"{"prompt_tokens":12,"completion_tokens":7.0,"total_tokens":40,
            "prompt_tokens_details":{"cached_tokens":3,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":21}}"#,
        );
        let expected = Usage {
            prompt_tokens: 12,
            completion_tokens: 7,
            total_tokens: 40,
            parts: Parts::default()
                .with(Part::Cached, 3)
                .with(Part::PromptAudio, 0)
                .with(Part::Reasoning, 21),
            ..Usage::default()
        };
        assert_eq!(usage, Some(expected));
    }

    #[test]
    fn anthropics_own_names_count_before_those_of_others() {
        for usage in [
            r#"{"input_tokens":5,"cache_read_input_tokens":3,
                "prompt_tokens_details":{"cached_tokens":9}}"#,
            r#"{"prompt_tokens_details":{"cached_tokens":9},
                "cache_read_input_tokens":3,"input_tokens":5}"#,
        ] {
            let usage = Usage::read(usage.as_bytes()).unwrap();
            assert_eq!((usage.prompt_tokens, usage.parts.get(Part::Cached)), (8, Some(3)));
        }
    }

    #[test]
    fn odd_usage_is_no_usage() {
        for odd in ["null", "{}", "[]", r#"{"prompt_tokens":"12"}"#, r#"{"total_tokens":-1}"#] {
            assert_eq!(Usage::read(odd.as_bytes()), None, "{odd}");
        }
        let other = Usage::read(br#"{"input_tokens":2,"output_tokens":3}"#).unwrap();
        assert_eq!((other.prompt_tokens, other.completion_tokens, other.total_tokens), (2, 3, 5));
    }

    #[test]
    fn usage_of_a_stream() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/azure/stream-07-include-usage.json");
        let vector: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let seen = stream(vector["response"]["wire_text"].as_str().unwrap(), true);
        let usage = seen.usage(|| 100).unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (9, 4, 13));
        assert!(!usage.estimated);
        assert_eq!(seen.model(), Some("gpt-4o-2024-11-20"));
    }

    #[test]
    fn a_stream_without_usage_is_estimated_as_kong_does() {
        // The recording ai-log-payloads: prompt "hi" gives 2, the answer "Hello" gives 2.
        let events = "data: {\"model\": \"\", \"choices\": []}\n\n\
            data: {\"choices\": [{\"delta\": {\"content\": \"Hel\"}}], \"model\": \"m\"}\n\n\
            data: {\"choices\": [{\"delta\": {\"content\": \"lo\"}}]}\n\ndata: [DONE]\n\n";
        let body = request(r#"{"messages":[{"role":"user","content":"hi"}]}"#);
        let seen = stream(events, true);
        let usage = seen.usage(|| estimate_prompt(&body, true)).unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (2, 2, 4));
        assert!(usage.estimated);
        assert_eq!(seen.model(), Some("m"));
        assert_eq!(stream(events, false).usage(|| 2), None);
        assert_eq!(estimate_prompt(&body, false), 1);
    }

    #[test]
    fn a_word_in_the_answer_is_no_usage() {
        let events = concat!(
            r#"data: {"model":"m","choices":[{"delta":{"content":"\"usage\":{}"}}],"usage":null}"#,
            "\n\n"
        );
        assert_eq!(stream(events, false).usage(|| 0), None);
    }

    #[test]
    fn words_of_prompts() {
        let parts = request(
            r#"{"messages":[{"content":[{"type":"text","text":"a  b"},{"type":"image_url"}]},
            {"content":null},{"content":"c\nd"},{}]}"#,
        );
        assert_eq!(estimate_prompt(&parts, false), 4);
        assert_eq!(estimate_prompt(&request(r#"{"prompt":"one two three"}"#), true), 5);
        for asked in [
            r#"{"system":"be brief","messages":[{"content":"hi"}]}"#,
            r#"{"system":[{"type":"text","text":"be brief"}],"messages":[{"content":"hi"}]}"#,
        ] {
            assert_eq!(estimate_prompt(&request(asked), false), 3, "{asked}");
        }
        for (block, words) in [
            (r#"{"type":"tool_result","tool_use_id":"t","content":"it rains"}"#, 2),
            (r#"{"type":"tool_result","content":[{"type":"text","text":"a b"},{"text":"c"}]}"#, 3),
            (r#"{"type":"tool_result","content":[{"type":"image","source":{"data":"x"}}]}"#, 0),
            (r#"{"type":"tool_result"}"#, 0),
            (r#"{"type":"tool_use","id":"t","name":"look","input":{}}"#, 0),
            (r#"{"type":"tool_use","input":{"in": "\"a\nb\", c","n":[1, {"deep":null}]}}"#, 8),
        ] {
            let asked = format!(r#"{{"messages":[{{"content":[{block}]}}]}}"#);
            let asked = Object::read(Bytes::from(asked)).unwrap();
            assert_eq!(estimate_prompt(&asked, false), words, "{block}");
        }
        for (input, words) in [
            (r#"{"input":"one two","instructions":"be brief"}"#, 4),
            (r#"{"input":["one two","three"]}"#, 3),
            (r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"a b"}]}]}"#, 2),
            (r#"{"input":[[1,2,3]]}"#, 0),
        ] {
            assert_eq!(estimate_prompt(&request(input), false), words, "{input}");
        }
    }

    #[test]
    fn text_is_measured_through_escapes() {
        let measure = |raw: &str| string_after(raw.as_bytes(), &Finder::new("\"content\""));
        assert_eq!(measure(r#"{"content" : "a\"b\\","x":"y"}"#), 4);
        assert_eq!(measure(r#"{"content":"\u00e9!"}"#), 3);
        assert_eq!(measure(r#"{"content":null}"#) + measure("x") + measure(r#""content":"#), 0);
        assert_eq!(measure(r#""content":"ab\u1"#), 4);
    }

    #[test]
    fn every_api_has_its_own_names_for_the_parts() {
        let read = |usage: &str| Usage::read(usage.as_bytes()).unwrap();
        let response = read(
            r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,
            "output_tokens_details":{"reasoning_tokens":2},"total_tokens":15}"#,
        );
        let of = |usage: &Usage, part| usage.parts.get(part);
        assert!(response.is_input);
        assert_eq!(of(&response, Part::Cached), Some(4));
        assert_eq!(of(&response, Part::Reasoning), Some(2));
        let session = read(
            r#"{"total_tokens":30,"input_tokens":20,"output_tokens":10,"input_token_details":
            {"text_tokens":5,"audio_tokens":15,"cached_tokens":8,"cached_tokens_details":
            {"text_tokens":3,"audio_tokens":5}},"output_token_details":
            {"text_tokens":4,"audio_tokens":6}}"#,
        );
        for (part, tokens) in [
            (Part::PromptText, 5),
            (Part::PromptAudio, 15),
            (Part::Cached, 8),
            (Part::CachedText, 3),
            (Part::CachedAudio, 5),
            (Part::CompletionText, 4),
            (Part::CompletionAudio, 6),
        ] {
            assert_eq!(of(&session, part), Some(tokens), "{part:?}");
        }
        let sum = session.plus(&session).plus(&response);
        assert_eq!((sum.total_tokens, of(&sum, Part::Cached)), (75, Some(20)));
        assert_eq!(of(&sum, Part::Reasoning), Some(2));
        let claude = read(
            r#"{"input_tokens":10,"cache_read_input_tokens":100,"cache_creation_input_tokens":50,
            "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30},
            "output_tokens":7}"#,
        );
        assert_eq!((claude.prompt_tokens, claude.total_tokens), (160, 167));
        assert_eq!(of(&claude, Part::Written1h), Some(30));
        let whisper = read(r#"{"type":"duration","seconds":2.5}"#);
        assert_eq!((whisper.total_tokens, whisper.duration_ms), (0, Some(2500)));
        assert_eq!(Usage::read(br#"{"type":"duration","seconds":-1}"#), None);
    }

    #[test]
    fn a_stream_of_a_response_says_all_at_its_end() {
        let events = concat!(
            r#"event: response.created"#,
            "\n",
            r#"data: {"type":"response.created","response":{"model":"m","usage":null}}"#,
            "\n\n",
            r#"data: {"type":"response.output_text.delta","delta":"12345678"}"#,
            "\n\n",
        );
        let end = concat!(
            r#"data: {"type":"response.completed","response":{"service_tier":"flex","usage":"#,
            r#"{"input_tokens":3,"output_tokens":2,"total_tokens":5}}}"#,
            "\n\n",
        );
        let watch = |wire: String| {
            let mut usage = StreamUsage::new(Wire::Openai, RouteType::Responses, true);
            let see = |event: Event<'_>| assert!(!usage.see(event), "it is the client's");
            Framer::default().push(wire.into(), see).unwrap();
            usage
        };
        let whole = watch([events, end].concat());
        assert_eq!((whole.model(), whole.tier()), (Some("m"), Some("flex")));
        assert_eq!(whole.usage(|| 9).map(|usage| usage.total_tokens), Some(5));
        let cut = watch(events.to_owned()).usage(|| 9).unwrap();
        assert_eq!((cut.completion_tokens, cut.total_tokens, cut.estimated), (2, 11, true));
    }
}
