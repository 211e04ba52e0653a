use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::llm::error::Error;
use crate::llm::sse::{Ended, Framer};

fn chat_of(request: &str) -> Result<String, Error> {
    let object = Object::read(Bytes::copy_from_slice(request.as_bytes())).unwrap();
    chat(&object).map(|chat| String::from_utf8(chat.to_vec()).unwrap())
}

fn chat_json(request: Value) -> Value {
    serde_json::from_str(&chat_of(&request.to_string()).unwrap()).unwrap()
}

#[test]
fn a_request_is_a_chat_with_the_bytes_of_its_numbers() {
    let request = concat!(
        r#"{"model":"m","max_tokens":12345678901234567890,"system":"be brief","#,
        r#""temperature":1.0,"top_p":0.50,"top_k":5,"stream":true,"thinking":{"type":"enabled","#,
        r#""budget_tokens":1024},"stop_sequences":["a"],"metadata":{"user_id":"u"},"#,
        r#""messages":[{"role":"user","content":"h\u00e9"},{"role":"assistant","content":"x"}]}"#,
    );
    let expected = concat!(
        r#"{"model":"m","messages":[{"role":"system","content":"be brief"},"#,
        r#"{"role":"user","content":"h\u00e9"},{"role":"assistant","content":"x"}],"#,
        r#""max_tokens":12345678901234567890,"temperature":1.0,"top_p":0.50,"stream":true,"#,
        r#""stop":["a"],"user":"u"}"#,
    );
    assert_eq!(chat_of(request).unwrap(), expected);
}

#[test]
fn calls_and_results_of_tools_are_messages_of_their_own() {
    let request = json!({ "messages": [
        {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"in": "Bonn"}},
            {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            ]},
            {"type": "text", "text": "and now?", "cache_control": {"type": "ephemeral"}},
        ]},
    ]});
    assert_eq!(
        chat_json(request)["messages"],
        json!([
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "I look.", "tool_calls": [
                {"id": "t1", "type": "function",
                 "function": {"name": "look", "arguments": "{\"in\":\"Bonn\"}"}},
                {"id": "t2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "t1", "content": "rain"},
            {"role": "tool", "tool_call_id": "t2", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
            ]},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "text", "text": "and now?"},
            ]},
        ])
    );
}

#[test]
fn pictures_and_files_are_data_urls() {
    let source = json!({"type": "base64", "media_type": "image/png", "data": "aGk="});
    let file = json!({"type": "base64", "media_type": "application/pdf", "data": "aGk="});
    let request = json!({"messages": [{"role": "user", "content": [
        {"type": "image", "source": source},
        {"type": "document", "source": file, "title": "a.pdf"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "t"}},
    ]}]});
    assert_eq!(
        chat_json(request)["messages"][0]["content"],
        json!([
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "file",
             "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            {"type": "text", "text": "t"},
        ])
    );
}

#[test]
fn tools_are_functions() {
    let with = |choice: Value| {
        let chat = chat_json(json!({
            "messages": [{"role": "user", "content": "x"}], "tool_choice": choice,
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        }));
        assert_eq!(
            chat["tools"],
            json!([{"type": "function", "function":
                {"name": "f", "description": "d", "parameters": {"type": "object"}}}])
        );
        (chat["tool_choice"].clone(), chat["parallel_tool_calls"].clone())
    };
    assert_eq!(with(json!({"type": "auto"})), (json!("auto"), Value::Null));
    assert_eq!(with(json!({"type": "none"})), (json!("none"), Value::Null));
    let any = json!({"type": "any", "disable_parallel_tool_use": true});
    assert_eq!(with(any), (json!("required"), json!(false)));
    let named = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(with(json!({"type": "tool", "name": "f"})), (named, Value::Null));
    assert_eq!(with(Value::Null), (Value::Null, Value::Null));
}

#[test]
fn a_schema_of_the_reply_and_a_long_name_go_along() {
    let chat = chat_json(json!({
        "system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "messages": [{"role": "user", "content": "x"}], "tools": [], "stop_sequences": [],
        "metadata": {"user_id": "é".repeat(200)},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }));
    assert_eq!(chat["user"], json!("é".repeat(64)));
    assert_eq!(chat["messages"][0]["content"][1]["text"], "b");
    assert_eq!(chat["response_format"]["json_schema"]["schema"], json!({"type": "object"}));
    assert!(chat.get("tools").is_none() && chat.get("stop").is_none());
}

