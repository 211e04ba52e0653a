//! What the command reads, and what it says when that is not to be read.

use serde_json::Value;

use super::{Scene, app, app_with, assert_says};
use crate::azure_scene::Target;
use crate::cli_process::silverback;

#[tokio::test]
async fn a_configuration_that_does_not_load_is_reported_as_check_does() {
    let scene = Scene::of(&app());
    let ended = scene.run(&[]).await;
    let line = "ai-proxy-advanced': config.targets[0].auth: azure_client_secret is missing";
    assert_says(&ended, 1, &["kong.yaml:", line]);
    let (code, report) = scene.json(&[]).await;
    assert_eq!((code, &report["ok"]), (Some(1), &Value::Bool(false)));
    assert!(report["errors"][0].as_str().unwrap().contains(line), "{report:#}");

    let scene =
        Scene::of(&Target::new(&["header_name: api-key", "header_value: '{vault://env/gone}'"]));
    let ended = scene.run(&["--offline"]).await;
    let texts = ["problem the vault reference in auth.header_value could not be resolved"];
    assert_says(&ended, 1, &texts);
}

#[tokio::test]
async fn scripts_get_json_also_when_nothing_could_be_read() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, error) in [
        ("TERM", "dumb", "no configuration: name a file"),
        ("KONG_LOG_LEVEL", "loud", "KONG_LOG_LEVEL: log_level has an invalid value: 'loud'"),
    ] {
        let start = silverback(&["identity", "--json"]).folder(folder.path()).env(name, value);
        let ended = start.ended().await;
        let report: Value = serde_json::from_str(&ended.output).expect(&ended.output);
        assert_eq!((ended.code, &report["ok"]), (Some(1), &Value::Bool(false)));
        assert!(report["errors"][0].as_str().unwrap().starts_with(error), "{report:#}");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_told_once() {
    let scene = Scene::of(&app_with(&["azure_client_certificate_path: /no/such/file.pem"]));
    let ended = scene.run(&[]).await;
    let texts =
        ["problem the certificate file /no/such/file.pem cannot be read", "it said No such"];
    assert_says(&ended, 1, &texts);
    assert!(!ended.output.contains("  note "), "{}", ended.output);
    let ended = scene.run(&["--offline"]).await;
    assert_says(&ended, 0, &["note until it can be used: the certificate file /no/such/file.pem"]);
}

#[tokio::test]
async fn it_reads_what_run_reads() {
    let scene = Scene::of(&app());
    let variables = scene.folder.path().join("variables");
    std::fs::write(&variables, "AZURE_CLIENT_SECRET=s\n").unwrap();
    let file = scene.file();
    let folder = tempfile::tempdir().unwrap();
    let start = silverback(&["identity"])
        .folder(folder.path())
        .env("AZURE_AUTHORITY_HOST", &scene.sim.url())
        .env("KONG_DECLARATIVE_CONFIG", file.to_str().unwrap())
        .env("SILVERBACK_ENV_FILE", variables.to_str().unwrap());
    assert_says(&start.ended().await, 0, &["identity 1 client secret", "1 target: 1 ok"]);

    let ended = silverback(&["identity"]).folder(folder.path()).ended().await;
    assert_says(&ended, 1, &["no configuration: name a file"]);
    let ended = scene.run(&["--timeout", "0"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.output);
    std::fs::write(&file, "_format_version: '3.0'\n").unwrap();
    assert_says(&scene.run(&[]).await, 0, &["no target of ai-proxy or ai-proxy-advanced"]);
}
