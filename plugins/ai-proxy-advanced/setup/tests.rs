use http::StatusCode;
use serde_json::{Value, json};

use super::super::tests::harness::{balancer, instance, shared, wanted};
use super::*;
use crate::llm::config::tests::target;
use crate::pdk::Loss;

/// What is said against targets with these `auth` and `options`.
async fn refusals(targets: &[(Value, Value, Value)], env: &[(&str, &str)]) -> Vec<String> {
    let targets =
        targets.iter().cloned().map(|(auth, options, model)| target(auth, options, model));
    let wanted = wanted(targets.collect(), json!({}));
    {
        let shared = shared(env);
        Setup::new(&shared, &shared.settings.env, instance(), wanted)
    }
    .err()
    .unwrap_or_default()
}

#[tokio::test]
async fn everything_wrong_is_said_at_once() {
    let key = json!({"header_name": "api-key", "header_value": "k"});
    let identity = json!({"azure_use_managed_identity": true});
    let app = json!({"azure_use_managed_identity": true, "azure_client_id": "c",
        "azure_tenant_id": "t"});
    let none = json!({});
    let lines = refusals(
        &[
            (key.clone(), json!({"upstream_url": "http://models.example/x"}), none.clone()),
            (identity.clone(), json!({"upstream_url": "http://10.0.0.1/x"}), none.clone()),
            (key, json!({"upstream_url": "http://$(headers.x).example/"}), none.clone()),
            (app, none.clone(), none.clone()),
            (json!({"header_name": "bad name", "header_value": "k"}), none.clone(), none.clone()),
            (none.clone(), json!({"upstream_url": "nonsense"}), none.clone()),
            (
                none.clone(),
                none.clone(),
                json!({"provider": "xai", "route_type": "llm/v1/embeddings"}),
            ),
            (identity, none, json!({"provider": "openai"})),
        ],
        &[],
    )
    .await;
    let places: Vec<_> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "config.targets[6].route_type",
            "config.targets[0].model.options.upstream_url",
            "config.targets[1].model.options.upstream_url",
            "config.targets[2].model.options.upstream_url",
            "config.targets[3].auth",
            "config.targets[4].auth.header_name",
            "config.targets[5].model.options.upstream_url",
            "config.targets[7].auth.azure_use_managed_identity",
        ],
        "{lines:#?}"
    );
    assert!(lines[1].contains("in the clear"), "{}", lines[1]);
    assert!(lines[4].contains("AZURE_CLIENT_SECRET"), "{}", lines[4]);
    assert_eq!(refusals(&[], &[]).await, ["config.targets: must hold at least one target"]);
}

