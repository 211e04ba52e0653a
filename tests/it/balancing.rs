//! Upstreams over sockets: hash cookies, passive health, and what `/status` says of it.

use super::gateway::TestGateway;
use super::http::Upstream;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nset-cookie: own=1\r\ncontent-length: 2\r\n\r\nok";
const BROKEN: &[u8] = b"HTTP/1.1 500 Oh\r\ncontent-length: 1\r\n\r\nx";

fn config(options: &str, targets: &[&Upstream]) -> String {
    let targets: String =
        targets.iter().map(|target| format!("  - target: {}\n", target.address)).collect();
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://up.test\n  routes:\n  \
         - name: r\n    paths: [/a]\nupstreams:\n- name: up.test\n{options}  targets:\n{targets}"
    )
}

#[tokio::test]
async fn the_hash_cookie_leads_back_to_the_same_target() {
    let (one, two) = (Upstream::replying(OK).await, Upstream::replying(OK).await);
    let gateway =
        TestGateway::start(&config("  hash_on: cookie\n  hash_on_cookie: sticky\n", &[&one, &two]));
    let first = gateway.get("/a").await;
    let set = first.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let cookies: Vec<&str> = set.map(|(_, value)| value.as_str()).collect();
    let sticky = cookies.iter().find(|cookie| cookie.starts_with("sticky=")).unwrap();
    assert!(cookies.contains(&"own=1"), "{cookies:?}");
    assert!(sticky.ends_with("; Path=/; Same-Site=Lax; HttpOnly"), "{sticky}");
    let pair = sticky.split(';').next().unwrap();
    for _ in 0..5 {
        assert_eq!(gateway.send("GET", "/a", &[("Cookie", pair)], b"").await.status(), 200);
    }
    let seen = [one.seen().len(), two.seen().len()];
    assert!(seen.contains(&6), "{seen:?}");
}

#[tokio::test]
async fn a_target_that_fails_is_left_alone_and_status_says_so() {
    let (good, bad) = (Upstream::replying(OK).await, Upstream::replying(BROKEN).await);
    let checks = "  healthchecks: {passive: {unhealthy: {http_failures: 1}}}\n";
    let gateway = TestGateway::start(&config(checks, &[&good, &bad]));
    for _ in 0..6 {
        gateway.get("/a").await;
    }
    assert_eq!((good.seen().len(), bad.seen().len()), (5, 1));
    let status = gateway.status("/status").await.text();
    assert!(status.contains(&format!("\"{}\":\"UNHEALTHY\"", bad.address)), "{status}");
    let metrics = gateway.status("/metrics").await.text();
    let good = good.address;
    let line = format!("target=\"{good}\",address=\"{good}\",state=\"healthy\"");
    assert!(metrics.contains(&format!("{line},subsystem=\"http\"}} 1")), "{metrics}");
}
