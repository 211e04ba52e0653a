//! TLS and HTTP/2 on the client's side, verification on the upstream's.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};
use silverback::gateway::{Gateway, Start};
use silverback::loader::Input;
use silverback::settings::{Env, Settings};
use silverback::sim::{Options, Sim};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::gateway::{Builder, TestGateway};
use super::http::{Reader, Upstream, raw};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub struct Certificate {
    pub der: rustls_pki_types::CertificateDer<'static>,
    pub pem: String,
    pub key: Vec<u8>,
    pub key_pem: String,
}

pub fn certificate(name: &str) -> Certificate {
    silverback::tls::install_provider();
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    Certificate {
        der: made.cert.der().clone(),
        pem: made.cert.pem(),
        key: made.signing_key.serialize_der(),
        key_pem: made.signing_key.serialize_pem(),
    }
}

/// A gateway with a TLS listener for `localhost`.
fn listening(folder: &Path, certificate: &Certificate, upstream: &Upstream) -> TestGateway {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, &certificate.pem).unwrap();
    std::fs::write(&key, &certificate.key_pem).unwrap();
    Builder::default()
        .set("ssl_cert", cert.to_str().unwrap())
        .set("ssl_cert_key", key.to_str().unwrap())
        .set("proxy_listen", "127.0.0.1:0 ssl http2")
        .start(&config(upstream))
}

fn config(upstream: &Upstream) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n",
        upstream.address
    )
}

pub async fn connect(
    address: SocketAddr,
    certificate: &Certificate,
    protocol: &[u8],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    shake(address, "localhost", certificate, protocol).await.unwrap()
}

/// A handshake with a server of this name that must show this certificate.
async fn shake(
    address: SocketAddr,
    name: &'static str,
    certificate: &Certificate,
    protocol: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols.push(protocol.to_vec());
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The entities of a certificate that is shown for a name.
fn entity(certificate: &Certificate, sni: &str) -> String {
    let block = |pem: &str| pem.lines().map(|line| format!("      {line}\n")).collect::<String>();
    let (cert, key) = (block(&certificate.pem), block(&certificate.key_pem));
    format!("  - cert: |\n{cert}    key: |\n{key}    snis: [{{name: '{sni}'}}]\n")
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_reloaded_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(file(name), text).unwrap();
    let [default, exact, wild, renewed] =
        ["localhost", "a.one.test", "*.one.test", "a.one.test"].map(certificate);
    write("cert.pem", &default.pem);
    write("key.pem", &default.key_pem);
    let config = |exact: &Certificate| {
        let (exact, wild) = (entity(exact, "a.one.test"), entity(&wild, "*.one.test"));
        format!("_format_version: '3.0'\ncertificates:\n{exact}{wild}")
    };
    write("kong.yaml", &config(&exact));
    let path = |name: &str| file(name).to_str().unwrap().to_owned();
    let flags = [
        ("proxy_listen", "127.0.0.1:0 ssl".to_owned()),
        ("status_listen", "off".to_owned()),
        ("nginx_worker_processes", "1".to_owned()),
        ("proxy_access_log", "off".to_owned()),
        ("ssl_cert", path("cert.pem")),
        ("ssl_cert_key", path("key.pem")),
    ];
    let flags = flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let settings = Settings::read(&flags, Env::default(), None).ok().unwrap().settings;
    let inputs = vec![Input::Path(file("kong.yaml"))];
    let gateway = Gateway::start(Start { settings, inputs, names: None }).ok().unwrap();
    let address = gateway.addresses[0];
    let shows = async |name, certificate: &Certificate| {
        shake(address, name, certificate, b"http/1.1").await.is_ok()
    };

    assert!(shows("a.one.test", &exact).await);
    assert!(shows("b.one.test", &wild).await);
    assert!(shows("localhost", &default).await);

    let new_default = certificate("localhost");
    write("cert.pem", &new_default.pem);
    write("kong.yaml", &config(&renewed));
    let errors = gateway.reload().await.unwrap_err();
    assert!(errors[0].starts_with("ssl_cert "), "a key that does not fit: {errors:?}");
    assert!(shows("a.one.test", &exact).await, "nothing has changed");

    write("key.pem", &new_default.key_pem);
    gateway.reload().await.unwrap();
    assert!(shows("a.one.test", &renewed).await);
    assert!(!shows("a.one.test", &exact).await);
    assert!(shows("localhost", &new_default).await);
    gateway.drain();
}

#[tokio::test]
async fn a_tls_listener_without_any_certificate_shows_one_that_it_made() {
    let builder = Builder::default()
        .set("proxy_listen", "127.0.0.1:0 ssl")
        .set("status_listen", "127.0.0.1:0 ssl");
    let gateway = builder.start("_format_version: '3.0'\n");
    // Nobody trusts it, and it is there: what fails is its check.
    let stranger = certificate("localhost");
    for address in [gateway.address, gateway.status] {
        let error = shake(address, "localhost", &stranger, b"http/1.1").await.unwrap_err();
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    }
}

#[tokio::test]
async fn a_listener_speaks_the_versions_and_ciphers_that_are_set() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate("localhost");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, &certificate.pem).unwrap();
    std::fs::write(&key, &certificate.key_pem).unwrap();
    for (versions, ciphers, spoken) in [
        ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        ("TLSv1.3", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS13_AES_256_GCM_SHA384"),
    ] {
        let gateway = Builder::default()
            .set("ssl_cert", cert.to_str().unwrap())
            .set("ssl_cert_key", key.to_str().unwrap())
            .set("proxy_listen", "127.0.0.1:0 ssl")
            .set("ssl_cipher_suite", "custom")
            .set("ssl_protocols", versions)
            .set("ssl_ciphers", ciphers)
            .start("_format_version: '3.0'\n");
        let stream = connect(gateway.address, &certificate, b"http/1.1").await;
        let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite.as_str(), Some(spoken));
    }
}