#[tokio::test]
async fn a_credential_never_goes_to_a_host_that_a_client_completes() {
    let key = json!({"header_name": "api-key", "header_value": "k"});
    let identity = json!({"azure_use_managed_identity": true});
    let of = async |auth: &Value, url: &str| {
        refusals(&[(auth.clone(), json!({ "upstream_url": url }), json!({}))], &[]).await
    };
    for auth in [&key, &identity] {
        for url in [
            "https://$(headers.x).example.com/",
            "https://$(headers.x).azure.com/",
            "https://$(headers.x)openai.azure.com/",
            "https://$(headers.x).azure-api.net/",
            "https://$(headers.x).openai.azure.com.evil.example/",
        ] {
            let lines = of(auth, url).await;
            assert!(lines.len() == 1 && lines[0].contains("a client would say"), "{lines:?}");
        }
        let plain = of(auth, "http://$(headers.x).openai.azure.com/").await;
        assert!(plain[0].contains("in the clear"), "{plain:?}");
        for url in [
            "https://$(headers.x).openai.azure.com/",
            "https://a-$(headers.x).services.ai.azure.com/",
            "https://$(headers.x).cognitiveservices.azure.us/",
            "https://h.example/$(headers.x)",
        ] {
            assert_eq!(of(auth, url).await, Vec::<String>::new(), "{url}");
        }
    }
    assert_eq!(of(&json!({}), "https://$(headers.x).example.com/").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_metadata_address_in_the_file_is_a_warning() {
    let options = json!({"upstream_url": "http://169.254.169.254:80/x"});
    let wanted = wanted(vec![target(json!({}), options, json!({}))], json!({}));
    let shared = shared(&[]);
    let setup = Setup::new(&shared, &shared.settings.env, instance(), wanted).ok().unwrap();
    assert!(setup.warnings[0].contains("link-local"), "{:?}", setup.warnings);
}

#[tokio::test]
async fn what_can_work_is_accepted() {
    let none = json!({});
    let lines = refusals(
        &[
            (none.clone(), json!({"upstream_url": "http://models.example/x"}), none.clone()),
            (
                json!({"header_name": "{vault://env/a}", "header_value": "{vault://env/b}"}),
                none.clone(),
                none.clone(),
            ),
            (
                json!({"azure_use_managed_identity": true, "azure_client_id": "{vault://env/a}",
                    "azure_client_secret": "{vault://env/b}"}),
                none.clone(),
                none.clone(),
            ),
            (json!({"azure_client_id": "unused"}), none.clone(), none),
        ],
        &[],
    )
    .await;
    assert_eq!(lines, Vec::<String>::new());
}

#[tokio::test]
async fn an_identity_wins_over_a_header_and_not_over_a_parameter() {
    let auth = json!({"azure_use_managed_identity": true, "header_name": "api-key",
        "header_value": "k", "param_name": "p", "param_value": "v", "param_location": "query"});
    let mut config = target(auth, json!({}), json!({}));
    let mut notes = Notes { refusals: Vec::new(), warnings: Vec::new() };
    choose(&FieldNames::new("config", &[]), &mut config, &mut notes);
    let auth = config.auth.unwrap();
    assert!(auth.header_name.is_none() && auth.header_value.is_none());
    assert!(auth.param_value.is_some());
    assert_eq!((notes.refusals.len(), notes.warnings.len()), (0, 1));
}

#[tokio::test]
async fn what_a_balancer_lacks_is_said() {
    let of = async |more: Value| {
        let mut all = balancer(&["error"]);
        all["balancer"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let prices = json!({"input_cost": 1, "output_cost": 2});
        let mut priced = target(json!({}), prices, json!({}));
        priced.logging.as_mut().unwrap().log_statistics = Some(true);
        priced.weight = Some(1);
        let targets = vec![target(json!({}), json!({}), json!({})), priced];
        let shared = shared(&[]);
        let made = Setup::new(&shared, &shared.settings.env, instance(), wanted(targets, all));
        made.err().unwrap_or_default()
    };
    let cost = |algorithm| json!({"algorithm": algorithm, "tokens_count_strategy": "cost"});
    let lines = of(cost("lowest-usage")).await;
    assert!(lines.len() == 1 && lines[0].starts_with("config.targets[0]: "), "{lines:?}");
    assert_eq!(of(cost("round-robin")).await, Vec::<String>::new());
    let capped = |algorithm| json!({"algorithm": algorithm, "spill": {"max_cost": 5.0}});
    assert_eq!(of(capped("priority")).await, Vec::<String>::new());
    let lines = of(capped("round-robin")).await;
    assert!(lines.len() == 1 && lines[0].contains("'priority' only"), "{lines:?}");
    let lines = of(json!({"hash_on_header": "no header"})).await;
    assert_eq!(lines, ["config.balancer.hash_on_header: is no header"]);
}

#[test]
fn failover_criteria_are_those_of_nginx() {
    let mut warnings = Vec::new();
    let default = Failover::new(None, &mut warnings);
    assert!(default.covers_loss(Loss::Error) && default.covers_loss(Loss::Timeout));
    assert!(!default.covers_loss(Loss::InvalidHeader) && !default.non_idempotent);
    assert!(warnings.is_empty());
    let listed = balancer(&["http_429", "invalid_header"])["balancer"].clone();
    let listed: config::Balancer = serde_json::from_value(listed).unwrap();
    let failover = Failover::new(Some(&listed), &mut warnings);
    assert!(failover.covers_status(StatusCode::TOO_MANY_REQUESTS));
    assert!(!failover.covers_status(StatusCode::BAD_GATEWAY));
    assert!(!failover.covers_loss(Loss::Error) && failover.covers_loss(Loss::InvalidHeader));
    assert!(warnings[0].contains("non_idempotent"));
}
