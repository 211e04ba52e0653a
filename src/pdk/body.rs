//! Bodies: what is read whole is counted against one budget for the process.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;

/// A piece of the reply on its way to the client, as `body_filter` sees it.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The bytes; a filter may replace them.
    pub data: Bytes,
    /// This is the last piece (Kong: `ngx.arg[2]`).
    pub last: bool,
    /// The upstream broke off instead of ending; comes with `last`. A filter that knows better
    /// (nothing was missing) clears it, and the client sees a clean end.
    pub broken: bool,
}

/// A request body, or a reply body that is whole.
#[derive(Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// In memory.
    Whole(Buffered),
    /// Still on the wire.
    Stream(Arriving),
}

impl Body {
    /// Bytes that are known to come, if they are known.
    pub fn exact_len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Whole(whole) => Some(whole.bytes.len() as u64),
            Self::Stream(arriving) => http_body::Body::size_hint(arriving).exact(),
        }
    }

    /// Whether the client waits to be asked for it.
    pub fn awaits(&self) -> bool {
        matches!(self, Self::Stream(arriving) if arriving.awaits())
    }

    /// Asks a client for it that waits to be asked.
    pub async fn ask(&mut self) {
        if let Self::Stream(arriving) = self {
            arriving.ask().await;
        }
    }
}

