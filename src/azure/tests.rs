//! What holds for the whole module: nothing prints a secret, and no endpoint holds an exchange up.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::Instant;
use url::Url;

use super::clients::{NoReply, Reply};
use super::exchange::Grant;
use super::mock::{self, Answer, Mock};
use super::*;
use crate::entity::Secret;
use crate::settings::Env;

const CANARY: &str = "canary-secret";

fn env(more: &[(&'static str, &'static str)]) -> Env {
    let always = [
        ("HTTPS_PROXY", "http://user:canary-secret@127.0.0.1:1"),
        ("IDENTITY_HEADER", CANARY),
        ("MSI_SECRET", CANARY),
    ];
    always.iter().chain(more).copied().collect()
}

/// An identity of each kind that can be made from fields and variables.
fn identities() -> Vec<Identity> {
    let switch = Auth { use_managed_identity: true, ..Auth::default() };
    let secret = Auth {
        client_id: Some("c".into()),
        client_secret: Some(Secret::new(CANARY)),
        tenant_id: Some("t".into()),
        ..switch.clone()
    };
    let app = [("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t")];
    let from_env = [app[0], app[1], ("AZURE_CLIENT_SECRET", CANARY)];
    let workload = [app[0], app[1], ("AZURE_FEDERATED_TOKEN_FILE", "/file")];
    let app_service = [("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")];
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/certificates/encrypted.pem");
    let certificate = [
        app[0],
        app[1],
        ("AZURE_CLIENT_CERTIFICATE_PATH", file),
        ("AZURE_CLIENT_CERTIFICATE_PASSWORD", CANARY),
    ];
    let ml = [("MSI_ENDPOINT", "http://127.0.0.1:1/msi/token")];
    let fabric = [
        ("IDENTITY_ENDPOINT", "https://127.0.0.1:1/x"),
        ("IDENTITY_SERVER_THUMBPRINT", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ];
    let cases: [(&Auth, &[(&str, &str)]); 8] = [
        (&switch, &certificate),
        (&switch, &ml),
        (&switch, &fabric),
        (&secret, &[]),
        (&switch, &from_env),
        (&switch, &workload),
        (&switch, &app_service),
        (&switch, &[]),
    ];
    let one = |(auth, more)| resolve(auth, &env(more), "a.openai.azure.com").unwrap().unwrap();
    cases.into_iter().map(one).collect()
}

#[track_caller]
fn assert_silent(what: &impl Debug) {
    for text in [format!("{what:?}"), format!("{what:#?}")] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn no_type_prints_a_secret() {
    let grant = Grant {
        access_token: Secret::new(CANARY),
        asked_at: Instant::now(),
        lifetime: Duration::from_secs(60),
        refresh_in: None,
    };
    assert_silent(&grant);
    assert_silent(&Token::new(&grant).ok().unwrap());
    assert_silent(&env(&[]));
    let clients = Clients::new(&mock::tls(), &env(&[])).unwrap();
    assert_silent(&clients);
    let body = format!("{{\"access_token\":\"{CANARY}\"}}");
    assert_silent(&Reply { status: 200, body, ..Reply::default() });
    let tokens = Tokens::new(Handle::current(), clients);
    for identity in identities() {
        assert_silent(&identity);
        assert_silent(&identity.facts());
        assert_silent(&identity.key());
        assert!(!format!("{identity}{}", identity.subject()).contains("canary"), "{identity}");
        let handle = tokens.handle(identity);
        assert_silent(&handle);
        assert_silent(&handle.status());
    }
    let auth = Auth { client_secret: Some(Secret::new(CANARY)), ..Auth::default() };
    assert_silent(&auth);
    let refused = Auth { use_managed_identity: true, tenant_id: Some("a/b".into()), ..auth };
    let incomplete = resolve(&refused, &env(&[("AZURE_CLIENT_ID", "c")]), "h").unwrap_err();
    assert_silent(&incomplete);
    assert!(!incomplete.to_string().contains("canary"), "{incomplete}");
}

/// What an endpoint echoes in its refusal is cut out of the failure.
#[tokio::test]
async fn a_refusal_that_echoes_the_request_prints_no_secret() {
    let entra = Mock::run(|seen| Answer::new(401, &format!("you sent {}", seen.body))).await;
    let auth = Auth {
        use_managed_identity: true,
        client_id: Some("c".into()),
        client_secret: Some(Secret::new("canary+secret &more%")),
        tenant_id: Some("t".into()),
        authority_host: Some(entra.url().to_string()),
        ..Auth::default()
    };
    let identity = resolve(&auth, &Env::default(), "a.openai.azure.com").unwrap().unwrap();
    let failure = exchange::exchange(&mock::clients(), &Arc::new(identity)).await.unwrap_err();
    assert_silent(&failure);
    assert!(failure.to_string().contains("you sent"), "{failure}");
    assert!(!failure.to_string().contains("canary"), "{failure}");
}

/// An endpoint that says `first`, then `more` again and again, with a pause in between.
async fn endless(first: &'static str, more: String, pause: Duration) -> (Url, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let talk = async move |mut stream: TcpStream| {
        stream.read_u8().await?; // an answer before the request would be no answer
        stream.write_all(first.as_bytes()).await?;
        loop {
            stream.write_all(more.as_bytes()).await?;
            count.fetch_add(more.len(), Ordering::Relaxed);
            tokio::time::sleep(pause).await;
        }
    };
    Handle::current().spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let ended: std::io::Result<()> = talk(stream).await;
        ended.unwrap_err()
    });
    (url, sent)
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_trickles_ends_when_its_time_is_up() {
    let heads = ["HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", "HTTP/1.1 200 OK\r\nx: "];
    for head in heads {
        let (url, sent) = endless(head, "{".to_owned(), Duration::from_secs(4)).await;
        let start = Instant::now();
        let reply = mock::clients().metadata(url, HeaderMap::new()).await;
        assert!(matches!(reply, Err(NoReply::Transport(_))), "{reply:?}");
        assert!(start.elapsed() <= Duration::from_secs(21), "{:?}", start.elapsed());
        assert!(sent.load(Ordering::Relaxed) < 10);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_says_nothing_is_given_up() {
    let silent = Duration::from_secs(3600);
    let (url, _) = endless("HTTP/1.1 200 OK\r\n", "x: y\r\n".to_owned(), silent).await;
    let start = Instant::now();
    assert!(mock::clients().metadata(url, HeaderMap::new()).await.is_err());
    assert!(start.elapsed() <= Duration::from_secs(21), "{:?}", start.elapsed());
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let lines = ["x: y\r\n".repeat(100), "y".repeat(1000)];
    for line in lines {
        let (url, sent) = endless("HTTP/1.1 200 OK\r\nx: y", line, Duration::ZERO).await;
        let reply = mock::clients().metadata(url, HeaderMap::new()).await;
        assert!(matches!(reply, Err(NoReply::Transport(_))), "{reply:?}");
        // What the sockets hold is in it.
        assert!(sent.load(Ordering::Relaxed) < 16 << 20, "{}", sent.load(Ordering::Relaxed));
    }
}

#[tokio::test]
async fn endless_bodies_are_cut_off_with_and_without_a_length() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n"]
    {
        let (url, sent) = endless(head, "x".repeat(1000), Duration::ZERO).await;
        let reply = mock::clients().metadata(url, HeaderMap::new()).await;
        assert!(matches!(reply, Err(NoReply::TooLong)), "{reply:?}");
        assert!(sent.load(Ordering::Relaxed) < 16 << 20);
    }
}
