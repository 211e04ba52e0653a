//! Who may name where a request goes: the operator may name anything, clients and plugins neither
//! metadata endpoints nor a host for the operator's credential.

use super::azure_scene::{HELLO, Scene, Target};
use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream};
use super::lua::{install, with_plugins};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A model whose host the client completes, without a credential.
fn template(port: u16) -> String {
    format!(
        "_format_version: '3.0'
services:
- name: s
  url: http://127.0.0.1:9
  routes:
  - name: r
    paths: [/chat]
    plugins:
    - name: ai-proxy
      config:
        route_type: llm/v1/chat
        model:
          provider: openai
          name: m
          options: {{upstream_url: 'http://$(headers.x-region).models.test:{port}/v1'}}
"
    )
}

/// A metadata endpoint, and a gateway for which the name `west` leads there.
async fn led_astray(endpoint: &Upstream, builder: Builder) -> Message {
    let port = endpoint.address.port();
    let name = format!("west.models.test:{port}");
    let gateway = builder.name(&name, endpoint.address).start(&template(port));
    let headers = [("Content-Type", "application/json"), ("x-region", "west")];
    gateway.send("POST", "/chat", &headers, HELLO.as_bytes()).await
}

fn beside(endpoint: &Upstream, builder: Builder) -> Builder {
    let url = format!("http://{}/msi/token", endpoint.address);
    builder.env("IDENTITY_ENDPOINT", &url).env("IDENTITY_HEADER", "h")
}

/// The answer of a gateway that did not get an answer: nothing about where it wanted to go.
#[track_caller]
fn assert_refused(answer: &Message, endpoint: &Upstream) {
    assert_eq!(answer.status(), 502, "{}", answer.text());
    assert!(answer.text().contains("An invalid response was received"), "{}", answer.text());
    let port = endpoint.address.port().to_string();
    let said = format!("{:?}{}", answer.headers, answer.text());
    for word in ["127.0.0.1", port.as_str(), "metadata", "guard", "IDENTITY", "models.test"] {
        assert!(!said.contains(word), "'{word}' is in the answer: {said}");
    }
    assert!(endpoint.seen().is_empty());
}

#[tokio::test]
async fn a_clients_name_that_leads_to_the_identity_endpoint_is_refused() {
    let endpoint = Upstream::replying(OK).await;
    let answer = led_astray(&endpoint, beside(&endpoint, Builder::default())).await;
    assert_refused(&answer, &endpoint);
}

#[tokio::test]
async fn a_clients_name_that_leads_elsewhere_is_not() {
    let elsewhere = Upstream::replying(OK).await;
    led_astray(&elsewhere, Builder::default()).await;
    assert_eq!(elsewhere.seen().len(), 1);
}

#[tokio::test]
async fn the_operator_may_switch_the_guard_off() {
    let endpoint = Upstream::replying(OK).await;
    let off = Builder::default().set("silverback_metadata_guard", "off");
    led_astray(&endpoint, beside(&endpoint, off)).await;
    assert_eq!(endpoint.seen().len(), 1);
}

#[tokio::test]
async fn the_operator_may_name_the_identity_endpoint() {
    let endpoint = Upstream::replying(OK).await;
    let gateway = beside(&endpoint, Builder::default()).start(&plain(&endpoint, ""));
    let answer = gateway.send("GET", "/a", &[("Metadata", "true"), ("Secret", "s")], b"").await;
    assert_eq!(answer.status(), 200);
    // A plain Route is Kong's: what the client sends arrives.
    let seen = endpoint.seen().remove(0);
    assert_eq!((seen.header("metadata"), seen.header("secret")), (Some("true"), Some("s")));
}

#[tokio::test]
async fn a_redirect_to_the_identity_endpoint_is_passed_on_and_not_followed() {
    let endpoint = Upstream::replying(OK).await;
    let reply = format!(
        "HTTP/1.1 307 Go\r\nlocation: http://{}/msi/token\r\ncontent-length: 0\r\n\r\n",
        endpoint.address
    );
    let upstream = Upstream::replying(Box::leak(reply.into_boxed_str()).as_bytes()).await;
    let gateway = beside(&endpoint, Builder::default()).start(&plain(&upstream, ""));
    assert_eq!(gateway.get("/a").await.status(), 307);
    assert_eq!((upstream.seen().len(), endpoint.seen().len()), (1, 0));
}

fn plain(upstream: &Upstream, plugins: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins: [{plugins}]\n",
        upstream.address
    )
}

/// Sends each request to the port in `x-port`, after the AI plugins.
const GUIDE: &str = "local P = { PRIORITY = 100, VERSION = '1.0.0' }\n\
    function P:access() local port = kong.request.get_header('x-port') \
    kong.service.set_target('127.0.0.1', tonumber(port)) end\nreturn P\n";

async fn guided(gateway: &TestGateway, path: &str, to: &Upstream) -> Message {
    let port = to.address.port().to_string();
    let headers = [
        ("Content-Type", "application/json"),
        ("x-port", port.as_str()),
        ("Metadata", "true"),
        ("X-IDENTITY-HEADER", "h"),
    ];
    gateway.send("POST", path, &headers, HELLO.as_bytes()).await
}

