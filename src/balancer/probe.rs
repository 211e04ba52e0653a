//! One probe of one address: what lua-resty-healthcheck sends, and what it learns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::health::Address;
use super::state::Report;
use crate::entity::{Active, CheckKind};

/// The longest first line of an answer that is read.
const LINE_MAX: usize = 4096;
/// The longest time for one step of a probe: Kong's schema bounds nothing below 65535 seconds.
const STEP_MAX: f64 = 65_535.0;

/// How the addresses of one Upstream are probed.
pub(super) struct Probe {
    kind: CheckKind,
    timeout: Duration,
    path: String,
    /// The lines of `headers`, and whether `Host` is among them.
    headers: String,
    has_host: bool,
    host_header: Option<String>,
    sni: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

impl Probe {
    pub(super) fn new(
        active: &Active,
        host_header: Option<&str>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        let named = active.headers.iter().flatten();
        let lines = named.clone().flat_map(|(name, values)| {
            values.iter().map(move |value| format!("{name}: {value}\r\n"))
        });
        Self {
            kind: active.kind,
            timeout: Duration::from_secs_f64(active.timeout.clamp(0.001, STEP_MAX)),
            path: active.http_path.clone(),
            headers: lines.collect(),
            has_host: named.map(|(name, _)| name).any(|name| name.eq_ignore_ascii_case("host")),
            host_header: host_header.map(str::to_owned),
            sni: active.https_sni.clone(),
            tls,
        }
    }

    /// Connects, and asks if the kind of check is one that asks.
    pub(super) async fn send(&self, address: &Address, to: SocketAddr) -> Report {
        let name = self.host_header.as_deref().unwrap_or(&address.name);
        let stream = match self.in_time(TcpStream::connect(to)).await {
            Some(Ok(stream)) => stream,
            Some(Err(_)) => return Report::TcpFailure,
            None => return Report::Timeout,
        };
        match (self.kind, &self.tls) {
            // A gRPC server has no answer to a plain GET: to take connections is enough.
            (CheckKind::Tcp | CheckKind::Grpc | CheckKind::Grpcs, _) => Report::Connected,
            (CheckKind::Https, Some(tls)) => {
                let sni = self.sni.as_deref().unwrap_or(name);
                let sni = ServerName::try_from(sni.to_owned());
                let sni = sni.unwrap_or_else(|_| ServerName::from(to.ip()));
                let connector = TlsConnector::from(tls.clone());
                match self.in_time(connector.connect(sni, stream)).await {
                    Some(Ok(stream)) => self.ask(stream, name).await,
                    // A handshake that takes too long is a failed one (Kong).
                    Some(Err(error)) => {
                        tracing::debug!(address = %to, %error, "the TLS of a health check failed");
                        Report::TcpFailure
                    }
                    None => Report::TcpFailure,
                }
            }
            (CheckKind::Https, None) => Report::TcpFailure,
            (CheckKind::Http, _) => self.ask(stream, name).await,
        }
    }

    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.timeout, step).await.ok()
    }

    async fn ask(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> Report {
        let host = if self.has_host { String::new() } else { format!("Host: {host}\r\n") };
        let (path, headers) = (&self.path, &self.headers);
        let request = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n");
        let exchange = async {
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            first_line(&mut stream).await
        };
        match self.in_time(exchange).await {
            Some(Ok(line)) => Report::Status(status(&line)),
            Some(Err(_)) => Report::TcpFailure,
            None => Report::Timeout,
        }
    }
}

async fn first_line(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut piece = [0; 512];
    while !line.contains(&b'\n') && line.len() < LINE_MAX {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&piece[..read]);
    }
    Ok(line)
}

/// The status in `HTTP/1.1 200 OK`; 0 for what is none.
fn status(line: &[u8]) -> u16 {
    let line =
        String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default());
    let mut words = line.split_whitespace();
    let is_http = words
        .next()
        .is_some_and(|word| word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("HTTP/")));
    let digits = words.next().unwrap_or_default();
    let digits = digits.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    if is_http { digits.parse().unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_has_a_status_or_is_no_http() {
        for (line, expected) in [
            ("HTTP/1.1 200 OK\r\nx", 200),
            ("http/1.0  503\r\n", 503),
            ("HTTP/1.1 abc\r\n", 0),
            ("SSH-2.0 200\r\n", 0),
            ("HTTP/1.1\r\n200 ", 0),
            ("\u{fffd}\u{fffd} 1", 0),
        ] {
            assert_eq!(status(line.as_bytes()), expected, "{line}");
        }
    }
}
