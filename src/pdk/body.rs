//! Bodies: what is read whole is counted against one budget for the process.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::Version;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::timeout;

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
        matches!(self, Self::Stream(arriving) if arriving.awaits)
    }

    /// Asks a client for it that waits to be asked.
    pub async fn ask(&mut self) {
        if let Self::Stream(arriving) = self {
            arriving.ask().await;
        }
    }
}

/// A request body on the wire, which is not taken for whole before it is.
///
/// What nobody reads of it is read away, as by nginx: behind it comes the client's next request.
pub struct Arriving {
    /// There until this is dropped.
    incoming: Option<Incoming>,
    /// Nothing more comes of it, or it has failed.
    is_over: bool,
    /// Its last frame says that it is the last one.
    is_flagged: bool,
    /// The client waits to be asked for it, and may never send it.
    awaits: bool,
    /// What came when it was asked for.
    ahead: Option<Option<Result<Frame<Bytes>, hyper::Error>>>,
}

/// The client did not finish its body.
#[derive(Debug, Error)]
pub enum Unfinished {
    /// It broke off, or framed the body wrongly.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It ended its stream of HTTP/2 with `NO_ERROR`, which the library takes for the end.
    #[error("the client reset its stream")]
    Reset,
}

impl Arriving {
    /// Nothing came for so long that nothing more is expected (nginx' `lingering_timeout`).
    pub const SILENCE: Duration = Duration::from_secs(5);
    /// The longest time to read away (nginx' `lingering_time`).
    pub const AWAY: Duration = Duration::from_secs(30);

    /// The body of a request of this version. `awaits`: its client expects `100 Continue`.
    pub fn new(incoming: Incoming, version: Version, awaits: bool) -> Self {
        let is_flagged = version == Version::HTTP_2;
        Self { incoming: Some(incoming), is_over: false, is_flagged, awaits, ahead: None }
    }

    /// Asks for it if the client waits to be asked (`100 Continue`).
    async fn ask(&mut self) {
        let Some(incoming) = self.incoming.as_mut().filter(|_| std::mem::take(&mut self.awaits))
        else {
            return;
        };
        self.ahead = incoming.frame().now_or_never();
        // The library says so when it has its turn, and not behind the head of an answer.
        tokio::task::yield_now().await;
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // A stream of HTTP/2 ends alone.
        let may_rest = !self.is_over && !self.is_flagged && !self.awaits;
        let unread =
            self.incoming.take().filter(|body| may_rest && !http_body::Body::is_end_stream(body));
        let Some(mut body) = unread else { return };
        let away = async move {
            while let Ok(Some(Ok(_))) = timeout(Self::SILENCE, body.frame()).await {}
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(Self::AWAY, away));
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
        self.awaits = false;
        let ahead = self.ahead.take();
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = match ahead {
            Some(frame) => frame,
            None => ready!(Pin::new(&mut *incoming).poll_frame(cx)),
        };
        let is_end = http_body::Body::is_end_stream(incoming);
        self.is_over = !matches!(frame, Some(Ok(_)));
        Poll::Ready(match frame {
            None if self.is_flagged && !is_end => Some(Err(Unfinished::Reset)),
            frame => frame.map(|frame| frame.map_err(Unfinished::from)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
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
