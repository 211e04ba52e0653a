//! Opens connections: TCP, TLS, and hyper's handshake.

use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1::Builder;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::body::Outgoing;
use super::{Key, Link, SendError};
use crate::tls::UpstreamTls;

/// Opens connections to upstreams.
pub struct Connector {
    tls: UpstreamTls,
}

impl Connector {
    /// A connector with these TLS configurations.
    pub fn new(tls: UpstreamTls) -> Self {
        Self { tls }
    }

    /// Opens a connection, within `connect_ms` for TCP and TLS together.
    pub(super) async fn open(&self, key: &Key, connect_ms: u64) -> Result<Link, SendError> {
        let limit = Duration::from_millis(connect_ms);
        tokio::time::timeout(limit, self.handshake(key))
            .await
            .unwrap_or(Err(SendError::ConnectTimeout(key.address, connect_ms)))
    }

    async fn handshake(&self, key: &Key) -> Result<Link, SendError> {
        let refused = |error| SendError::Connect(key.address, error);
        let stream = TcpStream::connect(key.address).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        let Some(name) = &key.tls else { return http(key, stream).await };
        let tls = |error| SendError::Tls(key.address, name.clone(), error);
        let server = ServerName::try_from(name.to_string())
            .map_err(|e| tls(std::io::Error::new(std::io::ErrorKind::InvalidInput, e)))?;
        let connector = TlsConnector::from(self.tls.config(key.verify));
        http(key, connector.connect(server, stream).await.map_err(tls)?).await
    }
}

/// Starts HTTP/1.1 on a stream. Its task ends with the connection.
async fn http<S>(key: &Key, stream: S) -> Result<Link, SendError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
{
    let io = TokioIo::new(stream);
    let (sender, connection) =
        shake(io).await.map_err(|error| SendError::Broken(key.address, error))?;
    let address = key.address;
    let task = tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(Link { sender, task: task.abort_handle() })
}

type Shaken<T> = (
    hyper::client::conn::http1::SendRequest<Outgoing>,
    hyper::client::conn::http1::Connection<T, Outgoing>,
);

async fn shake<T: Read + Write + Unpin + 'static>(io: T) -> hyper::Result<Shaken<T>> {
    Builder::new().max_headers(256).handshake(io).await
}

/// The name of a host for TLS: without brackets or a final dot.
pub fn server_name(host: &str) -> Rc<str> {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').into()
}
