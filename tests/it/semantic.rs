//! The semantic balancer: prompts go to the target whose description they fit, over sockets, with
//! embeddings of the simulator and vectors in a real Redis.

use serde_json::{Value, json};
use silverback::sim::{Kind, Options, Recorded, Rule, Sim};

use super::gateway::{Builder, TestGateway};
use super::http::Message;
use super::log_lines;
use super::redis_server::{PAUSE, Redis};
use super::stream_ends::soon;

/// Deployments with their descriptions.
const TARGETS: [(&str, &str); 3] =
    [("code", "Python programming"), ("money", "Invoices and taxes"), ("rest", "CATCHALL")];

struct Scene {
    sim: Sim,
    redis: Redis,
    gateway: TestGateway,
}

fn yaml(sim: &str, redis: u16, targets: &[(&str, &str)]) -> String {
    let target = |(deployment, description): &(&str, &str)| {
        json!({
            "route_type": "llm/v1/chat",
            "description": description,
            "auth": {"header_name": "api-key", "header_value": "sim-key"},
            "model": {"provider": "azure", "name": deployment, "options": {
                "azure_instance": "i", "azure_deployment_id": deployment,
                "azure_api_version": "2024-10-21",
                "upstream_url": format!("{sim}/openai/deployments/{deployment}/chat/completions"),
            }},
        })
    };
    let config = json!({
        "balancer": {"algorithm": "semantic", "failover_criteria": ["http_500", "non_idempotent"]},
        "targets": targets.iter().map(target).collect::<Vec<_>>(),
        "embeddings": {
            "auth": {"azure_use_managed_identity": true},
            "model": {"provider": "azure", "name": "text-embedding-3-small", "options": {
                "upstream_url":
                    format!("{sim}/openai/deployments/embed/embeddings?api-version=2024-10-21"),
                "azure": {"instance": "i", "deployment_id": "embed"},
            }},
        },
        "vectordb": {
            "strategy": "redis", "dimensions": 256, "distance_metric": "cosine", "threshold": 0.6,
            "redis": {"host": "127.0.0.1", "port": redis},
        },
    });
    let plugin = json!({"name": "ai-proxy-advanced", "config": config});
    let route = json!({"name": "r", "paths": ["/chat"], "plugins": [plugin]});
    json!({
        "_format_version": "3.0",
        "services": [{"name": "s", "url": "http://127.0.0.1:9", "routes": [route]}],
    })
    .to_string()
}

fn builder(sim: &Sim) -> Builder {
    Builder::default()
        .env("AZURE_AUTHORITY_HOST", &sim.url())
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &sim.url())
}

impl Scene {
    async fn start(targets: &[(&str, &str)]) -> Self {
        let (sim, redis) = (Sim::start(Options::default()).unwrap(), Redis::start().await);
        let gateway = builder(&sim).start(&yaml(&sim.url(), redis.port, targets));
        Self { sim, redis, gateway }
    }

    async fn say(&self, prompt: &str) -> Message {
        say(&self.gateway, prompt).await
    }

    /// Which target answers.
    async fn goes_to(&self, prompt: &str) -> String {
        let answer = self.say(prompt).await;
        assert_eq!(answer.status(), 200, "{prompt}: {}", answer.text());
        let model = answer.header("x-kong-llm-model").unwrap().to_owned();
        model.strip_prefix("azure/").unwrap().to_owned()
    }

    /// What the embedding model was asked about.
    fn asked(&self) -> Vec<Value> {
        let is_embedding = |seen: &Recorded| seen.kind == Kind::Embeddings;
        let seen = self.sim.requests().into_iter().filter(is_embedding);
        seen.map(|seen| seen.json().unwrap()["input"].clone()).collect()
    }
}

async fn say(gateway: &TestGateway, prompt: &str) -> Message {
    let messages = json!([
        {"role": "user", "content": "taxes, taxes"},
        {"role": "assistant", "content": "python python"},
        {"role": "user", "content": prompt},
    ]);
    gateway.post("/chat", &json!({ "messages": messages }).to_string()).await
}

#[tokio::test]
async fn a_prompt_goes_where_it_fits_best_or_to_who_catches_all() {
    let scene = Scene::start(&TARGETS).await;
    assert_eq!(scene.goes_to("How is programming in Python?").await, "code");
    assert_eq!(scene.goes_to("my invoices, and your taxes").await, "money");
    assert_eq!(scene.goes_to("the weather of tomorrow").await, "rest");
    let asked = scene.asked();
    let descriptions = [json!("Python programming"), json!("Invoices and taxes")];
    assert_eq!(asked[..2], descriptions, "once, and none for the one that catches all");
    assert_eq!(asked[2..].len(), 3);
    let is_embedding = |seen: &&Recorded| seen.kind == Kind::Embeddings;
    let seen = scene.sim.requests();
    let embedding = seen.iter().find(is_embedding).unwrap();
    assert!(embedding.header("authorization").unwrap().starts_with("Bearer "));
    assert_eq!(embedding.json().unwrap()["dimensions"], 256);
    // Another gateway takes the descriptions from the store.
    let config = yaml(&scene.sim.url(), scene.redis.port, &TARGETS);
    let other = builder(&scene.sim).start(&config);
    let answer = say(&other, "programming").await;
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/code"));
    assert_eq!(scene.asked().len(), 6, "one prompt more");
}

