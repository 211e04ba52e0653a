//! Plugins that choose where a request goes, or change it on its way.

use super::{OK, Plugin};
use crate::http::Upstream;

const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 30\r\n\r\n{\"method\":\"POST\",\"path\":\"a/b\"}";

const TEMPLATES: Plugin = Plugin {
    name: "template-transformer",
    place: "stone-payments+kong-plugin-template-transformer/kong/plugins/template-transformer",
    libraries: &[("bungle+lua-resty-template/lib", "")],
};

#[tokio::test]
async fn template_transformer_rewrites_both_bodies() {
    let Some(scene) = TEMPLATES.builder() else { return };
    let config = r#"{response_template: '{"m":"{{body.method}}"}',
        request_template: '{"n":"{{body.user}}","h":"{{headers["x-a"]}}",
        "q":"{{query_string.z}}","id":"{{route_groups.id}}"}'}"#;
    let scene = scene.start_before(JSON, config, "").await;
    let reply = scene.post("/a/7?z=9", &[("x-a", "1")], r#"{"user":"joe"}"#).await;
    assert_eq!(reply.text(), r#"{"m":"POST"}"#);
    let sent = scene.sent().json();
    assert_eq!(sent, serde_json::json!({"n": "joe", "h": "1", "q": "9", "id": "7"}));
}

#[tokio::test]
async fn url_rewrite_builds_the_path_of_captures() {
    let plugin = Plugin {
        name: "url-rewrite",
        place: "stone-payments+kong-plugin-url-rewrite/kong/plugins/url-rewrite",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let scene = scene.start("{url: /new/<id>}", "").await;
    assert_eq!(scene.get("/a/77?x=1", &[]).await.status(), 200);
    assert_eq!(scene.sent().target(), "/new/77?x=1");
}

#[tokio::test]
async fn circuit_breaker_opens_and_limits_the_time_of_a_call() {
    let plugin = Plugin {
        name: "circuit-breaker",
        place: "dream11+kong-circuit-breaker/kong/plugins/circuit-breaker",
        libraries: &[("dream11+lua-circuit-breaker/src", "lua-circuit-breaker")],
    };
    let Some(scene) = plugin.builder() else { return };
    let failing = b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n";
    let config = "{min_calls_in_window: 2, failure_percent_threshold: 50}";
    let scene = scene.start_before(failing, config, "").await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(scene.get("/a", &[]).await.status());
    }
    assert_eq!(statuses, [500, 500, 599, 599]);
    assert_eq!(scene.upstream.seen().len(), 2);
}

#[tokio::test]
async fn host_interpolate_by_header_names_the_target() {
    let plugin = Plugin {
        name: "host-interpolate-by-header",
        place: "dream11+kong-host-interpolate-by-header/kong/plugins/host-interpolate-by-header",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let other = Upstream::replying(OK).await;
    let port = other.address.port();
    let config = format!(
        "{{host: '127.0.0.<x-shard>', port: {port}, headers: [x-shard], operation: modulo, \
         modulo_by: 2}}"
    );
    let scene = scene.start(&config, "").await;
    assert_eq!(scene.get("/a", &[("x-shard", "3")]).await.status(), 200);
    assert_eq!(other.seen()[0].header("x-shard"), Some("3"));
    let missing = scene.get("/a", &[]).await;
    assert_eq!(
        (missing.status(), missing.json()["error"].as_str()),
        (422, Some("header not present: x-shard"))
    );
}

#[tokio::test]
async fn advanced_router_asks_a_service_where_to_go() {
    let plugin = Plugin {
        name: "advanced-router",
        place: "dream11+kong-advanced-router/kong/plugins/advanced-router",
        libraries: &[("Tieske+date/src", "")],
    };
    let Some(scene) = plugin.builder() else { return };
    let (asked, beta) = (Upstream::replying(JSON).await, Upstream::replying(OK).await);
    let config = format!(
        r#"{{propositions_json: '[{{"upstream_url": "http://{}/beta",
          "condition": "extract_from_io_response(''method'') == ''POST''"}},
          {{"condition": "default", "upstream_url": "http://127.0.0.1:1"}}]',
          variables: [method], io_url: 'http://{}/io', io_http_method: GET,
          cache_identifier: headers.x-user, cache_ttl_header: x-ttl, default_cache_ttl_sec: 10,
          io_request_template: '{{"headers": {{"a": "headers.x"}},
          "query": {{"b": "query.y"}}}}'}}"#,
        beta.address, asked.address
    );
    let scene = scene.start(&config, "").await;
    for _ in 0..2 {
        assert_eq!(scene.get("/a?y=1", &[("x-user", "u"), ("x", "2")]).await.status(), 200);
    }
    assert_eq!(asked.seen().len(), 1, "the answer is cached");
    assert_eq!((asked.seen()[0].target(), asked.seen()[0].header("a")), ("/io?b=1", Some("2")));
    assert_eq!(beta.seen()[1].target(), "/beta?y=1");
}

#[tokio::test]
async fn dynamic_routing_chooses_an_upstream_by_a_header() {
    let plugin = Plugin {
        name: "dynamic-routing",
        place: "ShanmughasundaramRajendran+kong-plugin-upstream-env-selector/kong/plugins/\
                dynamic-routing",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let other = Upstream::replying(OK).await;
    let more = format!("upstreams:\n- name: t.local\n  targets:\n  - target: {}\n", other.address);
    let scene = scene.start("{upstreams: {test: t.local}}", &more).await;
    assert_eq!(scene.get("/a", &[("x-upstream-env", "test")]).await.status(), 200);
    assert_eq!((other.seen().len(), scene.upstream.seen().len()), (1, 0));
}

#[tokio::test]
async fn config_by_env_sends_a_service_elsewhere() {
    let plugin = Plugin {
        name: "config-by-env",
        place: "dream11+kong-config-by-env/kong/plugins/config-by-env",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let other = Upstream::replying(OK).await;
    let more = format!(
        "plugins:\n- name: config-by-env\n  config: {{set_service_url: true, \
         config: '{{\"default\": {{\"services\": {{\"s\": \"{}\"}}}}}}'}}\n",
        other.address
    );
    let scene = scene.start("{set_service_url: true, config: '{}'}", &more).await;
    assert_eq!(scene.get("/a", &[]).await.status(), 200);
    assert_eq!((other.seen().len(), scene.upstream.seen().len()), (1, 0));
}

#[tokio::test]
async fn path_based_routing_writes_the_target_into_balancer_data() {
    let plugin = Plugin {
        name: "kong-path-based-routing",
        place: "Optum+kong-path-based-routing/src",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let scene = scene.start("{host_fields: [localhost]}", "").await;
    assert_eq!(scene.get("/a", &[]).await.status(), 200);
    assert_eq!(scene.sent().header("host"), Some("localhost"));
}
