//! ai-rate-limiting-advanced in front of a model: limits of tokens and of money.

use serde_json::json;

use silverback::sim::{Options, Sim};

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream, closed_port};
use super::redis_server::{Cluster, Redis};

/// A model whose answers cost 30 tokens: 10 for the prompt, 20 for the answer.
async fn model() -> Upstream {
    let body = json!({
        "model": "m-2024",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
    });
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
    let reply = format!("{head}{}\r\n\r\n{body}", body.len());
    Upstream::replying(Box::leak(reply.into_bytes().into_boxed_slice())).await
}

/// `limits` is the configuration of the plugin, in JSON without its braces.
fn config(model: &Upstream, limits: &str) -> String {
    format!(
        "_format_version: '3.0'
consumer_groups: [{{name: gold}}]
consumers:
- {{username: a, keyauth_credentials: [{{key: ka}}], groups: [{{name: gold}}]}}
- {{username: b, keyauth_credentials: [{{key: kb}}]}}
services:
- name: s
  url: http://localhost:1
  routes:
  - name: r
    paths: [/a]
    plugins:
    - {{name: key-auth, config: {{key_names: [k]}}}}
    - name: ai-rate-limiting-advanced
      config: {{{limits}}}
    - name: ai-proxy-advanced
      config:
        targets:
        - route_type: llm/v1/chat
          auth: {{header_name: api-key, header_value: x}}
          model:
            provider: azure
            name: gpt-4o
            options: {{azure_instance: i, azure_deployment_id: d, input_cost: 1000000,
              output_cost: 2000000, upstream_url: 'http://{}/'}}
",
        model.address
    )
}

async fn say(gateway: &TestGateway, key: &str, words: usize) -> Message {
    let chat = json!({"messages": [{"role": "user", "content": "w ".repeat(words)}]});
    let headers = [("k", key), ("content-type", "application/json")];
    gateway.send("POST", "/a", &headers, chat.to_string().as_bytes()).await
}

const AZURE: &str = "llm_providers: [{name: azure, limit: [50], window_size: [31536000]}], \
                     window_type: fixed";

