//! Azure identities end to end: whom Azure saw, how often a token was fetched, what a client
//! learns when there is none.

use std::time::Duration;

use silverback::sim::{Kind, Options, Rule};

use super::azure_scene::{
    CLIENT, HELLO, STREAM, Scene, Scope, TENANT, Target, assert_chat, content,
};
use super::http;

const SWITCH: &str = "azure_use_managed_identity: true";

/// Runs one `auth` of Kong's guide on a Route, for a consumer group and globally.
async fn in_every_scope(auth: &[&str], env: &[(&str, &str)], identity: &str) {
    for scope in [Scope::Route, Scope::ConsumerGroup, Scope::Global] {
        let target = Target::new(auth).scope(scope);
        let scene = Scene::with(&target, Options::default(), |builder, _| {
            env.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
        });
        let send = |key: &'static str| {
            let headers = [("Content-Type", "application/json"), ("apikey", key)];
            let address = scene.gateway.address;
            async move { http::send(address, "POST", "/chat", &headers, HELLO.as_bytes()).await }
        };
        let answer = send("member-key").await;
        assert_chat(&answer, &format!("{scope:?}"));
        let said = content(&answer);
        assert!(said.as_str().unwrap().ends_with(" said: hello"), "{scope:?}: {said}");
        assert_eq!(scene.identity(), identity, "{scope:?}");
        assert_eq!(scene.sim.tokens_issued(), 1, "{scope:?}");
        if scope == Scope::ConsumerGroup {
            // Whoever is not in the group has no model: the Service itself, where nobody listens.
            assert_eq!(send("stranger-key").await.status(), 502);
            assert_eq!(send("wrong-key").await.status(), 401);
            assert_eq!(scene.chats().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_system_assigned_identity_works_in_every_scope() {
    in_every_scope(&[SWITCH], &[], "managed identity (system-assigned)").await;
}

#[tokio::test]
async fn a_user_assigned_identity_works_in_every_scope() {
    let client = format!("azure_client_id: {CLIENT}");
    let identity = format!("managed identity (client id {CLIENT})");
    in_every_scope(&[SWITCH, &client], &[], &identity).await;
}

fn application() -> String {
    format!("client secret (client id {CLIENT}, tenant {TENANT})")
}

#[tokio::test]
async fn a_client_secret_in_the_file_works_in_every_scope() {
    let client = format!("azure_client_id: {CLIENT}");
    let tenant = format!("azure_tenant_id: {TENANT}");
    let auth = [SWITCH, &client, "azure_client_secret: a+secret&more%", &tenant];
    in_every_scope(&auth, &[], &application()).await;
}

#[tokio::test]
async fn a_client_secret_from_the_environment_works_in_every_scope() {
    let client = format!("azure_client_id: {CLIENT}");
    let tenant = format!("azure_tenant_id: {TENANT}");
    let env = [("AZURE_CLIENT_SECRET", "env-secret")];
    in_every_scope(&[SWITCH, &client, &tenant], &env, &application()).await;
}

#[tokio::test]
async fn the_environment_alone_makes_an_application() {
    let scene = Scene::with(&Target::with_identity(), Options::default(), |builder, _| {
        builder
            .env("AZURE_CLIENT_ID", CLIENT)
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_CLIENT_SECRET", "env-secret")
    });
    assert_chat(&scene.hello().await, "environment");
    assert_eq!(scene.identity(), application());
}

#[tokio::test]
async fn an_api_key_needs_no_token() {
    let scene = Scene::start(&Target::with_key());
    let answer = scene.hello().await;
    assert_chat(&answer, "api key");
    assert_eq!(answer.header("x-kong-llm-model"), Some("azure/gpt-4o"));
    assert!(scene.identity().starts_with("api key sha256:"), "{}", scene.identity());
    assert_eq!(scene.exchanges().len(), 0);
    let seen = scene.chats().remove(0);
    let target = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
    assert_eq!(seen.target(), target);
}

#[tokio::test]
async fn a_workload_identity_reads_its_file_at_each_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "HEADER.FIRST.SIGNATURE\n").unwrap();
    let scene = Scene::with(&Target::with_identity(), Options::default(), |builder, _| {
        builder
            .env("AZURE_CLIENT_ID", CLIENT)
            .env("AZURE_TENANT_ID", TENANT)
            .env("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap())
    });
    assert_chat(&scene.hello().await, "the first file");
    let identity = format!("workload identity (client id {CLIENT}, tenant {TENANT})");
    assert_eq!(scene.identity(), identity);
    std::fs::write(&file, "HEADER.SECOND.SIGNATURE\n").unwrap();
    scene.sim.revoke_tokens();
    assert_chat(&scene.hello().await, "the second file");
    let bodies: Vec<_> = scene.exchanges().into_iter().map(|seen| seen.body).collect();
    let sent = |body: &[u8], part: &str| String::from_utf8_lossy(body).contains(part);
    assert_eq!(bodies.len(), 2);
    assert!(sent(&bodies[0], "=HEADER.FIRST.SIGNATURE"), "{bodies:?}");
    assert!(sent(&bodies[1], "=HEADER.SECOND.SIGNATURE"), "{bodies:?}");
}

#[tokio::test]
async fn app_service_vouches_for_its_identities() {
    let cases = [
        (vec![SWITCH.to_owned()], "(system-assigned)".to_owned()),
        (
            vec![SWITCH.to_owned(), format!("azure_client_id: {CLIENT}")],
            format!("(client id {CLIENT})"),
        ),
    ];
    for (auth, who) in cases {
        let auth: Vec<&str> = auth.iter().map(String::as_str).collect();
        let scene = Scene::with(&Target::new(&auth), Options::default(), |builder, sim| {
            builder
                .env("IDENTITY_ENDPOINT", &format!("{}/msi/token", sim.url()))
                .env("IDENTITY_HEADER", "sim-identity-header")
        });
        assert_chat(&scene.hello().await, &who);
        assert_eq!(scene.identity(), format!("app service managed identity {who}"));
        assert!(scene.exchanges().iter().all(|seen| seen.kind == Kind::AppService));
    }
}

#[tokio::test]
async fn fifty_cold_requests_share_one_exchange() {
    let scene = Scene::with(&Target::with_identity(), Options::default(), |builder, sim| {
        let slow = Rule { kind: Some(Kind::Imds), delay_ms: 150, ..Rule::default() };
        sim.fault(slow).unwrap();
        builder.set("nginx_worker_processes", "2")
    });
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let address = scene.gateway.address;
        let headers = [("Content-Type", "application/json")];
        requests.spawn(async move {
            http::send(address, "POST", "/chat", &headers, HELLO.as_bytes()).await.status()
        });
    }
    let statuses = requests.join_all().await;
    assert_eq!(statuses, [200; 50]);
    assert_eq!((scene.exchanges().len(), scene.chats().len()), (1, 50));
}

#[tokio::test]
async fn ten_requests_one_after_another_share_one_token() {
    // Also with a token of a minute, which others fetch anew for each request.
    let options = Options { token_lifetime_secs: Some(60), ..Options::default() };
    let scene = Scene::with(&Target::with_identity(), options, |builder, _| builder);
    for _ in 0..10 {
        assert_chat(&scene.hello().await, "one of ten");
    }
    assert_eq!(scene.exchanges().len(), 1);
}

/// No word that would help somebody outside to guess at the identity.
#[track_caller]
fn assert_tells_nothing(answer: &http::Message, scene: &Scene) {
    let said = format!("{:?}\n{}", answer.headers, answer.text());
    let port = scene.sim.addr().port().to_string();
    let secrets = [CLIENT, TENANT, "AADSTS", "secret", "dentity", "oken", "login", "oauth", &port];
    for secret in secrets {
        assert!(!said.contains(secret), "'{secret}' is in the answer: {said}");
    }
}

#[tokio::test]
async fn without_a_token_no_model_is_called_and_the_client_learns_no_detail() {
    let wrong = [
        SWITCH.to_owned(),
        format!("azure_client_id: {CLIENT}"),
        format!("azure_tenant_id: {TENANT}"),
        "azure_client_secret: wrong-secret".to_owned(),
    ];
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    let unknown = [SWITCH, "azure_client_id: unknown-1"];
    for auth in [&wrong[..], &unknown] {
        let scene = Scene::start(&Target::new(auth));
        for body in [HELLO, STREAM] {
            let answer = scene.gateway.post("/chat", body).await;
            assert!((500..=599).contains(&answer.status()), "{}", answer.text());
            assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
            assert_tells_nothing(&answer, &scene);
        }
        assert_eq!(scene.chats().len(), 0);
        // The refusal is remembered: Entra is not asked again for each request.
        assert_eq!(scene.exchanges().len(), 1, "{auth:?}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_is_a_failure_of_the_gateway() {
    let application = [
        SWITCH.to_owned(),
        format!("azure_client_id: {CLIENT}"),
        format!("azure_tenant_id: {TENANT}"),
        "azure_client_secret: right".to_owned(),
    ];
    let application: Vec<&str> = application.iter().map(String::as_str).collect();
    let scene = Scene::with(&Target::new(&application), Options::default(), |builder, sim| {
        sim.fault(Rule { kind: Some(Kind::Entra), drop: true, ..Rule::default() }).unwrap();
        builder
    });
    let answer = tokio::time::timeout(Duration::from_secs(20), scene.hello()).await.unwrap();
    assert!((500..=599).contains(&answer.status()), "{}", answer.text());
    assert_tells_nothing(&answer, &scene);
    assert_eq!(scene.chats().len(), 0);
}

#[tokio::test]
async fn a_refused_token_is_dropped_and_the_request_replayed_once() {
    let scene = Scene::start(&Target::with_identity());
    assert_chat(&scene.hello().await, "first");
    scene.sim.revoke_tokens();
    assert_chat(&scene.hello().await, "after the revocation");
    let statuses: Vec<u16> = scene.chats().iter().map(|seen| seen.status).collect();
    assert_eq!((statuses, scene.exchanges().len()), (vec![200, 401, 200], 2));
    let bodies: Vec<_> = scene.chats().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies[1], bodies[2], "the replay is the same request");
}

#[tokio::test]
async fn a_model_that_refuses_every_token_costs_one_more_exchange_and_no_storm() {
    let scene = Scene::with(&Target::with_identity(), Options::default(), |builder, sim| {
        let refusing = Rule { kind: Some(Kind::Chat), status: Some(401), ..Rule::default() };
        sim.fault(refusing).unwrap();
        builder
    });
    for _ in 0..5 {
        let answer = scene.hello().await;
        assert_ne!(answer.status(), 200, "{}", answer.text());
    }
    assert_eq!((scene.exchanges().len(), scene.chats().len()), (2, 6));
}

#[tokio::test]
async fn a_streamed_request_survives_a_revoked_token() {
    let scene = Scene::start(&Target::with_identity());
    assert_chat(&scene.hello().await, "first");
    scene.sim.revoke_tokens();
    let answer = scene.gateway.post("/chat", STREAM).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.text().contains("[DONE]"), "{}", answer.text());
}

#[tokio::test]
async fn what_a_client_signs_in_with_never_reaches_azure() {
    let own = [
        ("Authorization", "Bearer clients-own-token"),
        ("api-key", "clients-own-key"),
        ("x-api-key", "clients-own-other-key"),
        ("Content-Type", "application/json"),
    ];
    for target in [Target::with_key(), Target::with_identity()] {
        let scene = Scene::start(&target);
        let answer = scene.gateway.send("POST", "/chat", &own, HELLO.as_bytes()).await;
        assert_chat(&answer, "with credentials of its own");
        for seen in scene.chats() {
            let headers = format!("{:?}", seen.headers);
            assert!(!headers.contains("clients-own"), "{headers}");
        }
        for seen in scene.exchanges() {
            assert!(!format!("{:?}", seen.headers).contains("clients-own"), "{:?}", seen.headers);
        }
    }
}

#[tokio::test]
async fn an_identity_wins_over_a_key_beside_it() {
    let target = Target::new(&[SWITCH, "header_name: api-key", "header_value: sim-key"]);
    let scene = Scene::start(&target);
    assert_chat(&scene.hello().await, "both");
    assert_eq!(scene.identity(), "managed identity (system-assigned)");
    assert_eq!(scene.chats()[0].header("api-key"), None);
}

#[tokio::test]
async fn an_unfinished_identity_is_refused_when_the_file_loads() {
    let sim = silverback::sim::Sim::start(Options::default()).unwrap();
    let target = Target::new(&[SWITCH, "azure_client_secret: lonely"]);
    let refused = super::gateway::Builder::default().try_start(&target.yaml(&sim.url()));
    let errors = refused.err().unwrap().join("\n");
    for word in ["azure_client_id", "AZURE_CLIENT_ID"] {
        assert!(errors.contains(word), "{errors}");
    }
    assert!(!errors.contains("lonely"), "{errors}");
}