#[test]
fn what_the_model_cannot_be_told_is_refused_with_its_place() {
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let server = json!({"type": "web_search_20250305", "name": "web_search"});
    let table = [
        (json!({"system": 5, "messages": []}), "system: must be a string or a list of blocks"),
        (json!({"messages": [5]}), "messages.0: must be an object"),
        (json!({"messages": [{"role": "x", "content": ""}]}), "messages.0.role: must be user"),
        (json!({"messages": [{"role": "user"}]}), "messages.0.content: Field required"),
        (block(json!({"type": "search_result"})), "messages.0.content.0: a block of type"),
        (block(json!({"type": "text"})), "messages.0.content.0.text: Field required"),
        (
            block(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            "messages.0.content.0.source: a source of type 'file' cannot be sent",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "tools": [server]}),
            "tools.0: a tool of type 'web_search_20250305' cannot be offered to this model",
        ),
        (json!({"max_tokens": 5}), "request body doesn't contain valid prompts"),
    ];
    for (request, expected) in table {
        let error = chat_of(&request.to_string()).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!(error.status(), 400);
    }
}

fn message_of(choice: Value) -> Value {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 4}});
    let reply = json!({"id": "chatcmpl-1", "model": "gpt", "choices": [choice], "usage": usage});
    let usage = Usage::read(usage.to_string().as_bytes()).unwrap();
    let message = message(&Bytes::from(reply.to_string()), "asked", &usage).unwrap();
    serde_json::from_slice(&message).unwrap()
}

#[test]
fn a_reply_is_a_message() {
    let call = |arguments: &str| {
        let function = json!({"name": "f", "arguments": arguments});
        json!({"id": "c", "type": "function", "function": function})
    };
    let message = message_of(json!({"finish_reason": "tool_calls", "message": {
        "content": "hi", "tool_calls": [call("{\"n\":1.0}"), call(""), call("{\"cut")],
    }}));
    assert_eq!(
        message,
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "gpt",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"n": 1.0}},
                {"type": "tool_use", "id": "c", "name": "f", "input": {}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 6, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 4, "output_tokens": 3},
        })
    );
}

#[test]
fn reasons_to_stop() {
    for (choice, expected) in [
        (json!({"finish_reason": "stop", "message": {"content": "x"}}), "end_turn"),
        (json!({"finish_reason": "length", "message": {"content": "x"}}), "max_tokens"),
        (json!({"finish_reason": "content_filter", "message": {"content": ""}}), "refusal"),
        (json!({"finish_reason": "stop", "message": {"refusal": "no"}}), "refusal"),
        (json!({"finish_reason": null, "message": {"content": null}}), "end_turn"),
        (
            json!({"finish_reason": "stop", "stop_reason": "END", "message": {"content": "x"}}),
            "stop_sequence",
        ),
        (
            json!({"finish_reason": "stop", "message": {"tool_calls": [
                {"id": "c", "function": {"name": "f", "arguments": "{}"}}]}}),
            "tool_use",
        ),
    ] {
        assert_eq!(message_of(choice.clone())["stop_reason"], expected, "{choice}");
    }
}

