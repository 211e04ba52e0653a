//! The plugins that remember something from one request to the next: counters and replies. Those
//! that count in Redis meet a real one.

use super::{Running, Way};
use crate::http::{Message, Upstream, closed_port};
use crate::redis_server::{PAUSE, Redis};

/// A service with one Route, `/a`, and one plugin.
fn service(name: &str, config: &str) -> String {
    format!(
        "services:
- name: s
  url: http://{{upstream}}
  routes:
  - name: r
    paths: [/a]
    plugins:
    - name: {name}
      config: {config}
"
    )
}

const COUNTED: &str = "{year: 5, policy: redis, redis: {host: 127.0.0.1, port: PORT, database: 1}";

#[tokio::test]
async fn rate_limiting_counts_in_memory() {
    for way in Way::all() {
        let config = service("rate-limiting", "{year: 2, policy: local}");
        let scene = way.scene(&["rate-limiting"]).start(&config).await;
        for left in ["1", "0"] {
            let answer = scene.get("/a", &[]).await;
            assert_eq!(answer.status(), 200, "{way:?}");
            assert_eq!(answer.header("ratelimit-limit"), Some("2"));
            assert_eq!(answer.header("ratelimit-remaining"), Some(left), "{way:?}");
            assert_eq!(answer.header("x-ratelimit-remaining-year"), Some(left));
        }
        let over = scene.get("/a", &[]).await;
        assert_eq!((over.status(), over.header("retry-after").is_some()), (429, true), "{way:?}");
        assert_eq!(over.json()["message"], "API rate limit exceeded");
        assert_eq!(scene.upstream.seen().len(), 2);
    }
}

#[tokio::test]
async fn rate_limiting_counts_in_redis_at_once_and_now_and_then() {
    for way in Way::all() {
        for rate in ["", ", sync_rate: 0.02"] {
            let redis = Redis::start().await;
            let config = format!("{}{rate}}}", COUNTED.replace("PORT", &redis.port.to_string()));
            let config = service("rate-limiting", &config);
            let scene = way.scene(&["rate-limiting"]).start(&config).await;
            let passed = passes(&scene).await;
            assert!(passed >= 5, "{way:?}{rate}: {passed}");
            let key = redis.wait(&["-n", "1", "keys", "ratelimit:*:year"], |key| !key.is_empty());
            let key = key.await;
            // The one that was refused may have been counted, too; what is sent now and then is
            // not exact in Kong either.
            let counted = |count: &String| count.parse::<usize>().is_ok_and(|n| n >= 5);
            redis.wait(&["-n", "1", "get", &key], counted).await;
            assert!(redis.ask(&["-n", "1", "ttl", &key]).parse::<i64>().unwrap() > 0, "{way:?}");
        }
    }
}

#[tokio::test]
async fn rate_limiting_without_its_redis_lets_pass_or_fails_as_configured() {
    for way in Way::all() {
        let closed = closed_port();
        let port = closed.local_addr().unwrap().port().to_string();
        for (tolerant, status) in [("true", 200), ("false", 500)] {
            let config = COUNTED.replace("PORT", &port);
            let config = format!("{config}, fault_tolerant: {tolerant}}}");
            let config = service("rate-limiting", &config);
            let scene = way.scene(&["rate-limiting"]).start(&config).await;
            assert_eq!(scene.get("/a", &[]).await.status(), status, "{way:?} {tolerant}");
        }
    }
}

const VIDEO: &[u8] = b"HTTP/1.1 200 OK\r\nX-Kong-Limit: video=2\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn response_ratelimiting_counts_what_the_upstream_says() {
    for way in Way::all() {
        let redis = Redis::start().await;
        let at = format!("policy: redis, redis: {{host: 127.0.0.1, port: {}}}", redis.port);
        for policy in ["policy: local", at.as_str()] {
            let config = format!("{{limits: {{video: {{year: 3}}}}, {policy}}}");
            let config = service("response-ratelimiting", &config);
            let scene = way.scene(&["response-ratelimiting"]).reply(VIDEO).start(&config).await;
            let first = scene.get("/a", &[]).await;
            assert_eq!(first.header("x-ratelimit-limit-video-year"), Some("3"), "{way:?}");
            assert_eq!(first.header("x-ratelimit-remaining-video-year"), Some("1"), "{way:?}");
            assert_eq!(first.header("x-kong-limit"), None);
            assert_eq!(scene.sent().header("x-ratelimit-remaining-video"), Some("3"));
            let passed = passes(&scene).await;
            assert!(passed >= 1, "{way:?} {policy}: {passed}");
        }
        let kept = redis.ask(&["keys", "*"]);
        let is_of_year =
            |key: &str| key.starts_with("response-ratelimit:") && key.ends_with(":video:year");
        assert!(kept.lines().any(is_of_year), "{kept}");
    }
}

