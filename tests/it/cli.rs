//! The command line: what it says, and the status it ends with.

use std::path::{Path, PathBuf};

use tokio::net::TcpStream;

use super::cli_process::{Ended, silverback};
use super::http;
use super::stream_ends::{Client, Upstream};

const GOOD: &str = "_format_version: '3.0'
services:
- name: s
  url: http://127.0.0.1:9
  routes:
  - name: r
    paths: [/a]
    plugins:
    - name: request-termination
      config: {status_code: 200, message: good}
";

const BAD: &str = "_format_version: '3.0'
services:
- name: s
  url: http://127.0.0.1:9
  retires: 3
  routes:
  - name: r
    paths: [/a]
    plugins:
    - name: request-termination
      config: {status_code: 9}
    - name: no-such-plugin
";

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[track_caller]
fn assert_code(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{}", ended.output);
}

#[tokio::test]
async fn wrong_usage_ends_with_status_2_and_says_what_is_right() {
    for arguments in [&["runn"][..], &["run", "--no-such-flag"], &["health", "x"], &[]] {
        let ended = silverback(arguments).ended().await;
        assert_code(&ended, 2);
        assert!(ended.output.contains("--help"), "{}", ended.output);
    }
}

#[tokio::test]
async fn help_has_examples_for_every_command() {
    let ended = silverback(&["--help"]).ended().await;
    assert_code(&ended, 0);
    for command in ["run", "check", "identity", "azure-sim", "quickstart", "version"] {
        assert!(ended.output.contains(command), "{}", ended.output);
    }
    for command in ["run", "check", "identity", "azure-sim", "quickstart"] {
        let ended = silverback(&[command, "--help"]).ended().await;
        assert_code(&ended, 0);
        let example = format!("\n  silverback {command}");
        assert!(ended.output.contains("Examples:") && ended.output.contains(&example), "{command}");
    }
}