/// One request over HTTP/2: status, body, and the headers the upstream saw.
async fn get_over_http2<S>(stream: S) -> (u16, Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://localhost/a")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    (head.status.as_u16(), body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_tls_listener_speaks_http_1_and_2() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::replying(OK).await;
    let certificate = certificate("localhost");
    let gateway = listening(folder.path(), &certificate, &upstream);

    let mut reader = Reader::new(connect(gateway.address, &certificate, b"http/1.1").await);
    reader.stream.write_all(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(reader.message(false).await.unwrap().status(), 200);

    let stream = connect(gateway.address, &certificate, b"h2").await;
    assert_eq!(get_over_http2(stream).await, (200, Bytes::from_static(b"ok")));
    let seen = upstream.seen();
    assert_eq!(seen[1].header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen[1].header("cookie"), Some("a=1; b=2"), "HTTP/1.1 wants one cookie header");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_the_page_of_nginx() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::replying(OK).await;
    let gateway = listening(folder.path(), &certificate("localhost"), &upstream);
    let request = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    let reply = raw(gateway.address, request).await.unwrap();
    assert_eq!(reply.first, "HTTP/1.1 400 Bad Request");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=UTF-8"));
    assert_eq!(reply.header("connection"), Some("close"));
    let said = "The plain HTTP request was sent to HTTPS port";
    let text = reply.text();
    assert!(text.contains(&format!("<title>400 {said}</title>")), "{text}");
    assert!(text.contains(&format!("</h1></center>\r\n<center>{said}</center>")), "{text}");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_plain_listener_takes_http_2_with_prior_knowledge_when_it_is_told_to() {
    let upstream = Upstream::replying(OK).await;
    let builder = Builder::default().set("proxy_listen", "127.0.0.1:0 http2");
    let gateway = builder.start(&config(&upstream));
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    assert_eq!(get_over_http2(stream).await.0, 200);
    assert_eq!(gateway.get("/a").await.status(), 200, "HTTP/1.1 on the same port");
}

/// A simulator with a certificate for 127.0.0.1 that nobody trusts.
fn untrusted() -> (Sim, Certificate) {
    let certificate = certificate("127.0.0.1");
    let key = PrivatePkcs8KeyDer::from(certificate.key.clone());
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der.clone()], key.into()).unwrap();
    let sim = Sim::start(Options { tls: Some(config.into()), ..Options::default() }).unwrap();
    (sim, certificate)
}

fn towards(sim: &Sim, more: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: https://{}/sim\n{more}  routes:\n  \
         - name: r\n    paths: [/a]\n",
        sim.addr()
    )
}

#[tokio::test]
async fn an_upstream_with_an_unknown_certificate_is_not_spoken_to() {
    let (sim, _) = untrusted();
    let gateway = TestGateway::start(&towards(&sim, "  retries: 0\n"));
    assert_eq!(gateway.get("/a").await.status(), 502);
    assert!(sim.requests().is_empty());
}

#[tokio::test]
async fn a_trusted_file_or_tls_verify_false_lets_it_through() {
    let (sim, certificate) = untrusted();
    let careless = TestGateway::start(&towards(&sim, "  tls_verify: false\n"));
    assert_eq!(careless.get("/a").await.status(), 200);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &certificate.pem).unwrap();
    let trusting = Builder::default()
        .set("lua_ssl_trusted_certificate", file.to_str().unwrap())
        .start(&towards(&sim, ""));
    assert_eq!(trusting.get("/a").await.status(), 200);
}
