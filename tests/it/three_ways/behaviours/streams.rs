//! Streams of events.

use bytes::Bytes;
use serde_json::json;
use silverback::sim::Rule;

use super::deployment::{chat_of, stream};
use super::{Act, Behaviour};

const EVENT: &str =
    r#"{"id":"r","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"#;

/// A stream of these writes.
fn writes(name: &'static str, deployment: &'static str, writes: &[&str]) -> Behaviour {
    let content = r#""delta":{"content":"héllo"},"finish_reason":null}]}"#;
    let end = r#""delta":{},"finish_reason":"stop"}]}"#;
    let [event, end] = [content, end].map(|rest| format!("{EVENT}{rest}"));
    let fill = |text: &&str| text.replace("EVENT", &event).replace("END", &end);
    let chunks = writes.iter().map(|text| Bytes::from(fill(text))).collect();
    let kind = ("content-type".to_owned(), "text/event-stream".to_owned());
    let rule = Rule { chunks: Some(chunks), headers: vec![kind], ..Rule::default() };
    Behaviour::ruled(name, stream(deployment), rule)
}

const DONE: &str = "data: [DONE]\n\n";

pub(super) fn all() -> Vec<Behaviour> {
    let fault = |name, fault: &str| Behaviour::ask(name, stream(fault));
    let messages = json!([{"role": "user", "content": "one two"}]);
    let counted = json!({"messages": messages, "stream": true,
        "stream_options": {"include_usage": true}});
    let split =
        writes("a stream split within letters", "split", &["data: EVENT\n\ndata: END\n\n", DONE]);
    let Some(whole) = split.rules[0].chunks.as_ref().map(|chunks| chunks.concat()) else {
        unreachable!()
    };
    let bytes = whole.chunks(3).map(Bytes::copy_from_slice).collect();
    let split =
        Behaviour { rules: vec![Rule { chunks: Some(bytes), ..split.rules[0].clone() }], ..split };
    vec![
        fault("a stream, with Azure's first event", "gpt-4o"),
        Behaviour::ask("a stream with include_usage", chat_of("gpt-4o", &counted)),
        fault("a stream byte by byte", "fault-one-byte"),
        split,
        writes(
            "comments between events",
            "comments",
            &[": hello\n\n", "data: EVENT\n\n: still here\n\n:\n\n", "data: END\n\n", DONE],
        ),
        writes(
            "events with names, ids and waits",
            "names",
            &["event: message\nid: 7\nretry: 100\ndata: EVENT\n\n", "data:END\n\n", DONE],
        ),
        writes(
            "an event of several lines",
            "lines",
            &["data: {\"choices\":[],\ndata: \"x\":1}\n\n", "data: EVENT\n\ndata: END\n\n", DONE],
        ),
        writes(
            "data after [DONE]",
            "after",
            &["data: EVENT\n\ndata: END\n\n", DONE, "data: {\"more\":1}\n\n"],
        ),
        writes(
            "a stream whose last line has no end",
            "endless",
            &["data: EVENT\n\ndata: END\n\ndata: [DONE]"],
        ),
        fault("events that end with CRLF", "fault-crlf"),
        fault("a stream without [DONE]", "fault-no-done"),
        fault("a stream that breaks off", "fault-cut-stream"),
        fault("a stream that ends with an error event", "fault-error-event"),
        fault("a slow stream", "fault-slow-stream-20"),
        fault("a reply in place of a stream", "fault-json-instead-of-stream"),
        fault("the asynchronous filter", "fault-async-filter"),
        fault("429 for a stream", "fault-429-7"),
        Behaviour::ask(
            "a compressed stream",
            stream("fault-gzip").header("accept-encoding", "gzip"),
        ),
        Behaviour::of("a client that hangs up", Act::HangUp(stream("fault-slow-stream-60000"))),
    ]
}
