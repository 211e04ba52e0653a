//! Without a token no request leaves: every kind of failure, whole and streamed, with the client's
//! other credentials, after a 401, and on the way to another target.

use serde_json::json;
use silverback::sim::{Kind, Options, Rule};

use super::azure_scene::{HELLO, STREAM, Scene, Target, assert_chat};
use super::gateway::Builder;
use super::http::Message;

const SWITCH: &str = "azure_use_managed_identity: true";
const APPLICATION: [&str; 4] =
    [SWITCH, "azure_client_id: c", "azure_tenant_id: t", "azure_client_secret: s"];

/// A failure: what the target says, what the variables say, what the endpoint answers.
struct Case {
    name: &'static str,
    auth: Vec<&'static str>,
    env: Vec<(&'static str, &'static str)>,
    reply: Option<Rule>,
}

fn case(name: &'static str, auth: &[&'static str]) -> Case {
    Case { name, auth: auth.to_vec(), env: Vec::new(), reply: None }
}

impl Case {
    /// The endpoint's answer. Failures that are tried again take seconds, so they are not here.
    fn answer(mut self, status: u16, body: &str) -> Self {
        let body = Some(body.into());
        let status = Some(status).filter(|status| *status != 200);
        self.reply = Some(Rule { kind: Some(Kind::Identity), status, body, ..Rule::default() });
        self
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    fn start(&self, allow_override: bool) -> Scene {
        let mut auth = self.auth.clone();
        if allow_override {
            auth.push("allow_override: true");
        }
        Scene::with(&Target::new(&auth), Options::default(), |builder, sim| {
            if let Some(rule) = &self.reply {
                sim.fault(rule.clone()).unwrap();
            }
            let set = |builder: Builder, (name, value): &(&str, &str)| {
                builder.env(name, &value.replace("SIM", &sim.url()))
            };
            self.env.iter().fold(builder, set)
        })
    }
}

fn cases() -> Vec<Case> {
    let managed = |name| case(name, &[SWITCH]);
    let application = |name| case(name, &APPLICATION);
    let entra = |code: u32| {
        json!({"error": "invalid_client", "error_description": format!("AADSTS{code}: x"),
            "error_codes": [code]})
        .to_string()
    };
    vec![
        application("wrong secret").answer(401, &entra(7_000_215)),
        application("expired secret").answer(401, &entra(7_000_222)),
        application("unknown client").answer(400, &entra(700_016)),
        application("unknown tenant").answer(400, &entra(90_002)),
        application("bad scope").answer(400, &entra(1_002_012)),
        application("a captive portal").answer(200, "<html>sign in</html>"),
        application("an empty token").answer(200, r#"{"access_token":"","expires_in":3599}"#),
        application("no token").answer(200, r#"{"expires_in":3599}"#),
        application("no expiry").answer(200, r#"{"access_token":"canary"}"#),
        application("a token no header holds")
            .answer(200, r#"{"access_token":"canary\r\nx: y","expires_in":3599}"#),
        managed("identity not assigned").answer(400, r#"{"error":"invalid_request"}"#),
        case("unknown identity", &[SWITCH, "azure_client_id: unknown-1"]),
        managed("forbidden").answer(403, "no"),
        managed("not JSON").answer(200, "token"),
        managed("App Service refuses")
            .env("IDENTITY_ENDPOINT", "SIM/msi/token")
            .env("IDENTITY_HEADER", "wrong"),
        managed("no token file")
            .env("AZURE_CLIENT_ID", "c")
            .env("AZURE_TENANT_ID", "t")
            .env("AZURE_FEDERATED_TOKEN_FILE", "/no/such/file"),
    ]
}

#[track_caller]
fn assert_no_token(answer: &Message, what: &str) {
    assert_eq!(answer.status(), 500, "{what}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"), "{what}");
    let id = answer.header("x-kong-request-id").unwrap();
    let expected = json!({
        "error": {
            "message": "LLM request failed before proxying",
            "type": "server_error",
            "param": null,
            "code": "credential_unavailable",
        },
        "request_id": id,
    });
    assert_eq!(answer.json(), expected, "{what}");
}

#[tokio::test]
async fn no_request_leaves_without_a_token_whatever_the_failure() {
    for case in cases() {
        let scene = case.start(false);
        for body in [HELLO, STREAM] {
            assert_no_token(&scene.gateway.post("/chat", body).await, case.name);
        }
        assert_eq!(scene.chats().len(), 0, "{}", case.name);
    }
}

#[tokio::test]
async fn allow_override_lets_only_the_clients_own_token_through() {
    for case in cases() {
        let scene = case.start(true);
        let send = async |name, value: &str| {
            let headers = [("Content-Type", "application/json"), (name, value)];
            scene.gateway.send("POST", "/chat", &headers, HELLO.as_bytes()).await
        };
        // Not where the token would be: it opens nothing.
        for name in ["api-key", "x-api-key", "Proxy-Authorization", "x-other"] {
            assert_no_token(&send(name, "theirs").await, case.name);
        }
        assert_eq!(scene.chats().len(), 0, "{}", case.name);
        send("Authorization", "Bearer theirs").await;
        let chats = scene.chats();
        assert_eq!(chats.len(), 1, "{}", case.name);
        assert!(chats[0].header("authorization").is_some());
    }
}

#[tokio::test]
async fn nothing_follows_a_401_when_there_is_no_second_token() {
    let scene = Scene::start(&Target::with_identity());
    assert_chat(&scene.hello().await, "with the first token");
    scene.sim.revoke_tokens();
    let gone = Rule { kind: Some(Kind::Imds), status: Some(403), ..Rule::default() };
    scene.sim.fault(gone).unwrap();
    for body in [HELLO, STREAM] {
        assert_no_token(&scene.gateway.post("/chat", body).await, "after a 401");
    }
    let statuses: Vec<u16> = scene.chats().iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [200, 401]);
}

/// A target without a token and another with this `auth`.
fn two(sim: &str, auth: &str) -> String {
    let target = |auth: &str, weight: u32, name: &str| {
        format!(
            "        - route_type: llm/v1/chat
          weight: {weight}
          auth: {auth}
          model:
            provider: azure
            name: gpt-4o
            options:
              azure_instance: {name}
              azure_deployment_id: {name}
              upstream_url: {sim}/openai/deployments/{name}/chat/completions
"
        )
    };
    let broken = "{azure_use_managed_identity: true, azure_client_id: c, azure_tenant_id: t, \
                  azure_client_secret: wrong-secret}";
    format!(
        "_format_version: '3.0'
services:
- name: s
  url: http://127.0.0.1:9
  routes:
  - name: r
    paths: [/chat]
    plugins:
    - name: ai-proxy-advanced
      config:
        targets:
{}{}",
        target(broken, 100, "first"),
        target(auth, 1, "second")
    )
}

#[tokio::test]
async fn another_target_gets_its_own_credential_and_nothing_of_the_first() {
    let key = "{header_name: api-key, header_value: sim-key}";
    for (auth, has_key) in [(key, true), ("{azure_use_managed_identity: true}", false)] {
        let scene = Scene::start(&Target::with_key()); // for its simulator
        let gateway = Builder::default()
            .env("AZURE_AUTHORITY_HOST", &scene.sim.url())
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &scene.sim.url())
            .start(&two(&scene.sim.url(), auth));
        for body in [HELLO, STREAM] {
            assert_eq!(gateway.post("/chat", body).await.status(), 200);
        }
        for seen in scene.chats() {
            assert!(seen.target().contains("/second/"), "{}", seen.target());
            assert_eq!(seen.header("api-key").is_some(), has_key);
            assert_eq!(seen.header("authorization").is_some(), !has_key);
        }
        assert_eq!(scene.chats().len(), 2);
    }
}

#[tokio::test]
async fn two_targets_without_a_token_are_no_request() {
    let scene = Scene::start(&Target::with_key());
    let gateway = Builder::default()
        .env("AZURE_AUTHORITY_HOST", &scene.sim.url())
        .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &scene.sim.url())
        .start(&two(
            &scene.sim.url(),
            "{azure_use_managed_identity: true, azure_client_id: unknown-1}",
        ));
    for body in [HELLO, STREAM] {
        assert_no_token(&gateway.post("/chat", body).await, "both");
    }
    assert_eq!(scene.chats().len(), 0);
}