const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-own: 1\r\n\
    content-length: 2\r\n\r\n{}";

#[tokio::test]
async fn proxy_cache_answers_with_what_it_has_kept() {
    for way in Way::all() {
        let config = service("proxy-cache", "{strategy: memory, content_type: [application/json]}");
        let scene = way.scene(&["proxy-cache"]).reply(JSON).start(&config).await;
        let status = |answer: &Message| answer.header("x-cache-status").map(str::to_owned);
        let first = scene.get("/a?q=1", &[]).await;
        assert_eq!((first.status(), status(&first).as_deref()), (200, Some("Miss")), "{way:?}");
        let again = scene.get("/a?q=1", &[]).await;
        assert_eq!((again.status(), status(&again).as_deref()), (200, Some("Hit")), "{way:?}");
        assert_eq!((again.text().as_str(), again.header("x-own")), ("{}", Some("1")));
        assert!(again.header("age").is_some());
        assert_eq!(again.header("x-cache-key"), first.header("x-cache-key"));
        assert_eq!(scene.upstream.seen().len(), 1);
        let other = scene.get("/a?q=2", &[]).await;
        assert_eq!(status(&other).as_deref(), Some("Miss"));
        let post = scene.gateway.post("/a?q=1", "x").await;
        assert_eq!(status(&post).as_deref(), Some("Bypass"), "{way:?}");
    }
}

const LAMBDA: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 50\r\n\r\n{\"statusCode\":201,\"body\":\"made\",\"headers\":{\"x\":1}}";

#[tokio::test]
async fn aws_lambda_calls_a_function_and_answers_with_what_it_says() {
    for way in Way::with_libraries() {
        let aws = Upstream::replying(LAMBDA).await;
        let port = aws.address.port();
        let config = format!(
            "{{aws_key: key, aws_secret: secret, aws_region: eu-west-1, function_name: f, \
             host: 127.0.0.1, port: {port}, disable_https: true, is_proxy_integration: true, \
             forward_request_method: true, forward_request_body: true}}"
        );
        let scene = way.scene(&["aws-lambda"]).start(&service("aws-lambda", &config)).await;
        let answer = scene.gateway.post("/a", "hello").await;
        assert_eq!((answer.status(), answer.text().as_str()), (201, "made"), "{way:?}");
        let call = aws.seen().pop().unwrap_or_default();
        assert_eq!(call.target(), "/2015-03-31/functions/f/invocations", "{way:?}");
        let signed = call.header("authorization").unwrap_or_default();
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=key/"), "{signed}");
        assert_eq!(call.json()["request_method"], "POST", "{way:?}");
        assert!(scene.upstream.seen().is_empty());
    }
}

/// How many requests pass until one is refused. What they count is counted after their replies.
async fn passes(scene: &Running) -> usize {
    for passed in 0..400 {
        match scene.get("/a", &[]).await.status() {
            200 => tokio::time::sleep(PAUSE).await,
            status => {
                assert_eq!(status, 429);
                return passed;
            }
        }
    }
    panic!("no request was refused");
}

#[tokio::test]
async fn prometheus_counts_and_the_status_listener_shows_it() {
    for way in Way::all() {
        let config = service("prometheus", "{status_code_metrics: true, latency_metrics: true}");
        let scene = way.scene(&["prometheus"]).start(&config).await;
        assert_eq!(scene.get("/a", &[]).await.status(), 200, "{way:?}");
        let wanted = "kong_http_requests_total{service=\"s\",route=\"r\",code=\"200\",\
                      source=\"service\",workspace=\"default\",consumer=\"\"} 1";
        let mut text = String::new();
        for _ in 0..400 {
            text = scene.gateway.status("/metrics").await.text();
            if text.contains(wanted) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        assert!(text.contains(wanted), "{way:?}: {text}");
        assert!(text.contains("# TYPE kong_http_requests_total counter"), "{way:?}");
        assert!(text.contains("kong_request_latency_ms_bucket{"), "{way:?}");
        assert!(text.contains("silverback_lua_vm_bytes"), "our own names stay");
        assert_eq!(text.matches("# TYPE kong_http_requests_total").count(), 1);
    }
}
