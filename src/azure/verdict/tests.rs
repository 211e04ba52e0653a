use super::super::mock;
use super::super::{Auth, resolve};
use super::*;
use crate::settings::Env;

fn identity(scope: &str) -> Identity {
    let auth = Auth {
        use_managed_identity: true,
        client_id: Some("1".into()),
        scope: Some(scope.into()),
        ..Auth::default()
    };
    resolve(&auth, &Env::default(), "x.openai.azure.com").unwrap().unwrap()
}

const COGNITIVE: &str = "https://cognitiveservices.azure.com/.default";

/// Status and words of a vector.
fn said(name: &str) -> (u16, String) {
    let vector = mock::vector(&format!("err-{name}"));
    let body = vector["response"]["body"].to_string();
    let status = vector["response"]["status"].as_u64().unwrap().try_into().unwrap();
    (status, words(body.as_bytes(), &[]).unwrap())
}

#[track_caller]
fn assert_verdict(name: &str, signed_in: SignedIn<'_>, meaning: &str, remedy: &str) {
    let (status, said) = said(name);
    let verdict = Verdict::on_question(status, &said, signed_in);
    assert!(!verdict.is_well, "{verdict}");
    assert!(verdict.meaning.contains(meaning), "{verdict}");
    assert!(verdict.remedy.contains(remedy), "{verdict}");
}

#[test]
fn refused_tokens_lead_to_scope_or_role() {
    let (cognitive, other) = (identity(COGNITIVE), identity("https://other/.default"));
    let audience = "02-401-token-audience";
    let asked = "asked for the scope https://cognitiveservices.azure.com/.default";
    assert_verdict(audience, SignedIn::As(&cognitive), asked, "https://ai.azure.com/.default");
    assert_verdict(audience, SignedIn::As(&other), "scope https://other/.default", COGNITIVE);
    let role = "client id 1 (principal 00000000-0000-0000-0000-0000000000d1) lacks a role";
    let assign = "assign Cognitive Services OpenAI User";
    assert_verdict("03-401-permission-denied", SignedIn::As(&cognitive), role, assign);
    let silent = Verdict::on_refusal("", SignedIn::As(&cognitive));
    assert!(silent.meaning.contains("client id 1") && silent.meaning.contains(COGNITIVE));
}

#[test]
fn refused_keys_lead_to_the_key_or_to_an_identity() {
    let key = SignedIn::WithKey("auth.header_value");
    assert_verdict("01-401-bad-key", key, "the key is wrong", "check auth.header_value");
    let switch = "set auth.azure_use_managed_identity";
    assert_verdict("04-403-key-auth-disabled", key, "takes no keys", switch);
    // A key in Authorization is taken for a token.
    assert_verdict("02-401-token-audience", key, "no key", "set auth.header_name to api-key");
}

#[test]
fn what_no_credential_can_mend_is_told_apart() {
    for signed_in in [SignedIn::WithKey("auth.header_value"), SignedIn::Not] {
        assert_verdict("05-403-network", signed_in, "network rules", "private endpoint");
        assert_verdict("06-403-suspended", signed_in, "blocked", "support");
        assert_verdict("07-404-deployment", signed_in, "no deployment", "azure_deployment_id");
        assert_verdict("08-404-resource", signed_in, "this path", "azure_api_version");
        assert_verdict("18-500", signed_in, "failed", "try again");
    }
    assert_verdict("01-401-bad-key", SignedIn::Not, "no credential", "auth.header_name");
}

#[test]
fn only_the_missing_prompt_is_good_news() {
    let of = |status, said| Verdict::on_question(status, said, SignedIn::Not);
    for said in [
        "missing_required_parameter Missing required parameter: 'messages'.",
        "'messages' is a required property",
        "invalid_type Invalid type for 'prompt'",
        "-1 is less than the minimum of 0 - 'max_tokens'",
    ] {
        assert!(of(400, said).is_well && of(422, said).is_well, "{said}");
    }
    assert!(of(200, "").is_well && of(429, "429 Requests to the ...").is_well);
    for (said, meaning) in [
        ("BadRequest API version not supported", "api-version"),
        ("400 Token tenant a does not match resource tenant.", "another tenant"),
        ("BadRequest Please provide a custom subdomain for token authentication", "subdomain"),
        (
            "OperationNotSupported The chatCompletion operation does not work with the specified \
             model, text-embedding-3-small",
            "route_type",
        ),
        ("", "a reason of its own"),
    ] {
        let verdict = of(400, said);
        assert!(!verdict.is_well && verdict.meaning.contains(meaning), "{said}: {verdict}");
    }
    assert!(!of(302, "").is_well && !of(503, "").is_well && !of(405, "").is_well);
}

#[test]
fn words_are_one_bounded_line_without_secrets() {
    let long = format!(r#"{{"message":"a\nb{} my-key"}}"#, "x".repeat(9));
    assert_eq!(words(long.as_bytes(), &["my-key"]).unwrap(), "a bxxxxxxxxx ***");
    let long = format!(r#"{{"error":{{"code":"c","message":"{}"}}}}"#, "x".repeat(4000));
    assert!(words(long.as_bytes(), &[]).unwrap().chars().count() <= 400);
    assert_eq!(words(br#"{"error":"no"}"#, &[]).as_deref(), Some("no"));
    assert_eq!((words(b"<html>", &[]), words(b"[1]", &[])), (None, None));
}
