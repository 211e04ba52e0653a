//! TLS towards upstreams: whom a Service trusts, what it shows, and what it calls its upstream.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::gateway::{Builder, TestGateway};
use super::http::Reader;
use super::lua::{install, with_plugins};

const CA: &str = "11111111-1111-4111-8111-111111111111";
const OTHER_CA: &str = "22222222-2222-4222-8222-222222222222";
const ONE: &str = "33333333-3333-4333-8333-333333333333";
const TWO: &str = "44444444-4444-4444-8444-444444444444";

/// A certificate with its key and those that lead to its root.
struct Pair {
    params: CertificateParams,
    key: KeyPair,
    chain: Vec<CertificateDer<'static>>,
    pem: String,
}

fn params(name: &str, is_ca: bool) -> CertificateParams {
    silverback::tls::install_provider();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

impl Pair {
    fn authority(name: &str) -> Self {
        let (params, key) = (params(name, true), KeyPair::generate().unwrap());
        let made = params.self_signed(&key).unwrap();
        Self { chain: vec![made.der().clone()], pem: made.pem(), params, key }
    }

    fn sign(&self, name: &str, is_ca: bool) -> Self {
        let (params, key) = (params(name, is_ca), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = params.signed_by(&key, &issuer).unwrap();
        let mut chain = vec![made.der().clone()];
        chain.extend(self.chain.iter().cloned());
        Self { chain, pem: made.pem(), params, key }
    }

    /// As an entry of `ca_certificates`.
    fn ca(&self, id: &str) -> String {
        format!("- id: {id}\n  cert: |\n{}", indented(&self.pem))
    }

    /// As an entry of `certificates`.
    fn entity(&self, id: &str) -> String {
        let key = indented(&self.key.serialize_pem());
        format!("- id: {id}\n  cert: |\n{}  key: |\n{key}", indented(&self.pem))
    }

    fn der(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("    {line}\n")).collect()
}

/// A request as the upstream saw it.
#[derive(Clone)]
struct Call {
    sni: Option<String>,
    host: String,
    shown: Option<CertificateDer<'static>>,
    connection: usize,
}

/// An upstream with TLS that keeps what it saw.
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Call>>>,
}

impl Upstream {
    /// `clients` signs the certificates of those who may come; without, nobody is asked.
    async fn start(pair: &Pair, clients: Option<&Pair>) -> Self {
        let builder = match clients {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder(roots.into()).build().unwrap();
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
        };
        let key = PrivatePkcs8KeyDer::from(pair.key.serialize_der());
        let config = builder.with_single_cert(pair.chain.clone(), key.into()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Call>>> = Arc::default();
        let kept = seen.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (acceptor, kept) = (acceptor.clone(), kept.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let tls = stream.get_ref().1;
                    let sni = tls.server_name().map(str::to_owned);
                    let shown = tls.peer_certificates().map(|chain| chain[0].clone().into_owned());
                    let mut reader = Reader::new(stream);
                    while let Some(message) = reader.message(false).await {
                        let host = message.header("host").unwrap_or_default().to_owned();
                        let call =
                            Call { sni: sni.clone(), host, shown: shown.clone(), connection };
                        kept.lock().unwrap().push(call);
                        let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        reader.stream.write_all(reply).await.unwrap();
                    }
                });
            }
        });
        Self { address, seen }
    }

    fn calls(&self) -> Vec<Call> {
        self.seen.lock().unwrap().clone()
    }

    fn last(&self) -> Call {
        self.calls().pop().unwrap()
    }

    /// A gateway for which `up.test:8443` is this upstream.
    fn gateway(&self) -> Builder {
        Builder::default().name("up.test:8443", self.address)
    }
}

/// A Service with a Route for its name.
fn service(name: &str, fields: &str, route: &str) -> String {
    format!(
        "- name: {name}\n  url: https://up.test:8443\n  retries: 0\n{fields}  routes:\n  \
         - name: {name}\n    paths: [/{name}]\n{route}"
    )
}

fn config(services: &[String], more: &str) -> String {
    format!("_format_version: '3.0'\nservices:\n{}{more}", services.concat())
}

