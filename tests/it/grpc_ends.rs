//! Both ends of calls by gRPC, over HTTP/2 frame by frame: a client, and an upstream that does with
//! a stream what the test wants.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stream_ends::soon;

/// A call as the upstream got it, and the way to answer.
pub struct Call {
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
    /// Which of the upstream's connections it came over, from 0.
    pub connection: usize,
}

/// How an upstream accepts connections.
#[derive(Clone, Default)]
pub struct Manners {
    /// Streams at a time; `None` says nothing of it.
    pub streams: Option<u32>,
    /// Says goodbye after each call.
    pub leaves: bool,
    pub tls: Option<TlsAcceptor>,
}

/// An upstream that hands its calls to the test.
pub struct Upstream {
    pub address: SocketAddr,
    calls: tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<Call>>,
    connections: Arc<AtomicUsize>,
    /// What the clients asked for in TLS.
    pub protocols: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl Upstream {
    pub async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = tokio::sync::mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let protocols: Arc<Mutex<Vec<Option<Vec<u8>>>>> = Arc::default();
        let (number, seen) = (connections.clone(), protocols.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = number.fetch_add(1, Ordering::SeqCst);
                let (sender, seen, manners) = (sender.clone(), seen.clone(), manners.clone());
                tokio::spawn(async move {
                    match manners.tls.clone() {
                        None => hand_over(stream, connection, manners, sender).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                            seen.lock().unwrap().push(protocol);
                            hand_over(stream, connection, manners, sender).await;
                        }
                    }
                });
            }
        });
        Self { address, calls: tokio::sync::Mutex::new(calls), connections, protocols }
    }

    /// The next call.
    pub async fn call(&self) -> Call {
        soon("a call", async { self.calls.lock().await.recv().await }).await.unwrap()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn hand_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    connection: usize,
    manners: Manners,
    sender: tokio::sync::mpsc::UnboundedSender<Call>,
) {
    let mut builder = server::Builder::new();
    if let Some(streams) = manners.streams {
        builder.max_concurrent_streams(streams);
    }
    let Ok(mut server) = builder.handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = server.accept().await {
        if sender.send(Call { request, respond, connection }).is_err() {
            return;
        }
        if manners.leaves {
            server.graceful_shutdown();
        }
    }
}

impl Call {
    /// The body to its end.
    pub async fn body(&mut self) -> Vec<u8> {
        data(self.request.body_mut()).await
    }

    /// Begins the answer of a call that works.
    pub fn begin(&mut self) -> SendStream<Bytes> {
        let response = Response::builder().header("content-type", "application/grpc").body(());
        self.respond.send_response(response.unwrap(), false).unwrap()
    }

    /// Reads the request, and answers with its bytes and the status `OK`.
    pub async fn echo(mut self) {
        let body = self.body().await;
        let mut stream = self.begin();
        stream.send_data(body.into(), false).unwrap();
        stream.send_trailers(trailers(&[("grpc-status", "0")])).unwrap();
    }
}

pub fn trailers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// The data of a stream to its end.
pub async fn data(stream: &mut RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = soon("more data", stream.data()).await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    all
}

/// A client's connection.
#[derive(Clone)]
pub struct Client(client::SendRequest<Bytes>);

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub async fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = client::handshake(stream).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self(sender)
    }

    /// Begins a call; its messages are sent by hand.
    pub async fn begin(&self, path: &str, headers: &[(&str, &str)]) -> Calling {
        let mut request = Request::post(format!("http://gw.test{path}"));
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc+proto");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = soon("room for a call", self.0.clone().ready()).await.unwrap();
        let request = request.header("te", "trailers").body(()).unwrap();
        let (answer, stream) = sender.send_request(request, false).unwrap();
        Calling { answer: Some(answer), stream }
    }

    /// Whether the gateway takes one more call on the connection.
    pub async fn may_call(&self) -> bool {
        tokio::task::yield_now().await;
        self.0.clone().ready().await.is_ok()
    }

    /// A call with one message.
    pub async fn call(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut calling = self.begin(path, headers).await;
        calling.stream.send_data(Bytes::copy_from_slice(body), true).unwrap();
        let (head, mut stream) = calling.answer().await.into_parts();
        let ends_at_once = stream.is_end_stream();
        let body = data(&mut stream).await;
        let trailers = soon("the trailers", stream.trailers()).await.unwrap().unwrap_or_default();
        Answer { status: head.status.as_u16(), headers: head.headers, body, trailers, ends_at_once }
    }
}

/// A call that goes on.
pub struct Calling {
    answer: Option<client::ResponseFuture>,
    pub stream: SendStream<Bytes>,
}

impl Calling {
    /// The head of the answer.
    pub async fn answer(&mut self) -> Response<RecvStream> {
        soon("an answer", self.answer.take().unwrap()).await.unwrap()
    }
}

/// What a call came to.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
    /// There was nothing behind the head: what gRPC calls Trailers-Only.
    pub ends_at_once: bool,
}

impl Answer {
    /// A header, or a trailer.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.headers.get(name).or_else(|| self.trailers.get(name));
        found.map(|value| value.to_str().unwrap())
    }
}
