//! The way of a plugin author: `plugin new`, `spec`, `run`, a change, a reload.

use super::cli_process::silverback;
use super::http;
use super::stream_ends::soon;

#[tokio::test]
async fn a_new_plugin_passes_its_spec_runs_and_is_reloaded() {
    let folder = tempfile::tempdir().unwrap();
    let made = silverback(&["plugin", "new", "my-plugin"]).folder(folder.path()).ended().await;
    assert_eq!(made.code, Some(0), "{}", made.output);
    let spec = silverback(&["spec", "spec/my-plugin"]).folder(folder.path());
    let spec = spec.env("PATH", "/usr/bin:/bin").ended().await;
    assert_eq!(spec.code, Some(0), "{}", spec.output);
    assert!(spec.output.contains("4 successes / 0 failures / 0 errors / 0 pending"));

    let file = "kong/plugins/my-plugin/example.yaml";
    let start = silverback(&["run", file]).folder(folder.path()).on_free_ports();
    let start = start.env("KONG_PLUGINS", "bundled,my-plugin");
    let mut process = start.env("KONG_NGINX_WORKER_PROCESSES", "1").spawn();
    let address = process.proxy().await;
    let said = http::send(address, "GET", "/", &[], b"").await;
    assert_eq!(said.header("x-hello-client"), Some("my-plugin"));

    let handler = folder.path().join("kong/plugins/my-plugin/handler.lua");
    let text = std::fs::read_to_string(&handler).unwrap();
    let changed = text.replace("conf.response_header, \"my-plugin\"", "'X-Changed', 'yes'");
    assert_ne!(text, changed);
    std::fs::write(&handler, changed).unwrap();
    process.signal("HUP");
    soon("the change is there", async {
        while http::send(address, "GET", "/", &[], b"").await.header("x-changed").is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_written_over_and_names_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let new = |name| silverback(&["plugin", "new", name, "--dir", "there"]).folder(folder.path());
    assert_eq!(new("mine").ended().await.code, Some(0));
    let handler = folder.path().join("there/kong/plugins/mine/handler.lua");
    std::fs::write(&handler, "-- mine").unwrap();
    let again = new("mine").ended().await;
    assert_eq!(again.code, Some(1), "{}", again.output);
    assert!(again.output.contains("handler.lua is there already"), "{}", again.output);
    assert_eq!(std::fs::read_to_string(&handler).unwrap(), "-- mine");
    for name in ["key-auth", "a.b", "../up"] {
        let ended = new(name).ended().await;
        assert_eq!(ended.code, Some(2), "{name}: {}", ended.output);
    }
}
