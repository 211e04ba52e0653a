//! `silverback explain` and `silverback config dump`, as their users start them.

use serde_json::{Value, json};

use super::cli_process::{Ended, silverback};

const CONFIG: &str = r#"_format_version: "3.0"
services:
- name: models
  url: http://127.0.0.1:9/unused
  routes:
  - name: chat
    paths: [/v1/chat]
    methods: [POST]
    strip_path: false
    plugins:
    - name: ai-proxy-advanced
      config:
        balancer: {algorithm: priority}
        targets:
        - route_type: llm/v1/chat
          auth: {azure_use_managed_identity: true}
          model:
            provider: azure
            name: gpt-4o
            options: {azure_instance: one, azure_deployment_id: d}
          weight: 80
        - route_type: llm/v1/chat
          auth: {header_name: api-key, header_value: canary-key}
          model:
            provider: azure
            name: gpt-4o
            options: {azure_instance: two, azure_deployment_id: d}
          weight: 20
  - {name: everything-else, paths: [/v1]}
- name: balanced
  url: http://pool.test/base
  routes:
  - {name: users, hosts: [api.test], paths: ['~/users/(?<id>\d+)$'], headers: {x-version: ["2"]}}
- name: gone
  url: http://127.0.0.1:9
  enabled: false
  routes: [{name: dead, paths: [/dead]}]
routes:
- {name: secure, paths: [/secure], protocols: [https]}
upstreams:
- {name: pool.test, host_header: inner.test, targets: [{target: '127.0.0.1:81', weight: 7}]}
consumers:
- {username: alice, groups: [{name: gold}], keyauth_credentials: [{key: canary-alice}]}
consumer_groups:
- name: gold
  plugins: [{name: request-termination, config: {status_code: 402, trigger: x-stop}}]
plugins:
- {name: key-auth, service: models}
- {name: request-termination, config: {status_code: 503, trigger: x-stop}}
- {name: correlation-id, route: users, enabled: false}
"#;

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kong.yaml"), CONFIG).unwrap();
        Self { folder }
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        silverback(arguments).folder(self.folder.path()).ended().await
    }

    async fn told(&self, arguments: &[&str]) -> String {
        let arguments = [&["explain"], arguments].concat();
        let ended = self.run(&arguments).await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        ended.output
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.told(&[arguments, &["--json"]].concat()).await).unwrap()
    }
}

#[track_caller]
fn assert_lines(output: &str, lines: &[&str]) {
    for line in lines {
        assert!(output.contains(line), "no '{line}' in\n{output}");
    }
}

#[tokio::test]
async fn a_route_is_told_with_its_reasons_and_the_others_with_theirs() {
    let told = Scene::new().told(&["POST", "/v1/chat/completions?x=1"]).await;
    assert_lines(
        &told,
        &[
            "POST http://localhost/v1/chat/completions?x=1\n",
            "route chat\n  written at    kong.yaml:6: services[0].routes[0]\n",
            "  methods       POST\n",
            "  paths         /v1/chat/completions begins with /v1/chat\n",
            "everything-else  matches, too, but chat goes first: it has more criteria\n",
            "hosts: localhost is none of api.test; headers: the request does not have x-version: 2",
        ],
    );
}

#[tokio::test]
async fn plugins_are_told_in_order_with_their_scope_and_the_models_with_their_identity() {
    let told = Scene::new().told(&["POST", "/v1/chat"]).await;
    let order = ["key-auth", "ai-proxy-advanced", "request-termination"];
    let at = order.map(|name| told.find(&format!("  {name} ")).unwrap());
    assert!(at.is_sorted(), "{told}");
    assert_lines(
        &told,
        &[
            "1250  key-auth             service models  access",
            "770  ai-proxy-advanced    route chat ",
            "model gpt-4o, weight 80, tried first (priority) (config.targets[0])\n",
            "https://one.openai.azure.com/openai/deployments/d/chat/completions?api-version=",
            "as managed identity (IMDS), system-assigned",
            "model gpt-4o, weight 20, tried in place 2 of 2 (config.targets[1])\n",
            "with the key of auth.header_value, in header api-key",
            "2  request-termination  everything ",
            "for consumer group gold: the consumer is not in this group",
        ],
    );
    assert!(!told.contains("canary"), "{told}");
}

#[tokio::test]
async fn a_consumer_brings_the_plugins_of_its_groups() {
    let scene = Scene::new();
    let told = scene.told(&["POST", "/v1/chat", "--consumer", "alice"]).await;
    assert_lines(
        &told,
        &[
            "consumer      alice, in gold\n",
            "request-termination  consumer group gold ",
            "for everything: a more specific one is in its place",
        ],
    );
    let ended = scene.run(&["explain", "GET", "/v1", "--consumer", "bob"]).await;
    assert_eq!(ended.code, Some(2));
    assert_lines(
        &ended.output,
        &["--consumer: there is no consumer with the username or id 'bob'"],
    );
}

