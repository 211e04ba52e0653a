//! Entra, IMDS and App Service, and what the data plane makes of their tokens.

use super::*;
use crate::sim::{Kind, Rule};

const TENANT: &str = "/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const SECRET: &str = "client_id=c&client_secret=s&grant_type=client_credentials\
    &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
const IMDS: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01\
    &resource=https%3A%2F%2Fcognitiveservices.azure.com";
const APP_SERVICE: &str =
    "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fcognitiveservices.azure.com";
const METADATA: (&str, &str) = ("metadata", "true");
const IDENTITY_HEADER: (&str, &str) = ("x-identity-header", "sim-identity-header");

/// Calls chat with the token of a reply and gives the status and the identity that is named.
async fn chat_with(sim: &Sim, token_reply: &Got) -> (u16, String) {
    let token = token_reply.json()["access_token"].as_str().unwrap().to_owned();
    let got = post(sim, CHAT, &[("authorization", &format!("Bearer {token}"))], HELLO).await;
    (got.status, got.header("x-sim-identity").unwrap().to_owned())
}

#[tokio::test]
async fn a_client_secret_gives_a_token_that_opens_the_data_plane() {
    let sim = start(Options::default());
    let got = post(&sim, TENANT, &[FORM], SECRET).await;
    assert_eq!(shape(&got.json()), shape(&vector("entra-01-token-ok")["response"]["body"]));
    let (status, identity) = chat_with(&sim, &got).await;
    assert_eq!(status, 200);
    assert_eq!(
        identity,
        "client secret (client id c, tenant 11111111-2222-3333-4444-555555555555)"
    );
    assert_eq!(sim.last().unwrap().identity, identity);
    assert_eq!(sim.tokens_issued(), 1);
}

#[tokio::test]
async fn an_assertion_is_a_workload_identity_unless_it_names_a_certificate() {
    let sim = start(Options::default());
    let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    let with = |assertion: &str| {
        let form = SECRET.replace("client_secret=s", &format!("client_assertion={assertion}"));
        format!("{form}&client_assertion_type={kind}")
    };
    let got = post(&sim, TENANT, &[FORM], &with("HEADER.PAYLOAD.SIG")).await;
    assert!(chat_with(&sim, &got).await.1.starts_with("workload identity (client id c,"));
    // {"x5t":"a"} in base64url
    let got = post(&sim, TENANT, &[FORM], &with("eyJ4NXQiOiJhIn0.e30.SIG")).await;
    assert!(chat_with(&sim, &got).await.1.starts_with("client certificate (client id c,"));
    // {"exp":1} in base64url
    for (assertion, code) in [
        ("expired-assertion", 700_024),
        ("e30.eyJleHAiOjF9.SIG", 700_024),
        ("wrong-assertion", 70_021),
        ("HEADER.PAYLOAD.SIG%0A", 50_027),
    ] {
        let got = post(&sim, TENANT, &[FORM], &with(assertion)).await;
        assert_eq!((got.status, &got.json()["error_codes"][0]), (401, &code.into()), "{assertion}");
    }
}

#[tokio::test]
async fn entra_refuses_in_its_own_codes() {
    let sim = start(Options::default());
    let cases = [
        ("entra-05-err-invalid-secret", TENANT, SECRET.replace("=s&", "=wrong-secret&")),
        ("entra-06-err-expired-secret", TENANT, SECRET.replace("=s&", "=expired-secret&")),
        ("entra-07-err-app-not-found", TENANT, SECRET.replace("=c&", "=unknown-client&")),
        ("entra-08-err-tenant-not-found", "/unknown-tenant/oauth2/v2.0/token", SECRET.into()),
        ("entra-09-err-bad-tenant-string", "/my%20tenant/oauth2/v2.0/token", SECRET.into()),
        ("entra-10-err-scope-without-default", TENANT, SECRET.replace("%2F.default", "")),
        ("entra-11-err-resource-unknown", TENANT, SECRET.replace("cognitive", "unknown")),
    ];
    for (name, path, form) in cases {
        let got = post(&sim, path, &[FORM], &form).await;
        let wanted = &vector(name)["response"];
        assert_eq!(got.status, wanted["status"], "{name}");
        assert_eq!(got.json()["error"], wanted["body"]["error"], "{name}");
        assert_eq!(got.json()["error_codes"], wanted["body"]["error_codes"], "{name}");
        assert_eq!(shape(&got.json()), shape(&wanted["body"]), "{name}");
    }
    for missing in ["client_id=c&", "client_secret=s&", "grant_type=client_credentials"] {
        let got = post(&sim, TENANT, &[FORM], &SECRET.replace(missing, "")).await;
        assert!(got.status == 400 || got.status == 401, "{missing}");
    }
    assert_eq!(sim.tokens_issued(), 0);
}

#[tokio::test]
async fn imds_names_the_identity_that_was_asked_for() {
    let sim = start(Options::default());
    let got = get(&sim, IMDS, &[METADATA]).await;
    assert_eq!(shape(&got.json()), shape(&vector("imds-02-ok-strings")["response"]["body"]));
    let identity = "managed identity (system-assigned)";
    assert_eq!(chat_with(&sim, &got).await, (200, identity.into()));
    for (argument, identity) in [
        ("client_id=abc", "managed identity (client id abc)"),
        ("object_id=abc", "managed identity (object id abc)"),
        ("msi_res_id=%2Fsub%2Fn", "managed identity (resource id /sub/n)"),
    ] {
        let got = get(&sim, &format!("{IMDS}&{argument}"), &[METADATA]).await;
        assert_eq!(chat_with(&sim, &got).await, (200, identity.into()));
    }
}