#[tokio::test]
async fn targets_with_the_same_description_take_turns_and_fail_over_to_the_next_nearest() {
    let targets = [
        ("code-1", "Python programming"),
        ("money", "Invoices and taxes"),
        ("code-2", "Python programming"),
        ("rest", "CATCHALL"),
    ];
    let scene = Scene::start(&targets).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(scene.goes_to("programming").await);
    }
    seen.sort();
    assert_eq!(seen, ["code-1", "code-1", "code-2", "code-2"]);
    for deployment in ["code-1", "code-2"] {
        let rule =
            Rule { deployment: Some(deployment.to_owned()), status: Some(500), ..Rule::default() };
        scene.sim.fault(rule).unwrap();
    }
    let answer = scene.say("python programming, programming of taxes and invoices").await;
    let attempts = answer.header("x-silverback-attempts").unwrap();
    let names: Vec<&str> = attempts.split(", ").map(|one| one.split('=').next().unwrap()).collect();
    assert_eq!(names.len(), 3, "{attempts}");
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/money"), "{attempts}");
    let answer = scene.say("programming, programming").await;
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/rest"), "before those too far");
}

#[tokio::test]
async fn a_prompt_that_fits_nowhere_is_refused_where_nobody_catches_it() {
    log_lines::keep();
    let scene = Scene::start(&TARGETS[..2]).await;
    let mark = log_lines::mark();
    let answer = scene.say("the weather of tomorrow").await;
    assert_eq!(answer.status(), 500, "{}", answer.text());
    let lines = log_lines::since(mark, answer.header("x-kong-request-id").unwrap());
    let lines: Vec<&str> =
        lines.iter().filter_map(|line| line["fields"]["message"].as_str()).collect();
    assert_eq!(lines[0], "no target can be found under threshold 0.6");
    assert!(lines[1].contains("CATCHALL"), "{lines:?}");
}

#[tokio::test]
async fn without_the_embedding_model_the_target_that_catches_all_takes_over() {
    let (sim, redis) = (Sim::start(Options::default()).unwrap(), Redis::start().await);
    let rule = Rule {
        deployment: Some("embed".to_owned()),
        status: Some(503),
        times: Some(1),
        ..Rule::default()
    };
    sim.fault(rule).unwrap();
    let gateway = builder(&sim).start(&yaml(&sim.url(), redis.port, &TARGETS));
    let scene = Scene { sim, redis, gateway };
    assert_eq!(scene.goes_to("programming").await, "rest", "the descriptions are not known");
    // It is asked again after a while, without a request.
    soon("the descriptions", async {
        while scene.goes_to("programming").await != "code" {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    let rule = Rule { deployment: Some("embed".to_owned()), status: Some(503), ..Rule::default() };
    scene.sim.fault(rule).unwrap();
    assert_eq!(scene.goes_to("programming").await, "rest");
    let both = Scene::start(&TARGETS[..2]).await;
    assert_eq!(both.goes_to("programming").await, "code");
    let rule = Rule { deployment: Some("embed".to_owned()), status: Some(503), ..Rule::default() };
    both.sim.fault(rule).unwrap();
    let mut seen = [both.goes_to("programming").await, both.goes_to("programming").await];
    seen.sort();
    assert_eq!(seen, ["code", "money"], "by turns");
}

#[tokio::test]
async fn what_is_missing_is_named_when_the_configuration_loads() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut config: Value =
            serde_json::from_str(&yaml("http://127.0.0.1:1", 1, &TARGETS)).unwrap();
        change(&mut config["services"][0]["routes"][0]["plugins"][0]["config"]);
        Builder::default().try_start(&config.to_string()).err().unwrap().join("\n")
    };
    let line = refused(&|config| config["targets"][1]["description"] = Value::Null);
    assert!(line.contains("config.targets[1].description: balancer.algorithm"), "{line}");
    let line = refused(&|config| config["vectordb"]["dimensions"] = 0.into());
    assert!(line.contains("config.vectordb.dimensions: must be from 1 to"), "{line}");
    let line = refused(&|config| {
        config["embeddings"]["model"]["options"]["azure"]["instance"] = Value::Null;
        config["embeddings"]["model"]["options"]["upstream_url"] = Value::Null;
    });
    assert!(line.contains("config.embeddings.model.options.azure.instance"), "{line}");
    let line = refused(&|config| config["embeddings"]["model"]["provider"] = "gemini".into());
    assert!(line.contains("config.embeddings.model.provider: 'gemini' is not built yet"), "{line}");
    let line = refused(&|config| config["embeddings"]["model"]["provider"] = "huggingface".into());
    assert!(line.contains("config.embeddings.model.provider: it has no embeddings here"), "{line}");
    let line = refused(&|config| config["embeddings"] = Value::Null);
    assert!(line.contains("must set 'embeddings'"), "{line}");
}
