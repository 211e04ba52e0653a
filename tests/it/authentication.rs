//! Authentication plugins together: who a client is when several of them look.

use super::gateway::TestGateway;
use super::http::Upstream;
use super::lua::{install, with_plugins};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// `bu:bp` of bob, and eve's.
const BOB: (&str, &str) = ("authorization", "Basic YnU6YnA=");
const EVE: (&str, &str) = ("authorization", "Basic ZXU6ZXA=");

fn config(upstream: &Upstream, plugins: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins:\n{plugins}\
         consumers:\n\
         - username: bob\n  keyauth_credentials: [{{key: kb}}]\n  acls: [{{group: g1}}]\n  \
         basicauth_credentials: [{{username: bu, password: bp}}]\n\
         - username: eve\n  basicauth_credentials: [{{username: eu, password: ep}}]\n\
         - username: anon\n",
        upstream.address
    )
}

#[tokio::test]
async fn with_anonymous_one_plugin_that_knows_the_client_is_enough() {
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - {name: key-auth, config: {anonymous: anon}}\n    \
                   - {name: basic-auth, config: {anonymous: anon}}\n";
    let gateway = TestGateway::start(&config(&upstream, plugins));
    let key = ("apikey", "kb");
    for (headers, consumer, credential, anonymous) in [
        (vec![BOB], "bob", Some("bu"), None),
        (vec![key, EVE], "bob", None, None),
        (vec![EVE], "eve", Some("eu"), None),
        (vec![("apikey", "no")], "anon", None, Some("true")),
    ] {
        assert_eq!(gateway.send("GET", "/a", &headers, b"").await.status(), 200);
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.header("x-consumer-username"), Some(consumer), "{headers:?}");
        assert_eq!(seen.header("x-anonymous-consumer"), anonymous, "{headers:?}");
        if credential.is_some() || anonymous.is_some() {
            assert_eq!(seen.header("x-credential-identifier"), credential, "{headers:?}");
        }
    }
}

#[tokio::test]
async fn without_anonymous_every_plugin_must_know_the_client() {
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - name: key-auth\n    - name: basic-auth\n";
    let gateway = TestGateway::start(&config(&upstream, plugins));
    let key = ("apikey", "kb");
    for (headers, status) in
        [(vec![], 401), (vec![key], 401), (vec![BOB], 401), (vec![key, BOB], 200)]
    {
        let response = gateway.send("GET", "/a", &headers, b"").await;
        assert_eq!(response.status(), status, "{headers:?}");
    }
    let both = [key, EVE, ("x-credential-identifier", "forged"), ("x-consumer-custom-id", "x")];
    assert_eq!(gateway.send("GET", "/a", &both, b"").await.status(), 200);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!(seen.header("x-consumer-username"), Some("eve"), "the last one says who it is");
    assert_eq!(seen.header("x-credential-identifier"), Some("eu"));
    assert_eq!(seen.header("x-consumer-custom-id"), None);
}

#[tokio::test]
async fn groups_that_a_lua_plugin_found_out_are_the_clients() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }\n\
        function P:access() kong.ctx.shared.authenticated_groups = { 'staff', 'ops' } end\n\
        return P\n";
    install(folder.path(), "directory", handler);
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - name: directory\n    - {name: acl, config: {allow: [ops]}}\n";
    let builder = with_plugins(folder.path(), "bundled,directory");
    let gateway = builder.start(&config(&upstream, plugins));
    assert_eq!(gateway.get("/a").await.status(), 200);
    assert_eq!(upstream.seen()[0].header("x-authenticated-groups"), Some("staff, ops"));
}

#[tokio::test]
async fn a_password_is_in_no_answer_and_its_reference_is_none() {
    let upstream = Upstream::replying(OK).await;
    let config = config(&upstream, "    - name: basic-auth\n");
    let reference = "{vault://env/no-such}";
    let gateway =
        TestGateway::start(&config.replace("password: bp", &format!("password: '{reference}'")));
    let pair = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("bu:{reference}"),
    );
    let headers = [("authorization", format!("Basic {pair}"))];
    let headers = [(headers[0].0, headers[0].1.as_str())];
    let refused = gateway.send("GET", "/a", &headers, b"").await;
    assert_eq!(refused.status(), 401);
    assert!(!refused.text().contains(&pair), "{}", refused.text());
}

