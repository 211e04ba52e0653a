//! Replies that are no streams: chats, refusals, and what a bad day brings.

use bytes::Bytes;
use serde_json::json;
use silverback::sim::Rule;

use super::deployment::{chat, chat_of};
use super::{Ask, Behaviour};

fn reply(body: &str) -> Rule {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Rule { body: Some(body.into()), headers, ..Rule::default() }
}

const TOOLS: &str = r#"{"id":"r","object":"chat.completion","model":"m","choices":[{"index":0,
"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[{"id":"c",
"type":"function","function":{"name":"weather","arguments":"{\"city\":\"K\u00f6ln\"}"}}]}}],
"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;

const CHOICES: &str = r#"{"id":"r","object":"chat.completion","model":"m","choices":[
{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"a"},"logprobs":{
"content":[{"token":"a","logprob":-0.00034,"bytes":[97],"top_logprobs":[]}]}},
{"index":1,"finish_reason":"stop","message":{"role":"assistant","content":"b"},"logprobs":null}],
"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;

const ODD: &str = "{ \"id\":\"r\", \"created\": 17, \"big\":12345678901234567890, \"small\":1E-7,
\t\"one\":1.0, \"slash\":\"a\\/b\", \"escaped\":\"\\u00fc\\ud83d\\ude00\", \"same\":1, \"same\":2,
\"empty\":[], \"none\":{}, \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",
\"content\":\"hi\"},\"finish_reason\":\"stop\"}], \"usage\":{\"prompt_tokens\":1,
\"completion_tokens\":2, \"total_tokens\":3} }\n";

const WORDS: &str = "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":
{\"role\":\"assistant\",\"content\":\"Grüße, 日本, 👋🏽, \u{2028}\"},\"finish_reason\":\"stop\"}],
\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}";

pub(super) fn chats() -> Vec<Behaviour> {
    let tools = json!({"messages": [{"role": "user", "content": "hi"}], "tools": [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]});
    let gzip = |name| chat(name).header("accept-encoding", "gzip");
    vec![
        Behaviour::ask("a chat", chat("gpt-4o")),
        Behaviour::ruled("a call of a tool", chat_of("tools", &tools), reply(TOOLS)),
        Behaviour::ruled("two choices with logprobs", chat("choices"), reply(CHOICES)),
        Behaviour::ruled("odd numbers, escapes, members given twice", chat("odd"), reply(ODD)),
        Behaviour::ruled("all kinds of letters", chat("letters"), reply(WORDS)),
        Behaviour::ask("a compressed reply", gzip("fault-gzip")),
        Behaviour::ask("a reply that the client cannot inflate", chat("fault-gzip")),
        Behaviour::ask("a plain reply to a client that can inflate", gzip("gpt-4o")),
        Behaviour::ask("a reply byte by byte", chat("fault-one-byte")),
        Behaviour::ask("a filtered answer", chat("fault-filtered-output")),
    ]
}

pub(super) fn refusals() -> Vec<Behaviour> {
    let fault = |name, fault: &str| Behaviour::ask(name, chat(fault));
    vec![
        fault("401: the key is refused", "fault-401"),
        fault("401: the role is missing", "fault-permission"),
        fault("403: the firewall", "fault-403-firewall"),
        fault("404: no such deployment", "fault-404"),
        fault("400: the prompt is blocked", "fault-content-filter"),
        fault("400: the prompt is too long", "fault-context-length"),
        fault("429 with retry-after", "fault-429-7"),
        fault("429 with retry-after-ms", "fault-429-both"),
        fault("500", "fault-500"),
        fault("503 with a page of the front door", "fault-503-html"),
        fault("529", "fault-529"),
    ]
}

pub(super) fn oddities() -> Vec<Behaviour> {
    let fault = |name, fault: &str| Behaviour::ask(name, chat(fault));
    let headers = [("x-new", "a"), ("x-new", "b"), ("x-ratelimit-reset-tokens", "6m0s")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let written = |status| Rule { status: Some(status), ..reply(r#"{"made":true}"#) };
    vec![
        fault("200 with a page of HTML", "fault-html"),
        fault("200 without a body", "fault-empty"),
        fault("200 with broken JSON", "fault-malformed"),
        fault("302 to a portal", "fault-portal"),
        fault("a connection that closes without a reply", "fault-drop"),
        fault("a reply that breaks off", "fault-cut"),
        fault("a stream in place of a reply", "fault-stream-instead-of-json"),
        Behaviour::ruled("201 that is no chat", chat("made"), written(201)),
        Behaviour::ruled(
            "headers that nobody knows",
            chat("headers"),
            Rule { headers, ..Rule::default() },
        ),
        Behaviour::ruled(
            "a reply in pieces",
            chat("pieces"),
            Rule {
                chunks: Some(TOOLS.as_bytes().chunks(50).map(Bytes::from_static).collect()),
                ..reply_type()
            },
        ),
        Behaviour::ask(
            "request ids",
            chat("gpt-4o")
                .header("x-ms-client-request-id", "mine")
                .header("x-request-id", "my-own"),
        ),
    ]
}

fn reply_type() -> Rule {
    Rule { body: None, ..reply("") }
}

/// What a client gets for a path that is nobody's.
pub(super) fn nowhere() -> Ask {
    Ask::json("/openai/deployments/gpt-4o/nonsense?api-version=2025-04-01-preview", "{}")
}