#[tokio::test]
async fn imds_refuses_what_imds_refuses() {
    let sim = start(Options::default());
    let cases = [
        ("imds-07-400-missing-metadata-header", String::from(IMDS), vec![]),
        ("imds-07-400-missing-metadata-header", IMDS.into(), vec![("metadata", "True")]),
        ("imds-05-400-identity-not-found", format!("{IMDS}&client_id=unknown-1"), vec![METADATA]),
    ];
    for (name, path, headers) in cases {
        let got = get(&sim, &path, &headers).await;
        assert_eq!((got.status, got.json()), (400, vector(name)["response"]["body"].clone()));
    }
    for (path, headers) in [
        (String::from(IMDS), vec![METADATA, ("x-forwarded-for", "10.0.0.1")]),
        (format!("{IMDS}&resource=x"), vec![METADATA]),
        (format!("{IMDS}%2F.default"), vec![METADATA]),
        (format!("{IMDS}&client_id=a&object_id=b"), vec![METADATA]),
        (IMDS.replace("api-version=2018-02-01", ""), vec![METADATA]),
        (IMDS.replace("resource", "audience"), vec![METADATA]),
    ] {
        assert_eq!(get(&sim, &path, &headers).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn several_assigned_identities_and_no_name_are_ambiguous() {
    let identities = vec!["one".into(), "two".into()];
    let options = Options { identities, system_identity: false, ..Options::default() };
    let sim = start(options);
    let got = get(&sim, IMDS, &[METADATA]).await;
    assert_eq!(got.json(), vector("imds-06-400-multiple-identities")["response"]["body"]);
    assert_eq!(get(&sim, &format!("{IMDS}&client_id=TWO"), &[METADATA]).await.status, 200);
    assert_eq!(get(&sim, &format!("{IMDS}&client_id=three"), &[METADATA]).await.status, 400);
}

#[tokio::test]
async fn app_service_wants_its_header_and_its_own_argument_names() {
    let sim = start(Options::default());
    let got = get(&sim, &format!("{APP_SERVICE}&client_id=ab"), &[IDENTITY_HEADER]).await;
    assert_eq!(shape(&got.json()), shape(&vector("appsvc-02-ok")["response"]["body"]));
    assert_eq!(got.json()["client_id"], "AB");
    let identity = "app service managed identity (client id ab)";
    assert_eq!(chat_with(&sim, &got).await, (200, identity.into()));

    let got = get(&sim, &format!("{APP_SERVICE}&msi_res_id=x"), &[IDENTITY_HEADER]).await;
    let identity = "app service managed identity (system-assigned)";
    assert_eq!(chat_with(&sim, &got).await, (200, identity.into()), "IMDS's name is not known");

    assert_eq!(get(&sim, APP_SERVICE, &[("x-identity-header", "old")]).await.status, 401);
    let got = get(&sim, &format!("{APP_SERVICE}%2F.default"), &[IDENTITY_HEADER]).await;
    assert_eq!(shape(&got.json()), shape(&vector("appsvc-03-500-shape")["response"]["body"]));
}

#[tokio::test]
async fn the_old_app_service_contract_has_dates_and_other_names() {
    let sim = start(Options::default());
    let path = APP_SERVICE.replace("2019-08-01", "2017-09-01") + "&clientid=c";
    let got = get(&sim, &path, &[("secret", "sim-identity-header")]).await;
    assert!(got.json()["expires_on"].as_str().unwrap().ends_with(" +00:00"));
    assert_eq!(chat_with(&sim, &got).await.1, "app service managed identity (client id c)");
}

#[tokio::test]
async fn a_tenant_says_where_its_token_endpoint_is() {
    let sim = start(Options::default());
    let got = get(&sim, "/t.example/v2.0/.well-known/openid-configuration", &[]).await;
    let token = got.json()["token_endpoint"].as_str().unwrap().to_owned();
    assert_eq!(token, "http://sim/t.example/oauth2/v2.0/token");
    assert_eq!(sim.last().unwrap().kind, Kind::Discovery);
    let got = post(&sim, token.strip_prefix("http://sim").unwrap(), &[FORM], SECRET).await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn expired_revoked_and_foreign_tokens_are_refused() {
    let sim = start(Options::default());
    let expired = Rule { token_lifetime_secs: Some(0), times: Some(1), ..Rule::default() };
    sim.fault(Rule { kind: Some(Kind::Identity), ..expired }).unwrap();
    let short = post(&sim, TENANT, &[FORM], SECRET).await;
    assert_eq!(short.json()["expires_in"], 0);
    let refused = (401, "a token that is unknown or expired".to_owned());
    assert_eq!(chat_with(&sim, &short).await, refused);

    let got = post(&sim, TENANT, &[FORM], SECRET).await;
    assert_eq!(chat_with(&sim, &got).await.0, 200);
    sim.revoke_tokens();
    assert_eq!(chat_with(&sim, &got).await, refused);

    let other = SECRET.replace("cognitiveservices.azure", "management.azure");
    let got = post(&sim, TENANT, &[FORM], &other).await;
    let (status, identity) = chat_with(&sim, &got).await;
    assert_eq!(status, 401);
    assert!(identity.ends_with("with a token for https://management.azure.com"), "{identity}");
}
