//! Kong's phase `certificate`: plugins that look at the handshakes of clients.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::gateway::TestGateway;
use super::http::{Message, Reader, Upstream};
use super::lua::{install, with_plugins};
use super::tls::{Certificate, certificate};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A gateway whose global plugin has these functions, with a certificate for `localhost`. A plugin
/// `behind` runs after it, if it is there.
async fn gateway(folder: &Path, own: &Certificate, functions: &str) -> TestGateway {
    let handler =
        format!("local P = {{ PRIORITY = 1000, VERSION = '1.0.0' }}\n{functions}\nreturn P\n");
    install(folder, "shaking", &handler);
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, &own.pem).unwrap();
    std::fs::write(&key, &own.key_pem).unwrap();
    let upstream = Upstream::replying(OK).await;
    let has_behind = folder.join("kong/plugins/behind").exists();
    let (more, entry) = if has_behind { (",behind", "- name: behind\n") } else { ("", "") };
    with_plugins(folder, &format!("bundled,shaking{more}"))
        .set("ssl_cert", cert.to_str().unwrap())
        .set("ssl_cert_key", key.to_str().unwrap())
        .set("proxy_listen", "127.0.0.1:0 ssl")
        .start(&format!(
            "_format_version: '3.0'\nplugins:\n- name: shaking\n{entry}services:\n- name: s\n  \
             url: http://{}\n  routes:\n  - name: r\n    paths: [/a]\n",
            upstream.address
        ))
}

/// Shakes hands with whoever shows `expected`; `shown` is what the client has for who asks.
async fn shake(
    address: SocketAddr,
    expected: &Certificate,
    shown: Option<&Certificate>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(expected.der.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some(shown) => {
            let key = PrivatePkcs8KeyDer::from(shown.key.clone()).into();
            config.with_client_auth_cert(vec![shown.der.clone()], key).unwrap()
        }
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn get(mut stream: TlsStream<TcpStream>) -> Message {
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    Reader::new(stream).message(false).await.unwrap()
}

#[tokio::test]
async fn a_plugin_chooses_what_a_client_is_shown() {
    let (own, other) = (certificate("localhost"), certificate("localhost"));
    let folder = tempfile::tempdir().unwrap();
    let functions = format!(
        "function P:certificate()\n  local ssl = require 'ngx.ssl'\n  ngx.sleep(0)\n  \
         assert(ssl.clear_certs())\n  \
         assert(ssl.set_cert(assert(ssl.parse_pem_cert([[{}]]))))\n  \
         assert(ssl.set_priv_key(assert(ssl.parse_pem_priv_key([[{}]]))))\nend",
        other.pem, other.key_pem
    );
    let gateway = gateway(folder.path(), &own, &functions).await;
    let stream = shake(gateway.address, &other, None).await.unwrap();
    assert_eq!(get(stream).await.status(), 200);
    assert!(shake(gateway.address, &own, None).await.is_err());
}

#[tokio::test]
async fn a_plugin_that_fails_ends_the_handshake() {
    let own = certificate("localhost");
    let folder = tempfile::tempdir().unwrap();
    let functions = "function P:certificate() error('no') end";
    let gateway = gateway(folder.path(), &own, functions).await;
    assert!(shake(gateway.address, &own, None).await.is_err());
}

#[tokio::test]
async fn a_client_that_is_asked_shows_its_certificate_to_later_phases() {
    let (own, client) = (certificate("localhost"), certificate("client"));
    let folder = tempfile::tempdir().unwrap();
    let functions = "local seen\n\
        function P:certificate()\n  kong.ctx.shared.asked = true\n  \
        assert(kong.client.tls.request_client_certificate())\n  \
        assert(kong.client.tls.disable_session_reuse())\nend\n\
        function P:access()\n  \
        if kong.request.get_header('x-log') then kong.response.exit(200, seen) end\n  \
        local chain = kong.client.tls.get_full_client_certificate_chain()\n  \
        if chain then kong.client.tls.set_client_verify('SUCCESS') end\n  \
        kong.response.exit(200, chain or 'none')\nend\n\
        function P:log() seen = kong.log.serialize().request.tls.client_verify end";
    let gateway = gateway(folder.path(), &own, functions).await;
    let stream = shake(gateway.address, &own, Some(&client)).await.unwrap();
    assert_eq!(get(stream).await.text().replace('\r', ""), client.pem.replace('\r', ""));
    let stream = shake(gateway.address, &own, None).await.unwrap();
    assert_eq!(get(stream).await.text(), "none");
}

#[tokio::test]
async fn an_exit_in_a_handshake_ends_one_plugin_or_the_handshake() {
    let own = certificate("localhost");
    for (how, shakes) in [("OK", true), ("ERROR", false)] {
        let folder = tempfile::tempdir().unwrap();
        let behind = "local P = { PRIORITY = 1, VERSION = '1.0.0' }\n\
            function P:certificate() kong.client.tls.request_client_certificate() end\n\
            return P\n";
        install(folder.path(), "behind", behind);
        let functions = format!(
            "function P:certificate() ngx.exit(ngx.{how}) error('it went on') end\n\
             function P:access()\n  \
             local chain = kong.client.tls.get_full_client_certificate_chain()\n  \
             kong.response.exit(200, chain and 'asked' or 'not asked')\nend"
        );
        let gateway = gateway(folder.path(), &own, &functions).await;
        let client = certificate("client");
        match shake(gateway.address, &own, Some(&client)).await {
            Ok(stream) => assert_eq!((get(stream).await.text().as_str(), shakes), ("asked", true)),
            Err(_) => assert!(!shakes, "{how}"),
        }
    }
}
