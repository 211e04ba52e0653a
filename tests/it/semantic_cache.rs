//! ai-semantic-cache over sockets: replies of the simulator, kept in a real Redis or Postgres.

use serde_json::{Value, json};
use silverback::sim::{Kind, Options, Recorded, Rule, Sim};

use super::gateway::{Builder, TestGateway};
use super::http::Message;
use super::postgres_server::Postgres;
use super::redis_server::{PAUSE, Redis};
use super::stream_ends::{LogPipe, soon};

struct Scene {
    sim: Sim,
    gateway: TestGateway,
}

fn target(sim: &str, deployment: &str) -> Value {
    json!({
        "route_type": "llm/v1/chat",
        "auth": {"header_name": "api-key", "header_value": "sim-key"},
        "logging": {"log_statistics": true},
        "model": {"provider": "azure", "name": deployment, "options": {
            "azure_instance": "i", "azure_deployment_id": deployment,
            "azure_api_version": "2024-10-21",
            "upstream_url": format!("{sim}/openai/deployments/{deployment}/chat/completions"),
        }},
    })
}

fn redis(port: u16) -> Value {
    json!({"strategy": "redis", "redis": {"host": "127.0.0.1", "port": port}})
}

fn postgres(port: u16) -> Value {
    let place = json!({"host": "127.0.0.1", "port": port, "password": "s3cret",
        "database": "vectors"});
    json!({"strategy": "pgvector", "pgvector": place})
}

