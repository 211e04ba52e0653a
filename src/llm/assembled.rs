//! A streamed chat as one reply, and one reply as a stream: what a cache of replies needs, whose
//! clients want now the one and now the other.

use serde_json::{Map, Value, json};

use crate::llm::sse::{Event, Framer};
use crate::llm::usage::Usage;

/// What is said once of the whole reply.
const ONCE: [&str; 5] = ["id", "created", "model", "service_tier", "system_fingerprint"];

/// Members of a `delta` that are told and not continued.
const TOLD: [&str; 3] = ["role", "id", "type"];

/// The reply that a whole stream of chat events comes to; `None` when it is not whole. Where the
/// stream does not tell its tokens, the reply says what is known of them (`counted`).
pub fn whole(stream: &bytes::Bytes, counted: Option<&Usage>) -> Option<Vec<u8>> {
    let mut reply = Map::new();
    let (mut choices, mut usage) = (Vec::<Value>::new(), Value::Null);
    let (mut is_done, mut is_good) = (false, true);
    let see = |event: Event<'_>| {
        let Some(data) = event.data() else { return };
        if &*data == b"[DONE]" {
            is_done = true;
            return;
        }
        let Ok(Value::Object(chunk)) = serde_json::from_slice::<Value>(&data) else {
            is_good = false;
            return;
        };
        is_good &= !chunk.contains_key("error");
        for (name, value) in chunk {
            match &*name {
                "choices" => is_good &= add_choices(&mut choices, value),
                "usage" if !value.is_null() => usage = value,
                // Azure's first event has all of them, and says nothing.
                name if ONCE.contains(&name) && !is_blank(&value) => {
                    reply.entry(name).or_insert(value);
                }
                _ => {}
            }
        }
    };
    Framer::default().push(stream.clone(), see).ok()?;
    let ends = |choice: &Value| choice["finish_reason"].is_string();
    if !is_done || !is_good || choices.is_empty() || !choices.iter().all(ends) {
        return None;
    }
    reply.insert("object".to_owned(), "chat.completion".into());
    reply.insert("choices".to_owned(), choices.into());
    if let Some(usage) = Some(usage).filter(|told| !told.is_null()).or_else(|| counted.map(tokens))
    {
        reply.insert("usage".to_owned(), usage);
    }
    Some(Value::Object(reply).to_string().into_bytes())
}

/// Tokens as a reply tells them. An estimate says that it is one.
fn tokens(usage: &Usage) -> Value {
    let mut told = json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    });
    if usage.estimated {
        told["estimated"] = true.into();
    }
    told
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value == "" || value == 0
}

/// Choices of one reply that are told apart at most.
const CHOICES_MAX: usize = 128;

/// Adds the pieces of one event.
fn add_choices(choices: &mut Vec<Value>, pieces: Value) -> bool {
    let Value::Array(pieces) = pieces else { return false };
    for piece in pieces {
        let Value::Object(piece) = piece else { return false };
        let index = position(piece.get("index"));
        if index >= CHOICES_MAX {
            return false;
        }
        while choices.len() <= index {
            let message = json!({ "role": "assistant", "content": null });
            let number = choices.len();
            choices.push(json!({ "index": number, "message": message, "finish_reason": null }));
        }
        for (name, value) in piece {
            match &*name {
                "delta" => join(&mut choices[index]["message"], value),
                "finish_reason" if value.is_null() => {}
                "index" | "logprobs" => {}
                name => choices[index][name] = value,
            }
        }
    }
    true
}

/// Continues a value with what a `delta` says of it.
fn join(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                match into.get_mut(&name) {
                    Some(known) if !TOLD.contains(&&*name) => join(known, value),
                    _ if value.is_null() => {}
                    _ if value.is_array() => join(into.entry(name).or_insert(json!([])), value),
                    _ => drop(into.insert(name, value)),
                }
            }
        }
        (Value::String(into), Value::String(more)) => into.push_str(&more),
        (Value::Array(into), Value::Array(more)) => {
            for mut piece in more {
                let index = piece.as_object_mut().and_then(|piece| piece.remove("index"));
                let at = index.as_ref().map_or(into.len(), |index| position(Some(index)));
                match into.get_mut(at) {
                    Some(known) => join(known, piece),
                    None => into.push(piece),
                }
            }
        }
        (_, Value::Null) => {}
        (into, more) => *into = more,
    }
}

