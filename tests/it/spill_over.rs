//! Provisioned throughput first, pay-as-you-go while it is busy, and back in time.

use serde_json::Value;
use silverback::sim::{Kind, Options, Rule, Sim};

use super::azure_scene::{HELLO, content};
use super::gateway::{Builder, TestGateway};
use super::http::{self, Message};

const COOLING: &str = "cooling: {enabled: true}";

/// A gateway in front of one deployment of each kind, and consumers of two groups.
struct Scene {
    sim: Sim,
    gateway: TestGateway,
}

impl Scene {
    fn start(balancer: &str, deployments: &[&str]) -> Self {
        let sim = Sim::start(Options::default()).unwrap();
        let gateway = Builder::default().set("nginx_worker_processes", "2").start(&file(
            &sim.url(),
            balancer,
            deployments,
        ));
        Self { sim, gateway }
    }

    /// The next chats of a deployment are refused like this.
    fn refuse(&self, deployment: &str, times: Option<u32>, status: u16, wait: (&str, &str)) {
        let rule = Rule {
            kind: Some(Kind::Chat),
            deployment: Some(deployment.to_owned()),
            times,
            status: Some(status),
            headers: vec![(wait.0.to_owned(), wait.1.to_owned())],
            ..Rule::default()
        };
        self.sim.fault(rule).unwrap();
    }

    async fn chat(&self, key: &str) -> Message {
        let headers = [("Content-Type", "application/json"), ("apikey", key)];
        http::send(self.gateway.address, "POST", "/chat", &headers, HELLO.as_bytes()).await
    }

    /// The deployments that were asked since the last time.
    fn asked(&self) -> Vec<String> {
        let deployment = |target: String| target.split('/').nth(3).unwrap().to_owned();
        self.sim.take().into_iter().map(|seen| deployment(seen.target())).collect()
    }
}

fn file(sim: &str, balancer: &str, deployments: &[&str]) -> String {
    let target = |(index, deployment): (usize, &&str)| {
        let weight = 2 - index;
        let url = format!("{sim}/openai/deployments/{deployment}/chat/completions");
        format!(
            "      - route_type: llm/v1/chat
        weight: {weight}
        auth: {{header_name: api-key, header_value: sim-key}}
        logging: {{log_statistics: true}}
        model:
          provider: azure
          name: gpt-4o
          options:
            upstream_url: {url}
            azure_instance: contoso
            azure_deployment_id: {deployment}
            azure_api_version: \"2024-10-21\"
            input_cost: 1000
            output_cost: 1000
"
        )
    };
    let targets: String = deployments.iter().enumerate().map(target).collect();
    format!(
        "_format_version: \"3.0\"
services:
- name: llm
  url: http://127.0.0.1:9
  routes:
  - name: chat
    paths: [/chat]
    plugins: [{{name: key-auth}}]
consumer_groups: [{{name: people}}, {{name: batch}}]
consumers:
- username: ada
  groups: [{{name: people}}]
  keyauth_credentials: [{{key: ada}}]
- username: nightly
  groups: [{{name: batch}}]
  keyauth_credentials: [{{key: nightly}}]
plugins:
- name: ai-proxy-advanced
  instance_name: models
  config:
    balancer: {{algorithm: priority, {balancer}}}
    targets:
{targets}"
    )
}

#[tokio::test]
async fn a_busy_ptu_spills_over_at_once_and_takes_over_in_time() {
    let scene = Scene::start(COOLING, &["ptu", "payg"]);
    let quiet = scene.chat("ada").await;
    assert_eq!((quiet.status(), quiet.header("x-silverback-spilled")), (200, None));
    assert_eq!(quiet.header("x-silverback-attempts"), None);
    scene.refuse("ptu", Some(1), 429, ("retry-after-ms", "400"));
    let busy = scene.chat("ada").await;
    assert_eq!(busy.status(), 200, "{}", busy.text());
    assert_eq!(busy.header("x-silverback-spilled"), Some("127.0.0.1/ptu"));
    let attempts = Some("127.0.0.1/ptu=429, 127.0.0.1/payg=200");
    assert_eq!(busy.header("x-silverback-attempts"), attempts);
    assert!(content(&busy).is_string());
    assert_eq!(scene.asked(), ["ptu", "ptu", "payg"]);
    let mut spilled = 1;
    loop {
        let answer = scene.chat("ada").await;
        assert_eq!((answer.status(), answer.header("x-silverback-attempts")), (200, None));
        match answer.header("x-silverback-spilled") {
            Some(_) => spilled += 1,
            None => break,
        }
    }
    let mut expected = vec!["payg"; spilled - 1];
    expected.push("ptu");
    assert_eq!(scene.asked(), expected, "nobody asks in between");
    let metrics = scene.gateway.status("/metrics").await.text();
    let labels = "{plugin=\"models\",from=\"127.0.0.1/ptu\",to=\"127.0.0.1/payg\"}";
    let line = format!("silverback_ai_spilled_requests_total{labels} {spilled}\n");
    assert!(metrics.contains(&line), "{line}{metrics}");
    assert!(metrics.contains("silverback_ai_spilled_cost_total{"), "{metrics}");
}

