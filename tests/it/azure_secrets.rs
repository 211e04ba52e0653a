//! Secrets stay secret: planted canaries, looked for in everything the gateway says.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use silverback::sim::{Kind, Options, Rule, Sim};

use super::azure_scene::{HELLO, STREAM, Scene, Target};
use super::cli_process::{Start, silverback};
use super::http;
use super::log_lines;
use super::tls::{self, Certificate};

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
    "canary-assertion",
    "canary-env-file-secret",
    "canary-vault-key",
    "canary-placeholder-key",
    "canary-client-secret",
    "canary-client-identity-header",
    "canary-proxy-password",
    "canary-certificate-password",
    "sim-token-",
];

fn config(sim: &str, log: &str) -> String {
    let application = |proof: &str| {
        format!(
            "{{azure_use_managed_identity: true, azure_client_id: a, azure_tenant_id: t, {proof}}}"
        )
    };
    let token_file = log.replace("/log", "/token");
    let workload = application(&format!("azure_federated_token_file: {token_file}"));
    let certificate = application("azure_client_certificate: '{vault://env/gateway-certificate}'");
    let locked = application(&format!(
        "azure_client_certificate_path: {LOCKED}, \
         azure_client_certificate_password: canary-certificate-password"
    ));
    let routes = [
        ("certificate", &*certificate, ""),
        ("locked", &locked, ""),
        ("vault", "{header_name: api-key, header_value: '{vault://env/gateway-key}'}", ""),
        ("placeholder", "{header_name: api-key, header_value: '${{ env \"DECK_KEY\" }}'}", ""),
        ("workload", &workload, ""),
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
        text += &service(name, auth, base);
    }
    text
}

fn service(name: &str, auth: &str, base: &str) -> String {
    format!(
        "\
- name: {name}
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
    )
}

/// Its password is another one.
const LOCKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/certificates/encrypted.pem");

const APPLICATION: &str = "{azure_use_managed_identity: true, azure_client_id: c, \
    azure_tenant_id: t, azure_client_secret: canary-file-secret}";

const ROUTES: [&str; 11] = [
    "key",
    "bad-key",
    "param",
    "managed",
    "secret",
    "down",
    "vault",
    "placeholder",
    "workload",
    "certificate",
    "locked",
];

/// The key that signs in with a certificate.
const PEM: &str = include_str!("../../spec/certificates/client.pem");

/// Good calls, bad calls, and calls that fail in every way there is.
async fn use_everything(address: SocketAddr, sim: &Sim) -> Vec<String> {
    let mut leaks = Vec::new();
    let mut send = async |path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = http::send(address, "POST", path, headers, body.as_bytes()).await;
        let said = format!("{}\n{:?}\n{}", answer.first, answer.headers, answer.text());
        leaks.extend(shown(&format!("an answer of {path}"), &said));
    };
    let key = ("apikey", "canary-consumer-key");
    let kind = ("Content-Type", "application/json");
    let own = [
        key,
        kind,
        ("Authorization", "Bearer canary-client-bearer"),
        ("api-key", "canary-client-key"),
        ("Proxy-Authorization", "Basic canary-basic"),
        ("Metadata", "true"),
        ("Secret", "canary-client-secret"),
        ("X-IDENTITY-HEADER", "canary-client-identity-header"),
    ];
    for round in 0..2 {
        for route in ROUTES {
            for body in [HELLO, STREAM, "{not json", "{}"] {
                send(&format!("/{route}"), &own, body).await;
            }
            for fault in ["401", "500", "cut-stream", "malformed", "429", "drop", "503-html"] {
                let messages = json!([{"role": "user", "content": format!("[[fault-{fault}]]")}]);
                let body = json!({"stream": fault == "cut-stream", "messages": messages});
                send(&format!("/{route}"), &own, &body.to_string()).await;
            }
            let wrong = [kind, ("apikey", "canary-client-key")];
            send(&format!("/{route}"), &wrong, HELLO).await;
        }
        if round == 0 {
            sim.revoke_tokens();
        }
    }
    leaks
}

/// The places where a secret is to be read: one line for each secret and place.
fn shown(what: &str, text: &str) -> Vec<String> {
    let line = |canary: &&str| {
        let line = text.lines().find(|line| line.contains(*canary))?;
        Some(format!("{what} shows {canary}: {line}"))
    };
    CANARIES.iter().filter_map(line).collect()
}