/// A configuration with a Route for each of these deployments; `more` goes on top of the cache's.
fn yaml(sim: &str, vectordb: &Value, deployments: &[&str], more: &Value, log: &str) -> String {
    let mut vectordb = vectordb.clone();
    for (name, value) in [
        ("dimensions", json!(256)),
        ("distance_metric", json!("cosine")),
        ("threshold", json!(0.3)),
    ] {
        vectordb[name] = value;
    }
    let mut config = json!({
        "embeddings": {
            "auth": {"header_name": "api-key", "header_value": "sim-key"},
            "model": {"provider": "azure", "name": "text-embedding-3-small", "options": {
                "upstream_url":
                    format!("{sim}/openai/deployments/embed/embeddings?api-version=2024-10-21"),
                "azure": {"instance": "i", "deployment_id": "embed"},
            }},
        },
        "vectordb": vectordb,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let route = |deployment: &&str| {
        let plugins = json!([
            {"name": "ai-proxy-advanced", "config": {"targets": [target(sim, deployment)]}},
            {"name": "ai-semantic-cache", "config": config},
        ]);
        json!({"name": deployment, "paths": [format!("/{deployment}")], "plugins": plugins})
    };
    let routes: Vec<Value> = deployments.iter().map(route).collect();
    let mut plugins = vec![json!({"name": "prometheus", "config": {"ai_metrics": true}})];
    if !log.is_empty() {
        plugins.push(json!({"name": "file-log", "config": {"path": log}}));
    }
    json!({
        "_format_version": "3.0",
        "plugins": plugins,
        "services": [{"name": "s", "url": "http://127.0.0.1:9", "routes": routes}],
    })
    .to_string()
}

impl Scene {
    fn start(vectordb: &Value, more: Value) -> Self {
        Self::with(vectordb, &["one"], &more, "")
    }

    fn with(vectordb: &Value, deployments: &[&str], more: &Value, log: &str) -> Self {
        let sim = Sim::start(Options::default()).unwrap();
        let gateway = Builder::default().env("AZURE_AUTHORITY_HOST", &sim.url()).start(&yaml(
            &sim.url(),
            vectordb,
            deployments,
            more,
            log,
        ));
        Self { sim, gateway }
    }

    async fn ask(&self, prompt: &str) -> Message {
        self.ask_with(prompt, json!({})).await
    }

    async fn ask_with(&self, prompt: &str, more: Value) -> Message {
        self.gateway.post("/one", &chat(prompt, more)).await
    }

    /// Asks until the reply is kept, which nothing waits for.
    async fn asked_until_kept(&self, prompt: &str) -> Message {
        soon("the reply is kept", async {
            loop {
                let answer = self.ask(prompt).await;
                if status(&answer) == "Hit" {
                    return answer;
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await
    }

    /// The same with streams only, and then once more as a whole.
    async fn asked_until_kept_as_stream(&self, prompt: &str) -> Message {
        soon("the stream is kept", async {
            while status(&self.ask_with(prompt, json!({"stream": true})).await) != "Hit" {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
        let answer = self.ask(prompt).await;
        assert_eq!(status(&answer), "Hit");
        answer
    }

    fn calls(&self, kind: Kind) -> usize {
        let is_of_kind = |seen: &Recorded| seen.kind == kind;
        self.sim.requests().into_iter().filter(is_of_kind).count()
    }
}

fn chat(prompt: &str, more: Value) -> String {
    let mut chat = json!({"messages": [{"role": "user", "content": prompt}]});
    chat.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    chat.to_string()
}

fn status(answer: &Message) -> &str {
    answer.header("x-cache-status").unwrap_or_default()
}

async fn answers_what_means_the_same(vectordb: &Value) {
    let scene = Scene::start(vectordb, json!({}));
    let first = scene.ask("How do cats sleep?").await;
    assert_eq!((first.status(), status(&first)), (200, "Miss"), "{}", first.text());
    let key = first.header("x-cache-key").unwrap().to_owned();
    assert_eq!(key.len(), 64);
    let kept = scene.asked_until_kept("the sleep of a cat").await;
    assert_eq!(kept.header("content-type"), Some("application/json"));
    assert_eq!(kept.header("x-cache-ttl").map(|ttl| ttl.parse::<u64>().unwrap() > 290), Some(true));
    assert!(kept.header("age").unwrap().parse::<u64>().unwrap() < 10);
    assert_eq!(kept.header("x-kong-upstream-latency"), None);
    let asked = scene.calls(Kind::Chat);
    let other = scene.ask("invoices of March").await;
    assert_eq!(status(&other), "Miss");
    assert_ne!(other.body, kept.body);
    assert_eq!(scene.calls(Kind::Chat), asked + 1);
    // The same question of another kind.
    let cold = scene.ask_with("How do cats sleep?", json!({"temperature": 0})).await;
    assert_eq!(status(&cold), "Miss");
    // A reply that is kept is one byte for byte.
    let again = scene.ask("How do cats sleep?").await;
    assert_eq!((status(&again), &again.body), ("Hit", &kept.body));
}

#[tokio::test]
async fn a_question_that_means_the_same_is_answered_out_of_redis() {
    let server = Redis::start().await;
    answers_what_means_the_same(&redis(server.port)).await;
    let keys = server.ask(&["keys", "silverback:vector:replies:*"]);
    let key = keys.lines().next().unwrap();
    let ttl: i64 = server.ask(&["ttl", key]).parse().unwrap();
    assert!((290..=300).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn a_question_that_means_the_same_is_answered_out_of_postgres() {
    let server = Postgres::start();
    answers_what_means_the_same(&postgres(server.port)).await;
    let kept = "SELECT count(*) FROM silverback_reals_256 WHERE expires_at > now() + '4 minutes'";
    soon("all replies are kept", async {
        while server.say(kept) != "3" {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

#[tokio::test]
async fn streams_are_kept_whole_and_answered_as_streams() {
    let server = Redis::start().await;
    let scene = Scene::start(&redis(server.port), json!({}));
    let streams = json!({"stream": true});
    let asks = json!({"stream": true, "stream_options": {"include_usage": true}});
    let first = scene.ask_with("How do cats sleep?", asks.clone()).await;
    assert_eq!(status(&first), "Miss");
    assert!(first.text().ends_with("data: [DONE]\n\n"), "{}", first.text());
    // A client that wants no stream gets what the stream said.
    let whole = scene.asked_until_kept("How do cats sleep?").await.json();
    assert_eq!(whole["object"], "chat.completion");
    let said = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.contains("cats"), "{whole}");
    let told = |events: &str| -> String {
        let data = events.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
        let data = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        data.filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect()
    };
    assert_eq!(told(&first.text()), said);
    let stream = scene.ask_with("How do cats sleep?", streams.clone()).await;
    assert_eq!((status(&stream), told(&stream.text())), ("Hit", said));
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert!(stream.text().ends_with("data: [DONE]\n\n"));
    assert!(!stream.text().contains("\"usage\""), "nobody has asked for it");
    let stream = scene.ask_with("How do cats sleep?", asks.clone()).await;
    assert!(stream.text().contains("\"usage\":{"), "{}", stream.text());
}

#[tokio::test]
async fn a_stream_without_its_tokens_answers_clients_that_want_them() {
    // The older version does not know how to tell tokens, so nobody asks it to.
    for (version, is_estimated) in [("2024-10-21", false), ("2024-06-01", true)] {
        let server = Redis::start().await;
        let sim = Sim::start(Options::default()).unwrap();
        let yaml = yaml(&sim.url(), &redis(server.port), &["one"], &json!({}), "");
        let current = r#""azure_api_version":"2024-10-21""#;
        assert!(yaml.contains(current));
        let yaml = yaml.replace(current, &format!(r#""azure_api_version":"{version}""#));
        let scene = Scene { sim, gateway: TestGateway::start(&yaml) };
        let first = scene.ask_with("invoices of March", json!({"stream": true})).await;
        assert_eq!(status(&first), "Miss");
        assert!(!first.text().contains("\"usage\":{"), "{}", first.text());
        let whole = scene.asked_until_kept_as_stream("invoices of March").await.json();
        let usage = &whole["usage"];
        assert!(usage["completion_tokens"].as_u64().unwrap() > 0, "{usage}");
        assert_eq!(usage.get("estimated"), is_estimated.then_some(&json!(true)), "{usage}");
        let asks = json!({"stream": true, "stream_options": {"include_usage": true}});
        let stream = scene.ask_with("invoices of March", asks).await;
        assert_eq!(status(&stream), "Hit");
        assert!(stream.text().contains(&format!("\"usage\":{usage}")), "{}", stream.text());
    }
}

#[tokio::test]
async fn the_very_same_request_needs_no_embedding() {
    let server = Redis::start().await;
    let scene = Scene::start(&redis(server.port), json!({"exact_caching": true}));
    scene.ask("How do cats sleep?").await;
    scene.asked_until_kept("How do cats sleep?").await;
    let asked = scene.calls(Kind::Embeddings);
    let again = scene.ask("How do cats sleep?").await;
    assert_eq!((status(&again), scene.calls(Kind::Embeddings)), ("Hit", asked));
    let near = scene.ask("the sleep of cats").await;
    assert_eq!((status(&near), scene.calls(Kind::Embeddings)), ("Hit", asked + 1));
    assert_eq!(near.header("x-cache-key"), again.header("x-cache-key"), "that of the reply");
}

#[tokio::test]
async fn routes_and_models_have_their_own_replies() {
    let server = Redis::start().await;
    let scene = Scene::with(&redis(server.port), &["one", "two"], &json!({}), "");
    scene.asked_until_kept("How do cats sleep?").await;
    let other = scene.gateway.post("/two", &chat("How do cats sleep?", json!({}))).await;
    assert_eq!(status(&other), "Miss");
}

#[tokio::test]
async fn replies_of_an_earlier_configuration_are_no_hits() {
    let server = Redis::start().await;
    let store = redis(server.port);
    let scene = Scene::start(&store, json!({}));
    scene.asked_until_kept("How do cats sleep?").await;
    let config = yaml(&scene.sim.url(), &store, &["one"], &json!({}), "");
    for (before, after, expected) in [
        ("", "", "Hit"),
        ("deployments/one/chat", "deployments/other/chat", "Miss"),
        ("\"azure_deployment_id\":\"one\"", "\"azure_deployment_id\":\"other\"", "Miss"),
        ("deployments/embed/embeddings", "deployments/other/embeddings", "Miss"),
    ] {
        assert!(config.contains(before), "{config}");
        let gateway = Builder::default().start(&config.replacen(before, after, 1));
        let answer = gateway.post("/one", &chat("How do cats sleep?", json!({}))).await;
        assert_eq!((answer.status(), status(&answer)), (200, expected), "{after}");
    }
}

#[tokio::test]
async fn chats_in_anthropics_format_pass() {
    let (server, sim) = (Redis::start().await, Sim::start(Options::default()).unwrap());
    let config = yaml(&sim.url(), &redis(server.port), &["one"], &json!({}), "");
    let anthropic = config.replace("{\"targets\"", "{\"llm_format\":\"anthropic\",\"targets\"");
    assert_ne!(anthropic, config);
    let gateway = Builder::default().start(&anthropic);
    let body = chat("How do cats sleep?", json!({"model": "one", "max_tokens": 9}));
    let answer = gateway.post("/one/v1/messages", &body).await;
    assert_eq!((answer.status(), status(&answer)), (200, "Bypass"), "{}", answer.text());
    let asked = sim.requests();
    assert!(asked.iter().all(|seen| seen.kind != Kind::Embeddings), "nothing was looked for");
}

#[tokio::test]
async fn what_cannot_be_compared_or_kept_passes() {
    let server = Redis::start().await;
    let scene = Scene::start(&redis(server.port), json!({}));
    let parts = json!([{"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "https://h.test/a.png"}}]);
    let picture = json!({"messages": [{"role": "user", "content": parts}]}).to_string();
    let answer = scene.gateway.post("/one", &picture).await;
    assert_eq!((answer.status(), status(&answer)), (200, "Bypass"));
    assert_eq!(scene.calls(Kind::Embeddings), 0);
    for _ in 0..2 {
        let failed = scene.ask("please [[fault-500]]").await;
        assert_eq!((failed.status(), status(&failed)), (500, "Miss"));
    }
    assert_eq!(server.ask(&["keys", "*"]), "");
}

#[tokio::test]
async fn cache_control_counts_where_it_is_to() {
    let server = Redis::start().await;
    let scene = Scene::start(&redis(server.port), json!({"cache_control": true}));
    let ask = async |control: &str| {
        let headers = [("Content-Type", "application/json"), ("Cache-Control", control)];
        let body = chat("How do cats sleep?", json!({}));
        scene.gateway.send("POST", "/one", &headers, body.as_bytes()).await
    };
    let answer = ask("only-if-cached").await;
    assert_eq!((answer.status(), status(&answer)), (504, "Miss"));
    assert_eq!(status(&ask("no-store").await), "Bypass");
    assert_eq!(status(&ask("no-cache").await), "Bypass");
    scene.asked_until_kept("How do cats sleep?").await;
    assert_eq!(status(&ask("max-age=60").await), "Hit");
    assert_eq!(status(&ask("min-fresh=1000").await), "Refresh");
    // What the upstream says of its reply.
    let rule = Rule {
        kind: Some(Kind::Chat),
        headers: vec![("Cache-Control".to_owned(), "no-cache".to_owned())],
        ..Rule::default()
    };
    scene.sim.fault(rule).unwrap();
    let answer = scene.ask("invoices of March").await;
    assert_eq!((answer.status(), status(&answer)), (200, "Bypass"), "{}", answer.text());
}

#[tokio::test]
async fn nothing_is_kept_for_more_than_a_year() {
    let server = Redis::start().await;
    let scene = Scene::start(&redis(server.port), json!({"cache_ttl": 9_007_199_254_740_991_u64}));
    let kept = scene.asked_until_kept("How do cats sleep?").await;
    let ttl: u64 = kept.header("x-cache-ttl").unwrap().parse().unwrap();
    assert!((31_535_000..=31_536_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn a_failure_of_the_cache_is_one_of_the_request_where_it_is_to_be() {
    let server = Redis::start().await;
    for (stops, expected) in [(false, 200), (true, 500)] {
        let scene = Scene::start(&redis(server.port), json!({"stop_on_failure": stops}));
        let rule =
            Rule { deployment: Some("embed".to_owned()), status: Some(503), ..Rule::default() };
        scene.sim.fault(rule).unwrap();
        let answer = scene.ask("How do cats sleep?").await;
        assert_eq!((answer.status(), status(&answer)), (expected, "Bypass"), "{}", answer.text());
    }
}

#[tokio::test]
async fn hits_are_logged_and_counted_with_kongs_names() {
    let (server, mut log) = (Redis::start().await, LogPipe::open());
    let path = log.path().display().to_string();
    let scene = Scene::with(&redis(server.port), &["one"], &json!({}), &path);
    scene.ask("How do cats sleep?").await;
    let record = log.record().await;
    let cache = &record["ai"]["proxy"]["cache"];
    assert_eq!(cache["cache_status"], "Miss", "{record}");
    assert_eq!(cache["vector_db"], "redis");
    assert_eq!(cache["embeddings_provider"], "azure");
    assert_eq!(cache["embeddings_model"], "text-embedding-3-small");
    assert!(cache["fetch_latency"].is_u64() && cache["embeddings_latency"].is_u64(), "{cache}");
    scene.asked_until_kept("How do cats sleep?").await;
    let mut record = log.record().await;
    while record["ai"]["proxy"]["cache"]["cache_status"] != "Hit" {
        record = log.record().await;
    }
    assert_eq!(record["ai"]["proxy"]["usage"]["total_tokens"], 0, "nothing was spent");
    let metrics = scene.gateway.status("/metrics").await.text();
    let of = |name: &str, status: &str| {
        let status = format!("cache_status=\"{status}\"");
        let has = |line: &&str| line.starts_with(name) && line.contains(&status);
        metrics.lines().find(has).unwrap_or_else(|| panic!("{name} {status}: {metrics}")).to_owned()
    };
    let hits = of("kong_ai_llm_requests_total", "hit");
    assert!(hits.contains("vector_db=\"redis\",embeddings_provider=\"azure\""), "{hits}");
    assert!(hits.ends_with(" 1"), "{hits}");
    of("kong_ai_llm_tokens_total", "miss");
    of("kong_ai_cache_fetch_latency_count", "hit");
    of("kong_ai_cache_embeddings_latency_count", "hit");
}

#[tokio::test]
async fn a_store_of_azure_takes_a_token_for_its_password() {
    let server = Redis::start().await;
    server.ask(&["acl", "setuser", "gateway", "on", "nopass", "~*", "+@all"]);
    server.ask(&["config", "set", "requirepass", "nobody-knows"]);
    let cloud = json!({"auth_provider": "azure", "azure_client_id": "app",
        "azure_client_secret": "sim-secret", "azure_tenant_id": "tenant"});
    let mut vectordb = redis(server.port);
    vectordb["redis"]["username"] = "gateway".into();
    let locked_out = Scene::start(&vectordb, json!({"stop_on_failure": true}));
    assert_ne!(locked_out.ask("what is a gateway?").await.status(), 200, "there is no password");
    vectordb["redis"]["cloud_authentication"] = cloud;
    let scene = Scene::start(&vectordb, json!({}));
    assert_eq!(status(&scene.ask("what is a gateway?").await), "Miss");
    scene.asked_until_kept("what is a gateway?").await;
    let asked = scene.sim.requests().into_iter().find(|seen| seen.kind.is_token_endpoint());
    let form = String::from_utf8_lossy(&asked.unwrap().body).into_owned();
    assert!(form.contains("scope=https%3A%2F%2Fredis.azure.com%2F.default"), "{form}");
}

#[tokio::test]
async fn a_store_that_cannot_be_signed_in_to_is_refused_by_name() {
    for (more, text) in [
        (
            json!({"cluster_nodes": [{"ip": "127.0.0.1", "port": 1}]}),
            "config.vectordb.redis.cluster_nodes: is not built for vectors; name one server",
        ),
        (
            json!({"cloud_authentication": {"auth_provider": "gcp"}}),
            "config.vectordb.redis.cloud_authentication.auth_provider: 'gcp' is not built",
        ),
        (
            json!({"cloud_authentication": {"auth_provider": "azure", "azure_client_id": "app",
                "azure_client_secret": "s"}}),
            "config.vectordb.redis.cloud_authentication: azure_tenant_id is missing (set \
             config.vectordb.redis.cloud_authentication.azure_tenant_id or AZURE_TENANT_ID",
        ),
        (
            json!({"host": "redis.test", "cloud_authentication": {"auth_provider": "azure"}}),
            "config.vectordb.redis.ssl: must be true",
        ),
    ] {
        let mut vectordb = redis(1);
        vectordb["redis"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config = yaml("http://127.0.0.1:1", &vectordb, &["one"], &json!({}), "");
        let lines = Builder::default().try_start(&config).err().unwrap().join("\n");
        assert!(lines.contains(text), "{lines}");
    }
}
