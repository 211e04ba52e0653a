//! Other clients than OpenAI's own SDKs against the gateway, over TLS with their own authority.
//!
//! The scripts are in tests/sdk, and `tests/sdk/setup` installs what they need.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use silverback::sim::{Options, Rule, Sim};
use tokio::process::Command;

use super::claude::claude;
use super::gateway::Builder;
use super::sdk::{assert_signed_by_the_gateway, checks_of, folder, is_skipped};

/// What each family of clients asks for: chats, responses and embeddings as OpenAI and as Azure
/// have them, and messages of Anthropic's. All sign in with the key of a consumer.
fn config(sim: &str) -> String {
    let route = |name: &str, paths: &str, route_type: &str, azure: &str, more: &str| {
        format!(
            "  - name: {name}
    paths: [{paths}]
    plugins:
    - name: ai-proxy-advanced
      config:
{more}        targets:
        - route_type: {route_type}
          logging: {{log_statistics: true}}
          auth: {{azure_use_managed_identity: true}}
          model:
            provider: azure
            name: gpt-4o
            options:
              azure_instance: my-instance
              azure_deployment_id: gpt-4o
              azure_api_version: '2025-04-01-preview'
              upstream_url: {sim}/openai{azure}
"
        )
    };
    let chats = "/deployments/gpt-4o/chat/completions";
    let azure = "'~/openai/deployments/gpt-4o/chat/completions$'";
    [
        "_format_version: '3.0'
consumers:
- username: me
  keyauth_credentials: [{key: my-key}]
plugins:
- name: key-auth
  config: {key_names: [apikey, api-key], hide_credentials: true}
services:
- name: llm
  url: http://127.0.0.1:9
  routes:
"
        .to_owned(),
        route("chats", "/v1/chat/completions", "llm/v1/chat", chats, ""),
        route("azure-chats", azure, "llm/v1/chat", chats, ""),
        route(
            "responses",
            "/v1/responses, /openai/v1/responses",
            "llm/v1/responses",
            "/responses",
            "",
        ),
        route(
            "embeddings",
            "/v1/embeddings",
            "llm/v1/embeddings",
            "/deployments/gpt-4o/embeddings",
            "",
        ),
        route("claude", "/claude", "llm/v1/chat", chats, "        llm_format: anthropic\n"),
        foundry(sim),
    ]
    .concat()
}

/// A Route to Claude itself, which may keep batches.
fn foundry(sim: &str) -> String {
    let auth = "{azure_use_managed_identity: true, azure_scope: 'https://ai.azure.com/.default'}";
    format!(
        "  - name: foundry
    paths: [/foundry]
    plugins:
    - name: ai-proxy-advanced
      config:
        llm_format: anthropic
        targets:
        - {}
",
        claude(sim, auth)
    )
}

/// Certificate and key of `localhost`, and the authority behind them: files in a folder.
pub fn certificates(folder: &Path) -> [PathBuf; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate for its own issuer if both have one name.
    params.distinguished_name.push(DnType::CommonName, "authority");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &ca).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    [
        file("cert.pem", &certificate.pem()),
        file("key.pem", &key.serialize_pem()),
        file("ca.pem", &ca.pem()),
    ]
}

/// Runs a script, which says `ok` for each of its checks.
async fn run(interpreter: &Path, script: &str, least: usize) {
    let made = tempfile::tempdir().unwrap();
    let [certificate, key, authority] = certificates(made.path());
    let sim = Sim::start(Options::default()).unwrap();
    let path = Some("/anthropic/v1/messages/batches*".to_owned());
    let batch = json!({"id": "msgbatch_1", "type": "message_batch"});
    sim.fault(Rule { path, body: Some(batch), ..Rule::default() }).unwrap();
    let gateway = Builder::default()
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &sim.url())
        .set("ssl_cert", certificate.to_str().unwrap())
        .set("ssl_cert_key", key.to_str().unwrap())
        .set("proxy_listen", "127.0.0.1:0 ssl http2")
        .start(&config(&sim.url()));
    let mut command = Command::new(interpreter);
    command
        .arg(folder().join(script))
        .env("GATEWAY", format!("https://localhost:{}", gateway.address.port()))
        .env("SSL_CERT_FILE", &authority)
        .env("REQUESTS_CA_BUNDLE", &authority)
        .env("NODE_EXTRA_CA_CERTS", &authority)
        .env("NO_PROXY", "localhost");
    let (checks, said) = checks_of(command, script).await;
    assert!(checks >= least, "{script} made {checks} checks only:\n{said}");
    assert_signed_by_the_gateway(&sim);
}

#[tokio::test]
async fn clients_in_python_are_at_home() {
    if is_skipped("clients_in_python_are_at_home") {
        return;
    }
    let python = folder().join(".venv/bin/python");
    assert!(python.is_file(), "run tests/sdk/setup (or set SILVERBACK_SKIP_SDK_TESTS=1)");
    run(&python, "clients.py", 18).await;
}

#[tokio::test]
async fn clients_in_node_are_at_home() {
    if is_skipped("clients_in_node_are_at_home") {
        return;
    }
    let there = folder().join("node_modules/ai").is_dir();
    assert!(there, "run tests/sdk/setup (or set SILVERBACK_SKIP_SDK_TESTS=1)");
    run(Path::new("node"), "clients.mjs", 15).await;
}