#[tokio::test]
async fn connections_with_a_client_certificate_belong_to_the_services_that_show_it() {
    let (ca, clients) = (Pair::authority("ca.test"), Pair::authority("clients.test"));
    let (one, two) = (clients.sign("one.test", false), clients.sign("two.test", false));
    let upstream = Upstream::start(&ca.sign("up.test", false), Some(&clients)).await;
    let fields = |id: &str| format!("  ca_certificates: [{CA}]\n  client_certificate: {id}\n");
    let services = [
        service("a", &fields(ONE), ""),
        service("b", &fields(TWO), ""),
        service("c", &fields(ONE), ""),
        service("bare", &format!("  ca_certificates: [{CA}]\n"), ""),
    ];
    let more = format!(
        "ca_certificates:\n{}certificates:\n{}{}",
        ca.ca(CA),
        one.entity(ONE),
        two.entity(TWO)
    );
    let gateway = upstream.gateway().start(&config(&services, &more));
    for path in ["/a", "/b", "/a", "/b", "/c"] {
        assert_eq!(gateway.get(path).await.status(), 200, "{path}");
    }
    let calls = upstream.calls();
    let shown: Vec<_> = calls.iter().map(|call| call.shown.clone().unwrap()).collect();
    let expected = [&one, &two, &one, &two, &one].map(|pair| pair.der().clone());
    assert_eq!(shown, expected);
    let connections: Vec<_> = calls.iter().map(|call| call.connection).collect();
    assert_eq!(connections, [0, 1, 0, 1, 0], "equal policies share, others do not");

    assert_eq!(gateway.get("/bare").await.status(), 502);
    assert_eq!(upstream.calls().len(), 5, "who shows nothing is not let in");
}

#[tokio::test]
async fn an_upstream_lends_its_client_certificate_to_services_that_have_none() {
    let (ca, clients) = (Pair::authority("ca.test"), Pair::authority("clients.test"));
    let (one, two) = (clients.sign("one.test", false), clients.sign("two.test", false));
    let upstream = Upstream::start(&ca.sign("up.test", false), Some(&clients)).await;
    let own = format!("  tls_verify: false\n  client_certificate: {ONE}\n");
    let services = [service("lent", "  tls_verify: false\n", ""), service("own", &own, "")];
    let more = format!(
        "certificates:\n{}{}upstreams:\n- name: up.test\n  client_certificate: {TWO}\n  \
         targets: [{{target: '{}'}}]\n",
        one.entity(ONE),
        two.entity(TWO),
        upstream.address
    );
    let gateway = TestGateway::start(&config(&services, &more));
    assert_eq!(gateway.get("/lent").await.status(), 200);
    assert_eq!(upstream.last().shown.as_ref(), Some(two.der()));
    assert_eq!(gateway.get("/own").await.status(), 200);
    assert_eq!(upstream.last().shown.as_ref(), Some(one.der()));
}

#[tokio::test]
async fn ca_certificates_are_trusted_and_nobody_else() {
    let (ca, other) = (Pair::authority("ca.test"), Pair::authority("other.test"));
    let upstream = Upstream::start(&ca.sign("up.test", false), None).await;
    let services = [
        service("right", &format!("  ca_certificates: [{OTHER_CA}, {CA}]\n"), ""),
        service("wrong", &format!("  ca_certificates: [{OTHER_CA}]\n"), ""),
        service("system", "", ""),
        service("lax", &format!("  tls_verify: false\n  ca_certificates: [{OTHER_CA}]\n"), ""),
    ];
    let more = format!("ca_certificates:\n{}{}", ca.ca(CA), other.ca(OTHER_CA));
    let gateway = upstream.gateway().start(&config(&services, &more));
    for (path, status) in [("/right", 200), ("/wrong", 502), ("/system", 502), ("/lax", 200)] {
        assert_eq!(gateway.get(path).await.status(), status, "{path}");
    }
    assert_eq!(upstream.calls().len(), 2);
}

