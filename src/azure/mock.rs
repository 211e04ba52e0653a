//! Test doubles: an HTTP server on loopback that plays Entra and the metadata endpoints.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::clients::Clients;
use super::identity::{Given, Identity, Origin};
use super::source::Source;
use crate::settings::Env;

/// One of the vectors in `spec/vectors/azure`.
pub(super) fn vector(name: &str) -> Value {
    let path = format!("{}/spec/vectors/azure/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// An identity of this source.
pub(super) fn identity(source: impl Source + 'static) -> Arc<Identity> {
    let scope = "https://cognitiveservices.azure.com/.default".to_owned();
    let scope = Given { value: scope, from: Origin::Default };
    let (source, why, notes) = (Arc::new(source), String::new(), Vec::new());
    Arc::new(Identity { source, scope, why, notes })
}

/// Clients that trust nobody and use no proxy.
pub(super) fn clients() -> Clients {
    Clients::new(&tls(), &Env::default()).unwrap()
}

/// A TLS configuration with an empty trust store.
pub(super) fn tls() -> ClientConfig {
    tls_trusting(RootCertStore::empty())
}

pub(super) fn tls_trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A request as the server saw it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Method and target.
    pub(super) line: String,
    /// Header names as they came over the wire.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// How many requests came before.
    pub(super) earlier: usize,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    /// The form of a POST, decoded.
    pub(super) fn form(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    pub(super) fn path(&self) -> &str {
        let target = self.line.split_once(' ').unwrap().1;
        target.split('?').next().unwrap()
    }

    /// The query, decoded, in order and with duplicates.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        let query = self.line.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

/// What the server says.
#[derive(Clone)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    pub(super) fn new(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned() }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A `response` of a vector, as if its moment were now.
    pub(super) fn of(response: &Value) -> Self {
        let body = match response["body_text"].as_str() {
            Some(text) => text.to_owned(),
            None => at_present(response["body"].clone()).to_string(),
        };
        let mut answer = Self::new(response["status"].as_u64().unwrap() as u16, &body);
        for (name, value) in response["headers"].as_object().into_iter().flatten() {
            answer = answer.header(name, value.as_str().unwrap());
        }
        answer
    }
}

/// The vectors' clock stands at 2026-11-20T12:00:00Z. Tokens granted then have ended since, so
/// times in a body move along.
fn at_present(mut body: Value) -> Value {
    const VECTORS_NOW: u64 = 1_795_176_000;
    for name in ["expires_on", "not_before"] {
        let Some(then) = body[name].as_str().and_then(|text| text.parse::<u64>().ok()) else {
            continue;
        };
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        body[name] = (now + then - VECTORS_NOW).to_string().into();
    }
    body
}

/// A server on a free loopback port; it ends with the test's runtime.
pub(super) struct Mock {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Mock {
    pub(super) async fn run(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(None, answer).await
    }

    /// The same over TLS, with a certificate that only the returned store trusts.
    pub(super) async fn run_tls(
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> (Self, RootCertStore) {
        let (mock, certificate) = Self::run_https(answer).await;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        (mock, roots)
    }

    /// The same, with the certificate itself.
    pub(super) async fn run_https(
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> (Self, CertificateDer<'static>) {
        let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = signed.cert.der().clone();
        let key = signed.signing_key.serialize_der();
        let tls = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.try_into().unwrap())
            .unwrap();
        (Self::start(Some(Arc::new(tls).into()), answer).await, certificate)
    }

    async fn start(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mock = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, answer) = (mock.seen.clone(), Arc::new(answer));
        Handle::current().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer, tls) = (seen.clone(), answer.clone(), tls.clone());
                Handle::current().spawn(async move {
                    match tls {
                        None => serve(stream, &seen, &*answer).await,
                        Some(tls) => serve(tls.accept(stream).await.ok()?, &seen, &*answer).await,
                    }
                });
            }
        });
        mock
    }

    pub(super) fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).unwrap()
    }

    pub(super) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<Seen>>,
    answer: &(dyn Fn(&Seen) -> Answer + Sync),
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut request = Seen::default();
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    request.line = line.trim_end().rsplit_once(' ')?.0.to_owned();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        request.headers.push((name.to_owned(), value.to_owned()));
    }
    let length = request.header("content-length").map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).unwrap();
    let answer = {
        let mut seen = seen.lock().unwrap();
        request.earlier = seen.len();
        seen.push(request.clone());
        answer(&request)
    };
    let mut head = format!("HTTP/1.1 {} Mock\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\nconnection: close\r\n\r\n", answer.body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(answer.body.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}
