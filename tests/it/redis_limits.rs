//! The native plugins that limit, with their counters in a real Redis.

use super::gateway::TestGateway;
use super::http::{Message, Upstream, closed_port};
use super::redis_server::Redis;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const VIDEO: &[u8] = b"HTTP/1.1 200 OK\r\nX-Kong-Limit: video=2\r\ncontent-length: 2\r\n\r\nok";

fn config(upstream: &Upstream, name: &str, config: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins:\n    - name: {name}\n      config: {config}\n",
        upstream.address
    )
}

fn left(message: &Message) -> (u16, Option<String>) {
    (message.status(), message.header("ratelimit-remaining").map(str::to_owned))
}

fn of(status: u16, left: &str) -> (u16, Option<String>) {
    (status, Some(left.to_owned()))
}

#[tokio::test]
async fn two_gateways_count_together_in_redis_with_kongs_keys() {
    let (redis, upstream) = (Redis::start().await, Upstream::replying(OK).await);
    let limits = format!(
        "{{month: 3, year: 9, policy: redis, redis: {{host: 127.0.0.1, port: {}, database: 1}}}}",
        redis.port
    );
    let config = config(&upstream, "rate-limiting", &limits);
    let gateways = [TestGateway::start(&config), TestGateway::start(&config)];
    assert_eq!(left(&gateways[0].get("/a").await), of(200, "2"));
    assert_eq!(left(&gateways[1].get("/a").await), of(200, "1"));
    assert_eq!(left(&gateways[0].get("/a").await), of(200, "0"));
    let refused = gateways[1].get("/a").await;
    assert_eq!(left(&refused), of(429, "0"));
    assert_eq!(refused.json()["message"], "API rate limit exceeded");
    assert_eq!(refused.header("x-ratelimit-remaining-year"), Some("6"));
    let keys = redis.ask(&["-n", "1", "keys", "ratelimit:*"]);
    let month = keys.lines().find(|key| key.ends_with(":month")).unwrap();
    let parts: Vec<&str> = month.split(':').collect();
    assert_eq!(
        (parts.len(), parts[2], parts[3]),
        (6, &*uuid::Uuid::nil().to_string(), "127.0.0.1")
    );
    assert_eq!(parts[4].len(), 13, "milliseconds: {month}");
    assert_eq!(redis.ask(&["-n", "1", "get", month]), "4", "Kong counts what it refuses, too");
    let ttl: i64 = redis.ask(&["-n", "1", "ttl", month]).parse().unwrap();
    assert!((2_591_000..=2_592_000).contains(&ttl), "{ttl}");
    assert_eq!(upstream.seen().len(), 3);
}

#[tokio::test]
async fn counters_that_are_compared_now_and_then_arrive_in_redis() {
    let (redis, upstream) = (Redis::start().await, Upstream::replying(OK).await);
    let limits = format!(
        "{{year: 3, policy: redis, sync_rate: 0.05, redis: {{host: 127.0.0.1, port: {}}}}}",
        redis.port
    );
    let gateway = TestGateway::start(&config(&upstream, "rate-limiting", &limits));
    let mut passed = 0;
    while gateway.get("/a").await.status() == 200 {
        passed += 1;
        assert!(passed < 50, "it never ends");
    }
    assert!(passed >= 3);
    let key = redis.wait(&["keys", "*:year"], |key| !key.is_empty()).await;
    let counted = |count: &String| count.parse::<u64>().is_ok_and(|count| count >= 3);
    redis.wait(&["get", &key], counted).await;
}

#[tokio::test]
async fn without_redis_requests_pass_or_fail_as_configured() {
    let upstream = Upstream::replying(OK).await;
    let closed = closed_port();
    let port = closed.local_addr().unwrap().port();
    for name in ["rate-limiting", "response-ratelimiting"] {
        let what = if name == "rate-limiting" { "year: 3" } else { "limits: {video: {year: 3}}" };
        for (tolerant, status) in [(true, 200), (false, 500)] {
            let limits = format!(
                "{{{what}, fault_tolerant: {tolerant}, policy: redis, \
                 redis: {{host: 127.0.0.1, port: {port}, timeout: 500}}}}"
            );
            let gateway = TestGateway::start(&config(&upstream, name, &limits));
            let message = gateway.get("/a").await;
            assert_eq!(message.status(), status, "{name} {tolerant}");
            assert_eq!(message.header("ratelimit-limit"), None);
        }
    }
}

#[tokio::test]
async fn a_redis_that_comes_back_is_used_again() {
    let upstream = Upstream::replying(OK).await;
    let redis = Redis::start_with(&["--requirepass", "s3cret"]).await;
    let limits = |password: &str| {
        format!(
            "{{year: 9, policy: redis, fault_tolerant: false, redis: {{host: 127.0.0.1, \
             port: {}, password: {password}}}}}",
            redis.port
        )
    };
    let wrong = TestGateway::start(&config(&upstream, "rate-limiting", &limits("other")));
    assert_eq!(wrong.get("/a").await.status(), 500);
    let gateway = TestGateway::start(&config(&upstream, "rate-limiting", &limits("s3cret")));
    assert_eq!(left(&gateway.get("/a").await), of(200, "8"));
    // The server ends its connections, as after an idle time or a restart.
    redis.ask(&["-a", "s3cret", "client", "kill", "type", "normal", "skipme", "yes"]);
    assert_eq!(left(&gateway.get("/a").await), of(200, "7"));
}

#[tokio::test]
async fn what_upstreams_say_is_counted_in_redis_for_all() {
    let (redis, upstream) = (Redis::start().await, Upstream::replying(VIDEO).await);
    let limits = format!(
        "{{limits: {{video: {{year: 3}}}}, policy: redis, redis: {{host: 127.0.0.1, port: {}}}}}",
        redis.port
    );
    let config = config(&upstream, "response-ratelimiting", &limits);
    let gateways = [TestGateway::start(&config), TestGateway::start(&config)];
    let first = gateways[0].get("/a").await;
    assert_eq!(first.header("x-ratelimit-remaining-video-year"), Some("1"));
    let key = redis.wait(&["keys", "response-ratelimit:*:video:year"], |key| !key.is_empty()).await;
    redis.wait(&["get", &key], |count| count == "2").await;
    let second = gateways[1].get("/a").await;
    assert_eq!(
        (second.status(), second.header("x-ratelimit-remaining-video-year")),
        (200, Some("0"))
    );
    redis.wait(&["get", &key], |count| count == "4").await;
    assert_eq!(gateways[0].get("/a").await.status(), 429);
    assert!(!redis.ask(&["keys", "*:hour"]).is_empty(), "Kong counts in every window");
}
