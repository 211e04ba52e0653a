//! Health over sockets: probes, what takes a target out and back, and what a reload leaves alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::gateway::{Builder, TestGateway};
use super::http::{Reader, Upstream, closed_port};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(options: &str, targets: &[&str]) -> String {
    let targets: String = targets.iter().map(|target| format!("  - target: {target}\n")).collect();
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://up.test\n  routes:\n  \
         - name: r\n    paths: [/a]\nupstreams:\n- name: up.test\n{options}  targets:\n{targets}"
    )
}

/// Waits until `/status` says this of a target.
async fn becomes(gateway: &TestGateway, target: &str, state: &str) {
    let wanted = || async {
        let status = gateway.status("/status").await.json();
        status["upstreams"]["up.test"][target] == state
    };
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while !wanted().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    patience.await.unwrap_or_else(|_| panic!("{target} did not become {state}"));
}

/// A target that can be told to fail, and counts its probes.
struct Patient {
    address: String,
    is_ill: Arc<AtomicBool>,
    probes: Arc<AtomicUsize>,
    last: Arc<std::sync::Mutex<String>>,
}

impl Patient {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let patient =
            Self { address, is_ill: Arc::default(), probes: Arc::default(), last: Arc::default() };
        let (is_ill, probes) = (patient.is_ill.clone(), patient.probes.clone());
        let last = patient.last.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut reader = Reader::new(stream);
                let Some(head) = reader.head().await else { continue };
                if head.target() == "/probe" {
                    probes.fetch_add(1, Ordering::SeqCst);
                    let headers =
                        head.headers.iter().map(|(name, value)| format!("{name}={value}"));
                    *last.lock().unwrap() = headers.collect::<Vec<_>>().join(" ");
                }
                let status = if is_ill.load(Ordering::SeqCst) { "500 Oh" } else { "200 OK" };
                let reply =
                    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                let _ = reader.stream.write_all(reply.as_bytes()).await;
            }
        });
        patient
    }
}

const ACTIVE: &str = "  healthchecks: {active: {http_path: /probe, headers: {x-probe: [a]}, \
    healthy: {interval: 0.02, successes: 2}, \
    unhealthy: {interval: 0.02, http_failures: 2, tcp_failures: 2, timeouts: 2}}, \
    passive: {unhealthy: {http_failures: 1}}}\n";

#[tokio::test]
async fn probes_take_a_target_out_and_bring_it_back() {
    let (good, bad) = (Upstream::replying(OK).await, Patient::start().await);
    let gateway = TestGateway::start(&config(ACTIVE, &[&good.address.to_string(), &bad.address]));
    becomes(&gateway, &bad.address, "HEALTHY").await;
    bad.is_ill.store(true, Ordering::SeqCst);
    becomes(&gateway, &bad.address, "UNHEALTHY").await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/a").await.status(), 200);
    }
    let seen = bad.last.lock().unwrap().to_lowercase();
    assert!(seen.contains("host=127.0.0.1 ") && seen.contains("x-probe=a"), "{seen}");
    let metrics = gateway.status("/metrics").await.text();
    let address = &bad.address;
    let row = format!("target=\"{address}\",address=\"{address}\",state=\"unhealthy\"");
    assert!(metrics.contains(&format!("{row},subsystem=\"http\"}} 1")), "{metrics}");
    bad.is_ill.store(false, Ordering::SeqCst);
    becomes(&gateway, &bad.address, "HEALTHY").await;
}

#[tokio::test]
async fn a_target_that_requests_took_out_comes_back_by_probes() {
    let (good, other) = (Patient::start().await, Patient::start().await);
    let slow = ACTIVE.replace("healthy: {interval: 0.02, successes", "healthy: {successes");
    let gateway = TestGateway::start(&config(&slow, &[&good.address, &other.address]));
    other.is_ill.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        gateway.get("/a").await;
    }
    becomes(&gateway, &other.address, "UNHEALTHY").await;
    assert_eq!(good.probes.load(Ordering::SeqCst), 0);
    other.is_ill.store(false, Ordering::SeqCst);
    becomes(&gateway, &other.address, "HEALTHY").await;
}

#[tokio::test]
async fn refused_connections_and_silence_are_failures() {
    let closed = closed_port();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = (closed.local_addr().unwrap().to_string(), closed);
    let silent = (silent.local_addr().unwrap().to_string(), silent);
    let checks = ACTIVE.replace("active: {", "active: {timeout: 0.05, ");
    let gateway = TestGateway::start(&config(&checks, &[&closed.0, &silent.0]));
    becomes(&gateway, &closed.0, "UNHEALTHY").await;
    becomes(&gateway, &silent.0, "UNHEALTHY").await;
    let reply = gateway.get("/a").await;
    assert_eq!(reply.status(), 503);
    assert!(reply.text().contains("failure to get a peer from the ring-balancer"));
}

#[tokio::test]
async fn tcp_checks_only_connect() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = closed_port();
    let (alive, dead) = (silent.local_addr().unwrap(), closed.local_addr().unwrap());
    let checks = ACTIVE.replace("active: {", "active: {type: tcp, timeout: 0.5, ");
    let gateway = TestGateway::start(&config(&checks, &[&alive.to_string(), &dead.to_string()]));
    becomes(&gateway, &dead.to_string(), "UNHEALTHY").await;
    becomes(&gateway, &alive.to_string(), "HEALTHY").await;
}

