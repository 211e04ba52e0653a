use super::*;
use crate::azure::identity::Origin;
use crate::azure::mock::{self, Answer, Mock, vector};

const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// A cluster, and the source that its variables would make.
async fn cluster(answer: Answer) -> (Mock, ServiceFabric) {
    let (mock, certificate) = Mock::run_https(move |_| answer.clone()).await;
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}:")).collect();
    let from = Origin::Variable("IDENTITY_SERVER_THUMBPRINT");
    let thumbprint = Given { value: Thumbprint::parse(&hex).unwrap(), from };
    let url = format!("https://{}/metadata/identity/oauth2/token", mock.url().authority());
    let endpoint = Given { value: Url::parse(&url).unwrap(), from };
    let env = Env::from_iter([("IDENTITY_HEADER", "s")]);
    (mock, ServiceFabric { endpoint, selector: Selector::System, thumbprint, env })
}

fn ok() -> Answer {
    Answer::new(200, r#"{"access_token": "t", "expires_on": 4102444800}"#)
}

#[tokio::test]
async fn the_pinned_cluster_is_asked_as_the_vector_says() {
    let wanted = &vector("msi-04-service-fabric")["request"];
    let (cluster, source) = cluster(ok()).await;
    source.call(&mock::clients(), SCOPE).await.unwrap();
    let seen = cluster.last();
    let query: serde_json::Map<_, _> =
        seen.query().into_iter().map(|(name, value)| (name, value.into())).collect();
    assert_eq!(serde_json::Value::from(query), wanted["query"]);
    assert_eq!(seen.header("secret"), wanted["headers"]["Secret"].as_str());
    assert_eq!(seen.path(), "/metadata/identity/oauth2/token");

    let from = Origin::Default;
    let selector = Selector::ObjectId(Given { value: "o".into(), from });
    let source = ServiceFabric { selector, ..source };
    source.call(&mock::clients(), SCOPE).await.unwrap();
    assert!(cluster.last().query().contains(&("principalId".into(), "o".into())));
}

#[tokio::test]
async fn another_certificate_gets_no_secret() {
    let (cluster, source) = cluster(ok()).await;
    let other = Thumbprint::parse(&"0".repeat(40)).unwrap();
    let thumbprint = Given { value: other, from: source.thumbprint.from };
    let source = ServiceFabric { thumbprint, ..source };
    let cause = source.call(&mock::clients(), SCOPE).await.unwrap_err();
    assert_eq!((cause.class, cluster.calls()), (Class::Config, 0));
    assert!(cause.to_string().contains("IDENTITY_SERVER_THUMBPRINT"), "{cause}");
    assert!(source.pause(&cause, 1).is_none());
}

#[tokio::test]
async fn its_404_is_final_and_its_nested_errors_are_read() {
    let vector = vector("msi-04-service-fabric");
    let (_cluster, source) = cluster(Answer::of(&vector["error_response"])).await;
    let env = Env::from_iter([("IDENTITY_HEADER", "a longer secret")]);
    let source = ServiceFabric { env, ..source };
    let cause = source.call(&mock::clients(), SCOPE).await.unwrap_err();
    assert_eq!((cause.class, cause.status), (Class::Config, Some(404)));
    assert!(source.pause(&cause, 1).is_none());
    assert!(cause.said.starts_with("SecretHeaderNotFound: Secret is not found"), "{cause}");
    assert_eq!(cause.correlation_id.as_deref(), Some("x"));

    let body = r#"{"error": {"code": "ManagedIdentityNotFound", "message": "No identity."}}"#;
    let (_cluster, source) = self::cluster(Answer::new(404, body)).await;
    let cause = source.call(&mock::clients(), SCOPE).await.unwrap_err();
    assert_eq!(cause.class, Class::NotAssigned);
    assert!(cause.to_string().contains("IdentityBindingPolicy"), "{cause}");
    assert!(source.pause(&cause, 1).is_none());
}
