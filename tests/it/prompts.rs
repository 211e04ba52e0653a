//! ai-prompt-template, ai-prompt-decorator and ai-prompt-guard over sockets, alone and in front of
//! a model.

use serde_json::json;

use super::gateway::{Builder, TestGateway};
use super::http::Upstream;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const CHAT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
content-length: 67\r\n\r\n\
{\"model\":\"m-1\",\"choices\":[{\"message\":{\"content\":\"Hi\",\"role\":\"a\"}}]}";

const TEMPLATE: &str = "    - name: ai-prompt-template
      config:
        templates:
        - name: say
          template: '{\"messages\":[{\"role\":\"user\",\"content\":\"say {{word}}\"}]}'
";
const DECORATOR: &str = "    - name: ai-prompt-decorator
      config: {prompts: {prepend: [{content: be brief}], append: [{role: user, content: END}]}}
";
const GUARD: &str = "    - name: ai-prompt-guard
      config: {deny_patterns: ['(?i)secret'], allow_patterns: [say, hi]}
";

fn config(upstream: &Upstream, plugins: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins:\n{plugins}",
        upstream.address
    )
}

fn proxy(upstream: &Upstream) -> String {
    format!(
        "    - name: ai-proxy
      config:
        route_type: llm/v1/chat
        auth: {{header_name: api-key, header_value: k}}
        model: {{provider: openai, name: m, options: {{upstream_url: 'http://{}/v1'}}}}
",
        upstream.address
    )
}

/// The status, the message of a refusal, and what the upstream got.
async fn sent(plugins: &str, body: &str) -> (u16, String, Option<String>) {
    let upstream = Upstream::replying(OK).await;
    let gateway = TestGateway::start(&config(&upstream, plugins));
    let answer = gateway.post("/a", body).await;
    let message = match answer.status() {
        200 => String::new(),
        _ => answer.json()["error"]["message"].as_str().unwrap().to_owned(),
    };
    (answer.status(), message, upstream.seen().pop().map(|seen| seen.text()))
}

#[tokio::test]
async fn prompts_are_filled_in_decorated_and_guarded_on_their_way_to_a_model() {
    let upstream = Upstream::replying(CHAT).await;
    let plugins = [GUARD, DECORATOR, TEMPLATE, &proxy(&upstream)].concat();
    let gateway = TestGateway::start(&config(&upstream, &plugins));
    let body = r#"{"messages":"{template://say}","properties":{"word":"a \"b\""}}"#;
    let answer = gateway.post("/a", body).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen = upstream.seen().pop().unwrap();
    let expected = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "say a \"b\""},
        {"role": "user", "content": "END"},
    ]);
    assert_eq!(seen.json()["messages"], expected);
    let body = r#"{"messages":"{template://say}","properties":{"word":"a Secret"}}"#;
    let answer = gateway.post("/a", body).await;
    assert_eq!((answer.status(), upstream.seen().len()), (400, 1));
    assert_eq!(answer.text(), r#"{"error":{"message":"bad request"}}"#);
}

