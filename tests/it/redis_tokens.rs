//! Redis servers whose password is a token of an Azure identity: what happens when it is renewed.

use serde_json::json;
use silverback::sim::{Kind, Options, Rule, Sim};

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream};
use super::redis_server::Redis;
use super::stream_ends::soon;

async fn model() -> Upstream {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": "hi"}});
    let body = json!({"model": "m", "choices": [choice]}).to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    let reply = format!("{head}{}\r\n\r\n{body}", body.len());
    Upstream::replying(Box::leak(reply.into_bytes().into_boxed_slice())).await
}

/// A limit on a model, counted in a cache of Azure's whose user is `gateway`.
fn config(model: &Upstream, redis: &Redis) -> String {
    let target = json!({
        "route_type": "llm/v1/chat",
        "auth": {"header_name": "api-key", "header_value": "k"},
        "model": {"provider": "openai", "name": "m",
            "options": {"upstream_url": format!("http://{}/", model.address)}},
    });
    let server = json!({"host": "127.0.0.1", "port": redis.port, "username": "gateway",
        "cloud_authentication": {"auth_provider": "azure", "azure_client_id": "app",
            "azure_client_secret": "sim-secret", "azure_tenant_id": "tenant"}});
    let limits = json!({
        "llm_providers": [{"name": "openai", "limit": [1000], "window_size": [31_536_000]}],
        "window_type": "fixed", "strategy": "redis", "sync_rate": 0, "namespace": "shared",
        "redis": server,
    });
    let plugins = json!([
        {"name": "ai-rate-limiting-advanced", "config": limits},
        {"name": "ai-proxy-advanced", "config": {"targets": [target]}},
    ]);
    let route = json!({"name": "r", "paths": ["/a"], "plugins": plugins});
    let service = json!({"name": "s", "url": "http://127.0.0.1:9", "routes": [route]});
    json!({"_format_version": "3.0", "services": [service]}).to_string()
}

async fn say(gateway: &TestGateway) -> Message {
    gateway.post("/a", r#"{"messages":[{"role":"user","content":"one two"}]}"#).await
}

/// What Redis knows of the gateway's connection, and how often somebody has signed in.
fn connection(redis: &Redis) -> (String, usize) {
    let clients = redis.ask(&["client", "list"]);
    let ours = clients.lines().filter(|one| one.contains(" user=gateway "));
    let id = ours.map(|one| one.split(' ').next().unwrap_or_default()).collect();
    let stats = redis.ask(&["info", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_auth:calls="));
    let calls = calls.and_then(|calls| calls.split(',').next()?.parse().ok());
    (id, calls.unwrap_or(0))
}

#[tokio::test]
async fn a_connection_signs_in_again_when_its_token_is_renewed_and_not_before() {
    let (model, sim) = (model().await, Sim::start(Options::default()).unwrap());
    let redis = Redis::start().await;
    let password = |name: &str| {
        let name = format!(">{name}");
        redis.ask(&["acl", "setuser", "gateway", "on", "resetpass", &name, "~*", "+@all"]);
    };
    // Between the two a renewal fails, which is no reason to sign in again.
    let down = Rule { kind: Some(Kind::Entra), status: Some(400), ..Rule::default() };
    sim.fault(Rule { skip: 1, times: Some(1), ..down }).unwrap();
    for (token, lives, times) in [("token-one", 10, Some(1)), ("token-two", 3600, None)] {
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": lives,
            "refresh_in": lives / 10});
        let rule = Rule { kind: Some(Kind::Entra), times, body: Some(body), ..Rule::default() };
        sim.fault(Rule { status: Some(200), ..rule }).unwrap();
    }
    password("token-one");
    let builder = Builder::default().env("AZURE_AUTHORITY_HOST", &sim.url());
    let gateway = builder.start(&config(&model, &redis));
    assert_eq!(say(&gateway).await.status(), 200);
    let first = connection(&redis);
    assert_eq!((first.0.is_empty(), first.1), (false, 1), "it has signed in: {first:?}");
    // Whoever has signed in already stays so.
    password("token-two");
    soon("it signs in again", async {
        while connection(&redis).1 == 1 {
            say(&gateway).await;
        }
    })
    .await;
    assert_eq!(connection(&redis), (first.0.clone(), 2), "on the same connection");
    assert_eq!(redis.ask(&["acl", "log"]), "", "nothing was refused");
    // Azure's servers hang up when the first token has ended.
    redis.ask(&["client", "kill", "user", "gateway"]);
    let key = redis.ask(&["keys", "shared:*"]);
    redis.ask(&["set", &key, "0"]);
    let again = say(&gateway).await;
    let left = again.header("x-ai-ratelimit-remaining-year-openai");
    assert_eq!((again.status(), left), (200, Some("998")), "it counts on with the second token");
    let last = connection(&redis);
    assert_eq!((last.0 == first.0, last.1), (false, 3));
}
