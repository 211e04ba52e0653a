use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::azure::identity::Origin;
use crate::azure::mock::{self, Answer, Mock, vector};

const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

fn arc(agent: &Mock, keys: &Path, selector: Selector) -> AzureArc {
    let mut endpoint = agent.url();
    endpoint.set_path("/metadata/identity/oauth2/token");
    let endpoint = Given { value: endpoint, from: Origin::Variable("IDENTITY_ENDPOINT") };
    AzureArc { endpoint, selector, keys: keys.to_owned() }
}

fn client_id(id: &str) -> Selector {
    Selector::ClientId(Given { value: id.to_owned(), from: Origin::Field("azure_client_id") })
}

/// An agent that names this file and takes its content.
async fn agent(realm: String, granted: Answer) -> Mock {
    Mock::run(move |seen| match seen.header("authorization") {
        None => Answer::new(401, "").header("www-authenticate", &format!("Basic realm={realm}")),
        Some(_) => granted.clone(),
    })
    .await
}

fn ok(more: Value) -> Answer {
    let mut body = serde_json::json!({"access_token": "t", "expires_in": "86399"});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    Answer::new(200, &body.to_string())
}

/// Users read these rows, and no test of `tests/it` can have key files in the agent's folder.
#[track_caller]
fn assert_is_documented(cause: &Cause) {
    let row = format!("| `{}` | `{}` |", cause.meaning, cause.remedy);
    assert!(include_str!("../../../../docs/azure-hosting.md").contains(&row), "no row: {row}");
}

#[tokio::test]
async fn the_challenge_is_answered_as_the_vector_says() {
    let vector = vector("msi-02-arc-challenge");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("3f1a.key");
    std::fs::write(&key, "KEYFILE-CONTENT").unwrap();
    let granted = Answer::of(&vector["responses"][1]);
    let agent = agent(key.display().to_string(), granted).await;
    let arc = arc(&agent, folder.path(), Selector::System);
    arc.call(&mock::clients(), SCOPE).await.unwrap();

    for (seen, wanted) in agent.all().iter().zip(vector["requests"].as_array().unwrap()) {
        let query: serde_json::Map<_, _> =
            seen.query().into_iter().map(|(name, value)| (name, value.into())).collect();
        assert_eq!(Value::from(query), vector["requests"][0]["query"]);
        assert_eq!(seen.path(), "/metadata/identity/oauth2/token");
        let header = |name: &str| wanted["headers"][name].as_str();
        assert_eq!(seen.header("metadata"), header("Metadata"));
        assert_eq!(seen.header("authorization"), header("Authorization"));
    }
    assert_eq!(agent.calls(), 2);
}

#[tokio::test]
async fn only_key_files_of_the_agent_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(elsewhere.path().join("x.key"), "canary").unwrap();
    for case in vector("msi-02-arc-challenge")["path_table"].as_array().unwrap() {
        let realm = case["realm"].as_str().unwrap();
        let realm = realm.replace("/var/opt/azcmagent/tokens", folder.path().to_str().unwrap());
        let realm = match realm.starts_with("(symlink") {
            true => folder.path().join("link.key").display().to_string(),
            false => realm,
        };
        let target = Path::new(&realm);
        if realm.ends_with("link.key") {
            symlink(elsewhere.path().join("x.key"), target).unwrap();
        } else if target.starts_with(folder.path()) && !realm.contains("..") {
            let size = case["size"].as_u64().unwrap_or(6) as usize;
            std::fs::write(target, "canary".repeat(800).get(..size).unwrap()).unwrap();
        }
        let agent = agent(realm, ok(Value::Null)).await;
        let outcome =
            arc(&agent, folder.path(), Selector::System).call(&mock::clients(), SCOPE).await;
        assert_eq!(outcome.is_ok(), case["accept"].as_bool().unwrap(), "{case}");
        assert_eq!(agent.calls(), if outcome.is_ok() { 2 } else { 1 }, "{case}");
        if let Err(cause) = outcome {
            assert!(!cause.to_string().contains("canary"), "{cause}");
            assert!(matches!(cause.class, Class::Protocol | Class::Config), "{cause}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_does_not_ask_for_the_key_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Mock::run(|_| ok(Value::Null)).await;
    let arc = arc(&agent, folder.path(), Selector::System);
    let cause = arc.call(&mock::clients(), SCOPE).await.unwrap_err();
    assert_eq!(cause.class, Class::Protocol);
    assert!(cause.meaning.contains("did not ask"), "{cause}");
}

#[tokio::test]
async fn an_old_agent_cannot_pass_off_the_machines_own_identity() {
    let vector = vector("msi-03-arc-uami-not-echoed");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("a.key");
    std::fs::write(&key, "k").unwrap();
    let selector = client_id(vector["requested"]["client_id"].as_str().unwrap());
    let responses = vector["responses"].as_array().unwrap();
    for (response, accept) in responses.iter().zip(vector["expect"]["accept"].as_array().unwrap()) {
        let agent = agent(key.display().to_string(), Answer::of(response)).await;
        let outcome =
            arc(&agent, folder.path(), selector.clone()).call(&mock::clients(), SCOPE).await;
        assert_eq!(outcome.is_ok(), *accept, "{response}");
        assert!(agent.last().query().contains(&("client_id".into(), "AAAA-1".into())));
        if let Err(cause) = outcome {
            assert_eq!(cause.class, Class::NotAssigned);
            assert!(cause.to_string().contains("client id AAAA-1"), "{cause}");
            assert_is_documented(&cause);
        }
    }
    // The resource id is echoed under either name.
    let id = "/subscriptions/S/resourceGroups/r/providers/x";
    let selector = Selector::ResourceId(Given { value: id.into(), from: Origin::Default });
    let agent =
        agent(key.display().to_string(), ok(serde_json::json!({"mi_res_id": id.to_lowercase()})));
    let agent = agent.await;
    assert!(arc(&agent, folder.path(), selector).call(&mock::clients(), SCOPE).await.is_ok());
    assert!(agent.last().query().contains(&("msi_res_id".into(), id.into())));
}

#[tokio::test]
async fn a_key_that_may_not_be_read_names_the_group() {
    let error = io::Error::from(io::ErrorKind::PermissionDenied);
    let cause = unreadable(Path::new("/var/opt/azcmagent/tokens/a.key"), &error);
    assert!(cause.remedy.contains("himds") && cause.meaning.contains("/tokens/a.key"), "{cause}");
    assert_is_documented(&cause);

    let folder = tempfile::tempdir().unwrap();
    let locked = folder.path().join("a.key");
    std::fs::write(&locked, "k").unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    let readable = std::fs::read(&locked).is_ok(); // root reads everything
    let agent = agent(locked.display().to_string(), ok(Value::Null)).await;
    let arc = arc(&agent, folder.path(), Selector::System);
    let outcome = arc.call(&mock::clients(), SCOPE).await;
    assert_eq!(outcome.is_ok(), readable);
    if let Err(cause) = outcome {
        assert!(cause.remedy.contains("himds"), "{cause}");
    }
}

#[tokio::test]
async fn the_key_is_in_no_message() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("a.key");
    std::fs::write(&key, "canary").unwrap();
    let refusal = Answer::new(403, "the key canary is not the one");
    let agent = agent(key.display().to_string(), refusal).await;
    let arc = arc(&agent, folder.path(), Selector::System);
    let cause = arc.call(&mock::clients(), SCOPE).await.unwrap_err();
    assert_eq!(cause.said.as_ref(), "the key *** is not the one");
    assert!(cause.to_string().contains("does not take the key"), "{cause}");
}
