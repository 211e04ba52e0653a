//! Kong's plugins for AI. `golden::unmodified` holds most of them against recordings as well.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::{CHECKOUT, Scene, Way};

/// What the plugins share is Kong's own, whichever way they come.
const SHARED: [&str; 2] = ["kong/llm", "kong/tools/aws_stream.lua"];

const CHAT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
content-length: 185\r\n\r\n\
{\"model\":\"m-1\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{\
\"role\":\"assistant\",\"content\":\"{\\\"hola\\\":1}\"}}],\
\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}";

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
content-length: 131\r\n\r\n\
data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}]}\n\n\
data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"}}]}\n\n\
data: [DONE]\n\n";

const MODEL: &str = "{provider: openai, name: m, options: {upstream_url: 'http://{upstream}/v1'}}";

fn scene(way: Way, plugins: &[&str]) -> Scene {
    let scene = way.scene(plugins);
    if matches!(way, Way::Folder) {
        let checkout = PathBuf::from(std::env::var_os(CHECKOUT).unwrap());
        for part in SHARED {
            let link = scene.folder.path().join(part);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(checkout.join(part), link).unwrap();
        }
    }
    scene
}

fn chat(plugins: &str) -> String {
    format!(
        "services:\n- name: s\n  url: http://{{upstream}}\n  routes:\n  - name: r\n    \
         paths: [/chat]\n    plugins:\n    - name: ai-proxy\n      config:\n        \
         route_type: llm/v1/chat\n        model: {MODEL}\n        \
         auth: {{header_name: Authorization, header_value: Bearer k}}\n{plugins}"
    )
}

const PROMPTS: &str = "
    - name: ai-prompt-decorator
      config: {prompts: {prepend: [{role: system, content: be brief}]}}
    - name: ai-prompt-guard
      config: {deny_patterns: ['.*secret.*']}
    - name: ai-prompt-template
      config:
        templates:
        - name: say
          template: '{\"messages\":[{\"role\":\"user\",\"content\":\"say {{word}}\"}]}'
";

#[tokio::test]
async fn prompts_are_made_decorated_and_guarded_on_their_way_to_the_model() {
    let plugins = ["ai-proxy", "ai-prompt-decorator", "ai-prompt-guard", "ai-prompt-template"];
    for way in Way::all() {
        let scene = scene(way, &plugins).reply(CHAT).start(&chat(PROMPTS)).await;
        let asked = r#"{"messages":"{template://say}","properties":{"word":"yes"}}"#;
        let answer = scene.gateway.post("/chat", asked).await;
        assert_eq!(answer.status(), 200, "{way:?}: {}", answer.text());
        assert_eq!(answer.header("x-kong-llm-model"), Some("openai/m"));
        assert_eq!(answer.json()["model"], "m-1");
        let sent = scene.sent();
        assert_eq!((sent.target(), sent.header("authorization")), ("/v1", Some("Bearer k")));
        let messages = &sent.json()["messages"];
        assert_eq!(messages[0]["content"], "be brief", "{way:?}");
        assert_eq!(messages[1]["content"], "say yes");
        let secret = r#"{"messages":[{"role":"user","content":"a secret"}]}"#;
        let refused = scene.gateway.post("/chat", secret).await;
        assert_eq!(refused.status(), 400, "{way:?}");
        assert_eq!(refused.json()["error"]["message"], "bad request");
        assert_eq!(scene.upstream.seen().len(), 1);
    }
}

#[tokio::test]
async fn streams_of_a_model_go_through_event_by_event() {
    for way in Way::all() {
        let scene = scene(way, &["ai-proxy"]).reply(STREAM).start(&chat("")).await;
        let asked = r#"{"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        let answer = scene.gateway.post("/chat", asked).await;
        assert_eq!(answer.status(), 200, "{way:?}");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        let text = answer.text();
        assert_eq!(text.matches("data: {").count(), 2, "{way:?}: {text}");
        assert!(text.ends_with("data: [DONE]"), "{text}");
        assert_eq!(scene.sent().json()["stream"], true);
    }
}

/// Kong loads all of its plugins, and this one brings what the transformers ask for.
const OTHER: &str = "  - name: chat
    paths: [/chat]
    plugins:
    - name: ai-proxy
      config: {route_type: llm/v1/chat, model: {provider: openai, name: m}}
";

fn transformer(name: &str) -> String {
    format!(
        "services:\n- name: s\n  url: http://{{upstream}}/own\n  routes:\n  - name: r\n    \
         paths: [/t]\n    plugins:\n    - name: {name}\n      config:\n        \
         prompt: translate\n        llm:\n          route_type: llm/v1/chat\n          \
         model: {MODEL}\n          auth: {{header_name: Authorization, header_value: Bearer k}}\n\
         {OTHER}"
    )
}

#[tokio::test]
async fn a_model_rewrites_requests_on_their_way() {
    let name = "ai-request-transformer";
    for way in Way::all() {
        let scene = scene(way, &[name, "ai-proxy"]).reply(CHAT).start(&transformer(name)).await;
        let answer = scene.gateway.post("/t", r#"{"hello":1}"#).await;
        assert_eq!(answer.status(), 200, "{way:?}: {}", answer.text());
        let seen = scene.upstream.seen();
        assert_eq!(seen.len(), 2, "{way:?}");
        assert_eq!(seen[0].target(), "/v1");
        assert_eq!(seen[0].json()["messages"][0]["content"], "translate");
        assert_eq!(seen[0].json()["messages"][1]["content"], r#"{"hello":1}"#);
        assert_eq!((seen[1].target(), seen[1].text().as_str()), ("/own", r#"{"hola":1}"#));
    }
}

#[tokio::test]
async fn a_model_rewrites_replies_on_their_way() {
    let name = "ai-response-transformer";
    for way in Way::all() {
        let scene = scene(way, &[name, "ai-proxy"]).reply(CHAT).start(&transformer(name)).await;
        let answer = scene.gateway.post("/t", r#"{"hello":1}"#).await;
        assert_eq!(answer.status(), 200, "{way:?}: {}", answer.text());
        assert_eq!(answer.json()["hola"], 1);
        let seen = scene.upstream.seen();
        let targets: Vec<_> = seen.iter().map(|one| one.target().to_owned()).collect();
        assert_eq!(targets, ["/own", "/v1"], "{way:?}");
        assert_eq!(seen[1].json()["messages"][0]["content"], "translate");
    }
}