#[tokio::test]
async fn a_reload_keeps_health_and_stops_the_probes_of_what_is_gone() {
    let (one, two, three) =
        (Patient::start().await, Patient::start().await, Patient::start().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.yaml");
    let once = ACTIVE.replace("unhealthy: {interval: 0.02", "unhealthy: {interval: 0");
    std::fs::write(&path, config(&once, &[&one.address, &two.address, &three.address])).unwrap();
    let gateway = Builder::default().start_with_file(&path);
    one.is_ill.store(true, Ordering::SeqCst);
    becomes(&gateway, &one.address, "UNHEALTHY").await;
    one.is_ill.store(false, Ordering::SeqCst);
    std::fs::write(&path, config(&once, &[&one.address, &three.address])).unwrap();
    gateway.reload().await.unwrap();
    // The target that is gone is asked no more once the new configuration is in force.
    let gone = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let status = gateway.status("/status").await.json();
            if status["upstreams"]["up.test"].as_object().unwrap().len() == 2 {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    gone.await.unwrap();
    becomes(&gateway, &one.address, "UNHEALTHY").await;
    let (before, others) = (two.probes.load(Ordering::SeqCst), three.probes.load(Ordering::SeqCst));
    let many = tokio::time::timeout(Duration::from_secs(20), async {
        while three.probes.load(Ordering::SeqCst) < others + 10 {
            tokio::task::yield_now().await;
        }
    });
    many.await.unwrap();
    // One may have been on its way.
    assert!(two.probes.load(Ordering::SeqCst) <= before + 1);
}

/// A target that speaks TLS under one name, and its authority in a file.
async fn encrypted(name: &str) -> (String, tempfile::NamedTempFile) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca.pem()).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut reader = Reader::new(stream);
                if reader.head().await.is_some() {
                    let _ = reader.stream.write_all(OK).await;
                    let _ = reader.stream.shutdown().await;
                }
            });
        }
    });
    (address, file)
}

#[tokio::test]
async fn https_checks_verify_the_name_that_https_sni_says() {
    let (address, authority) = encrypted("inner.test").await;
    for (sni, verify, state) in [
        ("inner.test", true, "HEALTHY"),
        ("other.test", true, "UNHEALTHY"),
        ("other.test", false, "HEALTHY"),
    ] {
        let active = format!(
            "active: {{type: https, https_sni: {sni}, https_verify_certificate: {verify}, \
             timeout: 5, "
        );
        let checks = ACTIVE.replace("active: {", &active);
        let checks = checks.replace("{http_failures: 1", "{http_statuses: [502], http_failures: 1");
        let gateway = Builder::default()
            .set("lua_ssl_trusted_certificate", authority.path().to_str().unwrap())
            .start(&config(&checks, &[&address]));
        // Requests speak plain HTTP to it, so they take it out; only probes can bring it back.
        if state == "HEALTHY" {
            assert_eq!(gateway.send("POST", "/a", &[], b"x").await.status(), 502);
        }
        becomes(&gateway, &address, state).await;
    }
}

/// A name server that knows one name, with these last bytes of 127.0.0.x, and counts questions.
async fn name_server(last: Arc<std::sync::Mutex<Vec<u8>>>) -> (String, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let asked = Arc::<AtomicUsize>::default();
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let end = 12 + buffer[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_a = buffer[end - 4..end] == [0, 1, 0, 1];
            count.fetch_add(1, Ordering::SeqCst);
            let last = if is_a { last.lock().unwrap().clone() } else { Vec::new() };
            let code = if last.is_empty() && is_a { 3 } else { 0 };
            let mut reply = buffer[..2].to_vec();
            reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(last.len()).unwrap()]);
            reply.extend([0; 4]);
            reply.extend(&buffer[12..end]);
            for byte in last {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, byte]);
            }
            let _ = socket.send_to(&reply, peer).await;
        }
    });
    (address, asked)
}

#[tokio::test]
async fn the_addresses_of_a_name_are_followed() {
    let upstream = Upstream::replying(OK).await;
    let target = format!("a.example:{}", upstream.address.port());
    let last = Arc::new(std::sync::Mutex::new(vec![1]));
    let (server, asked) = name_server(last.clone()).await;
    let gateway = Builder::default()
        .set("dns_resolver", &server)
        .set("dns_order", "A")
        .set("dns_not_found_ttl", "0.05")
        .start(&config("", &[&target]));
    let asks = (0..50).map(|_| gateway.get("/a"));
    for reply in futures_util::future::join_all(asks).await {
        assert_eq!(reply.status(), 200);
    }
    assert!(asked.load(Ordering::SeqCst) <= 3, "{asked:?}");
    let host = upstream.seen()[0].header("host").unwrap().to_owned();
    assert_eq!(host, target);
    let status = gateway.status("/status").await.json();
    let address = format!("127.0.0.1:{}", upstream.address.port());
    assert_eq!(status["upstream_addresses"]["up.test"][&target][&address], "HEALTHCHECKS_OFF");
    last.lock().unwrap().clear();
    becomes(&gateway, &target, "DNS_ERROR").await;
    let reply = gateway.get("/a").await;
    assert_eq!(reply.status(), 503);
    assert!(reply.text().contains("failure to get a peer from the ring-balancer"));
    let metrics = gateway.status("/metrics").await.text();
    assert!(
        metrics.contains("address=\"\",state=\"dns_error\",subsystem=\"http\"} 1"),
        "{metrics}"
    );
    last.lock().unwrap().push(1);
    becomes(&gateway, &target, "HEALTHCHECKS_OFF").await;
    assert_eq!(gateway.get("/a").await.status(), 200);
}
