//! One client connection: TLS, HTTP version, and its requests.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::patience::Patient;
use super::serve::serve;
use super::worker::Worker;
use crate::pdk::request::Connection;

/// nginx' `client_header_timeout`; an idle connection is closed after it as well.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// nginx' `send_timeout`: how long a client may read nothing while there is something for it.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// What a client of HTTP/2 without TLS begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// How a listener speaks.
#[derive(Clone)]
pub(super) struct Dialect {
    /// TLS, when it is a TLS listener.
    pub(super) tls: Option<TlsAcceptor>,
    /// HTTP/2 on a plain listener.
    pub(super) http2: bool,
    /// Its port.
    pub(super) port: u16,
}

/// Serves a connection to its end. After `drain` it takes no more requests.
pub(super) async fn run(
    worker: Rc<Worker>,
    dialect: Dialect,
    stream: TcpStream,
    peer: SocketAddr,
    drain: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    // A client of IPv4 on a listener of both is `::ffff:192.0.2.1`; `trusted_ips` says 192.0.2.1.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let mut connection = Connection {
        client: peer,
        peer,
        local: stream.local_addr().map_or(peer.ip(), |local| local.ip().to_canonical()),
        port: dialect.port,
        tls: dialect.tls.is_some(),
        sni: None,
        trusted: is_trusted(&worker.shared.settings.trusted_ips, peer),
    };
    let Some(acceptor) = dialect.tls else {
        let http2 = if dialect.http2 { begins_http2(&stream).await } else { Some(false) };
        let Some(http2) = http2 else { return };
        return speak(worker, Rc::new(connection), stream, http2, drain).await;
    };
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    match shaken {
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            connection.sni = session.server_name().map(Arc::from);
            let http2 = session.alpn_protocol() == Some(b"h2");
            speak(worker, Rc::new(connection), stream, http2, drain).await;
        }
        Ok(Err(error)) => tracing::info!(%peer, fault = "client", "TLS handshake: {error}"),
        Err(_) => tracing::info!(%peer, fault = "client", "TLS handshake took too long"),
    }
}

fn is_trusted(networks: &[IpNet], peer: SocketAddr) -> bool {
    networks.iter().any(|network| network.contains(&peer.ip()))
}

/// Looks at the first bytes without taking them. A client that sends half a preface and waits gets
/// HTTP/1.1, whose own time limit ends it; `None` is one that sends nothing at all.
async fn begins_http2(stream: &TcpStream) -> Option<bool> {
    const LOOKS: u32 = 200;
    let mut beginning = [0; PREFACE.len()];
    for _ in 0..LOOKS {
        let peeked = tokio::time::timeout(HEADER_TIMEOUT, stream.peek(&mut beginning));
        match peeked.await.ok()? {
            Ok(0) | Err(_) => return None,
            Ok(n) if beginning.get(..n) != PREFACE.get(..n) => return Some(false),
            Ok(n) if n == PREFACE.len() => return Some(true),
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    Some(false)
}

async fn speak<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
    http2: bool,
    mut drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let peer = connection.peer;
    let _open = Open::new(&worker);
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, connection) = (worker.clone(), seen_from(&worker, &connection, &request));
        // Boxed: held inline, the future would make every connection as large as its largest part.
        async move { Ok::<_, Infallible>(Box::pin(serve(worker, connection, request)).await) }
    });
    let io = TokioIo::new(Patient::new(stream, SEND_TIMEOUT));
    // Both kinds end by themselves once they are asked to; a macro would hide less than it saves.
    let ended = if http2 {
        let mut served = std::pin::pin!(
            hyper::server::conn::http2::Builder::new(LocalExec)
                .timer(TokioTimer::new())
                .keep_alive_interval(HEADER_TIMEOUT)
                .max_concurrent_streams(128)
                .max_header_list_size(64 << 10)
                .serve_connection(io, service)
        );
        tokio::select! {
            ended = served.as_mut() => ended,
            _ = drain.wait_for(|draining| *draining) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    } else {
        let mut served = std::pin::pin!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_headers(512)
                .serve_connection(io, service)
        );
        tokio::select! {
            ended = served.as_mut() => ended,
            _ = drain.wait_for(|draining| *draining) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "client connection ended: {error}");
    }
}

/// Counts a connection as long as it lives.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get().saturating_sub(1));
    }
}

/// The connection as one request sees it: a trusted peer may name the client (`real_ip_header`).
fn seen_from(
    worker: &Worker,
    connection: &Rc<Connection>,
    request: &Request<Incoming>,
) -> Rc<Connection> {
    if !connection.trusted {
        return connection.clone();
    }
    let settings = &worker.shared.settings;
    let named = request.headers().get_all(settings.real_ip_header.as_str());
    let addresses: Vec<&str> =
        named.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
    let client = real_ip(&addresses, &settings.trusted_ips, settings.real_ip_recursive);
    client.map_or_else(
        || connection.clone(),
        |ip| Rc::new(Connection { client: SocketAddr::new(ip, 0), ..(**connection).clone() }),
    )
}

/// nginx' realip: the last address, or with `recursive` the last one that is not trusted.
fn real_ip(addresses: &[&str], trusted: &[IpNet], recursive: bool) -> Option<IpAddr> {
    // Some proxies write the port, too.
    let parse = |text: &&str| {
        let text = text.trim();
        text.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
    };
    let mut last = None;
    for ip in addresses.iter().rev().map_while(parse).map(|ip: IpAddr| ip.to_canonical()) {
        last = Some(ip);
        if !recursive || !trusted.iter().any(|network| network.contains(&ip)) {
            break;
        }
    }
    last
}

/// hyper runs the streams of an HTTP/2 connection as tasks of this thread.
#[derive(Clone)]
struct LocalExec;

impl<F: Future + 'static> Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(async move {
            future.await;
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realip_takes_the_last_address_that_is_not_trusted() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let addresses = ["1.1.1.1", "2.2.2.2", "10.0.0.7"];
        assert_eq!(real_ip(&addresses, &trusted, true), "2.2.2.2".parse().ok());
        assert_eq!(real_ip(&addresses, &trusted, false), "10.0.0.7".parse().ok());
        assert_eq!(real_ip(&["nonsense"], &trusted, true), None);
        assert_eq!(real_ip(&["1.1.1.1:80", "[::1]:9"], &trusted, false), "::1".parse().ok());
    }
}
