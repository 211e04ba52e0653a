//! One client connection up to its first request: PROXY header, TLS, HTTP version.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::proxy_protocol;
use super::realip;
use super::speak::speak;
use super::worker::Worker;
use crate::pdk::request::{ClientChain, Connection};
use crate::pdk::{Handshake, Shown};
use crate::plugin::Phases;
use crate::tls;

/// What a client of HTTP/2 without TLS begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// How a listener speaks.
#[derive(Clone)]
pub(super) struct Dialect {
    /// TLS, when it is a TLS listener.
    pub(super) tls: Option<TlsAcceptor>,
    /// HTTP/2 on a plain listener.
    pub(super) http2: bool,
    /// A PROXY header comes first.
    pub(super) proxy_protocol: bool,
    /// Its port, as clients see it.
    pub(super) port: u16,
}

/// Serves a connection to its end. After `drain` it takes no more requests.
///
/// Its large steps are boxed, so that it holds the one that it is at, and not room for all.
pub(super) async fn run(
    worker: Rc<Worker>,
    dialect: Dialect,
    mut stream: TcpStream,
    peer: SocketAddr,
    drain: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    // A client of IPv4 on a listener of both is `::ffff:192.0.2.1`; `trusted_ips` says 192.0.2.1.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let settings = &worker.shared.settings;
    let limit = settings.clients.handshake_time;
    let trusted = realip::is_trusted(&settings.trusted_ips, peer);
    let mut client = peer;
    if dialect.proxy_protocol {
        let read = tokio::time::timeout(limit, proxy_protocol::read(&mut stream));
        let Some(named) = told(peer, "PROXY header", read.await) else { return };
        client = realip::of_proxy_header(settings, named).filter(|_| trusted).unwrap_or(peer);
    }
    let connection = Connection {
        client,
        peer,
        local: stream.local_addr().map_or(peer.ip(), |local| local.ip().to_canonical()),
        port: dialect.port,
        tls: dialect.tls.is_some(),
        sni: None,
        session: None,
        shown: None,
        trusted,
        lacks_tls: false,
        text: OnceCell::new(),
    };
    if let Some(acceptor) = dialect.tls {
        return Box::pin(run_tls(worker, acceptor, connection, stream, drain)).await;
    }
    let patience = settings.clients.head_time;
    let http2 = if dialect.http2 { begins_http2(&stream, patience).await } else { Some(false) };
    let Some(http2) = http2 else { return };
    Box::pin(speak(worker, Rc::new(connection), stream, http2, drain)).await;
}

/// The same on a listener of TLS.
async fn run_tls(
    worker: Rc<Worker>,
    acceptor: TlsAcceptor,
    mut connection: Connection,
    stream: TcpStream,
    drain: watch::Receiver<bool>,
) {
    let peer = connection.peer;
    let end = Instant::now() + worker.shared.settings.clients.handshake_time;
    let looked = tokio::time::timeout_at(end, lacks_tls(&stream)).await;
    match told(peer, "TLS handshake", looked) {
        Some(false) => {}
        Some(true) => {
            connection.tls = false;
            connection.lacks_tls = true;
            return Box::pin(speak(worker, Rc::new(connection), stream, false, drain)).await;
        }
        None => return,
    }
    let shaken = Box::pin(shake(&worker, &acceptor, stream, &connection));
    let shaken = tokio::time::timeout_at(end, shaken).await;
    if let Some((stream, shown)) = told(peer, "TLS handshake", shaken) {
        let (_, session) = stream.get_ref();
        connection.sni = session.server_name().map(Arc::from);
        connection.session = tls::session(session);
        connection.shown = shown;
        let http2 = session.alpn_protocol() == Some(b"h2");
        Box::pin(speak(worker, Rc::new(connection), stream, http2, drain)).await;
    }
}

/// Shakes hands. Plugins that look at handshakes do so once the client has begun.
async fn shake(
    worker: &Worker,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    connection: &Connection,
) -> std::io::Result<(TlsStream<TcpStream>, Option<Arc<ClientChain>>)> {
    if !worker.runloop().globals.has(Phases::CERTIFICATE) {
        return Ok((acceptor.accept(stream).await?, None));
    }
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let sni = start.client_hello().server_name().map(Arc::from);
    let handshake = Rc::new(Handshake::new(Connection { sni, ..connection.clone() }));
    // Held no longer than its plugins run: a client may take its time.
    let runloop = worker.runloop();
    if !runloop.globals.certificate(&handshake).await {
        // Without a certificate there is no handshake.
        handshake.wish.borrow_mut().shown = Some(Shown::default());
    }
    drop(runloop);
    let wish = handshake.wish.take();
    let base = acceptor.config();
    if wish.is_none() {
        return Ok((start.into_stream(base.clone()).await?, None));
    }
    let config = tls::wished(base, &worker.shared.settings.listener_tls, &wish)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    let stream = start.into_stream(config).await?;
    let asks = wish.asks.unwrap_or_default();
    let shown = tls::client_chain(stream.get_ref().1, &asks).map(Arc::new);
    Ok((stream, shown))
}

/// What a step came to; a failure is the client's, and is told.
fn told<T>(
    peer: SocketAddr,
    step: &str,
    outcome: Result<std::io::Result<T>, tokio::time::error::Elapsed>,
) -> Option<T> {
    match outcome {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) => tracing::info!(%peer, fault = "client", "{step}: {error}"),
        Err(_) => tracing::info!(%peer, fault = "client", "{step} took too long"),
    }
    None
}

/// Whether a client on a TLS listener begins with something else, by nginx' rule. The byte is not
/// taken.
async fn lacks_tls(stream: &TcpStream) -> std::io::Result<bool> {
    const HELLO: u8 = 0x16;
    const HELLO_OF_SSL_2: u8 = 0x80;
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the client left")),
        _ => Ok(first[0] != HELLO && first[0] & HELLO_OF_SSL_2 == 0),
    }
}

/// Looks at the first bytes without taking them. A client that sends half a preface and waits gets
/// HTTP/1.1, whose own time limit ends it; `None` is one that sends nothing at all.
async fn begins_http2(stream: &TcpStream, patience: Duration) -> Option<bool> {
    const LOOKS: u32 = 200;
    let mut beginning = [0; PREFACE.len()];
    for _ in 0..LOOKS {
        let peeked = tokio::time::timeout(patience, stream.peek(&mut beginning));
        match peeked.await.ok()? {
            Ok(0) | Err(_) => return None,
            Ok(n) if beginning.get(..n) != PREFACE.get(..n) => return Some(false),
            Ok(n) if n == PREFACE.len() => return Some(true),
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    Some(false)
}
