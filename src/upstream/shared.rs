//! Connections of HTTP/2, which many exchanges of a worker share: upstreams that speak gRPC.
//!
//! nginx opens one for each call that is under way. Here a call takes a seat on one that has room,
//! as far as the upstream allows, and only then another one is opened.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared as SharedFuture, WeakShared};
use http::{Request, Response};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::io::InspectReader;

use super::body::{Outgoing, ReplyBody};
use super::http1::Fault;
use super::upload::Upload;
use super::{IDLE_MAX, Keepalive, Key, SendError, connect};
use crate::pdk::service::Limits;

/// Streams on one connection at a time, also where the upstream allows more: a worker reads
/// connections one after the other.
const STREAMS_MAX: usize = 100;
/// In place of what the upstream allows, before it has said so; it cannot say this.
const UNTOLD: usize = u32::MAX as usize + 1;
/// What one stream may hold that its client has not read yet.
const STREAM_WINDOW: u32 = 128 << 10;
/// Room for all streams: one whose client does not read holds up no other.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// What of a request body may wait for the upstream.
const SEND_BUFFER: usize = 128 << 10;
/// The metadata of an answer, and its trailers.
const HEADERS_MAX: u32 = 64 << 10;
/// How long a connection that nobody needs may take to say so.
const FAREWELL: Duration = Duration::from_secs(5);

/// One connection.
pub(super) struct Shared {
    sender: RefCell<SendRequest<Outgoing>>,
    /// Streams that the upstream allows at a time; `None` when the connection has ended.
    allowed: Box<dyn Fn() -> Option<usize>>,
    open: Cell<usize>,
    served: Cell<u64>,
    /// The last stream began or ended.
    since: Cell<Instant>,
    /// Takes no more streams.
    retired: Cell<bool>,
    /// Nothing is ever sent: it closes with this, and its tasks end.
    _over: watch::Sender<()>,
}

/// Runs the tasks of a connection on this thread, a little longer than somebody needs it.
#[derive(Clone)]
struct Tasks(watch::Receiver<()>);

impl<F: Future + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let mut over = self.0.clone();
        drop(tokio::task::spawn_local(async move {
            let cut = async {
                let _ = over.changed().await;
                tokio::time::sleep(FAREWELL).await;
            };
            tokio::select! {
                _ = future => {}
                () = cut => {}
            }
        }));
    }
}