#[tokio::test]
async fn version_is_one_line() {
    for argument in ["version", "--version"] {
        let ended = silverback(&[argument]).ended().await;
        assert_code(&ended, 0);
        assert_eq!(ended.output, format!("silverback {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[tokio::test]
async fn check_accepts_a_good_file_and_reports_every_error_of_a_bad_one() {
    let folder = folder();
    let (good, bad) = (file(&folder, "good.yaml", GOOD), file(&folder, "bad.yaml", BAD));
    let ended = silverback(&["check", good.to_str().unwrap()]).ended().await;
    assert_code(&ended, 0);
    assert!(ended.output.ends_with("good.yaml: ok\n"), "{}", ended.output);

    let ended = silverback(&["check", bad.to_str().unwrap()]).ended().await;
    assert_code(&ended, 1);
    for place in ["bad.yaml:5:", "bad.yaml:11:", "bad.yaml:12:"] {
        let lines = ended.errors().into_iter().filter(|line| line.contains(place));
        assert_eq!(lines.count(), 1, "{place}: {}", ended.output);
    }
    assert!(ended.output.contains("did you mean 'retries'"), "{}", ended.output);
    assert_eq!(ended.errors().len(), 3, "one line for each error: {}", ended.output);
}

#[tokio::test]
async fn check_speaks_json_to_scripts() {
    let folder = folder();
    let bad = file(&folder, "bad.yaml", BAD);
    let ended = silverback(&["check", "--json", bad.to_str().unwrap()]).ended().await;
    assert_code(&ended, 1);
    let report: serde_json::Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(
        (&report["ok"], report["errors"].as_array().map(Vec::len)),
        (&false.into(), Some(3))
    );
    let error = &report["errors"][0];
    assert!(error["file"].as_str().unwrap().ends_with("bad.yaml"), "{error}");
    assert_eq!((&error["line"], error["column"].is_u64()), (&5.into(), true));
    assert!(error["path"].is_string() && error["message"].is_string(), "{error}");
    assert_eq!(error["entity"]["type"], "service");
    assert_eq!(report["kong"]["name"], "invalid declarative configuration");
    assert!(report["kong"]["fields"]["services"].is_array(), "{report:#}");
    assert_eq!(report["kong"]["flattened_errors"][0]["entity_type"], "service");
}

#[tokio::test]
async fn run_with_a_bad_file_ends_with_status_1_and_one_line_for_each_error() {
    let folder = folder();
    let bad = file(&folder, "bad.yaml", BAD);
    let ended = silverback(&["run", bad.to_str().unwrap()]).on_free_ports().ended().await;
    assert_code(&ended, 1);
    let lines = ended.errors().into_iter().filter(|line| line.contains("bad.yaml:"));
    assert_eq!(lines.count(), 3, "{}", ended.output);
}

#[tokio::test]
async fn run_without_a_file_says_what_to_do() {
    let folder = folder();
    let ended = silverback(&["run"]).folder(folder.path()).on_free_ports().ended().await;
    assert_code(&ended, 1);
    for word in ["kong.yaml", "KONG_DECLARATIVE_CONFIG", "quickstart"] {
        assert!(ended.output.contains(word), "{}", ended.output);
    }
    let ended = silverback(&["run", "missing.yaml"]).folder(folder.path()).ended().await;
    assert_code(&ended, 1);
    assert!(ended.output.contains("missing.yaml: No such file"), "{}", ended.output);
}

async fn text(address: std::net::SocketAddr) -> String {
    http::send(address, "GET", "/a", &[], b"").await.text()
}

#[tokio::test]
async fn run_finds_kong_yaml_in_its_folder_or_where_the_environment_says() {
    let folder = folder();
    file(&folder, "kong.yaml", GOOD);
    let mut process = silverback(&["run"]).folder(folder.path()).on_free_ports().spawn();
    assert!(text(process.proxy().await).await.contains("good"));

    let other = file(&folder, "other.yaml", &GOOD.replace("good", "other"));
    let mut process = silverback(&["run"])
        .folder(folder.path())
        .on_free_ports()
        .env("KONG_DECLARATIVE_CONFIG", other.to_str().unwrap())
        .spawn();
    assert!(text(process.proxy().await).await.contains("other"));
}

#[tokio::test]
async fn flags_stand_above_variables_and_variables_above_kong_conf() {
    let folder = folder();
    file(&folder, "kong.yaml", GOOD);
    let conf = "proxy_listen = 127.0.0.2:0\nstatus_listen = 127.0.0.3:0\nlog_level = debug\n";
    let conf = file(&folder, "kong.conf", conf);
    let arguments = ["run", "-c", conf.to_str().unwrap(), "--proxy-listen", "127.0.0.5:0"];
    let mut process = silverback(&arguments)
        .folder(folder.path())
        .env("KONG_PROXY_LISTEN", "127.0.0.4:0")
        .env("KONG_STATUS_LISTEN", "127.0.0.6:0")
        .spawn();
    assert_eq!(process.proxy().await.ip().to_string(), "127.0.0.5");
    assert_eq!(process.status().await.ip().to_string(), "127.0.0.6");
}

#[tokio::test]
async fn an_unknown_setting_is_a_warning_that_names_the_nearest_one() {
    let folder = folder();
    file(&folder, "kong.yaml", GOOD);
    let mut process = silverback(&["run"])
        .folder(folder.path())
        .on_free_ports()
        .env("KONG_PROXY_LISTN", "127.0.0.1:1")
        .spawn();
    let line = process.line_with("KONG_PROXY_LISTN").await;
    assert!(line.contains("did you mean 'proxy_listen'?"), "{line}");
    process.proxy().await;
}

#[tokio::test]
async fn run_takes_its_configuration_from_a_variable() {
    let folder = folder();
    let mut process = silverback(&["run"])
        .folder(folder.path())
        .on_free_ports()
        .env("KONG_DECLARATIVE_CONFIG_STRING", GOOD)
        .spawn();
    assert!(text(process.proxy().await).await.contains("good"));
}

#[tokio::test]
async fn a_plugin_that_exists_nowhere_ends_with_status_1_and_kongs_words() {
    let folder = folder();
    let good = file(&folder, "kong.yaml", GOOD);
    let ended = silverback(&["run", good.to_str().unwrap()])
        .on_free_ports()
        .env("KONG_PLUGINS", "bundled,key-auht,stamp")
        .ended()
        .await;
    assert_code(&ended, 1);
    let words = "silverback: error loading plugin schemas: on plugin 'key-auht': key-auht plugin \
                 is enabled but not installed; did you mean 'key-auth'?";
    assert_eq!(ended.errors()[0], words);
    assert!(ended.errors()[1].contains("stamp plugin is enabled but not installed; 'kong/plugins"));
}

#[tokio::test]
async fn a_list_of_kongs_own_plugins_does_not_keep_the_gateway_from_starting() {
    let folder = folder();
    let good = file(&folder, "kong.yaml", GOOD);
    let mut process = silverback(&["run", good.to_str().unwrap()])
        .on_free_ports()
        .env("KONG_PLUGINS", "key-auth,request-termination,jwt,openid-connect,prometheus")
        .spawn();
    assert!(text(process.proxy().await).await.contains("good"));
}

#[tokio::test]
async fn a_port_in_use_ends_with_status_1_and_names_the_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder();
    file(&folder, "kong.yaml", GOOD);
    let ended = silverback(&["run", "--proxy-listen", &address])
        .folder(folder.path())
        .env("KONG_STATUS_LISTEN", "off")
        .ended()
        .await;
    assert_code(&ended, 1);
    assert!(ended.output.contains("proxy_listen") && ended.output.contains(&address));
}

fn proxying(folder: &tempfile::TempDir, url: &str) -> PathBuf {
    let text = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: {url}\n  routes:\n  \
         - name: r\n    paths: [/a]\n"
    );
    file(folder, "kong.yaml", &text)
}

async fn assert_drains(signal: &str, path: &Path, upstream: &Upstream) {
    let mut process = silverback(&["run", path.to_str().unwrap()]).on_free_ports().spawn();
    let address = process.proxy().await;
    let mut client = Client::post(address, "/a", "", "{}").await;
    let mut answering = upstream.request().await;
    process.signal(signal);
    process.line_with("draining").await;
    // The listener closes a moment after the line: nobody new is let in.
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    super::stream_ends::soon("the listener closes", refused).await;
    answering.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await;
    assert_eq!(client.head().await.status(), 200, "{signal}");
    assert_code(&process.ended().await, 0);
}

#[tokio::test]
async fn a_stop_signal_lets_open_requests_end_and_exits_with_status_0() {
    let (folder, upstream) = (folder(), Upstream::start().await);
    let path = proxying(&folder, &upstream.url());
    for signal in ["TERM", "INT", "QUIT"] {
        assert_drains(signal, &path, &upstream).await;
    }
}

#[tokio::test]
async fn a_second_stop_signal_ends_at_once() {
    let (folder, upstream) = (folder(), Upstream::start().await);
    let path = proxying(&folder, &upstream.url());
    let mut process = silverback(&["run", path.to_str().unwrap()]).on_free_ports().spawn();
    let address = process.proxy().await;
    let _client = Client::post(address, "/a", "", "{}").await;
    let _answering = upstream.request().await;
    process.signal("TERM");
    process.line_with("draining").await;
    process.signal("TERM");
    assert_code(&process.ended().await, 130);
}

#[tokio::test]
async fn an_open_request_holds_up_the_end_for_drain_secs_at_most() {
    let (folder, upstream) = (folder(), Upstream::start().await);
    let path = proxying(&folder, &upstream.url());
    let arguments = ["run", "--drain-secs", "0", path.to_str().unwrap()];
    let mut process = silverback(&arguments).on_free_ports().spawn();
    let address = process.proxy().await;
    let _client = Client::post(address, "/a", "", "{}").await;
    let _answering = upstream.request().await;
    process.signal("TERM");
    let ended = process.ended().await;
    assert_code(&ended, 0);
    assert!(ended.output.contains("\"POST /a "), "it is not in the access log:\n{}", ended.output);
}

#[tokio::test]
async fn the_quickstart_shows_a_chat_a_stream_and_the_identity_that_was_used() {
    let ended = silverback(&["quickstart", "--once", "--port", "0"]).ended().await;
    assert_code(&ended, 0);
    let shown = [
        "azure_use_managed_identity: true",
        "HTTP/1.1 200 OK",
        "You said: Hello from the quickstart",
        "data: [DONE]",
        "Azure was called as: managed identity (system-assigned)",
        "Tokens fetched for both requests: 1",
    ];
    for text in shown {
        assert!(ended.output.contains(text), "'{text}' is missing:\n{}", ended.output);
    }
}

#[tokio::test]
async fn the_quickstart_serves_until_it_is_stopped() {
    let mut process = silverback(&["quickstart", "--port", "0"]).spawn();
    let address = process.address_after("curl http://").await;
    process.line_with("Press Ctrl-C").await;
    let headers = [("apikey", "my-key"), ("Content-Type", "application/json")];
    let body = super::azure_scene::HELLO.as_bytes();
    let answer = http::send(address, "POST", "/v1/chat/completions", &headers, body).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    process.signal("INT");
    assert_code(&process.ended().await, 0);
}

#[tokio::test]
async fn the_simulator_says_how_to_reach_it() {
    let mut process = silverback(&["azure-sim", "--listen", "127.0.0.1:0"]).spawn();
    let address = process.address_after("listens on http://").await;
    process.line_with("AZURE_AUTHORITY_HOST").await;
    assert_eq!(http::send(address, "GET", "/sim", &[], b"").await.status(), 200);
    process.signal("TERM");
    assert_code(&process.ended().await, 0);
}

#[tokio::test]
async fn the_configuration_of_the_guide_works_as_the_guide_says() {
    let guide = include_str!("../../docs/quickstart.md");
    let yaml = guide.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let sim = silverback::sim::Sim::start(silverback::sim::Options::default()).unwrap();
    let folder = folder();
    let url = format!("http://{}", sim.addr());
    let path = file(&folder, "kong.yaml", &yaml.replace("http://127.0.0.1:9001", &url));
    let ended = silverback(&["check", "--strict", path.to_str().unwrap()]).ended().await;
    assert_code(&ended, 0);
    let mut process = silverback(&["run", path.to_str().unwrap()])
        .on_free_ports()
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &url)
        .spawn();
    let address = process.proxy().await;
    let body = super::azure_scene::HELLO.as_bytes();
    for (path, key, deployment) in [
        ("/v1/chat/completions", "apikey", "gpt-4o"),
        ("/openai/deployments/gpt-4.1-mini/chat/completions", "api-key", "gpt-4.1-mini"),
    ] {
        let headers = [(key, "my-key"), ("Content-Type", "application/json")];
        let answer = http::send(address, "POST", path, &headers, body).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        let seen = sim.last().unwrap();
        assert_eq!(seen.deployment.as_deref(), Some(deployment));
        assert_eq!(seen.identity, "managed identity (system-assigned)");
    }
}
