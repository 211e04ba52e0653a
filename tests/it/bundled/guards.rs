//! Plugins that refuse or let through by where a request comes from: ip-restriction, bot-detection,
//! cors.

use super::Way;
use super::tokens::config;

#[tokio::test]
async fn ip_restriction_refuses_addresses() {
    for way in Way::all() {
        for (list, status) in
            [("deny: [127.0.0.0/8]", 403), ("allow: [127.0.0.1]", 200), ("allow: [10.0.0.1]", 403)]
        {
            let plugin = format!("{{name: ip-restriction, config: {{{list}}}}}");
            let scene = way.scene(&["ip-restriction"]).start(&config(&plugin)).await;
            let answer = scene.get("/a", &[]).await;
            assert_eq!(answer.status(), status, "{way:?} {list}: {}", answer.text());
            if status == 403 {
                let message = &answer.json()["message"];
                assert_eq!(message, "IP address not allowed: 127.0.0.1", "{way:?}");
            }
        }
    }
}

#[tokio::test]
async fn ip_restriction_has_a_status_and_a_message_of_ones_own() {
    for way in Way::all() {
        let plugin =
            "{name: ip-restriction, config: {deny: [127.0.0.1], status: 418, message: away}}";
        let scene = way.scene(&["ip-restriction"]).start(&config(plugin)).await;
        let answer = scene.get("/a", &[]).await;
        assert_eq!((answer.status(), answer.json()["message"].as_str()), (418, Some("away")));
    }
}

#[tokio::test]
async fn bot_detection_knows_bots_by_their_name() {
    for way in Way::all() {
        let plugin = "{name: bot-detection, config: {allow: [good], deny: ['^evil(?=/)']}}";
        let scene = way.scene(&["bot-detection"]).start(&config(plugin)).await;
        for (agent, status) in [
            ("Mozilla/5.0", 200),
            ("Scrapy/1.0.3 (+http://scrapy.org)", 403),
            ("good Scrapy/1.0", 200),
            ("evil/1", 403),
            ("evil", 200),
        ] {
            let answer = scene.get("/a", &[("user-agent", agent)]).await;
            assert_eq!(answer.status(), status, "{way:?} {agent}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn cors_answers_preflights_and_marks_replies() {
    for way in Way::all() {
        let plugin = "{name: cors, config: {origins: ['https://a.test', 'https://.*\\.b\\.test'], \
                      credentials: true, max_age: 60, exposed_headers: [x-one], \
                      methods: [GET, PUT]}}";
        let scene = way.scene(&["cors"]).start(&config(plugin)).await;
        let asks = [("origin", "https://a.test"), ("access-control-request-method", "PUT")];
        let answer = scene.gateway.send("OPTIONS", "/a", &asks, b"").await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, ""), "{way:?}");
        for (name, value) in [
            ("access-control-allow-origin", "https://a.test"),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "60"),
            ("access-control-allow-methods", "GET,PUT"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{way:?} {name}");
        }
        assert!(scene.upstream.seen().is_empty());
        for (origin, allowed) in [
            ("https://a.test", Some("https://a.test")),
            ("https://x.b.test", Some("https://x.b.test")),
            ("https://evil.test", None),
        ] {
            let answer = scene.get("/a", &[("origin", origin)]).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{way:?} {origin}");
            assert_eq!(answer.header("access-control-expose-headers"), Some("x-one"));
        }
    }
}
