mod arc;
mod matrix;

use std::cell::RefCell;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::super::auth::Auth;
use super::super::identity::{Given, Origin};
use super::super::mock::{self, Answer, Mock, vector};
use super::super::resolve;
use super::super::source::{Imds, Selector};
use super::*;
use crate::settings::Env;

fn identity<'a>(env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<Identity> {
    let auth = Auth { use_managed_identity: true, ..Auth::default() };
    identity_of(&auth, &env.into_iter().collect())
}

fn identity_of(auth: &Auth, env: &Env) -> Arc<Identity> {
    Arc::new(resolve(auth, env, "foo.openai.azure.com").unwrap().unwrap())
}

fn ok(lifetime_secs: u64) -> Answer {
    Answer::new(200, &json!({"access_token": "t0", "expires_in": lifetime_secs}).to_string())
}

async fn exchange_once(identity: &Arc<Identity>) -> Result<Grant, Arc<Failure>> {
    exchange(&mock::clients(), identity).await
}

#[tokio::test]
async fn client_secret_sends_the_form_of_the_vector() {
    let vector = vector("entra-01-token-ok");
    let answer = vector["response"].clone();
    let entra = Mock::run(move |_| Answer::of(&answer)).await;
    let wanted = &vector["request"];
    let form = |name: &str| wanted["form"][name].as_str().unwrap();
    let url = entra.url();
    let grant = exchange_once(&identity([
        ("AZURE_CLIENT_ID", form("client_id")),
        ("AZURE_CLIENT_SECRET", form("client_secret")),
        ("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555"),
        ("AZURE_AUTHORITY_HOST", url.as_str()),
    ]))
    .await
    .unwrap();

    let seen = entra.last();
    assert_eq!(json!(seen.form()), wanted["form"]);
    assert_eq!(seen.line, "POST /11111111-2222-3333-4444-555555555555/oauth2/v2.0/token");
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    let body = &vector["response"]["body"];
    assert_eq!(grant.access_token.expose(), body["access_token"].as_str().unwrap());
    assert_eq!(grant.lifetime, Duration::from_secs(3599));
}

#[tokio::test]
async fn workload_identity_sends_the_file_of_the_moment() {
    let vector = vector("entra-18-workload-identity-request");
    let (expired, good) = (self::vector("entra-12-err-wi-assertion-expired"), vector.clone());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "OLD").unwrap();
    let (path, content) = (file.path().to_owned(), vector["file_content"].clone());
    let entra = Mock::run(move |seen| {
        if seen.form()["client_assertion"] == "OLD" {
            std::fs::write(&path, content.as_str().unwrap()).unwrap(); // the kubelet's turn
            return Answer::of(&expired["response"]);
        }
        Answer::of(&good["response"])
    })
    .await;
    let authority = format!("{}/", entra.url());
    let identity = identity([
        ("AZURE_CLIENT_ID", vector["env"]["AZURE_CLIENT_ID"].as_str().unwrap()),
        ("AZURE_TENANT_ID", vector["env"]["AZURE_TENANT_ID"].as_str().unwrap()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.path().to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", &authority),
    ]);
    assert!(exchange_once(&identity).await.is_ok());
    assert_eq!(entra.calls(), 2);
    let seen = entra.last();
    assert_eq!(json!(seen.form()), vector["request"]["form"]);
    assert!(vector["request"]["url"].as_str().unwrap().ends_with(seen.path()));
}

/// The four ways to name a managed identity, in the order of the vectors.
fn selectors(endpoint: &str, resource_id: &str) -> [Auth; 4] {
    let base = Auth { use_managed_identity: true, ..Auth::default() };
    let base = match endpoint {
        "" => base,
        endpoint => Auth { imds_endpoint: Some(endpoint.into()), ..base },
    };
    [
        base.clone(),
        Auth { client_id: Some("c".into()), ..base.clone() },
        Auth { managed_identity_object_id: Some("o".into()), ..base.clone() },
        Auth { managed_identity_resource_id: Some(resource_id.into()), ..base },
    ]
}

async fn assert_requests(vector: &Value, mock: &Mock, auths: [Auth; 4], env: &Env) {
    for (auth, wanted) in auths.iter().zip(vector["requests"].as_array().unwrap()) {
        exchange_once(&identity_of(auth, env)).await.unwrap();
        let seen = mock.last();
        let query: serde_json::Map<_, _> =
            seen.query().into_iter().map(|(name, value)| (name, json!(value))).collect();
        assert_eq!(json!(query), wanted["query"]);
        assert_eq!(seen.query().len(), query.len(), "a repeated name");
        assert!(wanted["url"].as_str().unwrap().ends_with(seen.path()), "{}", seen.line);
        for (name, value) in wanted["headers"].as_object().unwrap() {
            assert_eq!(seen.header(name), value.as_str(), "{name}");
        }
        for name in wanted["must_not_have_headers"].as_array().into_iter().flatten() {
            assert_eq!(seen.header(name.as_str().unwrap()), None, "{name}");
        }
    }
}