#[tokio::test]
async fn a_lua_plugin_cannot_name_the_identity_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "guide", GUIDE);
    let (endpoint, other) = (Upstream::replying(OK).await, Upstream::replying(OK).await);
    let start = |builder| beside(&endpoint, builder).start(&plain(&endpoint, "{name: guide}"));
    let builder = || with_plugins(folder.path(), "bundled,guide");
    let gateway = start(builder());
    assert_refused(&guided(&gateway, "/a", &endpoint).await, &endpoint);
    assert_eq!(guided(&gateway, "/a", &other).await.status(), 200);
    let seen = other.seen().remove(0);
    assert_eq!((seen.header("metadata"), seen.header("x-identity-header")), (None, None));
    let gateway = start(builder().set("silverback_metadata_guard", "off"));
    assert_eq!(guided(&gateway, "/a", &endpoint).await.status(), 200);
}

#[tokio::test]
async fn a_lua_plugin_cannot_send_the_credential_to_a_host_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "guide", GUIDE);
    for target in [Target::with_key(), Target::with_identity()] {
        let other = Upstream::replying(OK).await;
        let target = target.plugin("name: guide");
        let scene = Scene::with(&target, Default::default(), |builder, _| {
            let path = format!("{}/?.lua", folder.path().display());
            builder.set("lua_package_path", &path).set("plugins", "bundled,guide")
        });
        let answer = guided(&scene.gateway, "/chat", &other).await;
        assert_eq!(answer.status(), 500, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "target_unavailable");
        assert!(other.seen().is_empty() && scene.chats().is_empty());
    }
}

#[tokio::test]
async fn what_a_client_says_of_metadata_and_of_its_way_reaches_no_model() {
    let own = [
        ("Content-Type", "application/json"),
        ("Metadata", "true"),
        ("X-IDENTITY-HEADER", "canary"),
        ("Secret", "canary"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
    ];
    for target in [Target::with_key(), Target::with_identity()] {
        let scene = Scene::start(&target);
        scene.gateway.send("POST", "/chat", &own, HELLO.as_bytes()).await;
        let chats = scene.chats();
        assert_eq!(chats.len(), 1);
        for name in ["metadata", "x-identity-header", "secret", "forwarded"] {
            assert_eq!(chats[0].header(name), None, "{name}");
        }
        assert_eq!(chats[0].header("x-forwarded-for"), Some("127.0.0.1"));
    }
}

#[tokio::test]
async fn a_trusted_peers_word_on_the_way_reaches_the_model() {
    let scene = Scene::with(&Target::with_key(), Default::default(), |builder, _| {
        builder.set("trusted_ips", "127.0.0.1")
    });
    let own = [("Content-Type", "application/json"), ("X-Forwarded-For", "203.0.113.9")];
    scene.gateway.send("POST", "/chat", &own, HELLO.as_bytes()).await;
    assert_eq!(scene.chats()[0].header("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
}

#[tokio::test]
async fn a_key_in_a_header_called_secret_still_arrives() {
    let target = Target::new(&["header_name: Secret", "header_value: ours"]);
    let scene = Scene::start(&target);
    let own = [("Content-Type", "application/json"), ("Secret", "theirs")];
    scene.gateway.send("POST", "/chat", &own, HELLO.as_bytes()).await;
    let chats = scene.chats();
    let sent = chats[0].headers.iter().filter(|(name, _)| name == "secret");
    assert_eq!(sent.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["ours"]);
}

#[tokio::test]
async fn a_token_call_carries_nothing_from_a_clients_request() {
    const OURS: [&str; 7] = [
        "accept",
        "content-length",
        "content-type",
        "host",
        "metadata",
        "user-agent",
        "x-ms-client-request-id",
    ];
    let application = [
        "azure_use_managed_identity: true",
        "azure_client_id: c",
        "azure_tenant_id: t",
        "azure_client_secret: s",
    ];
    for target in [Target::with_identity(), Target::new(&application)] {
        let scene = Scene::start(&target);
        let own = [
            ("Content-Type", "application/json"),
            ("User-Agent", "canary"),
            ("Accept", "canary"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Canary", "canary"),
            ("Cookie", "canary"),
            ("traceparent", "canary"),
        ];
        for _ in 0..2 {
            scene.gateway.send("POST", "/chat?canary=1", &own, HELLO.as_bytes()).await;
            scene.sim.revoke_tokens(); // so that the second call is made for this very request
        }
        let exchanges = scene.exchanges();
        assert_eq!(exchanges.len(), 2);
        for seen in exchanges {
            let said = format!("{} {:?}", seen.target(), seen.headers);
            assert!(!said.contains("canary") && !said.contains("203.0.113"), "{said}");
            assert!(!String::from_utf8_lossy(&seen.body).contains("canary"));
            for (name, _) in &seen.headers {
                assert!(OURS.contains(&name.as_str()), "{name}: {said}");
            }
        }
    }
}