#[tokio::test]
async fn what_an_answer_has_cost_counts_against_the_next_request() {
    let model = model().await;
    let gateway = TestGateway::start(&config(&model, AZURE));
    let first = say(&gateway, "ka", 4).await;
    assert_eq!(first.status(), 200, "{}", first.text());
    assert_eq!(first.header("x-ai-ratelimit-limit-year-azure"), Some("50"));
    assert_eq!(first.header("x-ai-ratelimit-remaining-year-azure"), Some("46"));
    let second = say(&gateway, "ka", 4).await;
    assert_eq!(
        (second.status(), second.header("x-ai-ratelimit-remaining-year-azure")),
        (200, Some("16"))
    );
    let third = say(&gateway, "ka", 4).await;
    assert_eq!(third.status(), 429);
    let message = "AI token rate limit exceeded for provider(s): azure";
    assert_eq!(third.json()["message"], message);
    assert!(third.header("retry-after").is_some());
    assert!(third.header("x-ai-ratelimit-retry-after-year-azure").is_some());
    assert!(third.header("x-ai-ratelimit-reset-year-azure").is_some());
    assert_eq!(third.header("x-ai-ratelimit-remaining-year-azure"), Some("0"));
    assert_eq!(say(&gateway, "kb", 4).await.status(), 200, "another consumer");
    assert_eq!(model.seen().len(), 3);
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_ahead() {
    let model = model().await;
    let gateway = TestGateway::start(&config(&model, AZURE));
    assert_eq!(say(&gateway, "ka", 51).await.status(), 429);
    assert_eq!(say(&gateway, "ka", 49).await.status(), 200, "what was refused used nothing");
    assert_eq!(model.seen().len(), 1);
}

#[tokio::test]
async fn limits_hold_while_many_requests_are_under_way() {
    let model = model().await;
    let gateway = TestGateway::start(&config(&model, AZURE));
    // Each prompt is estimated at 20 tokens, so that two fit in 50, whoever comes first.
    let asked = (0..12).map(|_| say(&gateway, "ka", 20));
    let answers = futures_util::future::join_all(asked).await;
    let passed = answers.iter().filter(|answer| answer.status() == 200).count();
    assert!((1..=3).contains(&passed), "{passed}");
}

#[tokio::test]
async fn what_fails_is_given_back() {
    let model = model().await;
    let closed = closed_port();
    let port = closed.local_addr().unwrap().port();
    let config =
        config(&model, AZURE).replace(&model.address.to_string(), &format!("127.0.0.1:{port}"));
    let gateway = TestGateway::start(&config);
    for _ in 0..3 {
        assert_eq!(say(&gateway, "ka", 40).await.status(), 503);
    }
}

#[tokio::test]
async fn policies_match_and_the_one_without_conditions_is_for_the_rest() {
    let model = model().await;
    let limits = "policies: [\
        {match: [{type: consumer_group, values: [gold]}], window_type: fixed, \
         limits: [{limit: 70, window_size: 31536000}]}, \
        {limits: [{limit: 50, window_size: 31536000, tokens_count_strategy: cost}]}], \
        error_message: 'no more of ', error_code: 420";
    let gateway = TestGateway::start(&config(&model, limits));
    let gold = say(&gateway, "ka", 1).await;
    assert_eq!(gold.header("x-ai-ratelimit-remaining-year-policy-1"), Some("69"));
    assert_eq!(gold.header("x-ai-ratelimit-remaining-year-policy-2"), None);
    let rest = say(&gateway, "kb", 1).await;
    assert_eq!(rest.header("x-ai-ratelimit-remaining-year-policy-2"), Some("50"));
    // 10 tokens at 1 and 20 at 2.
    let over = say(&gateway, "kb", 1).await;
    assert_eq!(
        (over.status(), over.json()["message"].as_str()),
        (420, Some("no more of policy-2"))
    );
    assert_eq!(say(&gateway, "ka", 1).await.status(), 200);
}

#[tokio::test]
async fn gateways_share_their_counters_in_redis_and_go_on_without_it() {
    let (model, redis) = (model().await, Redis::start().await);
    let limits = |port: u16| {
        format!(
            "{AZURE}, strategy: redis, sync_rate: 0, namespace: shared, \
             redis: {{host: 127.0.0.1, port: {port}}}"
        )
    };
    let config_of = |port| config(&model, &limits(port));
    let gateways = [0, 1].map(|_| TestGateway::start(&config_of(redis.port)));
    assert_eq!(say(&gateways[0], "ka", 4).await.status(), 200);
    let key = redis.wait(&["keys", "shared:*"], |key| !key.is_empty()).await;
    redis.wait(&["get", &key], |used| used == "30").await;
    let second = say(&gateways[1], "ka", 4).await;
    assert_eq!(
        (second.status(), second.header("x-ai-ratelimit-remaining-year-azure")),
        (200, Some("16"))
    );
    redis.wait(&["get", &key], |used| used == "60").await;
    assert_eq!(say(&gateways[0], "ka", 4).await.status(), 429);
    let closed = closed_port();
    let alone = TestGateway::start(&config_of(closed.local_addr().unwrap().port()));
    let first = say(&alone, "ka", 4).await;
    assert_eq!(
        (first.status(), first.header("x-ai-ratelimit-remaining-year-azure")),
        (200, Some("46"))
    );
}

/// The configuration of a way to Redis.
fn far(redis: &str, sync_rate: &str) -> String {
    format!(
        "{AZURE}, strategy: redis, sync_rate: {sync_rate}, namespace: shared, redis: {{{redis}}}"
    )
}

#[tokio::test]
async fn sentinels_say_where_redis_is() {
    let (model, redis) = (model().await, Redis::start().await);
    let sentinel = Redis::sentinel("main", &redis).await;
    let closed = closed_port();
    let nodes = format!(
        "sentinel_master: main, sentinel_role: master, sentinel_nodes: [{{host: 127.0.0.1, \
         port: {}}}, {{host: 127.0.0.1, port: {}}}]",
        closed.local_addr().unwrap().port(),
        sentinel.port
    );
    let gateway = TestGateway::start(&config(&model, &far(&nodes, "0")));
    assert_eq!(say(&gateway, "ka", 4).await.status(), 200);
    let key = redis.wait(&["keys", "shared:*"], |key| !key.is_empty()).await;
    redis.wait(&["get", &key], |used| used == "30").await;
}

#[tokio::test]
async fn a_cluster_counts_each_client_where_its_slot_is() {
    let (model, cluster) = (model().await, Cluster::start().await);
    // Only the first node is named; who has a slot is learned.
    let nodes = format!("cluster_nodes: [{{ip: 127.0.0.1, port: {}}}]", cluster.0[0].port);
    let config = config(&model, &far(&nodes, "0"));
    let gateways = [0, 1].map(|_| TestGateway::start(&config));
    for key in ["ka", "kb"] {
        let first = say(&gateways[0], key, 4).await;
        let left = "x-ai-ratelimit-remaining-year-azure";
        assert_eq!((first.status(), first.header(left)), (200, Some("46")));
    }
    let mut keys = Vec::new();
    while keys.len() < 2 {
        keys = cluster.0.iter().map(|node| node.ask(&["keys", "*"])).collect::<Vec<_>>();
        keys = keys.iter().flat_map(|keys| keys.lines()).map(str::to_owned).collect();
        keys.retain(|key| !key.is_empty());
    }
    assert!(keys.iter().all(|key| key.starts_with("{shared:31536000:azure:")), "{keys:?}");
    for key in &keys {
        let node = cluster.0.iter().find(|node| node.ask(&["get", key]).parse::<f64>().is_ok());
        node.unwrap().wait(&["get", key], |used| used == "30").await;
    }
    for key in ["ka", "kb"] {
        assert_eq!(say(&gateways[1], key, 4).await.status(), 200);
    }
    for key in &keys {
        let node = cluster.0.iter().find(|node| node.ask(&["get", key]).parse::<f64>().is_ok());
        node.unwrap().wait(&["get", key], |used| used == "60").await;
    }
    assert_eq!(say(&gateways[0], "kb", 4).await.status(), 429);
}

#[tokio::test]
async fn what_is_compared_now_and_then_arrives_at_others() {
    let (model, redis) = (model().await, Redis::start().await);
    let place = format!("host: 127.0.0.1, port: {}", redis.port);
    let config = config(&model, &far(&place, "0.02"));
    let gateways = [0, 1].map(|_| TestGateway::start(&config));
    assert_eq!(say(&gateways[0], "ka", 4).await.status(), 200);
    let key = redis.wait(&["keys", "shared:*"], |key| !key.is_empty()).await;
    redis.wait(&["get", &key], |used| used == "30").await;
    assert_eq!(say(&gateways[1], "ka", 4).await.status(), 200, "not known there yet");
    redis.wait(&["get", &key], |used| used == "60").await;
    // Both know of all in the end, and add nothing twice.
    while say(&gateways[0], "ka", 4).await.status() != 429 {}
    while say(&gateways[1], "ka", 4).await.status() != 429 {}
    let used: f64 = redis.ask(&["get", &key]).parse().unwrap();
    assert_eq!(used % 30.0, 0.0, "{used}");
}

#[tokio::test]
async fn a_cache_of_azure_takes_a_token_for_its_password() {
    let (model, sim) = (model().await, Sim::start(Options::default()).unwrap());
    let redis = Redis::start().await;
    redis.ask(&["acl", "setuser", "gateway", "on", "nopass", "~*", "+@all"]);
    let cloud = "auth_provider: azure, azure_client_id: app, azure_client_secret: sim-secret, \
                 azure_tenant_id: tenant";
    let place = format!(
        "host: 127.0.0.1, port: {}, username: gateway, cloud_authentication: {{{cloud}}}",
        redis.port
    );
    redis.ask(&["config", "set", "requirepass", "nobody-knows"]);
    let builder = Builder::default().env("AZURE_AUTHORITY_HOST", &sim.url());
    let gateway = builder.start(&config(&model, &far(&place, "0")));
    let first = say(&gateway, "ka", 4).await;
    assert_eq!(first.status(), 200);
    let asked = sim.requests().into_iter().find(|seen| seen.kind.is_token_endpoint()).unwrap();
    let form = String::from_utf8_lossy(&asked.body).into_owned();
    assert!(form.contains("scope=https%3A%2F%2Fredis.azure.com%2F.default"), "{form}");
    let keys = ["--user", "gateway", "--pass", "x", "--no-auth-warning", "keys", "shared:*"];
    redis.wait(&keys, |key| key.starts_with("shared:")).await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_by_name() {
    let model = model().await;
    for (limits, text) in [
        ("llm_providers: [{name: azure, limit: [1, 2], window_size: [1]}]", "same number"),
        (
            "llm_providers: [{name: customCost, limit: [1], window_size: [1]}], \
             custom_cost_count_function: 'return ='",
            "custom_cost_count_function: Error parsing function: ",
        ),
        ("identifier: ip", "llm_providers or policies"),
        (
            "policies: [{match: [{type: ip, values: [x]}], limits: [{limit: 1, window_size: 1}]}]",
            "policies[0].match[0].values: 'x' is no address",
        ),
        (
            "policies: [{id: gold}]",
            "config.policies[0].id: the entities 'ai_rate_limiting_policies' are not built; leave \
             it out, and put limits and match in the policy itself",
        ),
        (
            "policies: [{id: gold, limits: [{limit: 1, window_size: 1}]}]",
            "config.policies[0].id: the entities",
        ),
        ("policies: [{match: []}]", "config.policies[0].limits: required field missing"),
        (
            "llm_providers: [{name: azure, limit: [1], window_size: [1]}], strategy: cluster",
            "database",
        ),
    ] {
        let errors = Builder::default().try_start(&config(&model, limits)).err();
        let errors = errors.unwrap().join("\n");
        assert!(errors.contains(text), "{errors}");
    }
}

const ONCE: &str = "window_size: [31536000]";

#[tokio::test]
async fn a_function_counts_what_a_request_costs() {
    let model = model().await;
    let limits = |more: &str| {
        format!(
            "llm_providers: [{{name: requestPrompt, limit: [100], {ONCE}}}], window_type: fixed, \
             request_prompt_count_function: \
             'local body = kong.request.get_body() return 10 * #body.messages[1].content'{more}"
        )
    };
    let gateway = TestGateway::start(&config(&model, &limits("")));
    let first = say(&gateway, "ka", 3).await;
    assert_eq!(first.status(), 200, "{}", first.text());
    assert_eq!(first.header("x-ai-ratelimit-query-cost-year-requestprompt"), Some("60"));
    assert_eq!(first.header("x-ai-ratelimit-remaining-year-requestprompt"), Some("40"));
    let second = say(&gateway, "ka", 3).await;
    assert_eq!(second.status(), 429);
    let message = "AI token rate limit exceeded for provider(s): requestPrompt";
    assert_eq!(second.json()["message"], message);
    assert_eq!(second.header("x-ai-ratelimit-remaining-year-requestprompt"), Some("0"));
    let third = say(&gateway, "ka", 1).await;
    assert_eq!(third.status(), 429, "what was refused counts, too");
    let gateway = TestGateway::start(&config(&model, &limits(", disable_penalty: true")));
    let mut seen = Vec::new();
    for words in [3, 3, 2, 1] {
        let answer = say(&gateway, "ka", words).await;
        let left = answer.header("x-ai-ratelimit-remaining-year-requestprompt");
        seen.push((answer.status(), left.unwrap_or_default().to_owned()));
    }
    // The second is counted, too: the limit was not reached before it.
    let expected = [(200, "40"), (429, "0"), (429, "0"), (429, "0")];
    assert_eq!(seen, expected.map(|(status, left)| (status, left.to_owned())));
}

#[tokio::test]
async fn a_function_for_requests_that_fails_is_told_in_kongs_words() {
    let model = model().await;
    for (code, expected) in [
        ("return \"many\"", "Bad return value from the request prompt count function"),
        ("return 0/0", "Bad return value from the request prompt count function"),
        ("return -1000", "Bad return value from the request prompt count function"),
        ("return 1e300", "Bad return value from the request prompt count function"),
        ("error(\"no\")", "Error executing request prompt count function"),
    ] {
        let limits = format!(
            "llm_providers: [{{name: requestPrompt, limit: [100], {ONCE}}}], \
             request_prompt_count_function: '{code}'"
        );
        let gateway = TestGateway::start(&config(&model, &limits));
        let answer = say(&gateway, "ka", 1).await;
        assert_eq!((answer.status(), answer.json()["message"].as_str()), (500, Some(expected)));
    }
    let limits = format!(
        "llm_providers: [{{name: requestPrompt, limit: [100], {ONCE}}}], \
         request_prompt_count_function: 'kong.response.exit(418, {{message = \"mine\"}})'"
    );
    let gateway = TestGateway::start(&config(&model, &limits));
    let answer = say(&gateway, "ka", 1).await;
    assert_eq!((answer.status(), answer.json()["message"].as_str()), (418, Some("mine")));
    assert_eq!(model.seen().len(), 0);
}

#[tokio::test]
async fn a_function_counts_what_a_request_has_cost_from_its_record() {
    let model = model().await;
    let limits = format!(
        "llm_providers: [{{name: customCost, limit: [4], {ONCE}}}, \
         {{name: azure, limit: [1000], {ONCE}}}], window_type: fixed, custom_cost_count_function: \
         'local proxy = kong.log.serialize().ai.proxy \
          return proxy.usage.total_tokens / 15 \
          + (proxy.meta.request_model == \"gpt-4o\" and 1 or 5)'"
    );
    let config = config(&model, &limits).replace(
        "auth: {header_name",
        "logging: {log_statistics: true}\n          auth: {header_name",
    );
    let gateway = TestGateway::start(&config);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = say(&gateway, "ka", 1).await;
        let left = answer.header("x-ai-ratelimit-remaining-year-customcost").map(str::to_owned);
        seen.push((answer.status(), left.unwrap_or_default()));
    }
    let expected = [(200, "4"), (200, "1"), (429, "0")];
    assert_eq!(seen, expected.map(|(status, left)| (status, left.to_owned())));
}