#[tokio::test]
async fn all_workers_leave_a_busy_target_alone_and_status_says_so() {
    let scene = Scene::start(COOLING, &["ptu", "payg"]);
    scene.refuse("ptu", None, 503, ("retry-after", "50"));
    // Enough connections for both workers.
    for _ in 0..12 {
        let answer = scene.chat("ada").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("x-silverback-spilled"), Some("127.0.0.1/ptu"));
    }
    let asked = scene.asked();
    assert_eq!(asked.iter().filter(|one| *one == "ptu").count(), 1, "{asked:?}");
    let page = scene.gateway.status("/status").await.json();
    let target = |name: &str| -> Value {
        let targets = page["ai_targets"].as_array().unwrap();
        targets.iter().find(|one| one["target"] == name).unwrap().clone()
    };
    let cools = target("127.0.0.1/ptu")["cools_secs"]["llm/v1/chat"].as_f64().unwrap();
    assert!(cools > 0.0 && cools <= 50.0, "{page}");
    assert_eq!(target("127.0.0.1/payg")["cools_secs"], serde_json::json!({}));
}

#[tokio::test]
async fn batch_jobs_wait_where_people_spill_over() {
    let spill = format!("{COOLING}, spill: {{deny_consumer_groups: [batch]}}");
    let scene = Scene::start(&spill, &["ptu", "payg"]);
    scene.refuse("ptu", None, 429, ("retry-after", "50"));
    assert_eq!(scene.chat("ada").await.status(), 200);
    let refused = scene.chat("nightly").await;
    assert_eq!(refused.status(), 429, "{}", refused.text());
    assert_waits(&refused, 50_000);
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(refused.header("x-silverback-spilled"), None);
    assert_eq!(scene.asked(), ["ptu", "payg"], "the batch job has asked nobody");
}

/// The client is told to wait for at most so long.
#[track_caller]
fn assert_waits(answer: &Message, at_most_ms: u64) {
    let number = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
    let (seconds, millis) = (number("retry-after"), number("retry-after-ms"));
    assert!(millis > 0 && millis <= at_most_ms, "{millis}");
    assert_eq!(seconds, millis.div_ceil(1000));
}

#[tokio::test]
async fn when_all_are_busy_the_client_learns_who_is_back_first() {
    let scene = Scene::start(COOLING, &["ptu", "payg"]);
    scene.refuse("ptu", None, 429, ("retry-after-ms", "20000"));
    scene.refuse("payg", None, 429, ("retry-after", "86400"));
    for _ in 0..2 {
        let answer = scene.chat("ada").await;
        assert_eq!(answer.status(), 429, "{}", answer.text());
        assert_waits(&answer, 20_000);
        let error = &answer.json()["error"];
        assert_eq!((&error["type"], &error["param"]), (&"requests".into(), &Value::Null));
    }
    assert_eq!(scene.asked(), ["ptu", "payg"], "the second request has asked nobody");
}

#[tokio::test]
async fn the_only_target_is_asked_again_and_its_refusal_passes_as_it_is() {
    let scene = Scene::start(COOLING, &["ptu"]);
    scene.refuse("ptu", None, 429, ("retry-after", "7"));
    for _ in 0..2 {
        let answer = scene.chat("ada").await;
        assert_eq!((answer.status(), answer.header("retry-after")), (429, Some("7")));
        assert_eq!(answer.header("retry-after-ms"), None);
        assert_eq!(answer.json()["error"]["code"], "429", "{}", answer.text());
    }
    assert_eq!(scene.asked(), ["ptu", "ptu"]);
}

#[tokio::test]
async fn spilled_money_is_capped() {
    let spill = format!("{COOLING}, spill: {{max_cost: 0.0001}}");
    let scene = Scene::start(&spill, &["ptu", "payg"]);
    scene.refuse("ptu", None, 429, ("retry-after", "50"));
    assert_eq!(scene.chat("ada").await.status(), 200);
    // A million tokens are a thousand, so one answer is more than the cap.
    let answer = scene.chat("ada").await;
    assert_eq!(answer.status(), 429, "{}", answer.text());
    assert_waits(&answer, 50_000);
    assert_eq!(scene.asked(), ["ptu", "payg"]);
}

#[tokio::test]
async fn a_reload_forgets_nothing_of_targets_that_stay() {
    let sim = Sim::start(Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    let before = file(&sim.url(), COOLING, &["ptu", "payg"]);
    std::fs::write(&path, &before).unwrap();
    let gateway = Builder::default().start_with_file(&path);
    let scene = Scene { sim, gateway };
    scene.refuse("ptu", Some(1), 429, ("retry-after", "50"));
    assert_eq!(scene.chat("ada").await.status(), 200);
    let after = before.replace("weight: 2", "weight: 7");
    assert_ne!(before, after);
    std::fs::write(&path, after).unwrap();
    scene.gateway.reload().await.unwrap();
    let answer = scene.chat("ada").await;
    assert_eq!(answer.header("x-silverback-spilled"), Some("127.0.0.1/ptu"));
    assert_eq!(scene.asked(), ["ptu", "payg", "payg"]);
}
