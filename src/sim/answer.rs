//! What the simulated model says, as one JSON object or as the events of a stream.
//!
//! Both have Azure's additions: filter results, the first event without choices, and an event of
//! totals when the request asks for it.

use serde_json::{Value, json};

use super::rule::Quirk;

/// One generated answer.
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    /// The text in the pieces of its stream.
    pub(super) pieces: Vec<String>,
    pub(super) finish: &'static str,
    pub(super) prompt_tokens: usize,
    /// The older text completion instead of chat.
    pub(super) legacy: bool,
    /// The stream ends with an event of totals, and the others carry `usage: null`.
    pub(super) include_usage: bool,
    /// What is laid over the totals.
    pub(super) more_usage: Option<Value>,
}

/// Lays the members of a record over those of another, records within it member by member.
pub(super) fn lay(over: &mut Value, members: &Value) {
    match (over, members) {
        (Value::Object(own), Value::Object(members)) => {
            for (name, member) in members {
                lay(own.entry(name).or_insert(Value::Null), member);
            }
        }
        (over, member) => *over = member.clone(),
    }
}

impl Answer {
    /// The reply as one object.
    pub(super) fn json(&self) -> Value {
        let mut choice = json!({ "index": 0, "finish_reason": self.finish, "logprobs": null });
        let text = self.pieces.concat();
        if self.legacy {
            choice["text"] = text.into();
        } else {
            choice["message"] = json!({ "role": "assistant", "content": text, "refusal": null });
        }
        choice["content_filter_results"] = output_filters(self.finish == "content_filter");
        let mut reply = self.envelope(if self.legacy { TEXT } else { "chat.completion" });
        reply["choices"] = json!([choice]);
        reply["prompt_filter_results"] = prompt_filters();
        reply["usage"] = self.usage();
        reply
    }

    /// The data of a stream's events in order, without `[DONE]`.
    pub(super) fn events(&self, quirk: Option<Quirk>) -> Vec<String> {
        let mut events = vec![json!({
            "choices": [], "created": 0, "id": "", "model": "", "object": "",
            "prompt_filter_results": prompt_filters(),
        })];
        let (unchecked, checked) = match quirk {
            Some(Quirk::AsyncFilter) => (Value::Null, Value::Null),
            _ => (json!({}), output_filters(false)),
        };
        if !self.legacy {
            let role = json!({ "role": "assistant", "content": "", "refusal": null });
            events.push(self.chunk(role, Value::Null, unchecked.clone()));
        }
        for piece in &self.pieces {
            let delta = json!({ "content": piece });
            events.push(self.chunk(delta, Value::Null, checked.clone()));
        }
        let verdict = match self.finish {
            "content_filter" => output_filters(true),
            _ => unchecked,
        };
        events.push(self.chunk(json!({}), self.finish.into(), verdict));
        if quirk == Some(Quirk::AsyncFilter) {
            events.insert(events.len() / 2, annotation());
            events.push(annotation());
        }
        if self.include_usage {
            let mut totals = self.envelope(self.chunk_object());
            totals["choices"] = json!([]);
            totals["usage"] = self.usage();
            events.push(totals);
        }
        if quirk == Some(Quirk::ErrorEvent) {
            events.truncate(3);
            events.push(json!({ "error": {
                "message": "The server had an error while processing your request.",
                "type": "server_error",
                "param": null,
                "code": null,
            }}));
        }
        events.iter().map(Value::to_string).collect()
    }

    /// One event; `filters` null leaves the filter results out, as the asynchronous filter does.
    fn chunk(&self, delta: Value, finish: Value, filters: Value) -> Value {
        let mut choice = json!({ "index": 0, "finish_reason": finish, "logprobs": null });
        if self.legacy {
            choice["text"] = delta.get("content").cloned().unwrap_or_else(|| "".into());
        } else {
            choice["delta"] = delta;
        }
        if !filters.is_null() {
            choice["content_filter_results"] = filters;
        }
        let mut chunk = self.envelope(self.chunk_object());
        chunk["choices"] = json!([choice]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn chunk_object(&self) -> &'static str {
        if self.legacy { TEXT } else { "chat.completion.chunk" }
    }

    fn envelope(&self, object: &str) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_sim",
        })
    }

    fn usage(&self) -> Value {
        let completion_tokens = self.pieces.len();
        let mut usage = json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": { "audio_tokens": 0, "cached_tokens": 0 },
            "completion_tokens_details": {
                "accepted_prediction_tokens": 0,
                "audio_tokens": 0,
                "reasoning_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        });
        self.more_usage.iter().for_each(|more| lay(&mut usage, more));
        usage
    }
}

const TEXT: &str = "text_completion";

fn output_filters(violent: bool) -> Value {
    let safe = json!({ "filtered": false, "severity": "safe" });
    let violence = match violent {
        true => json!({ "filtered": true, "severity": "medium" }),
        false => safe.clone(),
    };
    json!({ "hate": safe, "self_harm": safe, "sexual": safe, "violence": violence })
}

fn prompt_filters() -> Value {
    let mut results = output_filters(false);
    results["jailbreak"] = json!({ "detected": false, "filtered": false });
    json!([{ "prompt_index": 0, "content_filter_results": results }])
}

/// An event of the asynchronous filter: its choice has no `delta`, and its ids are empty.
fn annotation() -> Value {
    json!({
        "id": "", "object": "", "created": 0, "model": "",
        "choices": [{
            "index": 0,
            "finish_reason": null,
            "content_filter_results": output_filters(false),
            "content_filter_offsets": { "check_offset": 44, "start_offset": 44, "end_offset": 198 },
        }],
        "usage": null,
    })
}

/// A text in pieces of one word with the blanks before it; together they are the text.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut after_blank = false;
    for c in text.chars() {
        let blank = c.is_whitespace();
        match pieces.last_mut() {
            Some(piece) if !blank || after_blank => piece.push(c),
            _ => pieces.push(c.to_string()),
        }
        after_blank = blank;
    }
    pieces
}

/// The same text in exactly `n` pieces, filled up with dots where it has fewer.
pub(super) fn regroup(mut pieces: Vec<String>, n: usize) -> Vec<String> {
    if n > 0 && pieces.len() > n {
        let rest = pieces.split_off(n).concat();
        if let Some(last) = pieces.last_mut() {
            last.push_str(&rest);
        }
    }
    while pieces.len() < n {
        pieces.push(" .".into());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_every_character() {
        for text in ["", "one", " two words ", "a\n\n  b\tc", "ü 好 👩‍💻"] {
            assert_eq!(words(text).concat(), text);
        }
        assert_eq!(words("Color is light."), ["Color", " is", " light."]);
    }

    #[test]
    fn regrouping_gives_the_number_asked_for() {
        let three = words("a b c");
        assert_eq!(regroup(three.clone(), 0), three);
        assert_eq!(regroup(three.clone(), 2), ["a", " b c"]);
        assert_eq!(regroup(three, 4), ["a", " b", " c", " ."]);
    }
}
