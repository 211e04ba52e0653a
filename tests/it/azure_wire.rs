//! What goes to Azure and what comes back, byte by byte: the mistakes that other gateways make.

use serde_json::{Value, json};
use silverback::sim::{Kind, Options, Rule, Sim};

use super::azure_scene::{HELLO, Scene, Target, assert_chat};
use super::gateway::{Builder, TestGateway};
use super::stream_ends::LogPipe;

#[tokio::test]
async fn deployments_with_dots_work() {
    let target = Target::with_key().deployment("gpt-4.1-mini").model("name: gpt-4.1-mini");
    let scene = Scene::start(&target);
    let answer = scene.hello().await;
    assert_chat(&answer, "gpt-4.1-mini");
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/gpt-4.1-mini"));
    let path = "/openai/deployments/gpt-4.1-mini/chat/completions";
    assert_eq!(scene.chats()[0].path, path);
}

#[tokio::test]
async fn a_model_that_a_client_names_cannot_leave_its_place() {
    // Without a configured name the client's own is used: in the body, never in the path.
    let scene = Scene::start(&Target::with_key().model(""));
    for model in ["../../evil?x=y#z", "a b", "ü", "gpt-4o", "x\\..\\y", "%2e%2e%2f"] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        let answer = scene.gateway.post("/chat", &body.to_string()).await;
        assert_chat(&answer, model);
        let seen = scene.sim.last().unwrap();
        let target = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
        assert_eq!(seen.target(), target, "{model}");
        assert_eq!(seen.json().unwrap()["model"], model);
    }
}

/// Azure's name for the resource of the tests.
pub const HOST: &str = "my-instance.openai.azure.com";

/// A simulator with TLS that a gateway takes for [`HOST`].
pub fn public_azure(options: Options) -> (Sim, Builder, tempfile::TempDir) {
    public_host(HOST, options)
}

/// One that it takes for another host.
pub fn public_host(name: &str, options: Options) -> (Sim, Builder, tempfile::TempDir) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, made.cert.pem()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let sim = Sim::start(Options { tls: Some(tls.into()), ..options }).unwrap();
    let builder = Builder::default()
        .set("lua_ssl_trusted_certificate", &format!("system,{}", trusted.display()))
        .name(&format!("{name}:443"), sim.addr());
    (sim, builder, folder)
}

/// A gateway with this target there.
fn at_public_name(target: &Target) -> (Sim, TestGateway, tempfile::TempDir) {
    let (sim, builder, folder) = public_azure(Options::default());
    let gateway = builder.start(&target.clone().at_its_public_name().yaml(""));
    (sim, gateway, folder)
}

#[tokio::test]
async fn without_an_upstream_url_the_instance_is_called_at_its_public_name() {
    let (sim, gateway, _folder) = at_public_name(&Target::with_key());
    assert_chat(&gateway.post("/chat", HELLO).await, "public name");
    let seen = sim.last().unwrap();
    assert_eq!(seen.header("host"), Some("my-instance.openai.azure.com"));
    let target = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
    assert_eq!(seen.target(), target);
}

#[tokio::test]
async fn unsafe_deployment_names_from_a_template_are_refused() {
    let target = Target::with_key().deployment("\"$(headers.x-deployment)\"");
    let (sim, gateway, _folder) = at_public_name(&target);
    let send = |name: &'static str| {
        let headers = [("Content-Type", "application/json"), ("x-deployment", name)];
        let address = gateway.address;
        async move { super::http::send(address, "POST", "/chat", &headers, HELLO.as_bytes()).await }
    };
    let bad = ["..", ".", "d/../1", "../../evil?x=y#z", "a%2fb", "a\\b", "a?api-version=1", "a#b"];
    for name in bad {
        let answer = send(name).await;
        assert_eq!(answer.status(), 400, "{name}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{name}: {}", answer.text());
    }
    assert_eq!(sim.requests().len(), 0, "{:?}", sim.last().map(|seen| seen.target()));
    assert_chat(&send("gpt-4.1-mini").await, "gpt-4.1-mini");
    assert_eq!(sim.last().unwrap().deployment.as_deref(), Some("gpt-4.1-mini"));
    let missing = gateway.post("/chat", HELLO).await;
    assert_eq!(missing.status(), 400, "{}", missing.text());
    assert!(missing.text().contains("headers key x-deployment was not provided"));
}

#[tokio::test]
async fn numbers_strings_and_unknown_members_keep_their_spelling() {
    let scene = Scene::start(&Target::with_key());
    let kept = [
        r#""seed":12345678901234567890,"temperature":1.0,"top_p":0.9,"#,
        r#""x_unknown":{"a":[],"b":{},"n":null,"e":1E+2,"big":9007199254740993},"#,
        r#""user":"\u00fc\/好""#,
    ];
    let kept = kept.concat();
    let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{kept}}}"#);
    assert_chat(&scene.gateway.post("/chat", &body).await, "numbers");
    let sent = String::from_utf8(scene.chats()[0].body.to_vec()).unwrap();
    assert!(sent.contains(&kept), "{sent}");
}

#[tokio::test]
async fn a_reply_reaches_the_client_byte_for_byte() {
    let scene = Scene::start(&Target::with_key());
    let reply = r#"{"id":"r1", "created": 17, "system_fingerprint":"fp",
      "x":1.0,"n":12345678901234567890,
      "prompt_filter_results":[{"prompt_index":0}],"choices":[{"index":0,"logprobs":{"content":[]},
      "content_filter_results":{},"message":{"role":"assistant","content":null,"refusal":null,
      "tool_calls":[]},"finish_reason":"tool_calls"}]}"#;
    let rule = Rule {
        kind: Some(Kind::Chat),
        headers: vec![("content-type".into(), "application/json".into())],
        body: Some(Value::String(reply.into())),
        ..Rule::default()
    };
    scene.sim.fault(rule).unwrap();
    let answer = scene.hello().await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, reply));
}

