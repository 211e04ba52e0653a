//! Other people's clients against the gateway, OpenAI's SDKs first: what their users see counts.
//!
//! The scripts are in tests/sdk, and `tests/sdk/setup` installs what they need.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use silverback::sim::{Kind, Options, Sim};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::gateway::Builder;
use super::stream_ends::soon;

/// Both SDKs call `POST /v1/chat/completions` (OpenAI) or name a deployment in the path
/// (AzureOpenAI); both sign in with the key of a consumer.
fn config(sim: &str) -> String {
    format!(
        "_format_version: \"3.0\"
consumers:
- username: me
  keyauth_credentials: [{{key: my-key}}]
plugins:
- name: key-auth
  config: {{key_names: [apikey, api-key], hide_credentials: true}}
services:
- name: llm
  url: http://127.0.0.1:9
  routes:
  - name: openai
    paths: [/v1/chat/completions]
    plugins:
    - name: ai-proxy-advanced
      config:
        targets:
        - route_type: llm/v1/chat
          auth: {{azure_use_managed_identity: true}}
          model:
            provider: azure
            name: gpt-4o
            options:
              azure_instance: my-instance
              azure_deployment_id: gpt-4o
              azure_api_version: \"2024-10-21\"
              upstream_url: {sim}/openai/deployments/gpt-4o/chat/completions
  - name: azure
    paths: [\"~/openai/deployments/(?<deployment>[^/]+)/chat/completions$\"]
    plugins:
    - name: ai-proxy-advanced
      config:
        targets:
        - route_type: llm/v1/chat
          auth: {{azure_use_managed_identity: true}}
          model:
            provider: azure
            name: $(uri_captures.deployment)
            options:
              azure_instance: my-instance
              azure_deployment_id: $(uri_captures.deployment)
              azure_api_version: \"2024-10-21\"
              upstream_url: {sim}/openai/deployments/$(uri_captures.deployment)/chat/completions
"
    )
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// Whether the user has said in so many words that these tests shall not run.
#[allow(clippy::disallowed_methods)] // a switch of the test run, not a setting of the product
pub fn is_skipped(test: &str) -> bool {
    let skip = std::env::var("SILVERBACK_SKIP_SDK_TESTS").is_ok_and(|value| value == "1");
    if skip {
        println!("{test} is SKIPPED: SILVERBACK_SKIP_SDK_TESTS=1");
    }
    skip
}

/// Runs a script against a gateway of its own, and looks at what Azure saw.
async fn run(interpreter: &Path, script: &str) {
    let options =
        Options { deployments: vec!["gpt-4o".into(), "gpt-4.1-mini".into()], ..Options::default() };
    let sim = Sim::start(options).unwrap();
    let gateway = Builder::default()
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &sim.url())
        .start(&config(&sim.url()));
    let mut command = Command::new(interpreter);
    command.arg(folder().join(script)).env("GATEWAY", format!("http://{}", gateway.address));
    // A proxy of the machine has no business between two loopback addresses.
    command.env("NO_PROXY", "127.0.0.1");
    let (checks, said) = checks_of(command, script).await;
    assert!(checks >= 20, "{script} made {checks} checks only:\n{said}");
    // One for all requests, and one more because a fault refuses it.
    assert_eq!(sim.tokens_issued(), 2);
    assert_signed_by_the_gateway(&sim);
}

/// Runs a script, which says `ok` for each of its checks; how many there were, and what it said.
pub async fn checks_of(mut command: Command, script: &str) -> (usize, String) {
    let limit = Duration::from_secs(120);
    let output = tokio::time::timeout(limit, command.kill_on_drop(true).output()).await;
    let output = output.unwrap_or_else(|_| panic!("{script} took longer than {limit:?}"));
    let output = output.unwrap_or_else(|error| panic!("{script}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} failed:\n{said}\n{errors}");
    (said.lines().filter(|line| line.starts_with("ok ")).count(), said)
}

/// What clients sign in with has come no further than the gateway, which is the machine's identity.
pub fn assert_signed_by_the_gateway(sim: &Sim) {
    for seen in sim.requests().iter().filter(|seen| seen.kind == Kind::Chat) {
        assert_eq!(seen.identity, "managed identity (system-assigned)");
        let headers = format!("{:?}", seen.headers);
        assert!(!headers.contains("my-key") && !headers.contains("unused"), "{headers}");
    }
}

#[tokio::test]
async fn the_python_sdk_sees_what_it_should() {
    if is_skipped("the_python_sdk_sees_what_it_should") {
        return;
    }
    let python = folder().join(".venv/bin/python");
    assert!(
        python.is_file(),
        "the Python package `openai` is not installed: run tests/sdk/setup \
         (or set SILVERBACK_SKIP_SDK_TESTS=1)"
    );
    run(&python, "check.py").await;
}

#[tokio::test]
async fn the_node_sdk_sees_what_it_should() {
    if is_skipped("the_node_sdk_sees_what_it_should") {
        return;
    }
    assert!(
        folder().join("node_modules/openai").is_dir(),
        "the npm package `openai` is not installed: run tests/sdk/setup \
         (or set SILVERBACK_SKIP_SDK_TESTS=1)"
    );
    run(Path::new("node"), "check.mjs").await;
}

/// A gateway in front of servers of gRPC and WebSocket.
fn peers(calls: &str, sockets: &str, down: SocketAddr) -> String {
    format!(
        "_format_version: \"3.0\"
services:
- name: calls
  url: grpc://127.0.0.1:{calls}
  routes:
  - {{name: calls, protocols: [grpc], paths: [/probe.Probe/]}}
  - name: keyed
    protocols: [grpc]
    paths: [/keyed.Keyed/]
    plugins: [{{name: key-auth}}]
- name: down
  url: grpc://{down}
  routes:
  - {{name: down, protocols: [grpc], paths: [/down.Down/]}}
- name: sockets
  url: http://127.0.0.1:{sockets}
  routes:
  - {{name: sockets, paths: [/chat]}}
"
    )
}

#[tokio::test]
async fn real_clients_of_grpc_and_websocket_reach_real_servers() {
    if is_skipped("real_clients_of_grpc_and_websocket_reach_real_servers") {
        return;
    }
    let python = folder().join(".venv/bin/python");
    let script = |role: &str| {
        let mut command = Command::new(&python);
        command.arg(folder().join("protocols.py")).arg(role).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).env("PYTHONUTF8", "1");
        command
    };
    let hint = "run tests/sdk/setup (or set SILVERBACK_SKIP_SDK_TESTS=1)";
    let mut server = script("serve").spawn().unwrap_or_else(|error| panic!("{error}: {hint}"));
    let mut ports = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = soon("the ports of the servers", ports.next_line()).await.unwrap();
    let line = line.unwrap_or_else(|| panic!("grpcio or websockets is not installed: {hint}"));
    let (calls, sockets) = line.split_once(' ').unwrap();
    let builder = Builder::default().set("proxy_listen", "127.0.0.1:0 http2");
    let closed = super::http::closed_port();
    let gateway = builder.start(&peers(calls, sockets, closed.local_addr().unwrap()));
    let client = script("call").env("GATEWAY", gateway.address.to_string()).output();
    let limit = Duration::from_secs(120);
    let output = tokio::time::timeout(limit, client).await;
    let output = output.unwrap_or_else(|_| panic!("it took longer than {limit:?}")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.lines().filter(|line| line.starts_with("ok ")).count() >= 17, "{said}");
}
