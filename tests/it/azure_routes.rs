//! Every route type between a client and Azure, at Azure's real URLs: the simulator plays
//! `my-instance.openai.azure.com` with TLS.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use silverback::sim::{Kind, Options, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::azure_wire::public_azure;
use super::clients::certificates;
use super::gateway::{Builder, TestGateway};
use super::http;
use super::sdk::{checks_of, folder, is_skipped};

/// Route types, and the paths that clients have for them behind a base URL.
const ROUTES: [(&str, &str); 13] = [
    ("llm/v1/chat", "/chat/completions"),
    ("llm/v1/completions", "/completions"),
    ("llm/v1/embeddings", "/embeddings"),
    ("audio/v1/audio/speech", "/audio/speech"),
    ("audio/v1/audio/transcriptions", "/audio/transcriptions"),
    ("audio/v1/audio/translations", "/audio/translations"),
    ("image/v1/images/generations", "/images/generations"),
    ("image/v1/images/edits", "/images/edits"),
    ("llm/v1/files", "/files"),
    ("llm/v1/batches", "/batches"),
    ("llm/v1/responses", "/responses"),
    ("realtime/v1/realtime", "/realtime"),
    ("llm/v1/assistants", "/assistants"),
];

fn route(out: &mut String, name: &str, path: &str, route_type: &str, version: &str) {
    let deployment = match path.contains("?<d>") {
        true => "$(uri_captures.d)",
        false => "gpt-4o",
    };
    let name = name.trim_start_matches('/').replace('/', "-");
    let category = route_type.split('/').next().filter(|kind| ["realtime", "video"].contains(kind));
    let category = category.unwrap_or("text");
    let _ = write!(
        out,
        "  - name: \"{name}\"
    paths: [\"{path}\"]
    plugins:
    - name: ai-proxy-advanced
      config:
        genai_category: {category}/generation
        targets:
        - route_type: {route_type}
          auth: {{header_name: api-key, header_value: sim-key}}
          model:
            provider: azure
            name: {deployment}
            options:
              azure_instance: my-instance
              azure_deployment_id: {deployment}
              azure_api_version: {version}
"
    );
}

/// The paths of AzureOpenAI under a date, and those of OpenAI on the v1 surface.
pub fn config() -> String {
    let mut out = "_format_version: \"3.0\"\nservices:\n- name: llm\n  url: http://127.0.0.1:9\n  \
        routes:\n"
        .to_owned();
    let dated = "\"2025-04-01-preview\"";
    for (route_type, path) in ROUTES {
        let is_stored =
            matches!(path, "/files" | "/batches" | "/responses" | "/realtime" | "/assistants");
        let azure = match !is_stored {
            true => format!("~/openai/deployments/(?<d>[^/]+){path}$"),
            false => format!("/openai{path}"),
        };
        route(&mut out, &format!("azure{path}"), &azure, route_type, dated);
        route(&mut out, &format!("v1{path}"), &format!("/v1{path}"), route_type, "v1");
    }
    for (base, version) in [("/openai", dated), ("/v1", "v1")] {
        let threads = format!("{base}/threads");
        route(&mut out, &threads, &threads, "llm/v1/assistants", version);
        let models = format!("{base}/models");
        route(&mut out, &models, &models, "llm/v1/chat", version);
    }
    // Azure has OpenAI's names for videos beside its own.
    route(&mut out, "videos", "/v1/videos", "video/v1/videos/generations", "v1");
    out.push_str("              upstream_path: /videos\n");
    out
}

struct Scene {
    sim: Sim,
    gateway: TestGateway,
    _folder: tempfile::TempDir,
}

fn scene(set: impl FnOnce(Builder) -> Builder) -> Scene {
    let options =
        Options { deployments: vec!["gpt-4o".into(), "o3-mini".into()], ..Options::default() };
    let (sim, builder, folder) = public_azure(options);
    Scene { sim, gateway: set(builder).start(&config()), _folder: folder }
}

/// A script over every operation: who runs it, and the least number of its checks.
struct Script {
    interpreter: PathBuf,
    name: &'static str,
    checks: usize,
}

fn python() -> Script {
    let interpreter = folder().join(".venv/bin/python");
    Script { interpreter, name: "routes.py", checks: 38 }
}

fn node() -> Script {
    Script { interpreter: "node".into(), name: "routes.mjs", checks: 51 }
}

impl Script {
    /// Runs it; what it says when a check fails is what the test says.
    async fn run(&self, base: &str, openai: &str, key: &str, env: &[(&str, &Path)]) {
        let mut command = Command::new(&self.interpreter);
        command.arg(folder().join(self.name));
        command.env("AZURE", base).env("OPENAI", format!("{base}{openai}")).env("KEY", key);
        command.env("NO_PROXY", "127.0.0.1,localhost").env("PYTHONUTF8", "1");
        command.envs(env.iter().copied());
        let (checks, said) = checks_of(command, self.name).await;
        assert!(checks >= self.checks, "{} made {checks} checks only:\n{said}", self.name);
    }

    /// At the simulator itself.
    async fn run_directly(&self, base: &str, env: &[(&str, &Path)]) {
        let direct = ("DIRECT", Path::new("1"));
        self.run(base, "/openai/v1", "sim-key", &[env, &[direct]].concat()).await;
    }

    /// Through the gateway, which has keys of its own.
    async fn run_through(&self, scene: &Scene, base: &str, env: &[(&str, &Path)]) {
        self.run(base, "/v1", "unused", env).await;
        for seen in scene.sim.requests() {
            let headers = format!("{:?} {}", seen.headers, seen.query);
            assert!(!headers.contains("unused"), "{} {headers}", seen.path);
            assert_eq!(seen.header("host"), Some("my-instance.openai.azure.com"));
        }
    }
}

#[tokio::test]
async fn the_python_sdk_can_do_everything_at_the_simulator() {
    if is_skipped("the_python_sdk_can_do_everything_at_the_simulator") {
        return;
    }
    let deployments = vec!["gpt-4o".into()];
    let sim = Sim::start(Options { deployments, ..Options::default() }).unwrap();
    python().run_directly(&sim.url(), &[]).await;
}

#[tokio::test]
async fn the_python_sdk_can_do_everything_through_the_gateway() {
    if is_skipped("the_python_sdk_can_do_everything_through_the_gateway") {
        return;
    }
    let scene = scene(|builder| builder);
    let base = format!("http://{}", scene.gateway.address);
    python().run_through(&scene, &base, &[]).await;
}

#[tokio::test]
async fn the_node_sdk_can_do_everything_at_the_simulator() {
    if is_skipped("the_node_sdk_can_do_everything_at_the_simulator") {
        return;
    }
    let made = tempfile::tempdir().unwrap();
    let [certificate, key, authority] = certificates(made.path());
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let deployments = vec!["gpt-4o".into()];
    let tls = Some(tls.into());
    let sim = Sim::start(Options { deployments, tls, ..Options::default() }).unwrap();
    let base = format!("https://localhost:{}", sim.addr().port());
    node().run_directly(&base, &[("NODE_EXTRA_CA_CERTS", &authority)]).await;
}

#[tokio::test]
async fn the_node_sdk_can_do_everything_through_the_gateway() {
    if is_skipped("the_node_sdk_can_do_everything_through_the_gateway") {
        return;
    }
    let made = tempfile::tempdir().unwrap();
    let [certificate, key, authority] = certificates(made.path());
    let scene = scene(|builder| {
        builder
            .set("ssl_cert", certificate.to_str().unwrap())
            .set("ssl_cert_key", key.to_str().unwrap())
            .set("proxy_listen", "127.0.0.1:0 ssl http2")
    });
    let base = format!("https://localhost:{}", scene.gateway.address.port());
    node().run_through(&scene, &base, &[("NODE_EXTRA_CA_CERTS", &authority)]).await;
}

#[tokio::test]
async fn ids_of_clients_cannot_leave_their_operation() {
    let scene = scene(|builder| builder);
    for path in [
        "/v1/files/..%2fassistants",
        "/v1/files/%2e%2e%2fassistants",
        "/v1/files/a%2fb",
        "/v1/files/a%5cb",
        "/v1/files/a%0d%0aHost:x",
        "/v1/files/a%3fx=1",
        "/v1/batches/b%252fc/cancel",
        "/v1/responses/%23",
    ] {
        let answer = scene.gateway.get(path).await;
        assert_eq!(answer.status(), 400, "{path}: {}", answer.text());
        let code = &answer.json()["error"]["code"];
        assert_eq!(code, "unsafe_upstream_value", "{path}: {}", answer.text());
    }
    // As nginx, which has no text for it.
    assert_eq!(scene.gateway.get("/v1/files/a%00").await.status(), 400);
    assert_eq!(scene.sim.requests().len(), 0);
    let missing = scene.gateway.get("/v1/files/file-none").await;
    assert_eq!(missing.status(), 404, "{}", missing.text());
    assert_eq!(scene.sim.last().unwrap().target(), "/openai/v1/files/file-none");
}

#[tokio::test]
async fn an_upload_longer_than_the_gateway_reads_passes_unread() {
    let (sim, builder, _folder) = public_azure(Options::default());
    let gateway = builder.set("silverback_buffer_limit", "1m").start(&config());
    let file = "x".repeat(3 << 20);
    let form = format!(
        "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n--b\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{file}\r\n\
         --b--\r\n"
    );
    let kind = [("Content-Type", "multipart/form-data; boundary=b")];
    let send = |path| http::send(gateway.address, "POST", path, &kind, form.as_bytes());
    for path in
        ["/v1/audio/transcriptions", "/openai/deployments/gpt-4o/audio/transcriptions", "/v1/files"]
    {
        let answer = send(path).await;
        let expected = if path == "/v1/files" { 400 } else { 200 };
        assert_eq!(answer.status(), expected, "{path}: {}", answer.text());
        assert_eq!(sim.last().unwrap().body.len(), form.len(), "{path}");
    }
}

#[tokio::test]
async fn a_session_loses_the_keys_of_its_client() {
    let scene = scene(|builder| builder);
    let mut stream = TcpStream::connect(scene.gateway.address).await.unwrap();
    let ask = "GET /v1/realtime?api-key=theirs&model=gpt-4o HTTP/1.1\r\nHost: gw\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a2V5\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.theirs\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("session.created") {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_buf(&mut seen)).await;
        let said = String::from_utf8_lossy(&seen).into_owned();
        assert!(read.expect("an event").unwrap() > 0, "{said}");
    }
    let head = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("protocol: realtime\r\n"), "{head}");
    let upgrade = scene.sim.last().unwrap();
    assert_eq!(upgrade.target(), "/openai/v1/realtime?model=gpt-4o");
    assert_eq!(upgrade.kind, Kind::Realtime);
    assert_eq!(upgrade.header("api-key"), Some("sim-key"));
    assert!(!format!("{:?}", upgrade.headers).contains("theirs"));
}

