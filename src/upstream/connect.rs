//! Opens connections: TCP, TLS, and the handshake of HTTP/2.

use std::rc::Rc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http1::{Connection, Stream};
use super::shared::Shared;
use super::{Key, SendError, Tls};

/// How long a connection may be silent before the system asks whether the other end is there.
/// Firewalls and the load balancers of clouds forget silent connections after some minutes, and a
/// model may think for longer.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// What TLS is told of HTTP/2. Upstreams that know no ALPN are spoken to all the same, as by nginx.
const H2: &[u8] = b"h2";

/// Opens a connection for one exchange at a time, within `connect_ms` for TCP and TLS together.
pub(super) async fn open(key: &Key, connect_ms: u64) -> Result<Box<Connection>, SendError> {
    within(key, connect_ms, async {
        let tcp = tcp(key).await?;
        Ok(Connection::new(match &key.tls {
            None => Stream::Plain(tcp),
            Some(tls) => Stream::Tls(Box::new(encrypt(key, tls, tcp).await?)),
        }))
    })
    .await
}

/// Opens a connection of HTTP/2 that many exchanges share.
pub(super) async fn open_shared(key: &Key, connect_ms: u64) -> Result<Shared, SendError> {
    within(key, connect_ms, async {
        let stream = tcp(key).await?;
        match &key.tls {
            None => Shared::handshake(key.address, stream).await,
            Some(tls) => Shared::handshake(key.address, encrypt(key, tls, stream).await?).await,
        }
    })
    .await
}

async fn within<T>(
    key: &Key,
    connect_ms: u64,
    opening: impl Future<Output = Result<T, SendError>>,
) -> Result<T, SendError> {
    let limit = Duration::from_millis(connect_ms);
    let late = Err(SendError::ConnectTimeout(key.address, connect_ms));
    tokio::time::timeout(limit, opening).await.unwrap_or(late)
}

async fn tcp(key: &Key) -> Result<TcpStream, SendError> {
    let refused = |error| SendError::Connect(key.address, error);
    let stream = TcpStream::connect(key.address).await.map_err(refused)?;
    stream.set_nodelay(true).map_err(refused)?;
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AFTER);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(refused)?;
    match &key.tunnel {
        Some(to) => tunnel(stream, to).await.map_err(refused),
        None => Ok(stream),
    }
}

/// Asks a proxy for a connection to somebody else (RFC 9110, section 9.3.6).
async fn tunnel(mut stream: TcpStream, to: &str) -> std::io::Result<TcpStream> {
    const HEAD_MAX: usize = 8 << 10;
    let ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    // Byte by byte: what follows the head is no business of ours.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_MAX {
            return Err(std::io::Error::other("the proxy's answer to CONNECT has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split(' ').nth(1) {
        Some(status) if line.starts_with("HTTP/1.") && status.starts_with('2') => Ok(stream),
        _ => Err(std::io::Error::other(format!("the proxy does not connect to {to}: {line}"))),
    }
}

async fn encrypt(
    key: &Key,
    tls: &Tls,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, SendError> {
    let failed = |error| SendError::Tls(key.address, tls.name.clone(), error);
    let name = server_name(key, tls).map_err(failed)?;
    let connector = TlsConnector::from(tls.policy.config().clone());
    let connecting = match key.http2 {
        false => connector.connect(name, stream),
        true => connector.with_alpn(vec![H2.to_vec()]).connect(name, stream),
    };
    connecting.await.map_err(failed)
}

/// What the upstream is called in TLS. A `Host` that no certificate can be for does where nothing
/// is verified: the upstream is then told no name at all.
fn server_name(key: &Key, tls: &Tls) -> std::io::Result<ServerName<'static>> {
    match ServerName::try_from(tls.name.to_string()) {
        Ok(name) => Ok(name),
        Err(_) if !tls.policy.verifies() => Ok(ServerName::from(key.address.ip())),
        Err(error) => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)),
    }
}

/// The name for TLS out of what is or could be a `Host` header: as in nginx, without the port. A
/// host that is a name already is not copied.
pub fn tls_name(host: &Rc<str>) -> Rc<str> {
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        // Two colons are an IPv6 address without brackets.
        None => match host.split_once(':') {
            Some((name, port)) if !port.contains(':') => name,
            _ => host,
        },
    };
    let name = name.trim_end_matches('.');
    if name.len() == host.len() { host.clone() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_for_tls_is_the_host_without_its_port() {
        for (host, name) in [
            ("a.test", "a.test"),
            ("a.test:8443", "a.test"),
            ("a.test.", "a.test"),
            ("a.test.:443", "a.test"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("[::1]:443", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(&*tls_name(&host.into()), name, "{host}");
        }
        let host = Rc::from("a.test");
        assert!(Rc::ptr_eq(&host, &tls_name(&host)));
    }
}
