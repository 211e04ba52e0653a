//! The upstreams of the recordings: one that answers, one that hangs, one that drops, one that is
//! not there, and one behind TLS. Each case has its own set.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::case::{Payload, Reply, Seen};
use super::places::Places;
use crate::http::Reader;

/// The hosts that the recordings' upstream stood in for.
pub const NAMES: [&str; 3] = ["my-instance.openai.azure.com", "api.openai.com", "upstream.local"];

/// The upstreams of one case.
pub struct Mocks {
    script: Rc<RefCell<Script>>,
    /// Nobody listens here, and nobody else can take the port.
    _closed: TcpSocket,
}

#[derive(Default)]
struct Script {
    reply: Reply,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Answer,
    Hang,
    Drop,
    Tls,
}

impl Mocks {
    /// Starts them in tasks of this thread.
    pub async fn start(places: &mut Places) -> Self {
        let script: Rc<RefCell<Script>> = Rc::default();
        let manners = [
            (19001, Manner::Answer),
            (19002, Manner::Answer),
            (19003, Manner::Hang),
            (19005, Manner::Drop),
            (443, Manner::Tls),
        ];
        for (port, manner) in manners {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            places.add(port, listener.local_addr().unwrap());
            tokio::task::spawn_local(listen(listener, manner, script.clone()));
        }
        let echo = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        places.add(19011, echo.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            let mut datagram = [0; 2048];
            while let Ok((length, from)) = echo.recv_from(&mut datagram).await {
                let answer = [b"pong:", &datagram[..length]].concat();
                let _ = echo.send_to(&answer, from).await;
            }
        });
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        places.add(19009, closed.local_addr().unwrap());
        Self { script, _closed: closed }
    }

    /// What to answer from now on.
    pub fn answer(&self, reply: Reply) {
        self.script.borrow_mut().reply = reply;
    }

    /// What has come in since this was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.script.borrow_mut().seen)
    }
}

async fn listen(listener: TcpListener, manner: Manner, script: Rc<RefCell<Script>>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let script = script.clone();
        tokio::task::spawn_local(async move {
            if manner == Manner::Tls {
                // A gateway that does not trust us ends here; its own answer tells.
                let acceptor = TlsAcceptor::from(AUTHORITY.server.clone());
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let sni = stream.get_ref().1.server_name().map(str::to_owned);
                serve(stream, manner, sni, &script).await;
            } else {
                serve::<TcpStream>(stream, manner, None, &script).await;
            }
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    manner: Manner,
    tls_sni: Option<String>,
    script: &RefCell<Script>,
) {
    let mut reader = Reader::new(stream);
    while let Some(message) = reader.message(false).await {
        let method = message.first.split(' ').next().unwrap_or_default().to_owned();
        let is_head = method == "HEAD";
        script.borrow_mut().seen.push(Seen {
            target: message.target().to_owned(),
            method,
            headers: message.headers,
            body: Some(Payload(message.body)),
            tls_sni: tls_sni.clone(),
        });
        match manner {
            Manner::Hang => return std::future::pending().await,
            Manner::Drop => return,
            Manner::Answer | Manner::Tls => {}
        }
        let reply = script.borrow().reply.clone();
        if let Some(Payload(raw)) = &reply.raw {
            let _ = reader.stream.write_all(raw).await;
            return;
        }
        if write(&mut reader.stream, &reply, is_head).await.is_err() || reply.truncate {
            return;
        }
    }
}

async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    reply: &Reply,
    is_head: bool,
) -> std::io::Result<()> {
    let mut body = reply.body.clone().unwrap_or_default().0;
    let mut headers = reply.headers.clone();
    if reply.gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&body)?;
        body = encoder.finish()?;
        headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
    }
    if reply.chunks.is_some() {
        headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
    } else if !matches!(reply.status, 204 | 304) {
        headers.push(("Content-Length".to_owned(), body.len().to_string()));
    }
    let reason = StatusCode::from_u16(reply.status).ok().and_then(|s| s.canonical_reason());
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason.unwrap_or("X"));
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).await?;
    let Some(chunks) = &reply.chunks else {
        return if is_head { Ok(()) } else { stream.write_all(&body).await };
    };
    for Payload(chunk) in chunks {
        let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        stream.write_all(&framed).await?;
        stream.flush().await?;
        tokio::task::yield_now().await;
    }
    if reply.truncate { Ok(()) } else { stream.write_all(b"0\r\n\r\n").await }
}

/// A certificate authority for the tests, and the server that it vouches for.
pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

/// See [`AUTHORITY`].
pub struct Authority {
    /// The certificate to trust.
    pub pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(NAMES.map(str::to_owned)).unwrap();
        let chain = vec![params.signed_by(&key, &issuer).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        silverback::tls::install_provider();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        Self { pem, server: Arc::new(config.unwrap()) }
    }
}
