use serde_json::json;

use super::super::auth::Auth;
use super::super::identity::Identity;
use super::super::mock::vector;
use super::super::resolve;
use super::*;
use crate::settings::Env;

fn identity(env: &[(&str, &str)]) -> Identity {
    let auth = Auth { use_managed_identity: true, ..Auth::default() };
    let env: Env = env.iter().copied().collect();
    resolve(&auth, &env, "foo.openai.azure.com").unwrap().unwrap()
}

const APP: [(&str, &str); 3] =
    [("AZURE_CLIENT_ID", "a"), ("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_SECRET", "s3cret")];
const WEB: [(&str, &str); 2] =
    [("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi"), ("IDENTITY_HEADER", "h")];

fn reply(response: &Value) -> Reply {
    let kind = response["headers"]["content-type"].as_str().unwrap_or_default();
    let text = response["body_text"].as_str().map(str::to_owned);
    Reply {
        status: response["status"].as_u64().unwrap() as u16,
        is_html: kind.starts_with("text/html"),
        body: text.unwrap_or_else(|| response["body"].to_string()),
        ..Reply::default()
    }
}

fn diagnose(env: &[(&str, &str)], response: &Value) -> Cause {
    refused(&*identity(env).source, &reply(response), &["s3cret"])
}

#[test]
fn vectors_are_classified_and_hinted() {
    for (name, env) in [
        ("entra-05-err-invalid-secret", &APP[..]),
        ("entra-06-err-expired-secret", &APP),
        ("entra-07-err-app-not-found", &APP),
        ("entra-08-err-tenant-not-found", &APP),
        ("entra-09-err-bad-tenant-string", &APP),
        ("entra-10-err-scope-without-default", &APP),
        ("entra-11-err-resource-unknown", &APP),
        ("entra-12-err-wi-assertion-expired", &APP),
        ("entra-13-err-wi-no-federated-record", &APP),
        ("entra-15-throttled-retry-after", &APP),
        ("entra-16-503-html-body", &APP),
        ("entra-17-200-without-token", &APP),
        ("imds-05-400-identity-not-found", &[("AZURE_CLIENT_ID", "c")]),
        ("imds-06-400-multiple-identities", &[]),
        ("imds-10-429-throttle", &[]),
        ("imds-12-403-docker-desktop", &[]),
        ("imds-13-200-html-captive", &[]),
    ] {
        let vector = vector(name);
        let seen = vector["responses_seen"].as_array().cloned();
        for response in seen.unwrap_or_else(|| vec![vector["response"].clone()]) {
            let cause = diagnose(env, &response);
            let expect = &vector["expect"];
            assert_eq!(cause.class.as_str(), expect["class"].as_str().unwrap(), "{name}: {cause}");
            assert_eq!(cause.status, Some(response["status"].as_u64().unwrap() as u16));
            if let Some(code) = response["body"]["error_codes"][0].as_u64() {
                assert!(cause.to_string().contains(&format!("AADSTS{code}")), "{name}: {cause}");
            }
            let hints = expect["user_hint_contains"].as_array().cloned().unwrap_or_default();
            for hint in hints.iter().map(|hint| hint.as_str().unwrap()) {
                assert!(cause.to_string().contains(hint), "{name}: {hint:?} in {cause}");
            }
            assert!(!cause.said.contains('<'), "{name}: {cause}");
        }
    }
}

#[test]
fn words_and_correlation_ids_are_kept() {
    let plain = vector("imds-14-plain-text-error");
    for response in plain["responses"].as_array().unwrap() {
        let said = diagnose(&[], response).said;
        assert_eq!(&*said, response["body_text"].as_str().unwrap().trim_end());
    }
    let cause = diagnose(&WEB, &vector("appsvc-03-500-shape")["response"]);
    assert_eq!(cause.correlation_id.as_deref(), Some("00000000-0000-0000-0000-00000000cccc"));
    assert!(cause.remedy.contains("not assigned to this app"), "{cause}");
    let cause = diagnose(&APP, &vector("entra-05-err-invalid-secret")["response"]);
    assert_eq!(cause.correlation_id.as_deref(), Some("00000000-0000-0000-0000-00000000bbbb"));
}

#[test]
fn a_number_in_the_text_is_as_good_as_in_the_list() {
    let body = json!({"error": "invalid_resource", "error_description": "AADSTS500011: no"});
    let cause = diagnose(&[], &json!({"status": 400, "body": body}));
    assert_eq!((cause.code, cause.class), (Some(500_011), Class::Config));
}

#[test]
fn hostile_words_cannot_break_a_log_line_or_leak() {
    let text = format!("s3cret s3cret\r\n{{\"fake\":\"line\"}}\u{1b}[31m {}", "x".repeat(9999));
    let said = diagnose(&APP, &json!({"status": 400, "body_text": text})).said;
    assert!(said.starts_with("*** *** {\"fake\":\"line\"} [31m xxx"), "{said}");
    assert_eq!(said.chars().count(), 400);
    assert_eq!(clean("client_secret=p%40ss+w", &["p@ss w"]), "client_secret=***");
    assert_eq!(clean("{\"access_token\": \"ey", &[]), "");
    let ok = json!({"status": 200, "body": {"token": "canary"}});
    assert!(!diagnose(&APP, &ok).to_string().contains("canary"));
}
