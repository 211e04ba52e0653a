//! Kong's plugins that translate gRPC and that tell of traces.

use bytes::Bytes;

use super::Way;
use crate::gateway::TestGateway;
use crate::grpc_ends::{Manners, Upstream, trailers};
use crate::http::Message;

const PROTO: &str = r#"
syntax = "proto3";
package hello;
import "google/api/annotations.proto";
service Hello {
  rpc Say (Question) returns (Answer) {
    option (google.api.http) = { get: "/v1/hello/{name}" additional_bindings: {
      post: "/v1/hello" body: "*" } };
  }
}
message Question { string name = 1; int32 times = 2; }
message Answer { string text = 1; repeated string more = 2; }
"#;

/// `Question { name: "ann", times: 2 }` in the frame of a message of gRPC.
const ASKED: &[u8] = b"\0\0\0\0\x07\x0a\x03ann\x10\x02";
/// `Answer { text: "hi" }`.
const SAID: &[u8] = b"\0\0\0\0\x04\x0a\x02hi";

/// Sends a request to a route with the plugin in front of a service for gRPC that answers `SAID`;
/// what came back, what the service was asked, and under which path.
async fn ask(
    way: Way,
    plugin: &str,
    status: &str,
    (method, path, headers, body): (&str, &str, &[(&str, &str)], &[u8]),
) -> (Message, Vec<u8>, String) {
    let upstream = Upstream::start(Manners::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let proto = folder.path().join("hello.proto");
    std::fs::write(&proto, PROTO).unwrap();
    let config = format!(
        "services:\n- name: s\n  url: grpc://{}\n  routes:\n  - name: r\n    paths: [/]\n    \
         strip_path: false\n    protocols: [http, https]\n    plugins:\n    \
         - name: {plugin}\n      config: {{proto: {}}}\n",
        upstream.address,
        proto.display()
    );
    let scene = way.scene(&[plugin]).start(&config).await;
    let status = status.to_owned();
    let served = tokio::spawn(async move {
        let mut call = upstream.call().await;
        let path = call.request.uri().path().to_owned();
        let asked = call.body().await;
        let mut stream = call.begin();
        stream.send_data(Bytes::from_static(SAID), false).unwrap();
        stream.send_trailers(trailers(&[("grpc-status", &status)])).unwrap();
        (asked, path)
    });
    let gateway: &TestGateway = &scene.gateway;
    let answer = gateway.send(method, path, headers, body).await;
    assert_eq!(answer.status(), 200, "{way:?}: {}", answer.text());
    let (asked, path) = served.await.unwrap();
    (answer, asked, path)
}

#[tokio::test]
async fn grpc_web_turns_json_into_a_call_and_its_answer_into_json() {
    for way in Way::all() {
        let json = [("content-type", "application/json")];
        let request = ("POST", "/hello.Hello/Say", &json[..], &br#"{"name":"ann","times":2}"#[..]);
        let (answer, asked, path) = ask(way, "grpc-web", "0", request).await;
        assert_eq!((asked.as_slice(), path.as_str()), (ASKED, "/hello.Hello/Say"), "{way:?}");
        assert_eq!(answer.json()["text"], "hi", "{way:?}");
        assert_eq!(answer.json()["more"], serde_json::json!([]));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test]
async fn grpc_web_puts_the_trailers_of_a_call_into_the_body() {
    for way in Way::all() {
        let web = [("content-type", "application/grpc-web+proto")];
        let request = ("POST", "/hello.Hello/Say", &web[..], ASKED);
        let (answer, asked, _) = ask(way, "grpc-web", "7", request).await;
        assert_eq!(asked, ASKED, "{way:?}");
        let end = b"\x80\0\0\0\x1egrpc-status:7\r\ngrpc-message:\r\n";
        assert_eq!(answer.body, [SAID, end].concat(), "{way:?}");
        assert_eq!(answer.header("content-type"), Some("application/grpc-web+proto"));
    }
}

#[tokio::test]
async fn grpc_gateway_finds_the_method_that_a_path_stands_for() {
    for way in Way::all() {
        let request = ("GET", "/v1/hello/ann?times=2", &[][..], &b""[..]);
        let (answer, asked, path) = ask(way, "grpc-gateway", "0", request).await;
        assert_eq!((asked.as_slice(), path.as_str()), (ASKED, "/hello.Hello/Say"), "{way:?}");
        assert_eq!(answer.json()["text"], "hi", "{way:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body = br#"{"name":"ann","times":2}"#;
        let json = [("content-type", "application/json")];
        let request = ("POST", "/v1/hello", &json[..], &body[..]);
        let (_, asked, path) = ask(way, "grpc-gateway", "0", request).await;
        assert_eq!((asked.as_slice(), path.as_str()), (ASKED, "/hello.Hello/Say"), "{way:?}");
    }
}

const ACME: &str = "
plugins:
- name: acme
  config:
    account_email: ann@b.test
    tos_accepted: true
    domains: [a.test]
    cert_type: ecc
    storage: shm
    storage_config: {shm: {shm_name: kong}}
services:
- name: s
  url: http://{upstream}
  routes:
  - name: challenges
    paths: [/.well-known/acme-challenge]
  - name: set
    paths: [/set]
    plugins:
    - name: setter
";

/// Leaves a challenge where the plugin looks for those that it has been given.
const SETTER: &str = "local P = { PRIORITY = 1, VERSION = '1.0.0' }
function P:access()
  ngx.shared.kong:set('token-1#http-01', 'proof-1')
  kong.response.exit(200)
end
return P";

#[tokio::test]
async fn acme_answers_the_challenges_that_it_was_given() {
    for way in Way::with_libraries() {
        let scene = way.scene(&["acme"]).plugin("setter", SETTER);
        let scene = scene.set("plugins", "bundled,witness,setter").start(ACME).await;
        let host = [("host", "a.test")];
        let sane = scene.get("/.well-known/acme-challenge/x", &host).await;
        assert_eq!((sane.status(), sane.text().as_str()), (404, "Not found\n"), "{way:?}");
        assert_eq!(scene.get("/set", &[]).await.status(), 200);
        let proof = scene.get("/.well-known/acme-challenge/token-1", &host).await;
        assert_eq!((proof.status(), proof.text().as_str()), (200, "proof-1\n"), "{way:?}");
    }
}
