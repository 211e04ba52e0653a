//! Tokens and the answering model: what a reply says, and an estimate where it says nothing.
//!
//! The upstream's own totals are trusted (Kong adds prompt and completion itself, which is wrong
//! for models that count reasoning apart). A reply is never decoded: the `usage` member is found
//! by the scanner, and stream events without `"usage"` are passed unread once the model is known.

use bytes::Bytes;
use memchr::memmem::Finder;

use crate::llm::RouteType;
use crate::llm::json;
use crate::llm::splice::Object;
use crate::llm::sse::Event;

/// Tokens of one exchange, in the words of the OpenAI API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens the client sent.
    pub prompt_tokens: u64,
    /// Tokens the model wrote, hidden reasoning included.
    pub completion_tokens: u64,
    /// As reported; the sum of both when the upstream gives none.
    pub total_tokens: u64,
    /// Part of the prompt that came from the upstream's cache.
    pub cached_tokens: Option<u64>,
    /// Part of the completion that the model kept to itself.
    pub reasoning_tokens: Option<u64>,
    /// Counted here by a rule of thumb, because the upstream reported nothing.
    pub estimated: bool,
}

impl Usage {
    /// From the `usage` member of a reply or of an event.
    ///
    /// The Responses API says `input_tokens` and `output_tokens`; both spellings are read.
    pub fn read(usage: &[u8]) -> Option<Self> {
        let usage = Object::read(usage).ok()?;
        let part = |names: [&str; 2]| usage.get(names[0]).or_else(|| usage.get(names[1]));
        let prompt = count(part(["prompt_tokens", "input_tokens"]));
        let completion = count(part(["completion_tokens", "output_tokens"]));
        let total = count(usage.get("total_tokens"));
        if prompt.is_none() && completion.is_none() && total.is_none() {
            return None;
        }
        let detail = |names, name| count(Object::read(part(names)?).ok()?.get(name));
        let (prompt_tokens, completion_tokens) = (prompt.unwrap_or(0), completion.unwrap_or(0));
        Some(Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: total.unwrap_or(prompt_tokens.saturating_add(completion_tokens)),
            cached_tokens: detail(
                ["prompt_tokens_details", "input_tokens_details"],
                "cached_tokens",
            ),
            reasoning_tokens: detail(
                ["completion_tokens_details", "output_tokens_details"],
                "reasoning_tokens",
            ),
            estimated: false,
        })
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

    /// What it cost, with prices per million tokens; nothing unless both are set, as in Kong.
    pub fn cost(&self, input_cost: Option<f64>, output_cost: Option<f64>) -> f64 {
        let (Some(input), Some(output)) = (input_cost, output_cost) else { return 0.0 };
        let cost = self.prompt_tokens as f64 * input + self.completion_tokens as f64 * output;
        cost / 1_000_000.0
    }
}

/// Kong's estimate of the tokens of a request: its words, times 1.8 when the reply is a stream.
///
/// Words count in `messages[].content` (text, or the text parts of a list) and in `prompt`.
pub fn estimate_prompt(request: &Object<Bytes>, stream: bool) -> u64 {
    let mut words = 0;
    for message in request.get("messages").into_iter().flat_map(json::items) {
        let message = Object::read(message).ok();
        words += message.and_then(|m| m.get("content").map(content_words)).unwrap_or(0);
    }
    if words == 0 {
        words = request.get("prompt").map_or(0, words_of);
    }
    let factor = if stream { 1.8 } else { 1.0 };
    (words as f64 * factor).round() as u64
}

fn content_words(content: &[u8]) -> u64 {
    if content.first() != Some(&b'[') {
        return words_of(content);
    }
    let text = |part| Object::read(part).ok().and_then(|part| part.get("text").map(words_of));
    json::items(content).filter_map(text).sum()
}

/// Words of a JSON string; none in another value.
fn words_of(value: &[u8]) -> u64 {
    json::text(value).map_or(0, |text| text.split_ascii_whitespace().count() as u64)
}

/// A token count: a whole number, also when it is written as a float.
fn count(value: Option<&[u8]>) -> Option<u64> {
    let text = std::str::from_utf8(value?).ok()?;
    if let Ok(count) = text.parse() {
        return Some(count);
    }
    let number: f64 = text.parse().ok()?;
    // Bounded: a cast of what no counter can hold would saturate at 2^64.
    (0.0..1e15).contains(&number).then_some(number as u64)
}

/// Watches the events of one stream for usage and model.
pub struct StreamUsage {
    usage: Option<Usage>,
    model: Option<String>,
    /// Bytes of answer text; counted only when an estimate may be wanted.
    answer_bytes: u64,
    answer: Option<Finder<'static>>,
    needle: Finder<'static>,
}

impl StreamUsage {
    /// `estimate`: also measure the text, for streams that report no usage.
    pub fn new(route_type: RouteType, estimate: bool) -> Self {
        let key = if route_type == RouteType::Completions { "\"text\"" } else { "\"content\"" };
        Self {
            usage: None,
            model: None,
            answer_bytes: 0,
            answer: estimate.then(|| Finder::new(key)),
            needle: Finder::new("\"usage\""),
        }
    }

    /// Looks at one event; most are only searched for a few bytes. Says whether it is the one that
    /// `include_usage` brings: tokens, and no choices.
    pub fn see(&mut self, event: Event<'_>) -> bool {
        if let Some(key) = &self.answer {
            self.answer_bytes += string_after(event.raw(), key);
        }
        if self.model.is_some() && !self.has_usage(event.raw()) {
            return false;
        }
        let Some(data) = event.data() else { return false };
        let Ok(data) = Object::read(data.as_ref()) else { return false };
        if self.model.is_none() {
            // Azure's first event, the one with the prompt's filter results, has an empty model.
            let model = data.get("model").and_then(json::text);
            self.model = model.filter(|model| !model.is_empty()).map(|model| model.into_owned());
        }
        let Some(usage) = data.get("usage").and_then(Usage::read) else { return false };
        self.usage = Some(usage);
        data.get("choices").is_some_and(|choices| json::items(choices).next().is_none())
    }

    /// The model that answers, once an event has named it.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// What the upstream reported; else, when asked for, an estimate.
    pub fn usage(&self, prompt_tokens: impl FnOnce() -> u64) -> Option<Usage> {
        let estimate = || Usage::estimate(prompt_tokens(), self.answer_bytes);
        self.usage.or_else(|| self.answer.is_some().then(estimate))
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

/// The model that a JSON reply names.
pub(super) fn model(reply: &Object<Bytes>) -> Option<String> {
    reply.get("model").and_then(json::text).map(|model| model.into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::llm::sse::Framer;

    fn stream(wire: &str, estimate: bool) -> StreamUsage {
        let mut usage = StreamUsage::new(RouteType::Chat, estimate);
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
            cached_tokens: Some(3),
            reasoning_tokens: Some(21),
            estimated: false,
        };
        assert_eq!(usage, Some(expected));
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
    fn cost_needs_both_prices() {
        let usage = Usage { prompt_tokens: 12, completion_tokens: 7, ..Usage::default() };
        assert!((usage.cost(Some(2.5), Some(10.0)) - 0.0001).abs() < 1e-12);
        assert_eq!(usage.cost(Some(2.5), None), 0.0);
    }
}