#[tokio::test]
async fn imds_is_asked_as_the_vector_says() {
    let vector = vector("imds-01-requests");
    let imds = Mock::run(|_| ok(86_399)).await;
    let resource_id = vector["cases"][3]["identity"]["resource_id"].as_str().unwrap();
    // A lone IDENTITY_HEADER must not leak.
    let env = Env::from_iter([("IDENTITY_HEADER", "h")]);
    assert_requests(&vector, &imds, selectors(imds.url().as_str(), resource_id), &env).await;
}

#[tokio::test]
async fn app_service_is_asked_as_the_vector_says() {
    let vector = vector("appsvc-01-requests");
    let platform = Mock::run(|_| ok(86_399)).await;
    let endpoint = platform.url().join("/msi/token").unwrap();
    let resource_id = vector["requests"][3]["query"]["mi_res_id"].as_str().unwrap();
    let header = vector["env"]["IDENTITY_HEADER"].as_str().unwrap();
    let env =
        Env::from_iter([("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", header)]);
    assert_requests(&vector, &platform, selectors("", resource_id), &env).await;
}

#[tokio::test]
async fn every_good_reply_of_the_vectors_is_understood() {
    let identity = identity([]);
    for (name, lifetime_secs) in [
        ("entra-01-token-ok", 3599),
        ("entra-02-token-refresh-in", 86_399),
        ("entra-03-token-long-no-refresh-in", 28_800),
        ("entra-04-token-v1-style-strings", 3599),
        ("imds-02-ok-strings", 86_399),
        ("imds-03-ok-integers-extra-fields", 86_399),
        ("imds-04-ok-azwi-proxy", 86_399),
        ("appsvc-02-ok", 86_399),
        ("appsvc-05-2017-api", 53_878),
    ] {
        let body = vector(name)["response"]["body"].to_string();
        let reply = Reply { status: 200, body, ..Reply::default() };
        let asked = Asked { at: Instant::now(), epoch_secs: 1_795_176_000 };
        let grant = read(&*identity.source, &asked, Ok(reply), &[]).unwrap();
        assert_eq!(grant.lifetime.as_secs(), lifetime_secs, "{name}");
        let wish = vector(name)["response"]["body"]["refresh_in"].as_u64();
        assert_eq!(grant.refresh_in.map(|d| d.as_secs()), wish, "{name}");
    }
}

#[tokio::test]
async fn a_failure_names_everything_but_the_secret() {
    let vector = vector("entra-05-err-invalid-secret");
    let answer = vector["response"].clone();
    let entra = Mock::run(move |_| Answer::of(&answer)).await;
    let url = entra.url();
    let identity = identity([
        ("AZURE_CLIENT_ID", "a"),
        ("AZURE_CLIENT_SECRET", "canary"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_AUTHORITY_HOST", url.as_str()),
    ]);
    let failure = exchange_once(&identity).await.unwrap_err();
    let line = failure.to_string();
    for part in [
        "client secret",
        "client id a",
        "tenant t",
        "127.0.0.1",
        "401",
        "AADSTS7000215",
        "value, not the secret's ID",
        "00000000-0000-0000-0000-00000000bbbb",
        "attempts 1",
    ] {
        assert!(line.contains(part), "{part:?} in {line}");
    }
    assert!(!format!("{line} {failure:?}").contains("canary"));
    assert!(!line.contains('\n'));
    assert_eq!(entra.calls(), 1);
}

#[tokio::test]
async fn a_passing_failure_is_tried_again() {
    let entra =
        Mock::run(|seen| if seen.earlier == 0 { Answer::new(503, "") } else { ok(1) }).await;
    let url = entra.url();
    let identity = identity([
        ("AZURE_CLIENT_ID", "a"),
        ("AZURE_CLIENT_SECRET", "s"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_AUTHORITY_HOST", url.as_str()),
    ]);
    assert!(exchange_once(&identity).await.is_ok());
    assert_eq!(entra.calls(), 2);
}

#[tokio::test]
async fn an_untrusted_certificate_is_named_at_once() {
    let (entra, roots) = Mock::run_tls(|_| ok(3600)).await;
    let authority = format!("https://{}", entra.url().authority());
    let identity = identity([
        ("AZURE_CLIENT_ID", "a"),
        ("AZURE_CLIENT_SECRET", "s"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_AUTHORITY_HOST", &authority),
    ]);
    let failure = exchange_once(&identity).await.unwrap_err();
    assert_eq!((failure.cause.class, failure.attempts), (Class::Config, 1));
    let line = failure.to_string();
    assert!(line.contains("not trusted") && line.contains("UnknownIssuer"), "{line}");

    let trusting = Clients::new(&mock::tls_trusting(roots), &Env::default()).unwrap();
    assert!(exchange(&trusting, &identity).await.is_ok());
}

/// A port on which nobody listens, and that nobody else gets while it is held.
fn closed_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}

#[tokio::test]
async fn nobody_at_the_metadata_address_is_explained() {
    let closed = closed_port();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    let [auth, ..] = selectors(&endpoint, "");
    let identity = identity_of(&auth, &Env::default());
    let cause = identity.source.call(&mock::clients(), identity.scope()).await.unwrap_err();
    assert_eq!(cause.class, Class::Unavailable);
    assert!(cause.to_string().contains("not an Azure VM"), "{cause}");
    assert!(cause.said.to_lowercase().contains("refused"), "{cause}");
}

#[tokio::test]
async fn a_forgotten_scheme_is_named_when_the_peer_speaks_plain_http() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..], b""] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::runtime::Handle::current().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut hello = [0; 4096];
                let _ = stream.read(&mut hello).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let app =
            [("AZURE_CLIENT_ID", "a"), ("AZURE_CLIENT_SECRET", "s"), ("AZURE_TENANT_ID", "t")];
        let bare = identity(app.into_iter().chain([("AZURE_AUTHORITY_HOST", &*address)]));
        let failure = exchange_once(&bare).await.unwrap_err();
        let line = failure.to_string();
        assert!(line.contains("no scheme was given, so https was assumed"), "{line}");
        assert!(line.contains("in front of AZURE_AUTHORITY_HOST"), "{line}");
        assert_eq!((failure.cause.class, failure.attempts), (Class::Config, 1));
        let written = format!("https://{address}");
        let written = identity(app.into_iter().chain([("AZURE_AUTHORITY_HOST", &*written)]));
        let cause = written.source.call(&mock::clients(), written.scope()).await.unwrap_err();
        assert!(!cause.to_string().contains("assumed"), "{cause}");
    }
}

