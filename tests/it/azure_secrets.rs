//! Secrets stay secret: planted canaries, looked for in everything the gateway says.

use std::fmt::Write as _;

use serde_json::json;
use silverback::sim::{Options, Sim};

use super::azure_scene::{HELLO, STREAM};
use super::cli_process::{Process, silverback};
use super::http;

/// Every secret that the gateway is given or fetches; tokens of the simulator begin like the last.
const CANARIES: &[&str] = &[
    "canary-header-key",
    "canary-param-key",
    "canary-file-secret",
    "canary-env-secret",
    "canary-consumer-key",
    "canary-client-bearer",
    "canary-client-key",
    "canary-identity-header",
    "canary-basic",
    "sim-token-",
];

fn config(sim: &str, log: &str) -> String {
    let routes = [
        ("key", "{header_name: api-key, header_value: canary-header-key}", ""),
        ("bad-key", "{header_name: api-key, header_value: canary-header-key-2}", ""),
        ("param", "{param_name: key, param_value: canary-param-key, param_location: query}", ""),
        ("managed", "{azure_use_managed_identity: true}", ""),
        ("secret", APPLICATION, ""),
        ("down", "{header_name: api-key, header_value: canary-header-key}", "x"),
    ];
    let mut text = format!(
        "_format_version: '3.0'
consumers:
- username: me
  keyauth_credentials: [{{key: canary-consumer-key}}]
plugins:
- name: file-log
  config: {{path: {log}}}
services:
"
    );
    for (name, auth, down) in routes {
        let base = if down.is_empty() { sim } else { "http://127.0.0.1:9" };
        let _ = write!(
            text,
            "- name: {name}
  url: http://127.0.0.1:9
  routes:
  - name: {name}
    paths: [/{name}]
    plugins:
    - name: key-auth
      config: {{hide_credentials: true}}
    - name: ai-proxy-advanced
      config:
        route_type: llm/v1/chat
        auth: {auth}
        logging: {{log_statistics: true, log_payloads: true}}
        model:
          provider: azure
          name: gpt-4o
          options:
            azure_instance: i
            azure_deployment_id: d
            upstream_url: {base}/openai/deployments/d/chat/completions
"
        );
    }
    text
}

const APPLICATION: &str = "{azure_use_managed_identity: true, azure_client_id: c, \
    azure_tenant_id: t, azure_client_secret: canary-file-secret}";

/// Good calls, bad calls, and calls that fail in every way there is.
async fn use_everything(address: std::net::SocketAddr, sim: &Sim) {
    let key = ("apikey", "canary-consumer-key");
    let kind = ("Content-Type", "application/json");
    let own = [
        key,
        kind,
        ("Authorization", "Bearer canary-client-bearer"),
        ("api-key", "canary-client-key"),
        ("Proxy-Authorization", "Basic canary-basic"),
    ];
    for round in 0..2 {
        for route in ["key", "bad-key", "param", "managed", "secret", "down"] {
            for body in [HELLO, STREAM, "{not json", "{}"] {
                let path = format!("/{route}");
                http::send(address, "POST", &path, &own, body.as_bytes()).await;
            }
            for fault in ["401", "500", "cut-stream", "malformed", "429", "drop", "503-html"] {
                let messages = json!([{"role": "user", "content": format!("[[fault-{fault}]]")}]);
                let body = json!({"stream": fault == "cut-stream", "messages": messages});
                let body = body.to_string();
                http::send(address, "POST", &format!("/{route}"), &own, body.as_bytes()).await;
            }
            let wrong = [kind, ("apikey", "canary-client-key")];
            http::send(address, "POST", &format!("/{route}"), &wrong, HELLO.as_bytes()).await;
        }
        if round == 0 {
            sim.revoke_tokens();
        }
    }
}

/// The places where a secret is to be read: one line for each secret and place.
fn shown(what: &str, text: &str) -> Vec<String> {
    let line = |canary: &&str| {
        let line = text.lines().find(|line| line.contains(*canary))?;
        Some(format!("{what} shows {canary}: {line}"))
    };
    CANARIES.iter().filter_map(line).collect()
}

async fn listening(format: &str, sim: &Sim, path: &str, env: &[(&str, &str)]) -> Process {
    let start = silverback(&["run", path]).on_free_ports();
    let start = start.env("KONG_LOG_LEVEL", "debug").env("SILVERBACK_LOG_FORMAT", format);
    let start = start
        .env("AZURE_AUTHORITY_HOST", &sim.url())
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &sim.url());
    env.iter().fold(start, |start, (name, value)| start.env(name, value)).spawn()
}

#[tokio::test]
async fn no_secret_is_logged_whatever_happens() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("kong.yaml"), folder.path().join("log"));
    let options = Options {
        keys: vec!["canary-header-key".into()],
        identity_header: "canary-identity-header".into(),
        ..Options::default()
    };
    let sim = Sim::start(options).unwrap();
    std::fs::write(&path, config(&sim.url(), log.to_str().unwrap())).unwrap();
    let identity = format!("{}/msi/token", sim.url());
    let app_service =
        [("IDENTITY_ENDPOINT", &*identity), ("IDENTITY_HEADER", "canary-identity-header")];
    let wrong = [("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "canary-env-secret")];
    let wrong = [wrong[0], wrong[1], ("AZURE_TENANT_ID", "unknown-tenant")];
    let mut leaks = Vec::new();
    for (format, env) in [("text", &app_service[..]), ("json", &wrong), ("text", &[])] {
        let mut process = listening(format, &sim, path.to_str().unwrap(), env).await;
        let (address, status) = (process.proxy().await, process.status().await);
        use_everything(address, &sim).await;
        for page in ["/metrics", "/status"] {
            let text = http::send(status, "GET", page, &[], b"").await.text();
            assert!(!text.is_empty());
            leaks.extend(shown(page, &text));
        }
        process.signal("TERM");
        let ended = process.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        assert!(ended.output.contains("/managed"), "no access log? {}", ended.output);
        leaks.extend(shown(&format!("the {format} log"), &ended.output));
    }
    let records = std::fs::read_to_string(&log).unwrap();
    assert!(records.lines().count() > 100, "{}", records.lines().count());
    leaks.extend(shown("file-log", &records));
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

#[tokio::test]
async fn a_bad_file_is_reported_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    let good = config("http://127.0.0.1:9", "/dev/null");
    let broken = [
        good.replace("header_name: api-key, ", ""),
        good.replace("canary-file-secret", "[canary-file-secret]"),
        good.replace("canary-file-secret", "{canary-file-secret: 1}"),
        good.replace("param_location: query", "param_location: canary"),
        good.replace("{key: canary-consumer-key}", "{key: canary-consumer-key, kye: 1}"),
        good.replace("azure_client_id: c, ", ""),
        good.replace("header_value: canary-header-key}", "header_value: \"canary-header-key\\n\"}"),
        good.replace(
            "keyauth_credentials: [{key: canary-consumer-key}]",
            "keyauth_credentials: [{key: canary-consumer-key}, {key: canary-consumer-key}]",
        ),
    ];
    for text in broken {
        std::fs::write(&path, &text).unwrap();
        for arguments in [&["check"][..], &["check", "--json"], &["run"]] {
            let arguments: Vec<_> = arguments.iter().copied().chain(path.to_str()).collect();
            let ended = silverback(&arguments).on_free_ports().ended().await;
            assert_eq!(ended.code, Some(1), "{}", ended.output);
            let leaks = shown("the report", &ended.output);
            assert!(leaks.is_empty(), "{}", leaks.join("\n"));
        }
    }
}
