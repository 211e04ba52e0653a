//! Requests to a deployment, and the operations that are no chats.

use serde_json::{Value, json};

use super::{Act, Ask, Behaviour};

fn target(deployment: &str, operation: &str) -> String {
    format!("/openai/deployments/{deployment}/{operation}?api-version=2025-04-01-preview")
}

pub(super) fn completions(deployment: &str) -> String {
    target(deployment, "chat/completions")
}

pub(super) fn chat_of(deployment: &str, body: &Value) -> Ask {
    Ask::json(&completions(deployment), &body.to_string())
}

pub(super) fn chat(deployment: &str) -> Ask {
    chat_of(deployment, &json!({"messages": [{"role": "user", "content": "one two"}]}))
}

pub(super) fn stream(deployment: &str) -> Ask {
    let messages = json!([{"role": "user", "content": "one two"}]);
    chat_of(deployment, &json!({"messages": messages, "stream": true}))
}

fn form(target: &str, fields: &[(&str, &str)], file: &[u8]) -> Ask {
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n";
    let body = [body.as_bytes(), file, b"\r\n--b--\r\n"].concat();
    Ask { body, ..Ask::new("POST", target) }
        .header("content-type", "multipart/form-data; boundary=b")
}

/// A file for a batch.
pub(in super::super) fn upload() -> Ask {
    let target = "/openai/files?api-version=2025-04-01-preview";
    form(target, &[("purpose", "batch")], b"{\"a\":1}\n")
}

pub(super) fn others() -> Vec<Behaviour> {
    let ask = Behaviour::ask;
    let post = |operation, body: Value| Ask::json(&target("gpt-4o", operation), &body.to_string());
    let vector = |format| json!({"input": ["a"], "dimensions": 4, "encoding_format": format});
    let dated = |name: &str| format!("/openai/{name}?api-version=2025-04-01-preview");
    let response = |more: Value| {
        let mut body = json!({"model": "gpt-4o", "input": "one two"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Ask::json(&dated("responses"), &body.to_string())
    };
    let recording = [b"RIFF\0\xff\r\n--".as_slice(), &[0x80; 300]].concat();
    let heard = form(&target("gpt-4o", "audio/transcriptions"), &[], &recording);
    let session = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-4o";
    vec![
        ask("an older completion", post("completions", json!({"prompt": "one two"}))),
        ask("vectors as numbers", post("embeddings", vector("float"))),
        ask("vectors in base64", post("embeddings", vector("base64"))),
        ask("a recording in a form", heard).with_upstream(),
        ask(
            "sound",
            post(
                "audio/speech",
                json!({"input": "hi", "voice": "alloy", "response_format": "wav"}),
            ),
        ),
        ask("a picture", post("images/generations", json!({"prompt": "a cat"}))),
        ask("a response", response(json!({}))),
        ask("a response in events", response(json!({"stream": true}))),
        ask("a list of models", Ask::new("GET", &dated("models"))),
        ask("HEAD of the models", Ask::new("HEAD", &dated("models"))),
        ask("a file sent", upload()).with_upstream(),
        Behaviour::of("a file told of", Act::WithFile("GET", "")),
        Behaviour::of("a file read", Act::WithFile("GET", "/content")),
        Behaviour::of("a file deleted", Act::WithFile("DELETE", "")),
        ask("a file that is not there", Ask::new("GET", &dated("files/file-none"))),
        Behaviour::of("a session over WebSocket", Act::Session(session)),
        ask("a session without an upgrade", Ask::new("GET", session)),
    ]
}