#[tokio::test]
async fn a_machine_that_is_only_assumed_is_asked_once() {
    let closed = closed_port();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    let imds = |is_assumed| {
        let endpoint = Given { value: endpoint.parse().unwrap(), from: Origin::Default };
        mock::identity(Imds { endpoint, selector: Selector::System, is_assumed })
    };
    let failure = exchange_once(&imds(true)).await.unwrap_err();
    assert_eq!((failure.cause.class, failure.attempts), (Class::Unavailable, 1));
    let failure = exchange_once(&imds(false)).await.unwrap_err();
    assert_eq!((failure.cause.class, failure.attempts), (Class::Unavailable, 2));
}

/// The calls and the seconds before each that a source makes when every answer is this one.
async fn schedule(identity: &Arc<Identity>, cause: Cause) -> Vec<f64> {
    let start = Instant::now();
    let calls = RefCell::new(Vec::new());
    let outcome = repeat(identity, || {
        calls.borrow_mut().push(start.elapsed().as_secs_f64());
        std::future::ready(Err(cause.clone()))
    })
    .await;
    assert_eq!(outcome.unwrap_err().attempts as usize, calls.borrow().len());
    let times = calls.into_inner();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn cause(class: Class, status: Option<u16>, retry_after_secs: Option<u64>) -> Cause {
    let retry_after = retry_after_secs.map(Duration::from_secs);
    Cause { status, retry_after, ..Cause::new(class, "", "") }
}

#[tokio::test(start_paused = true)]
async fn retries_keep_to_each_sources_schedule() {
    const WEB: [(&str, &str); 2] =
        [("IDENTITY_ENDPOINT", "http://127.0.0.1:1/"), ("IDENTITY_HEADER", "h")];
    const APP: [(&str, &str); 3] =
        [("AZURE_CLIENT_ID", "a"), ("AZURE_CLIENT_SECRET", "s"), ("AZURE_TENANT_ID", "t")];
    const ML: [(&str, &str); 2] = [("MSI_ENDPOINT", "http://127.0.0.1:1/"), ("MSI_SECRET", "s")];
    let (imds, web, app) = (identity([]), identity(WEB), identity(APP));
    let (named, ml) = (identity([("AZURE_CLIENT_ID", "a")]), identity(ML));
    let transient = |status| cause(Class::Transient, Some(status), None);
    let slow = |secs| cause(Class::Transient, Some(429), Some(secs));
    for (identity, cause, wanted) in [
        (&app, transient(503), vec![0.5, 1.5]),
        (&app, cause(Class::Transient, None, None), vec![0.5, 1.5]),
        (&app, slow(3), vec![3.0, 3.0]),
        (&app, slow(8), vec![]),
        (&app, cause(Class::Assertion, Some(401), None), vec![0.5]),
        (&app, cause(Class::Config, Some(401), None), vec![]),
        (&imds, transient(404), vec![1.0, 2.0, 4.0]),
        (&imds, transient(410), vec![10.0; 7]), // 70 s: how long an update of IMDS takes
        (&imds, cause(Class::Unavailable, None, None), vec![]),
        (&named, cause(Class::Unavailable, None, None), vec![1.0]),
        (&imds, cause(Class::Unavailable, Some(403), None), vec![]),
        (&imds, cause(Class::NotAssigned, Some(400), None), vec![]),
        (&web, transient(500), vec![1.0, 1.0]),
        (&ml, transient(500), vec![1.0; 3]),
    ] {
        let waits = schedule(identity, cause.clone()).await;
        assert_eq!(waits.len(), wanted.len(), "{cause:?}: {waits:?}");
        for (wait, least) in waits.iter().zip(wanted) {
            assert!((least..least * 1.25 + 0.01).contains(wait), "{cause:?}: {waits:?}");
        }
    }
}
