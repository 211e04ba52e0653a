//! Requests in all their forms, and what connections do.

use super::deployment::{chat, chat_of, completions};
use super::replies::nowhere;
use super::{Act, Ask, Behaviour};

const ODD: &str = "{ \"messages\":[{\"role\":\"user\",
\"content\":\"\\u00fc \\/ 日本 👋🏽\"}],
\t\"seed\":12345678901234567890, \"temperature\":1.0, \"top_p\":1E-1, \"user\":\"a\",
\"user\":\"b\", \"later\":{\"none\":null,\"empty\":[]} }\n";

fn odd(deployment: &str) -> Ask {
    Ask::json(&completions(deployment), ODD)
}

pub(super) fn bodies() -> Vec<Behaviour> {
    let long = |kib: usize| {
        let content = "word ".repeat(kib << 10).split_off(kib << 12);
        let messages = serde_json::json!([{"role": "user", "content": content}]);
        chat_of("gpt-4o", &serde_json::json!({"max_tokens": 3, "messages": messages}))
    };
    let path = completions("gpt-4o");
    let hi = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    let ask = Behaviour::ask;
    vec![
        ask("odd numbers and escapes in a request", odd("gpt-4o")).with_upstream(),
        ask("a request in chunks", chat("gpt-4o").in_chunks()).with_upstream(),
        ask("a prompt of 700 KiB", long(700)),
        ask("a prompt of 2 MiB", long(2048)),
        ask("arguments in the query", Ask::json(&format!("{path}&a=b%20c&d="), hi)).with_upstream(),
        ask(
            "another api-version",
            Ask::json(&path.replace("2025-04-01-preview", "2024-10-21"), hi),
        )
        .with_upstream(),
        ask("letters of a path in percent signs", Ask::json(&path.replace("gpt", "%67pt"), hi))
            .with_upstream(),
        ask("a body that is no JSON", Ask::json(&path, "nonsense")),
        ask("no body", Ask::json(&path, "")),
        ask("messages that are none", Ask::json(&path, r#"{"messages":[]}"#)),
        ask("an unknown path", nowhere()),
        ask("GET of a chat", Ask::new("GET", &path)),
        ask("OPTIONS", Ask::new("OPTIONS", &path)),
        ask("PUT of a chat", Ask { method: "PUT", ..Ask::json(&path, hi) }),
        ask("a path with a slash at its end", Ask::json(&path.replace('?', "/?"), hi)),
    ]
}

pub(super) fn connections() -> Vec<Behaviour> {
    let models = "/openai/models?api-version=2025-04-01-preview";
    let large = |deployment| Act::Expect(chat(deployment).header("expect", "100-continue"));
    vec![
        Behaviour::of("100-continue", large("gpt-4o")).with_upstream(),
        Behaviour::of("two chats on one connection", Act::AskTwice(chat("gpt-4o"))),
        Behaviour::of("another request after a refusal", Act::AskTwice(chat("fault-429-7"))),
        Behaviour::of("another request after HEAD", Act::AskTwice(Ask::new("HEAD", models))),
        Behaviour::ask(
            "a client that closes after the answer",
            chat("gpt-4o").header("connection", "close"),
        ),
        Behaviour::ask("a client of HTTP/1.0", chat("gpt-4o").version("HTTP/1.0")),
        Behaviour::ask(
            "a stream to a client of HTTP/1.0",
            super::deployment::stream("gpt-4o").version("HTTP/1.0"),
        ),
    ]
}