#[test]
fn errors_have_anthropics_shape_and_the_words_of_the_model() {
    let of = |status, body: &str| -> Value {
        serde_json::from_slice(&fault::theirs(status, body.as_bytes(), "r1")).unwrap()
    };
    let filtered = r#"{"error":{"message":"blocked","type":null,"param":"prompt",
        "code":"content_filter","status":400,"innererror":{"code":"X","n":1.0}}}"#;
    assert_eq!(
        of(400, filtered),
        json!({"type": "error", "request_id": "r1", "error": {
            "type": "invalid_request_error", "message": "blocked", "code": "content_filter",
            "param": "prompt", "innererror": {"code": "X", "n": 1.0},
        }})
    );
    for (status, body, kind, message) in [
        (401, r#"{"statusCode":401,"message":"no key"}"#, "authentication_error", "no key"),
        (404, r#"{"error":{"code":"404","message":"no"}}"#, "not_found_error", "no"),
        (429, r#"{"error":{"code":"429","message":"slow"}}"#, "rate_limit_error", "slow"),
        (502, "<html>bad</html>", "api_error", "<html>bad</html>"),
        (503, "", "overloaded_error", "the model answered without a reason"),
    ] {
        let error = of(status, body);
        assert_eq!(
            (&error["error"]["type"], &error["error"]["message"]),
            (&json!(kind), &json!(message))
        );
    }
}

#[test]
fn an_estimate_counts_words_tools_and_calls() {
    let estimate = |request: Value| {
        let chat = chat_of(&request.to_string()).unwrap();
        estimate(&Object::read(Bytes::from(chat)).unwrap())
    };
    let plain = json!({"system": "be brief", "messages": [{"role": "user", "content": "a b c"}]});
    assert_eq!(estimate(plain.clone()), 5);
    let mut with_tools = plain;
    with_tools["tools"] = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    assert!(estimate(with_tools) > 15);
}

/// What a client may see, as Anthropic's documents say it; knows nothing of the translator.
#[derive(Default)]
struct Grammar {
    state: &'static str,
    next: u64,
    open: Option<(u64, String)>,
    json: String,
    blocks: Vec<Value>,
    stop_reason: Value,
    usage: Value,
}

impl Grammar {
    fn check(wire: &str) -> Self {
        let mut grammar = Self { state: "new", ..Self::default() };
        for event in wire.split_terminator("\n\n") {
            let (name, data) = event.split_once('\n').unwrap();
            let name = name.strip_prefix("event: ").unwrap();
            let data = data.strip_prefix("data: ").unwrap();
            assert!(!data.contains('\n'), "{event}");
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(data["type"], name);
            grammar.take(name, &data);
        }
        grammar
    }

    fn take(&mut self, name: &str, data: &Value) {
        match (self.state, name) {
            ("new", "message_start") => {
                assert!(data["message"]["id"].as_str().unwrap().starts_with("msg_"));
                assert_eq!(data["message"]["content"], json!([]));
                assert!(data["message"]["usage"]["input_tokens"].is_u64());
                self.state = "within";
            }
            ("within", "ping") => {}
            ("within", "content_block_start") => {
                assert!(self.open.is_none());
                assert_eq!(data["index"], self.next);
                let block = &data["content_block"];
                let kind = block["type"].as_str().unwrap().to_owned();
                assert!(kind != "tool_use" || block["id"].is_string() && block["name"].is_string());
                self.open = Some((self.next, kind));
                self.blocks.push(block.clone());
                self.next += 1;
                self.json.clear();
            }
            ("within", "content_block_delta") => {
                let (index, kind) = self.open.as_ref().unwrap();
                assert_eq!(data["index"], *index);
                let delta = &data["delta"];
                match (kind.as_str(), delta["type"].as_str().unwrap()) {
                    ("text", "text_delta") => {
                        let block = self.blocks.last_mut().unwrap();
                        let text = block["text"].as_str().unwrap().to_owned();
                        block["text"] = (text + delta["text"].as_str().unwrap()).into();
                    }
                    ("tool_use", "input_json_delta") => {
                        self.json += delta["partial_json"].as_str().unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
            ("within", "content_block_stop") => {
                let (index, _) = self.open.take().unwrap();
                assert_eq!(data["index"], index);
                if !self.json.is_empty() {
                    let input = serde_json::from_str(&self.json).unwrap();
                    self.blocks.last_mut().unwrap()["input"] = input;
                }
            }
            ("within", "message_delta") => {
                assert!(self.open.is_none());
                self.stop_reason = data["delta"]["stop_reason"].clone();
                self.usage = data["usage"].clone();
                self.state = "told";
            }
            ("told", "message_stop") => self.state = "stopped",
            ("new" | "within", "error") => {
                assert!(data["error"]["message"].is_string());
                self.state = "failed";
            }
            other => panic!("{other:?}: {data}"),
        }
    }
}

/// A translated stream that is read in pieces of these lengths.
fn translated(wire: &str, mut lengths: impl Iterator<Item = usize>, ended: Ended) -> String {
    let (mut framer, mut translator) = (Framer::default(), Translator::new("asked", 7));
    let mut rest = Bytes::copy_from_slice(wire.as_bytes());
    let mut out = Vec::new();
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        framer.push(rest.split_to(length), |event| translator.see(event)).unwrap();
        out.extend_from_slice(&translator.take());
    }
    let (_, outcome) = framer.finish(ended, |event| translator.see(event));
    translator.finish(outcome);
    out.extend_from_slice(&translator.take());
    String::from_utf8(out).unwrap()
}

fn chunk(delta: Value, finish: Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunk = json!({"id": "chatcmpl-9", "model": "gpt", "choices": [choice], "usage": null});
    format!("data: {chunk}\n\n")
}

fn call(index: u64, id: Value, name: Value, arguments: &str) -> String {
    let function = json!({"name": name, "arguments": arguments});
    let call = json!({"index": index, "id": id, "function": function});
    chunk(json!({"tool_calls": [call]}), Value::Null)
}

/// Text, two calls, comments, Azure's first event, and the tokens.
fn agent() -> String {
    let first =
        "data: {\"choices\":[],\"id\":\"\",\"model\":\"\",\"prompt_filter_results\":[]}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":9,\
        \"total_tokens\":29,\"prompt_tokens_details\":{\"cached_tokens\":5}}}\r\n\r\n";
    [
        first.to_owned(),
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"content": "I \"l"}), Value::Null),
        ": keep-alive\n\n".to_owned(),
        chunk(json!({"content": "ook\n"}), Value::Null),
        call(0, json!("c1"), json!("f"), ""),
        call(0, Value::Null, Value::Null, "{\"a\":"),
        call(0, Value::Null, Value::Null, "1}"),
        call(1, json!("c2"), json!("g"), "{}"),
        chunk(json!({}), json!("tool_calls")),
        usage.to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
}

fn assert_agent(wire: &str) {
    let seen = Grammar::check(wire);
    assert_eq!(seen.state, "stopped", "{wire}");
    assert_eq!(
        seen.blocks,
        [
            json!({"type": "text", "text": "I \"look\n"}),
            json!({"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}),
            json!({"type": "tool_use", "id": "c2", "name": "g", "input": {}}),
        ]
    );
    assert_eq!(seen.stop_reason, "tool_use");
    let usage = json!({"input_tokens": 15, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5, "output_tokens": 9});
    assert_eq!(seen.usage, usage);
}

#[test]
fn a_stream_keeps_the_grammar_wherever_it_is_split() {
    let wire = agent();
    let whole = translated(&wire, std::iter::empty(), Ended::Complete);
    assert_agent(&whole);
    for at in 1..wire.len() {
        let halves = translated(&wire, [at].into_iter(), Ended::Complete);
        assert_eq!(halves, whole, "split at {at}");
    }
    assert_eq!(translated(&wire, std::iter::repeat(1), Ended::Complete), whole);
}

#[test]
fn a_stream_that_is_cut_keeps_the_grammar_and_says_so() {
    let wire = agent();
    for at in 0..wire.len() - "data: [DONE]\n\n".len() {
        let cut = translated(&wire[..at], std::iter::empty(), Ended::Broken);
        let seen = Grammar::check(&cut);
        assert_eq!(seen.state, "failed", "cut at {at}: {cut}");
    }
}

#[test]
fn a_stream_without_its_last_event_ends_when_the_model_has_stopped() {
    let wire = agent();
    let wire = wire.strip_suffix("data: [DONE]\n\n").unwrap();
    assert_agent(&translated(wire, std::iter::empty(), Ended::Complete));
    let unfinished = chunk(json!({"content": "x"}), Value::Null);
    let seen = Grammar::check(&translated(&unfinished, std::iter::empty(), Ended::Complete));
    assert_eq!(seen.state, "failed");
}

#[test]
fn tokens_are_estimated_where_the_model_counts_none() {
    let wire = chunk(json!({"content": "12345678"}), json!("length")) + "data: [DONE]\n\n";
    let seen = Grammar::check(&translated(&wire, std::iter::empty(), Ended::Complete));
    assert_eq!((&seen.usage["input_tokens"], &seen.usage["output_tokens"]), (&json!(7), &json!(2)));
    assert_eq!(seen.stop_reason, "max_tokens");
    let empty = translated("data: [DONE]\n\n", std::iter::empty(), Ended::Complete);
    assert_eq!(Grammar::check(&empty).stop_reason, "end_turn");
}

#[test]
fn what_is_no_chunk_ends_the_stream_with_an_error() {
    let text = chunk(json!({"content": "x"}), Value::Null);
    let pretty = "data: {\"error\":{\"message\":\"slow\",\"code\":\"429\",\"innererror\":{\n\
        data: \"a\":1}}}\n\n";
    let late = call(1, json!("b"), json!("g"), "{}") + &call(0, json!("a"), json!("f"), "{}");
    for (bad, expected) in [
        ("data: nonsense\n\n", "no JSON object"),
        (pretty, "rate_limit_error"),
        (&*late, "in no order"),
    ] {
        let wire = [&*text, bad, &*text, "data: [DONE]\n\n"].concat();
        let out = translated(&wire, std::iter::empty(), Ended::Complete);
        assert_eq!(Grammar::check(&out).state, "failed");
        assert!(out.contains(expected), "{out}");
    }
}

proptest! {
    #[test]
    fn any_events_keep_the_grammar(
        picks in proptest::collection::vec(0usize..9, 0..12),
        ended in proptest::bool::ANY,
        length in 1usize..40,
    ) {
        let pieces = [
            chunk(json!({"content": "a"}), Value::Null),
            chunk(json!({"refusal": "no"}), Value::Null),
            call(0, json!("a"), json!("f"), "{}"),
            call(1, json!("b"), json!("f"), ""),
            call(2, Value::Null, json!("f"), "{}"),
            chunk(json!({}), json!("stop")),
            ": hi\n\n".to_owned(),
            "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n".to_owned(),
            "data: [DONE]\n\n".to_owned(),
        ];
        let wire: String = picks.iter().map(|pick| &*pieces[*pick]).collect();
        let ended = if ended { Ended::Complete } else { Ended::Broken };
        // Two copies of one call would be no JSON together.
        let calls = picks.iter().filter(|pick| **pick == 2 || **pick == 4).count();
        prop_assume!(calls < 2);
        let out = translated(&wire, std::iter::repeat(length), ended);
        let seen = Grammar::check(&out);
        prop_assert!(seen.state == "stopped" || seen.state == "failed");
    }
}