fn position(index: Option<&Value>) -> usize {
    let index = index.and_then(Value::as_u64).unwrap_or(0);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// A reply as the stream that a client has asked for, with the event that tells its tokens if it
/// wants that. `None` when it is no reply to a chat.
pub fn streamed(reply: &[u8], with_usage: bool) -> Option<Vec<u8>> {
    let Ok(Value::Object(mut reply)) = serde_json::from_slice(reply) else { return None };
    let Some(Value::Array(choices)) = reply.remove("choices") else { return None };
    let usage = reply.remove("usage");
    reply.retain(|name, _| ONCE.contains(&&**name));
    reply.insert("object".to_owned(), "chat.completion.chunk".into());
    let mut stream = Vec::new();
    let mut say = |choices: Value, usage: Option<&Value>| {
        let mut chunk = reply.clone();
        chunk.insert("choices".to_owned(), choices);
        if let Some(usage) = usage {
            chunk.insert("usage".to_owned(), usage.clone());
        }
        stream.extend_from_slice(b"data: ");
        stream.extend_from_slice(Value::Object(chunk).to_string().as_bytes());
        stream.extend_from_slice(b"\n\n");
    };
    for choice in choices {
        let Value::Object(mut choice) = choice else { return None };
        let index = choice.get("index").cloned().unwrap_or(0.into());
        let mut delta = choice.remove("message")?;
        let calls = delta.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (number, call) in calls.into_iter().flatten().enumerate() {
            call["index"] = number.into();
        }
        say(json!([{ "index": index, "delta": delta, "finish_reason": null }]), None);
        let reason = choice.remove("finish_reason").unwrap_or("stop".into());
        say(json!([{ "index": index, "delta": {}, "finish_reason": reason }]), None);
    }
    if with_usage && let Some(usage) = &usage {
        say(json!([]), Some(usage));
    }
    stream.extend_from_slice(b"data: [DONE]\n\n");
    Some(stream)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn of(stream: &str) -> Option<Value> {
        counted(stream, None)
    }

    fn counted(stream: &str, usage: Option<&Usage>) -> Option<Value> {
        let whole = whole(&Bytes::copy_from_slice(stream.as_bytes()), usage)?;
        Some(serde_json::from_slice(&whole).unwrap())
    }

    const STREAM: &str = "data: {\"choices\":[],\"created\":0,\"id\":\"\",\
        \"prompt_filter_results\":[{}]}\n\n\
        data: {\"id\":\"c1\",\"created\":5,\"model\":\"m\",\"object\":\"chat.completion.chunk\",\
        \"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
        data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"},\"logprobs\":null}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n";

    #[test]
    fn a_stream_comes_to_one_reply() {
        let reply = of(STREAM).unwrap();
        assert_eq!(
            reply,
            json!({
                "id": "c1", "created": 5, "model": "m", "object": "chat.completion",
                "choices": [{"index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "Hello"}}],
                "usage": {"total_tokens": 3},
            })
        );
    }

    #[test]
    fn tokens_that_a_stream_does_not_tell_are_those_that_were_counted() {
        let silent = STREAM.replace("\"usage\"", "\"x\"");
        let usage = Usage { prompt_tokens: 4, total_tokens: 4, ..Usage::default() };
        let told = |stream: &str, usage| counted(stream, Some(usage)).unwrap()["usage"].clone();
        assert_eq!(told(STREAM, &usage), json!({"total_tokens": 3}), "it knows best");
        let mut tokens = json!({"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4});
        assert_eq!(told(&silent, &usage), tokens);
        tokens["estimated"] = true.into();
        assert_eq!(told(&silent, &Usage { estimated: true, ..usage }), tokens);
        assert!(of(&silent).unwrap().get("usage").is_none());
    }

    #[test]
    fn calls_of_tools_are_put_together_and_taken_apart() {
        let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\
            \"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":\
            {\"name\":\"f\",\"arguments\":\"\"}}]}}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\
            \"function\":{\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\
            \"function\":{\"arguments\":\":1}\"}},{\"index\":1,\"id\":\"b\",\"type\":\"function\",\
            \"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},\
            \"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
        let reply = of(stream).unwrap();
        let calls = &reply["choices"][0]["message"]["tool_calls"];
        assert_eq!(
            *calls,
            json!([
                {"id": "a", "type": "function",
                    "function": {"name": "f", "arguments": "{\"x\":1}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ])
        );
        let again = streamed(reply.to_string().as_bytes(), false).unwrap();
        let again = String::from_utf8(again).unwrap();
        assert!(again.contains("\"index\":1"), "{again}");
        assert_eq!(of(&again).unwrap()["choices"], reply["choices"], "there and back");
    }

    #[test]
    fn what_is_not_whole_is_no_reply() {
        for (cut, why) in [
            (STREAM.replace("data: [DONE]\n\n", ""), "no end"),
            (STREAM.replace("\"finish_reason\":\"stop\"", "\"x\":1"), "no reason to end"),
            (STREAM.replace("\"choices\":[],\"usage\"", "\"error\":{},\"usage\""), "an error"),
            (STREAM.replace("{\"choices\":[],\"usage\"", "{{"), "no JSON"),
            ("data: [DONE]\n\n".to_owned(), "nothing"),
            ("data: {\"choices\":[{\"index\":999999999}]}\n\ndata: [DONE]\n\n".to_owned(), "far"),
        ] {
            assert_eq!(of(&cut), None, "{why}");
        }
    }

    #[test]
    fn a_reply_is_streamed_with_its_tokens_where_they_are_wanted() {
        let reply = of(STREAM).unwrap().to_string();
        let told = |wanted| String::from_utf8(streamed(reply.as_bytes(), wanted).unwrap()).unwrap();
        assert!(told(true).contains("\"usage\":{\"total_tokens\":3}"));
        assert!(!told(false).contains("usage"));
        assert!(told(false).ends_with("data: [DONE]\n\n"));
        assert_eq!(of(&told(true)).unwrap().to_string().len(), reply.len());
        assert_eq!(streamed(b"{}", false), None);
        assert_eq!(streamed(b"[]", false), None);
    }
}