/// One request over HTTP/2 and TLS, where frames and records have traces of their own.
async fn over_http2(address: SocketAddr, certificate: &Certificate) {
    let stream = TokioIo::new(tls::connect(address, certificate, b"h2").await);
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = ::http::Request::post("https://localhost/managed")
        .header("apikey", "canary-consumer-key")
        .header("authorization", "Bearer canary-client-bearer")
        .header("secret", "canary-client-secret")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(HELLO)))
        .unwrap();
    let (_, body) = sender.send_request(request).await.unwrap().into_parts();
    assert!(!body.collect().await.unwrap().to_bytes().is_empty());
}

/// What a gateway is given: a configuration, and variables that all hold something secret.
struct Given {
    folder: tempfile::TempDir,
    env: Vec<(&'static str, String)>,
    certificate: Certificate,
}

impl Given {
    fn new(sim: &Sim) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = tls::certificate("localhost");
        let mut given = Self { folder, env: Vec::new(), certificate };
        let log = given.path("log");
        std::fs::write(given.path("kong.yaml"), config(&sim.url(), &log)).unwrap();
        std::fs::write(given.path("token"), "canary-assertion.b.c\n").unwrap();
        std::fs::write(given.path("cert.pem"), &given.certificate.pem).unwrap();
        std::fs::write(given.path("key.pem"), &given.certificate.key_pem).unwrap();
        given.env = vec![
            ("KONG_LOG_LEVEL", "trace".to_owned()),
            ("KONG_PROXY_LISTEN", "127.0.0.1:0, 127.0.0.1:0 ssl http2".to_owned()),
            ("KONG_STATUS_LISTEN", "127.0.0.1:0".to_owned()),
            ("KONG_SSL_CERT", given.path("cert.pem")),
            ("KONG_SSL_CERT_KEY", given.path("key.pem")),
            ("HTTPS_PROXY", "http://user:canary-proxy-password@127.0.0.1:9".to_owned()),
            ("GATEWAY_KEY", "canary-vault-key".to_owned()),
            ("DECK_KEY", "canary-placeholder-key".to_owned()),
            ("GATEWAY_CERTIFICATE", PEM.to_owned()),
            ("AZURE_AUTHORITY_HOST", sim.url()),
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", sim.url()),
        ];
        given
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn command<'a>(&'a self, arguments: &[&'a str], env: &'a [(&str, &str)]) -> Start<'a> {
        let all = self.env.iter().map(|(name, value)| (*name, value.as_str()));
        let all = all.chain(env.iter().copied());
        all.fold(silverback(arguments), |start, (name, value)| start.env(name, value))
    }

    /// The places where a secret is to be read, parts of the keys among them.
    fn shown(&self, what: &str, text: &str) -> Vec<String> {
        let mut leaks = shown(what, text);
        for (name, pem) in [("TLS", &*self.certificate.key_pem), ("certificate's", PEM)] {
            let key = pem.lines().nth(1).unwrap();
            assert!(key.len() > 40, "{key}");
            leaks.extend(text.contains(key).then(|| format!("{what} shows the {name} key")));
        }
        leaks
    }
}