#[tokio::test]
async fn totals_of_the_upstream_are_trusted() {
    let mut log = LogPipe::open();
    let scene = Scene::start(&Target::with_key().plugin(&log.plugin()));
    let usage = json!({"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 40,
        "completion_tokens_details": {"reasoning_tokens": 21}});
    let body = json!({"id": "r", "model": "m", "usage": usage,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}]});
    let rule = Rule { kind: Some(Kind::Chat), body: Some(body), ..Rule::default() };
    scene.sim.fault(rule).unwrap();
    assert_chat(&scene.hello().await, "usage");
    let record = log.record().await;
    let logged = &record["ai"]["proxy"]["usage"];
    for (field, count) in [("prompt_tokens", 12), ("completion_tokens", 7), ("total_tokens", 40)] {
        assert_eq!(logged[field], count, "{field}: {record}");
    }
}

#[tokio::test]
async fn errors_of_azure_pass_with_status_headers_and_body() {
    let scene = Scene::start(&Target::with_key());
    let cases = [
        ("fault-429-both", 429, "retry-after-ms", Some("1987")),
        ("fault-429-7", 429, "retry-after", Some("7")),
        ("fault-permission", 401, "retry-after", None),
        ("fault-404", 404, "retry-after", None),
        ("fault-content-filter", 400, "retry-after", None),
        ("fault-500", 500, "retry-after", None),
        ("fault-503-html", 503, "retry-after", None),
    ];
    for (fault, status, header, value) in cases {
        let answer = scene.say(&format!("[[{fault}]]")).await;
        assert_eq!(answer.status(), status, "{fault}: {}", answer.text());
        assert_eq!(answer.header(header), value, "{fault}: {answer:?}");
        assert!(answer.header("apim-request-id").is_some(), "{fault}: {answer:?}");
        assert_eq!(answer.header("x-kong-llm-model"), None, "{fault}");
        assert!(!answer.body.is_empty(), "{fault}");
    }
    // Nothing was repeated behind the client's back.
    assert_eq!(scene.chats().len(), cases.len());
}

#[tokio::test]
async fn a_prompt_of_two_megabytes_passes_where_it_is_allowed() {
    let prompt = "word ".repeat(450_000);
    let body = json!({"messages": [{"role": "user", "content": prompt}], "max_tokens": 5});
    let body = body.to_string();
    assert!(body.len() > 2_200_000);
    let allowing = Target::with_key().config("max_request_body_size: 4194304");
    let unlimited = Target::with_key().config("max_request_body_size: 0");
    for target in [allowing, unlimited] {
        let scene = Scene::start(&target);
        assert_chat(&scene.gateway.post("/chat", &body).await, "2.2 MB");
        let sent = scene.chats().remove(0).json().unwrap();
        assert_eq!(sent["messages"][0]["content"].as_str().map(str::len), Some(prompt.len()));
    }
}

#[tokio::test]
async fn a_prompt_above_the_limit_names_the_limit_and_its_field() {
    let scene = Scene::start(&Target::with_key().config("max_request_body_size: 1000"));
    let messages = |length: usize| {
        let body = json!({"messages": [{"role": "user", "content": "x".repeat(length)}]});
        body.to_string()
    };
    let frame = messages(0).len();
    assert_chat(&scene.gateway.post("/chat", &messages(1000 - frame)).await, "at the limit");
    let answer = scene.gateway.post("/chat", &messages(1001 - frame)).await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert!(answer.text().contains("max_request_body_size"), "{}", answer.text());
    assert_eq!(scene.chats().len(), 1);
}

#[tokio::test]
async fn a_client_that_forces_the_token_limit_is_not_rewritten() {
    // Renaming max_tokens by the deployment's name breaks older api-versions.
    let scene = Scene::start(&Target::with_key());
    let body = r#"{"max_tokens":3,"messages":[{"role":"user","content":"a b c d"}]}"#;
    assert_chat(&scene.gateway.post("/chat", body).await, "max_tokens");
    let sent = scene.chats().remove(0).json().unwrap();
    assert_eq!((&sent["max_tokens"], &sent["max_completion_tokens"]), (&json!(3), &Value::Null));
}

#[tokio::test]
async fn a_streamed_answer_to_a_plain_request_is_no_dead_connection() {
    let scene = Scene::start(&Target::with_key());
    for fault in ["fault-stream-instead-of-json", "fault-empty", "fault-malformed", "fault-drop"] {
        let answer = scene.say(&format!("[[{fault}]]")).await;
        assert!(answer.complete, "{fault}");
        let is_error = (500..=599).contains(&answer.status());
        let is_stream = answer.status() == 200 && answer.text().contains("[DONE]");
        assert!(is_error || is_stream, "{fault}: {answer:?}: {}", answer.text());
        assert!(!answer.body.is_empty(), "{fault}");
    }
}

#[tokio::test]
async fn a_client_cannot_take_the_credential_off_by_naming_it_in_connection() {
    let scene = Scene::start(&Target::with_key());
    let headers = [
        ("Content-Type", "application/json"),
        ("Connection", "close, API-Key;q=1, x-own"),
        ("x-own", "1"),
    ];
    let answer = scene.gateway.send("POST", "/chat", &headers, HELLO.as_bytes()).await;
    assert_chat(&answer, "credential");
    assert_eq!(scene.sim.last().unwrap().header("x-own"), None);
}