impl Shared {
    /// Starts HTTP/2 on a stream, and waits for what the upstream allows.
    pub(super) async fn handshake<S>(address: SocketAddr, stream: S) -> Result<Self, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (keep, over) = watch::channel(());
        let (tasks, news) = (Tasks(over), Rc::new(Notify::new()));
        let heard = news.clone();
        // It begins with what the upstream allows.
        let stream = InspectReader::new(stream, move |_: &[u8]| heard.notify_waiters());
        let io = TokioIo::new(stream);
        let (sender, connection) = Builder::new(tasks.clone())
            .initial_max_send_streams(UNTOLD)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEADERS_MAX)
            .handshake(io)
            .await
            .map_err(|error| SendError::Broken(address, error.into()))?;
        // Whoever holds it holds back the requests that wait for it: it goes with its end.
        let connection = Rc::new(RefCell::new(Some(connection)));
        let (running, end) = (connection.clone(), news.clone());
        tasks.execute(async move {
            let run = std::future::poll_fn(|cx| match &mut *running.borrow_mut() {
                Some(connection) => Pin::new(connection).poll(cx),
                None => Poll::Ready(Ok(())),
            });
            if let Err(error) = run.await {
                tracing::debug!(%address, %error, "upstream connection ended");
            }
            drop(running.take());
            end.notify_waiters();
        });
        let shared = Self {
            sender: RefCell::new(sender),
            allowed: Box::new(move || {
                connection.borrow().as_ref().map(Connection::current_max_send_streams)
            }),
            open: Cell::new(0),
            served: Cell::new(0),
            since: Cell::new(Instant::now()),
            retired: Cell::new(false),
            _over: keep,
        };
        loop {
            match (shared.allowed)() {
                Some(UNTOLD) => news.notified().await,
                Some(_) => return Ok(shared),
                None => {
                    let error = std::io::Error::other("it does not speak HTTP/2");
                    return Err(SendError::Connect(address, error));
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.retired.get() || self.sender.borrow().is_closed()
    }

    /// Nobody uses it, and nobody has for too long.
    fn is_stale(&self, keepalive: &Keepalive) -> bool {
        self.open.get() == 0 && self.since.get().elapsed() > keepalive.idle
    }

    fn has_room(&self, keepalive: &Keepalive) -> bool {
        // An upstream that allows none would be connected to for ever.
        let allowed = (self.allowed)().map_or(0, |allowed| allowed.clamp(1, STREAMS_MAX));
        self.open.get() < allowed && self.served.get() < keepalive.max_requests
    }
}

/// Somebody opens a connection, and whoever needs one waits for it.
type Opening = LocalBoxFuture<'static, Result<Rc<Shared>, Rc<SendError>>>;

/// The connections with equal keys.
#[derive(Default)]
struct Group {
    connections: Vec<Rc<Shared>>,
    opening: Option<WeakShared<Opening>>,
}

/// The shared connections of a worker.
pub(super) struct SharedPool {
    keepalive: Keepalive,
    groups: RefCell<HashMap<Key, Group>>,
}

impl SharedPool {
    pub(super) fn new(keepalive: Keepalive) -> Rc<Self> {
        Rc::new(Self { keepalive, groups: RefCell::default() })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        self: &Rc<Self>,
        key: &Key,
        limits: &Limits,
        mut request: Request<Outgoing>,
    ) -> Result<Response<ReplyBody>, SendError> {
        loop {
            let mut seat = self.seat(key, limits.connect_ms).await?;
            seat.upload = request.body().upload().cloned();
            let kept = seat.shared.served.get() > 1;
            let progress = request.body().progress();
            progress.restart();
            let answer = seat.shared.sender.borrow_mut().try_send_request(request);
            let answer = progress.bound(answer, limits, key.address).await;
            match answer.inspect_err(|_| seat.retire())? {
                Ok(response) => {
                    return Ok(response.map(|body| ReplyBody::shared(body, seat, limits.read_ms)));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => {
                        seat.retire();
                        seat.upload = None;
                        request = unsent;
                    }
                    Some(_) => {
                        let fault = Fault::Http2(error.into_error());
                        return Err(SendError::Refused(key.address, fault));
                    }
                    None => return Err(lost(key.address, error.into_error())),
                },
            }
        }
    }

    /// A place on a connection.
    async fn seat(self: &Rc<Self>, key: &Key, connect_ms: u64) -> Result<Seat, SendError> {
        let late = |_| SendError::ConnectTimeout(key.address, connect_ms);
        let limit = Duration::from_millis(connect_ms);
        loop {
            if let Some(shared) = self.vacant(key) {
                return Ok(Seat::take(self, key, shared));
            }
            let opening = self.opening(key, connect_ms);
            let opened = tokio::time::timeout(limit, opening).await.map_err(late)?;
            let shared = opened.map_err(|error| error.again())?;
            if shared.has_room(&self.keepalive) {
                return Ok(Seat::take(self, key, shared));
            }
        }
    }

    fn vacant(&self, key: &Key) -> Option<Rc<Shared>> {
        let mut groups = self.groups.borrow_mut();
        let group = groups.get_mut(key)?;
        group.connections.retain(|one| !one.is_over() && !one.is_stale(&self.keepalive));
        group.connections.iter().find(|one| one.has_room(&self.keepalive)).cloned()
    }

    /// The connection that is being opened; the first who needs one begins.
    fn opening(self: &Rc<Self>, key: &Key, connect_ms: u64) -> SharedFuture<Opening> {
        let mut groups = self.groups.borrow_mut();
        let group = groups.entry(key.clone()).or_default();
        if let Some(opening) = group.opening.as_ref().and_then(WeakShared::upgrade) {
            return opening;
        }
        let (pool, own) = (self.clone(), key.clone());
        let opening: Opening = Box::pin(async move {
            let opened = connect::open_shared(&own, connect_ms).await;
            let mut groups = pool.groups.borrow_mut();
            let group = groups.entry(own).or_default();
            group.opening = None;
            let shared = Rc::new(opened?);
            group.connections.push(shared.clone());
            Ok(shared)
        });
        let opening = opening.shared();
        group.opening = opening.downgrade();
        opening
    }

    /// Gives up connections that nobody needs. The worker calls it now and then.
    pub(super) fn sweep(&self) {
        self.groups.borrow_mut().retain(|_, group| {
            group.connections.retain(|one| !one.is_over() && !one.is_stale(&self.keepalive));
            let opens = group.opening.as_ref().is_some_and(|opening| opening.upgrade().is_some());
            opens || !group.connections.is_empty()
        });
    }

    /// Somebody has left a connection: whether it is kept is nginx' rule for idle ones.
    fn left(&self, key: &Key, shared: &Rc<Shared>) {
        let mut groups = self.groups.borrow_mut();
        let many = groups.len() > IDLE_MAX;
        let Some(group) = groups.get_mut(key) else { return };
        let idle = group.connections.iter().filter(|one| one.open.get() == 0).count();
        let worn = shared.served.get() >= self.keepalive.max_requests;
        if many || worn || shared.is_over() || idle > self.keepalive.pool_size {
            group.connections.retain(|one| !Rc::ptr_eq(one, shared));
        }
        if group.connections.is_empty() && group.opening.is_none() {
            groups.remove(key);
        }
    }
}

/// The place of one exchange on a connection.
pub(super) struct Seat {
    pool: Rc<SharedPool>,
    key: Key,
    shared: Rc<Shared>,
    upload: Option<Upload>,
}

impl Seat {
    fn take(pool: &Rc<SharedPool>, key: &Key, shared: Rc<Shared>) -> Self {
        shared.open.set(shared.open.get() + 1);
        shared.served.set(shared.served.get() + 1);
        Self { pool: pool.clone(), key: key.clone(), shared, upload: None }
    }

    /// The request body that streams over it.
    pub(super) fn upload(&self) -> Option<&Upload> {
        self.upload.as_ref()
    }

    /// The connection takes no more streams: the upstream behind it may be gone without a word.
    pub(super) fn retire(&self) {
        self.shared.retired.set(true);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Who has its answer listens no more.
        if let Some(upload) = &self.upload {
            upload.stop();
        }
        self.shared.open.set(self.shared.open.get().saturating_sub(1));
        self.shared.since.set(Instant::now());
        if self.shared.open.get() == 0 {
            self.pool.left(&self.key, &self.shared);
        }
    }
}

/// A stream that the upstream refused, or whose number is beyond the last one of its farewell, was
/// not looked at (RFC 9113, section 8.7).
fn lost(address: SocketAddr, error: hyper::Error) -> SendError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            let refused = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            if h2.is_remote() && (refused || h2.is_go_away()) {
                return SendError::Refused(address, error.into());
            }
        }
        source = cause.source();
    }
    SendError::Broken(address, error.into())
}