#[tokio::test]
async fn the_guard_sees_what_the_decorator_adds() {
    let chat = r#"{"messages":[{"role":"user","content":"hello"}]}"#;
    let end = "    - name: ai-prompt-guard\n      config: {deny_patterns: ['END hello $']}\n";
    let (status, ..) = sent(&[DECORATOR, end].concat(), chat).await;
    assert_eq!(status, 400);
    let (status, ..) = sent(end, chat).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn every_refusal_is_kongs() {
    let templated =
        TEMPLATE.replace("config:\n", "config:\n        allow_untemplated_requests: false\n");
    for (plugins, body, message) in [
        (TEMPLATE, "x", "this LLM route only supports application/json requests"),
        (TEMPLATE, r#"{"messages":"{template://no}"}"#, "could not find template name [no]"),
        (TEMPLATE, r#"{"prompt":"{template://say}"}"#, "missing template parameters: [word]"),
        (&templated, r#"{"prompt":"x"}"#, "this LLM route only supports templated requests"),
        (DECORATOR, r#"{"prompt":"x"}"#, "this LLM route only supports llm/chat type requests"),
        (DECORATOR, "[]", "this LLM route only supports llm/chat type requests"),
        (GUARD, "x", "bad request"),
        (GUARD, r#"{"prompt":"a SECRET, hi"}"#, "bad request"),
        (GUARD, r#"{"prompt":"what is new"}"#, "bad request"),
        (GUARD, r#"{"messages":[{"role":"user","content":[]}]}"#, "bad request"),
    ] {
        let (status, said, seen) = sent(plugins, body).await;
        assert_eq!((status, said.as_str(), seen), (400, message, None), "{body}");
    }
}

#[tokio::test]
async fn what_passes_keeps_its_bytes() {
    let chat = r#"{"n":12345678901234567890, "messages":[{"role":"user","content":"s\u0061y"}]}"#;
    let (status, _, seen) = sent(&[TEMPLATE, GUARD].concat(), chat).await;
    assert_eq!((status, seen.as_deref()), (200, Some(chat)));
    let (.., seen) = sent(DECORATOR, chat).await;
    let expected = chat.replace("[{", r#"[{"role":"system","content":"be brief"},{"#);
    let expected = expected.replace("}]", r#"},{"role":"user","content":"END"}]"#);
    assert_eq!(seen.unwrap(), expected);
}

#[tokio::test]
async fn a_long_body_is_refused_at_its_limit_and_zero_is_none() {
    let limited = |limit: u32| {
        format!(
            "    - name: ai-prompt-template\n      config: {{templates: [], \
                 max_request_body_size: {limit}}}\n"
        )
    };
    let body = r#"{"prompt":"0123456789"}"#;
    let (status, message, _) = sent(&limited(22), body).await;
    assert_eq!(status, 400);
    assert!(message.contains("larger than 22 bytes"), "{message}");
    for limit in [23, 0] {
        assert_eq!(sent(&limited(limit), body).await.0, 200);
    }
    let guard = GUARD.replace("{deny", "{max_request_body_size: 22, deny");
    let (status, message, _) = sent(&guard, r#"{"prompt":"hi, and much more"}"#).await;
    assert_eq!((status, message.as_str()), (400, "bad request"));
}

#[tokio::test]
async fn what_the_operator_adds_counts_for_no_limit_of_another_plugin() {
    let upstream = Upstream::replying(CHAT).await;
    let limited = |plugin: &str, field: &str| {
        plugin.replace(field, &format!("max_request_body_size: 60, {field}"))
    };
    let long = DECORATOR.replace("be brief", &"long ".repeat(50));
    let proxy =
        proxy(&upstream).replace("config:\n", "config:\n        max_request_body_size: 60\n");
    let plugins = [limited(GUARD, "deny"), limited(&long, "prompts"), proxy].concat();
    let gateway = TestGateway::start(&config(&upstream, &plugins));
    let short = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(gateway.post("/a", short).await.status(), 200);
    let client = short.replace("hi", &"hi ".repeat(10));
    assert_eq!(gateway.post("/a", &client).await.status(), 400);
}

#[tokio::test]
async fn an_expression_that_does_not_work_is_a_500_when_its_turn_comes() {
    let upstream = Upstream::replying(OK).await;
    let guard = "    - name: ai-prompt-guard\n      config: {deny_patterns: [bad, '[]']}\n";
    let gateway = TestGateway::start(&config(&upstream, guard));
    assert_eq!(gateway.post("/a", r#"{"prompt":"bad"}"#).await.status(), 400);
    assert_eq!(gateway.post("/a", r#"{"prompt":"good"}"#).await.status(), 500);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn formats_that_are_not_read_are_refused_at_load() {
    let upstream = Upstream::replying(OK).await;
    for (name, config_of, format) in [
        ("ai-prompt-guard", "deny_patterns: [x]", "gemini"),
        ("ai-prompt-decorator", "prompts: {append: [{content: x}]}", "anthropic"),
    ] {
        let plugin =
            format!("    - name: {name}\n      config: {{{config_of}, llm_format: {format}}}\n");
        let refused = Builder::default().try_start(&config(&upstream, &plugin)).err().unwrap();
        let line = format!("config.llm_format: '{format}' is not built yet");
        assert!(refused.iter().any(|one| one.contains(&line)), "{refused:?}");
    }
    let anthropic = "    - name: ai-prompt-guard\n      \
        config: {deny_patterns: [secret], llm_format: anthropic}\n";
    let block = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a secret"}]}]}"#;
    assert_eq!(sent(anthropic, block).await.0, 400);
    assert_eq!(sent(anthropic, &block.replace("secret", "word")).await.0, 200);
}