/// A request body as its connection of HTTP/1 brings it. Who holds it reads the connection.
pub trait ClientBody {
    /// The next frame: what is here, or the trailers.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unfinished>>>;
    /// Whether all of it has been taken.
    fn is_end_stream(&self) -> bool;
    /// Bytes that are known to come.
    fn size_hint(&self) -> SizeHint;
    /// Whether the client waits to be asked for it, and may never send it.
    fn awaits(&self) -> bool;
    /// Asks a client for it that waits to be asked (`100 Continue`).
    fn poll_ask(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// Nobody reads on. What nobody has read is read away, as by nginx: behind it comes the
    /// client's next request.
    fn leave(&self);
}

/// A request body on the wire, which is not taken for whole before it is.
pub struct Arriving(Incoming);

enum Incoming {
    Http1(Rc<dyn ClientBody>),
    /// A stream that ends alone. Its last frame says that it is the last one.
    Http2(hyper::body::Incoming),
}

/// The client did not finish its body.
#[derive(Debug, Error)]
pub enum Unfinished {
    /// It broke off its stream of HTTP/2.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It ended its stream of HTTP/2 with `NO_ERROR`, which the library takes for the end.
    #[error("the client reset its stream")]
    Reset,
    /// Its connection of HTTP/1 ended.
    #[error("the client closed its connection within the body of its request")]
    Closed,
    /// Its connection of HTTP/1 failed.
    #[error("the client's connection failed within the body of its request")]
    Failed(#[from] io::Error),
    /// It is framed wrongly.
    #[error("the body of the request is not chunked as it says: {0}")]
    Chunks(&'static str),
    /// The exchange that it belongs to is over.
    #[error("the body of the request was left")]
    Left,
}

impl Arriving {
    /// The body of a request of HTTP/1.
    pub fn http1(body: Rc<dyn ClientBody>) -> Self {
        Self(Incoming::Http1(body))
    }

    /// The body of a request of HTTP/2.
    pub fn http2(body: hyper::body::Incoming) -> Self {
        Self(Incoming::Http2(body))
    }

    fn awaits(&self) -> bool {
        matches!(&self.0, Incoming::Http1(body) if body.awaits())
    }

    async fn ask(&mut self) {
        if let Incoming::Http1(body) = &self.0 {
            poll_fn(|cx| body.poll_ask(cx)).await;
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Incoming::Http1(body) = &self.0 {
            body.leave();
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Unfinished;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unfinished>>> {
        match &mut self.0 {
            Incoming::Http1(body) => body.poll_frame(cx),
            Incoming::Http2(body) => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                Poll::Ready(match frame {
                    None if !http_body::Body::is_end_stream(body) => Some(Err(Unfinished::Reset)),
                    frame => frame.map(|frame| frame.map_err(Unfinished::from)),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Incoming::Http1(body) => body.is_end_stream(),
            Incoming::Http2(body) => http_body::Body::is_end_stream(body),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Incoming::Http1(body) => body.size_hint(),
            Incoming::Http2(body) => http_body::Body::size_hint(body),
        }
    }
}

/// Bytes in memory and their share of the budget, given back when both are dropped.
#[derive(Clone, Default)]
pub struct Buffered {
    /// The bytes.
    pub bytes: Bytes,
    lease: Option<Arc<Lease>>,
}

impl From<Bytes> for Buffered {
    /// Bytes that somebody else accounts for, such as a body a plugin made.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, lease: None }
    }
}

impl Buffered {
    /// The same share of the budget for other bytes: a body that a plugin rewrote.
    pub fn with_bytes(&self, bytes: Bytes) -> Self {
        Self { bytes, lease: self.lease.clone() }
    }
}

/// How many body bytes the whole process may hold in memory at a time.
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
    refused: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit, refused: AtomicU64::new(0) })
    }

    /// Bytes in use now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bodies that there was no room for, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether a body of this length would have room at the moment. Nothing is set aside for it:
    /// who only says that much is to come must not take it from others.
    fn has_room(&self, length: u64) -> bool {
        let there = self.limit.saturating_sub(self.used()) as u64;
        if length > there {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        length <= there
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }
}

struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a body could not be read whole.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The body is longer than the caller's limit.
    #[error("body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// All bodies together would exceed the budget of the process.
    #[error("the gateway holds as many body bytes as silverback_buffer_budget allows")]
    NoRoom,
    /// The peer broke off.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// No data within the time allowed between two reads.
    #[error("no data within {0} ms")]
    Idle(u64),
}

/// Puts a body together and accounts for it.
pub struct Collector {
    lease: Lease,
    limit: usize,
    first: Bytes,
    rest: BytesMut,
}

impl Collector {
    /// An empty body that may grow to `limit` bytes.
    pub fn new(limit: usize, budget: &Arc<Budget>) -> Self {
        let lease = Lease { budget: budget.clone(), bytes: 0 };
        Self { lease, limit, first: Bytes::new(), rest: BytesMut::new() }
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// The body or all bodies together are too large.
    pub fn push(&mut self, data: Bytes) -> Result<(), ReadError> {
        if self.lease.bytes + data.len() > self.limit {
            return Err(ReadError::TooLarge { limit: self.limit });
        }
        if !self.lease.budget.take(data.len()) {
            return Err(ReadError::NoRoom);
        }
        self.lease.bytes += data.len();
        // Most bodies come in one piece: keep it as it is.
        if self.first.is_empty() && self.rest.is_empty() {
            self.first = data;
            return Ok(());
        }
        if self.rest.is_empty() {
            self.rest.reserve(2 * (self.first.len() + data.len()));
            self.rest.extend_from_slice(&self.first);
        }
        self.rest.extend_from_slice(&data);
        Ok(())
    }

    /// The body.
    pub fn finish(self) -> Buffered {
        let bytes = if self.rest.is_empty() { self.first } else { self.rest.freeze() };
        Buffered { bytes, lease: Some(Arc::new(self.lease)) }
    }
}

/// Reads a request body to its end, up to `limit` bytes, waiting `idle_ms` between two reads.
pub async fn read_whole(
    mut arriving: Arriving,
    limit: usize,
    idle_ms: u64,
    budget: &Arc<Budget>,
) -> Result<Buffered, ReadError> {
    if http_body::Body::size_hint(&arriving).exact().is_some_and(|length| !budget.has_room(length))
    {
        return Err(ReadError::NoRoom);
    }
    let mut whole = Collector::new(limit, budget);
    while let Some(data) = next_data(&mut arriving, idle_ms).await? {
        whole.push(data)?;
    }
    Ok(whole.finish())
}

/// The next bytes of a body; trailers are left out.
async fn next_data(body: &mut Arriving, idle_ms: u64) -> Result<Option<Bytes>, ReadError> {
    let idle = std::time::Duration::from_millis(idle_ms);
    loop {
        // A body that is here already costs no timer.
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => {
                let waited = tokio::time::timeout(idle, body.frame()).await;
                waited.map_err(|_| ReadError::Idle(idle_ms))?
            }
        };
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(ReadError::Broken(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