/// A header for a request that is signed by `bob` over its date.
fn signed(date: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"hs");
    let tag = ring::hmac::sign(&key, format!("date: {date}").as_bytes());
    let tag = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag);
    format!(
        "hmac username=\"hu\", algorithm=\"hmac-sha256\", headers=\"date\", signature=\"{tag}\""
    )
}

#[tokio::test]
async fn a_signed_request_reaches_the_upstream_under_its_consumer() {
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - {name: hmac-auth, config: {validate_request_body: true}}\n";
    let credential = "- username: carl\n  hmacauth_credentials: [{username: hu, secret: hs}]\n";
    let gateway = TestGateway::start(&(config(&upstream, plugins) + credential));
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let value = signed(&date);
    let mut headers = vec![("date", date.as_str()), ("authorization", &value)];
    assert_eq!(gateway.send("GET", "/a", &headers, b"").await.status(), 200);
    assert_eq!(upstream.seen()[0].header("x-consumer-username"), Some("carl"));
    let refused = gateway.send("POST", "/a", &headers, b"no digest").await;
    assert_eq!(refused.json()["message"], "HMAC signature does not match");
    assert_eq!(refused.header("www-authenticate"), Some("hmac"));
    headers[1].1 = "hmac";
    let refused = gateway.send("GET", "/a", &headers, b"").await;
    assert_eq!(refused.json()["message"], "HMAC signature cannot be verified");
}

#[tokio::test]
async fn a_preflight_needs_no_token_where_cors_answers_it() {
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - {name: cors, config: {origins: ['https://a.test']}}\n    - name: jwt\n";
    let gateway = TestGateway::start(&config(&upstream, plugins));
    let asks = [("origin", "https://a.test"), ("access-control-request-method", "PUT")];
    let answer = gateway.send("OPTIONS", "/a", &asks, b"").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.test"));
    let refused = gateway.send("GET", "/a", &asks[..1], b"").await;
    assert_eq!((refused.status(), refused.text().as_str()), (401, r#"{"message":"Unauthorized"}"#));
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://a.test"));
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_bounded_lifetime_needs_a_verified_end() {
    let upstream = Upstream::replying(OK).await;
    let bad = config(
        &upstream,
        "    - {name: jwt, config: {maximum_expiration: 60, claims_to_verify: [nbf]}}\n",
    );
    let errors = super::gateway::Builder::default().try_start(&bad).err().unwrap();
    let text = errors.join("\n");
    assert!(text.contains("failed conditional validation given value of field"), "{text}");
}

#[tokio::test]
async fn a_lua_plugin_sees_the_token_that_was_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 10, VERSION = '1.0.0' }\n\
        function P:access() kong.service.request.set_header('x-seen', \
        kong.ctx.shared.authenticated_jwt_token) end\nreturn P\n";
    install(folder.path(), "witness", handler);
    let upstream = Upstream::replying(OK).await;
    let plugins = "    - name: jwt\n    - name: witness\n";
    let secret = "- username: carl\n  jwt_secrets: [{key: k, secret: s}]\n";
    let builder = with_plugins(folder.path(), "bundled,witness");
    let gateway = builder.start(&(config(&upstream, plugins) + secret));
    let base64 = &base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |json: &str| base64::Engine::encode(base64, json);
    let text = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(r#"{"iss":"k"}"#));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s");
    let tag = base64::Engine::encode(base64, ring::hmac::sign(&key, text.as_bytes()));
    let token = format!("{text}.{tag}");
    assert_eq!(gateway.get(&format!("/a?jwt={token}")).await.status(), 200);
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.header("x-seen"), Some(token.as_str()));
    assert_eq!(seen.header("x-consumer-username"), Some("carl"));
}