#[tokio::test]
async fn an_upstream_its_targets_and_the_captures_are_told() {
    let url = "http://api.test/users/17";
    let told = Scene::new().told(&["GET", url, "-H", "X-Version: 2"]).await;
    assert_lines(
        &told,
        &[
            "  paths         /users/17 matches ~/users/(?<id>\\d+)$\n",
            "  captured      id = 17\n",
            "  goes to       http://pool.test/base\n",
            "  Host          inner.test\n",
            "  target        127.0.0.1:81, weight 7\n",
            "for route users: it is switched off (enabled: false)",
        ],
    );
}

#[tokio::test]
async fn what_the_gateway_answers_itself_is_told() {
    let scene = Scene::new();
    let told = scene.told(&["GET", "/nowhere"]).await;
    assert_lines(&told, &["no route matches: 404 no Route matched with those values\n"]);
    let told = scene.told(&["GET", "/dead"]).await;
    assert_lines(&told, &["  dead ", "would match, but its service gone is disabled\n"]);
    let told = scene.told(&["GET", "/secure"]).await;
    assert_lines(&told, &["answers       426: the Route is not for this protocol\n"]);
    let told = scene.told(&["GET", "https://localhost/secure"]).await;
    assert_lines(&told, &["answers       503: no Service found with those values"]);
}

#[tokio::test]
async fn scripts_get_the_same_as_json() {
    let told = Scene::new().json(&["POST", "/v1/chat"]).await;
    assert_eq!(told["route"]["name"], "chat");
    assert_eq!(told["route"]["criteria"][0], json!({"field": "methods", "values": "POST"}));
    assert_eq!(told["others"][0]["name"], "everything-else");
    assert_eq!(told["others"][0]["comes_later_because"], "it has more criteria");
    assert_eq!(told["service"]["url"], "http://127.0.0.1:9/unused/v1/chat");
    let names: Vec<_> = told["plugins"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["key-auth", "ai-proxy-advanced", "request-termination"]);
    let models = told["plugins"][1]["models"].as_array().unwrap();
    assert_eq!(models[0]["signs_in"]["kind"], "identity");
    assert_eq!(models[1]["signs_in"]["from"], "auth.header_value");
    let verdicts: Vec<_> =
        told["plugins"][2]["configurations"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&verdicts[0]["verdict"], &verdicts[1]["verdict"]),
        (&json!("other_group"), &json!("runs"))
    );
}

#[tokio::test]
async fn a_question_that_is_none_ends_with_status_2() {
    let scene = Scene::new();
    for (arguments, said) in [
        (&["G ET", "/"][..], "METHOD: 'G ET' is no method"),
        (&["GET", "localhost"], "URL: 'localhost' is no URL"),
        (&["GET", "ftp://localhost/"], "URL: 'ftp' is neither http nor https"),
        (&["GET", "/", "-H", "x"], "-H: 'x' is not of the form 'Name: value'"),
    ] {
        let ended = scene.run(&[&["explain"], arguments].concat()).await;
        assert_eq!(ended.code, Some(2), "{}", ended.output);
        assert_lines(&ended.output, &[said]);
    }
}

#[tokio::test]
async fn a_dump_can_be_served_in_place_of_the_file() {
    let scene = Scene::new();
    let whole = scene.run(&["config", "dump", "--with-secrets"]).await;
    assert_eq!(whole.code, Some(0), "{}", whole.output);
    let path = scene.folder.path().join("whole.yaml");
    std::fs::write(&path, &whole.output).unwrap();
    let again = scene.run(&["config", "dump", "--with-secrets", "whole.yaml"]).await;
    assert_eq!(again.output, whole.output);
    let route =
        |output: &str| output.lines().find(|line| line.starts_with("route")).map(str::to_owned);
    let (before, after) = (
        scene.told(&["POST", "/v1/chat", "kong.yaml"]).await,
        scene.told(&["POST", "/v1/chat", "whole.yaml"]).await,
    );
    assert_eq!(route(&before), route(&after));
    assert_lines(
        &after,
        &["1250  key-auth", "weight 80, tried first (priority) (config.targets[0])"],
    );
}

#[tokio::test]
async fn a_dump_masks_secrets_unless_it_is_told_not_to() {
    let scene = Scene::new();
    for arguments in [&["config", "dump"][..], &["config", "dump", "--json"]] {
        let masked = scene.run(arguments).await;
        assert_eq!(masked.code, Some(0), "{}", masked.output);
        assert!(!masked.output.contains("canary"), "{}", masked.output);
        assert!(masked.output.contains("***"), "{}", masked.output);
    }
    let json = scene.run(&["config", "dump", "--json", "--with-secrets"]).await;
    let document: Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(document["keyauth_credentials"][0]["key"], "canary-alice");
}