#[tokio::test]
async fn tls_verify_depth_counts_intermediate_certificates() {
    let ca = Pair::authority("ca.test");
    let middle = ca.sign("middle.test", true);
    let upstream = Upstream::start(&middle.sign("up.test", false), None).await;
    let fields = |depth| format!("  ca_certificates: [{CA}]\n  tls_verify_depth: {depth}\n");
    let lax = "  tls_verify: false\n  tls_verify_depth: 0\n";
    let services = [
        service("deep", &fields("1"), ""),
        service("any", &fields("null"), ""),
        service("shallow", &fields("0"), ""),
        service("lax", lax, ""),
    ];
    let more = format!("ca_certificates:\n{}", ca.ca(CA));
    let gateway = upstream.gateway().start(&config(&services, &more));
    for (path, status) in [("/deep", 200), ("/any", 200), ("/shallow", 502), ("/lax", 200)] {
        assert_eq!(gateway.get(path).await.status(), status, "{path}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_trusted_may_say_it_is_a_ca() {
    let own = Pair::authority("up.test");
    let stranger = Pair::authority("up.test");
    let upstream = Upstream::start(&own, None).await;
    let services = [
        service("own", &format!("  ca_certificates: [{CA}]\n"), ""),
        service("stranger", &format!("  ca_certificates: [{OTHER_CA}]\n"), ""),
        service("name", &format!("  ca_certificates: [{CA}]\n"), "    preserve_host: true\n"),
    ];
    let more = format!("ca_certificates:\n{}{}", own.ca(CA), stranger.ca(OTHER_CA));
    let gateway = upstream.gateway().start(&config(&services, &more));
    for (path, status) in [("/own", 200), ("/stranger", 502), ("/name", 502)] {
        assert_eq!(gateway.get(path).await.status(), status, "{path}");
    }
}

#[tokio::test]
async fn the_name_for_tls_is_the_host_that_the_upstream_gets() {
    let ca = Pair::authority("ca.test");
    let upstream = Upstream::start(&ca.sign("inner.test", false), None).await;
    let folder = tempfile::tempdir().unwrap();
    let plugin = |name: &str, call: &str| {
        let handler = format!(
            "local P = {{ PRIORITY = 1, VERSION = '1.0.0' }}\n\
             function P:access() {call} end\nreturn P\n"
        );
        install(folder.path(), name, &handler);
        format!("    plugins: [{{name: {name}}}]\n")
    };
    let header = plugin("header", "kong.service.request.set_header('Host', 'plug.test:9')");
    let call = format!("kong.service.set_target('127.0.0.1', {})", upstream.address.port());
    let target = plugin("target", &call);
    let lax = "  tls_verify: false\n";
    let services = [
        service("plain", lax, ""),
        service("kept", lax, "    preserve_host: true\n"),
        service("header", lax, &header),
        service("target", lax, &target),
        service("ring", &format!("  host: ring.test\n  ca_certificates: [{CA}]\n"), "")
            .replace("  url: https://up.test:8443\n", "  protocol: https\n"),
        service("wrong", &format!("  ca_certificates: [{CA}]\n"), ""),
    ];
    let more = format!(
        "ca_certificates:\n{}upstreams:\n- name: ring.test\n  host_header: inner.test\n  \
         targets: [{{target: '{}'}}]\n",
        ca.ca(CA),
        upstream.address
    );
    let gateway = with_plugins(folder.path(), "bundled,header,target")
        .name("up.test:8443", upstream.address)
        .start(&config(&services, &more));
    let port = upstream.address.port();
    let inner = format!("inner.test:{port}");
    for (path, sni, host) in [
        ("/plain", Some("up.test"), "up.test:8443"),
        ("/kept", Some("client.test"), "client.test:81"),
        ("/header", Some("plug.test"), "plug.test:9"),
        ("/target", None, "127.0.0.1"),
        ("/ring", Some("inner.test"), &inner),
    ] {
        let answer = gateway.send("GET", path, &[("Host", "client.test:81")], b"").await;
        assert_eq!(answer.status(), 200, "{path}");
        let call = upstream.last();
        assert_eq!((call.sni.as_deref(), call.host.as_str()), (sni, host), "{path}");
    }
    assert_eq!(gateway.get("/wrong").await.status(), 502, "the certificate is for inner.test");
}

#[tokio::test]
async fn a_plugin_may_say_that_nothing_is_verified() {
    let upstream = Upstream::start(&Pair::authority("ca.test").sign("up.test", false), None).await;
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1, VERSION = '1.0.0' }\n\
        function P:access()\n\
        kong.service.set_tls_verify(kong.request.get_header('x-verify') == 'on')\n\
        end\nreturn P\n";
    install(folder.path(), "lax", handler);
    let services = [service("s", "", "    plugins: [{name: lax}]\n")];
    let gateway = with_plugins(folder.path(), "bundled,lax")
        .name("up.test:8443", upstream.address)
        .start(&config(&services, ""));
    assert_eq!(gateway.get("/s").await.status(), 200);
    let strict = gateway.send("GET", "/s", &[("x-verify", "on")], b"").await;
    assert_eq!(strict.status(), 502, "a connection that was not verified is not used");
}

#[tokio::test]
async fn a_plugin_says_whom_to_trust_and_what_to_show() {
    let (ca, clients) = (Pair::authority("ca.test"), Pair::authority("clients.test"));
    let client = clients.sign("client.test", false);
    let upstream = Upstream::start(&ca.sign("up.test", false), Some(&clients)).await;
    let folder = tempfile::tempdir().unwrap();
    let handler = format!(
        "local P = {{ PRIORITY = 1, VERSION = '1.0.0' }}
         local ssl, x509 = require 'ngx.ssl', require 'resty.openssl.x509'
         function P:access()
           local store = require('resty.openssl.x509.store').new()
           assert(store:add(assert(x509.new([[{}]]))))
           kong.service.set_tls_verify(true)
           if kong.request.get_header('x-trust') then
             assert(kong.service.set_tls_verify_store(store))
           end
           if kong.request.get_header('x-show') then
             assert(kong.service.set_tls_cert_key(assert(ssl.parse_pem_cert([[{}]])),
               assert(ssl.parse_pem_priv_key([[{}]]))))
           end
         end
         return P",
        ca.pem,
        client.pem,
        client.key.serialize_pem()
    );
    install(folder.path(), "choosy", &handler);
    let services = [service("s", "", "    plugins: [{name: choosy}]\n")];
    let gateway = with_plugins(folder.path(), "bundled,choosy")
        .name("up.test:8443", upstream.address)
        .start(&config(&services, ""));
    for (headers, status) in [
        (&[("x-trust", "1"), ("x-show", "1")][..], 200),
        (&[("x-trust", "1")], 502),
        (&[("x-show", "1")], 502),
    ] {
        assert_eq!(gateway.send("GET", "/s", headers, b"").await.status(), status, "{headers:?}");
    }
    assert_eq!(upstream.last().shown.as_ref(), Some(client.der()));
}

#[tokio::test]
async fn settings_of_nginx_say_what_null_means() {
    let (ca, clients) = (Pair::authority("ca.test"), Pair::authority("clients.test"));
    let client = clients.sign("gateway.test", false);
    let upstream = Upstream::start(&ca.sign("up.test", false), Some(&clients)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = (file("c.pem", &client.pem), file("k.pem", &client.key.serialize_pem()));
    let builder = || {
        upstream
            .gateway()
            .set("client_ssl", "on")
            .set("client_ssl_cert", &cert)
            .set("client_ssl_cert_key", &key)
    };
    let config = config(&[service("s", "", "")], "");
    assert_eq!(builder().start(&config).get("/s").await.status(), 502);
    let lax = builder().set("nginx_proxy_proxy_ssl_verify", "off").start(&config);
    assert_eq!(lax.get("/s").await.status(), 200);
    assert_eq!(upstream.last().shown.as_ref(), Some(client.der()));
    let trusted = file("ca.pem", &ca.pem);
    let trusting =
        builder().set("nginx_proxy_proxy_ssl_trusted_certificate", &trusted).start(&config);
    assert_eq!(trusting.get("/s").await.status(), 200);
    let missing = builder().set("client_ssl_cert", "/no/such.pem").try_start(&config).err();
    assert!(missing.unwrap()[0].starts_with("client_ssl_cert /no/such.pem: "));
}

#[tokio::test]
async fn a_reload_changes_new_connections_where_a_certificate_changed_and_nowhere_else() {
    let (ca, clients) = (Pair::authority("ca.test"), Pair::authority("clients.test"));
    let (old, new) = (clients.sign("one.test", false), clients.sign("one.test", false));
    let upstream = Upstream::start(&ca.sign("up.test", false), Some(&clients)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kong.yaml");
    let write = |pair: &Pair, comment: &str| {
        let fields = format!("  ca_certificates: [{CA}]\n  client_certificate: {ONE}\n");
        let entities =
            format!("ca_certificates:\n{}certificates:\n{}{comment}", ca.ca(CA), pair.entity(ONE));
        std::fs::write(&file, config(&[service("s", &fields, "")], &entities)).unwrap();
    };
    write(&old, "");
    let gateway = upstream.gateway().start_with_file(&file);
    let ask = async || {
        assert_eq!(gateway.get("/s").await.status(), 200);
        let call = upstream.last();
        (call.connection, call.shown.unwrap())
    };
    assert_eq!(ask().await, (0, old.der().clone()));
    write(&old, "consumers: [{username: somebody}]\n");
    gateway.reload().await.unwrap();
    assert_eq!(ask().await, (0, old.der().clone()), "what did not change keeps its connections");
    write(&new, "");
    gateway.reload().await.unwrap();
    assert_eq!(ask().await, (1, new.der().clone()));
}

#[tokio::test]
async fn a_service_that_names_an_unknown_authority_trusts_whom_others_trust() {
    let (ca, other) = (Pair::authority("ca.test"), Pair::authority("other.test"));
    let upstream = Upstream::start(&ca.sign("up.test", false), None).await;
    let services = [service("s", &format!("  ca_certificates: [{CA}, {OTHER_CA}]\n"), "")];
    let config = config(&services, &format!("ca_certificates:\n{}", other.ca(CA)));
    assert_eq!(upstream.gateway().start(&config).get("/s").await.status(), 502);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &ca.pem).unwrap();
    let trusted = file.path().to_str().unwrap();
    let gateway = upstream.gateway().set("lua_ssl_trusted_certificate", trusted).start(&config);
    assert_eq!(gateway.get("/s").await.status(), 200);
}

#[test]
fn a_client_certificate_that_is_not_there_is_named_at_load() {
    let services = [service("s", &format!("  client_certificate: {ONE}\n"), "")];
    let errors = Builder::default().try_start(&config(&services, "")).err().unwrap();
    let expected = format!("invalid reference 'client_certificate: {ONE}'");
    assert!(errors[0].contains(&expected), "{errors:?}");
}