#[tokio::test]
async fn no_secret_is_said_whatever_happens() {
    let options = Options {
        keys: vec!["canary-header-key".into()],
        identity_header: "canary-identity-header".into(),
        ..Options::default()
    };
    let sim = Sim::start(options).unwrap();
    let given = Given::new(&sim);
    let (path, identity) = (given.path("kong.yaml"), format!("{}/msi/token", sim.url()));
    let app_service =
        [("IDENTITY_ENDPOINT", &*identity), ("IDENTITY_HEADER", "canary-identity-header")];
    let wrong = [("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "canary-env-secret")];
    let wrong = [wrong[0], wrong[1], ("AZURE_TENANT_ID", "unknown-tenant")];
    let env_file = given.path("env");
    let lines =
        "AZURE_CLIENT_ID=c\nAZURE_TENANT_ID=t\nAZURE_CLIENT_SECRET=canary-env-file-secret\n";
    std::fs::write(&env_file, lines).unwrap();
    let rotated = [("SILVERBACK_ENV_FILE", env_file.as_str())];
    let mut leaks = Vec::new();
    for (format, env) in [("text", &app_service[..]), ("json", &wrong), ("text", &rotated)] {
        let start = given.command(&["run", &path], env).env("SILVERBACK_LOG_FORMAT", format);
        let mut process = start.spawn();
        let (address, over_tls) = (process.proxy().await, process.proxy().await);
        let status = process.status().await;
        leaks.extend(use_everything(address, &sim).await);
        over_http2(over_tls, &given.certificate).await;
        for page in ["/metrics", "/status"] {
            let text = http::send(status, "GET", page, &[], b"").await.text();
            assert!(!text.is_empty());
            leaks.extend(given.shown(page, &text));
        }
        process.signal("TERM");
        let ended = process.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        assert!(ended.output.contains("/managed"), "no access log? {}", ended.output);
        assert!(ended.output.contains("TRACE"), "no trace? {}", ended.output);
        leaks.extend(given.shown(&format!("the {format} log"), &ended.output));
        for arguments in [&["check", &path][..], &["check", "--json", &path]] {
            let ended = given.command(arguments, env).ended().await;
            assert_eq!(ended.code, Some(0), "{}", ended.output);
            leaks.extend(given.shown(&format!("{arguments:?}"), &ended.output));
        }
        for arguments in [&["identity", &path][..], &["identity", "--json", &path]] {
            let ended = given.command(arguments, env).ended().await;
            assert_eq!(ended.code, Some(1), "{}", ended.output);
            leaks.extend(given.shown(&format!("{arguments:?}"), &ended.output));
        }
    }
    let records = std::fs::read_to_string(given.path("log")).unwrap();
    assert!(records.lines().count() > 100, "{}", records.lines().count());
    leaks.extend(given.shown("file-log", &records));
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

/// Every chat is refused with these words.
fn refusing(target: &Target, words: &str) -> Scene {
    log_lines::keep();
    Scene::with(target, Options::default(), |builder, sim| {
        let reply = |kind, body| Rule { kind: Some(kind), body: Some(body), ..Rule::default() };
        let token = json!({"access_token": "canary-echoed-token", "expires_in": "3599"});
        sim.fault(reply(Kind::Imds, token)).unwrap();
        let refusal = json!({"error": {"code": "401", "message": words}});
        sim.fault(Rule { status: Some(401), ..reply(Kind::Chat, refusal) }).unwrap();
        builder
    })
}

/// The line about the refusal of a request with these headers.
async fn line_of_refusal(scene: &Scene, headers: &[(&str, &str)]) -> Value {
    let began = log_lines::mark();
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    let answer = scene.gateway.send("POST", "/chat", &headers, HELLO.as_bytes()).await;
    assert_eq!(answer.status(), 401, "{}", answer.text());
    scene.gateway.settled().await;
    let mut lines = log_lines::since(began, answer.header("x-kong-request-id").unwrap());
    lines.retain(|line| line["fields"]["message"].as_str().unwrap().contains("refuses"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

const SWITCH: &str = "azure_use_managed_identity: true";

/// A gateway in between, or what plays Azure, may do so.
#[tokio::test]
async fn an_upstream_that_says_back_a_credential_puts_none_into_the_log() {
    let key = Target::new(&["header_name: api-key", "header_value: canary-echoed-key"]);
    let kept = Target::new(&[SWITCH, "allow_override: true"]);
    for (target, credential) in [
        (Target::with_identity(), "canary-echoed-token"),
        (key, "canary-echoed-key"),
        (kept, "canary-echoed-client"),
    ] {
        let scene = refusing(&target, &format!("you sent {credential}"));
        let line = line_of_refusal(&scene, &[("api-key", "canary-echoed-client")]).await;
        assert_eq!(line["fields"]["said"], "401 you sent ***", "{line}");
        assert!(!line.to_string().contains("canary"), "{line}");
    }
}

#[tokio::test]
async fn a_clients_own_token_that_is_refused_is_not_blamed_on_the_identity() {
    let scene = refusing(&Target::new(&[SWITCH, "allow_override: true"]), "no");
    let line = line_of_refusal(&scene, &[("Authorization", "Bearer theirs")]).await;
    let text = line["fields"]["message"].as_str().unwrap();
    assert!(text.contains("the client's own Authorization") && line["level"] == "WARN", "{line}");
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
