//! Plugins that ask who a client is, or refuse it.

use super::{OK, Plugin};
use crate::http::Upstream;

#[tokio::test]
async fn auth_mapper_exchanges_the_credentials_of_a_client() {
    let plugin = Plugin {
        name: "auth-mapper",
        place: "KongHQ-CX+kong-plugin-auth-mapper/kong/plugins/auth-mapper",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let config = r#"{strip_original_headers: true,
        auth_mappings_json: '{"a:b": {"client_id": "X", "client_secret": "Y"}}'}"#;
    let scene = scene.start(config, "").await;
    for _ in 0..2 {
        scene.get("/a", &[("client-id", "0"), ("client_id", "a"), ("client_secret", "b")]).await;
        assert_eq!(scene.sent().header("authorization"), Some("Basic WDpZ"));
        assert_eq!(scene.sent().header("client_secret"), None);
    }
    scene.get("/a", &[("client_id", "a"), ("client_secret", "c")]).await;
    assert_eq!(scene.sent().header("authorization"), Some("Basic YTpj"));
}

#[tokio::test]
async fn request_rules_validate_wants_and_refuses_headers() {
    let plugin = Plugin {
        name: "request-rules-validate",
        place: "wendeldavid+kong-plugin-request-rules-validate/kong/plugins/\
                request-rules-validate",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let config = "{allow_headers: ['x-a:1'], deny_headers: ['x-b:2'], strict_allow: true}";
    let scene = scene.start(config, "").await;
    assert_eq!(scene.get("/a", &[("x-a", "1")]).await.status(), 200);
    let missing = scene.get("/a", &[]).await;
    assert_eq!(
        (missing.status(), missing.text().as_str()),
        (400, r#"{"message":"Missing header x-a"}"#)
    );
    let denied = scene.get("/a", &[("x-a", "1"), ("x-b", "2")]).await;
    assert_eq!(denied.text(), r#"{"message":"Invalid header x-b value"}"#);
}

const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 28\r\n\r\n{\"status\":true,\"userName\":1}";

#[tokio::test]
async fn the_middleman_asks_first_and_adds_what_it_hears() {
    let plugin = Plugin {
        name: "the-middleman",
        place: "udleinati+kong-plugin-the-middleman/kong/plugins/the-middleman",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let asked = Upstream::replying(JSON).await;
    let config = format!(
        "{{url: 'http://{}', path: /auth, forward_path: true, forward_body: true, \
         cache_enabled: true, cache_based_on: host-path, \
         cache_invalidate_when_streamup_path: [/none]}}",
        asked.address
    );
    let scene = scene.start(&config, "").await;
    for status in ["MISS", "HIT"] {
        assert_eq!(scene.post("/a/7", &[], r#"{"k":"v"}"#).await.status(), 200);
        let sent = scene.sent();
        assert_eq!(sent.header("x-user-name"), Some("1"));
        assert_eq!(sent.header("x-middleman-cache-status"), Some(status));
    }
    assert_eq!(asked.seen().len(), 1);
    let told = asked.seen()[0].json();
    assert_eq!(told, serde_json::json!({"path": "/a/7", "body": {"k": "v"}}));
}

#[tokio::test]
async fn rate_limiting_quotas_counts() {
    let plugin = Plugin {
        name: "rate-limiting-quotas",
        place: "wendeldavid+kong-plugin-rate-limiting-quotas/kong/plugins/rate-limiting-quotas",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let scene = scene.start("{month: 2, policy: local}", "").await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(scene.get("/a", &[]).await.status());
    }
    assert_eq!(statuses, [200, 200, 429]);
}

/// `{"alg":"none","typ":"JWT"}`, `{"sub":"joe","aud":"cid"}`: nobody looks at its signature here.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJqb2UiLCJhdWQiOiJjaWQifQ.c2ln";

#[tokio::test]
async fn jwt_claims_advanced_reads_claims() {
    let plugin = Plugin {
        name: "jwt-claims-advanced",
        place: "tucows+kong-plugin-jwt-claims-advanced",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let config = "{claims: [{path: aud, equals: cid}, {path: sub, output_header: X-Sub}]}";
    let scene = scene.start(config, "").await;
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(scene.get("/a", &[("authorization", &bearer)]).await.status(), 200);
    assert_eq!(scene.sent().header("x-sub"), Some("joe"));
    assert_eq!(scene.get("/a", &[]).await.status(), 403);
}

#[tokio::test]
async fn frontier_exchanges_a_cookie_for_a_token() {
    let plugin = Plugin {
        name: "frontier",
        place: "raystack+kong-plugin-frontier/kong/plugins/frontier",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let asked = Upstream::replying(JSON).await;
    let config = format!(
        "{{authn_url: 'http://{0}/authn', authz_url: 'http://{0}/authz', token_response_field: \
         userName, token_claims_to_append_as_headers: [], \
         rule: {{namespace: app, id: id, methods: [GET#view]}}}}",
        asked.address
    );
    let scene = scene.start(&config, "").await;
    assert_eq!(scene.get("/a/7", &[("cookie", "sid=1")]).await.status(), 200);
    let calls = asked.seen();
    assert_eq!((calls[0].header("cookie"), calls[1].target()), (Some("sid=1"), "/authz"));
    assert_eq!(calls[1].json()["objectId"], "7", "a capture of the Route");
    assert_eq!(calls[1].json()["permission"], "view");
    assert_eq!(scene.get("/a", &[("cookie", "sid=1")]).await.status(), 401);
}

const ACTIVE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 55\r\n\r\n{\"active\":true,\"sub\":\"joe\",\"scope\":\"openid\",\"exp\":1e11}";

#[tokio::test]
async fn kong_oidc_introspects_a_token() {
    let plugin = Plugin {
        name: "oidc",
        place: "revomatico+kong-oidc/kong/plugins/oidc",
        libraries: &[
            ("zmartzone+lua-resty-openidc/lib", ""),
            ("bungle+lua-resty-session/lib", ""),
            ("cdbattags+lua-resty-jwt/lib", ""),
        ],
    };
    let Some(scene) = plugin.builder() else { return };
    let provider = Upstream::replying(ACTIVE).await;
    let config = format!(
        "{{client_id: cid, client_secret: sec, discovery: 'http://{0}/d', bearer_only: 'yes', \
         introspection_endpoint: 'http://{0}/introspect'}}",
        provider.address
    );
    let scene = scene.start(&config, "").await;
    assert_eq!(scene.get("/a", &[("authorization", "Bearer t1")]).await.status(), 200);
    let asked = provider.seen().pop().unwrap();
    assert_eq!(asked.target(), "/introspect");
    assert!(asked.text().contains("token=t1"), "{}", asked.text());
    let user = scene.sent();
    assert!(user.header("x-userinfo").is_some_and(|info| info.starts_with("ey")), "{user:?}");
    assert_eq!(scene.get("/a", &[]).await.status(), 401);
    assert_eq!(scene.upstream.seen().len(), 1);
}

#[tokio::test]
async fn idempotency_without_redis_fails_as_in_kong() {
    let plugin = Plugin {
        name: "idempotency",
        place: "udleinati+kong-plugin-idempotency/kong/plugins/idempotency",
        libraries: &[],
    };
    let Some(scene) = plugin.builder() else { return };
    let config = "{redis_host: 127.0.0.1, redis_port: 1, redis_cache_time: 60}";
    let scene = scene.start_before(OK, config, "").await;
    assert_eq!(scene.get("/a", &[]).await.status(), 200);
    let keyed = scene.post("/a", &[("x-idempotency-key", "k")], "{}").await;
    assert_eq!(keyed.json()["message"], "An unexpected error occurred");
}