#[tokio::test]
async fn a_reply_of_another_operation_is_not_held_against_the_chat_format() {
    let scene = scene(|builder| builder);
    let embeddings = json!({"model": "gpt-4o", "input": "x", "dimensions": 4}).to_string();
    let answer = scene.gateway.post("/v1/embeddings", &embeddings).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/gpt-4o"));
    assert_eq!(answer.header("set-cookie"), None);
    let models = scene.gateway.get("/v1/models").await;
    assert_eq!(models.json()["object"], "list", "{}", models.text());
    let bad = scene.gateway.post("/v1/embeddings", "nonsense").await;
    let expected = "content-type header does not match request body, or bad JSON formatting";
    assert_eq!(bad.json()["error"]["message"], expected);
}

#[tokio::test]
async fn a_blocked_prompt_keeps_its_reason_and_is_counted() {
    let scene = scene(|builder| builder);
    let prompt = json!([{"role": "user", "content": "[[fault-content-filter]]"}]);
    let body = json!({"model": "gpt-4o", "messages": prompt}).to_string();
    let answer = scene.gateway.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status(), 400, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "content_filter");
    assert_eq!(error["innererror"]["code"], "ResponsibleAIPolicyViolation", "{error}");
    let series = "silverback_ai_content_filter_total{ai_provider=\"azure\",ai_model=\"gpt-4o\"} 1";
    let counted = async {
        while !scene.gateway.status("/metrics").await.text().contains(series) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("it is counted");
}
