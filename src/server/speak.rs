//! HTTP on a client connection: both versions, their limits, and its end.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::activity::Activity;
use super::checked::Checked;
use super::framing::{LINES_MAX, Limits};
use super::patience::{Patient, StreamExec};
use super::realip;
use super::reply::Reply;
use super::serve::{HungUp, serve};
use super::tunnel::Slot;
use super::worker::Worker;
use crate::pdk::request::Connection;
use crate::proxy::headers;
use crate::settings::Clients;

/// Speaks HTTP until the client, a limit or the drain ends it.
pub(super) async fn speak<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
    http2: bool,
    drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = Open::new(&worker);
    let shared = worker.shared.clone();
    let clients = &shared.settings.clients;
    let activity = Activity::new(match clients.idle_time.is_zero() {
        true => 1,
        false => clients.requests_max,
    });
    let peer = connection.peer;
    let life = Life { clients, activity: activity.clone(), drain };
    let busy = activity.clone();
    let slot = Slot::default();
    let tunnel = slot.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let settings = &worker.shared.settings;
        let connection = realip::seen_from(settings, &connection, request.headers());
        let (worker, busy, slot) = (worker.clone(), busy.clone(), slot.clone());
        // Boxed, and made in here: held inline, the future would make every connection as large as
        // its largest part, and be copied from hand to hand.
        async move {
            let exchange = exchange(worker, connection, request, busy, slot);
            Box::pin(exchange).await
        }
    });
    let stream = Patient::new(stream, clients.send_time, activity.clone());
    let ended = if http2 {
        let served = http2_builder(clients).serve_connection(TokioIo::new(stream), service);
        life.live(pin!(served), |served| served.graceful_shutdown()).await
    } else {
        let limits = Limits { line: clients.line_max, head: clients.head_max };
        let io = TokioIo::new(Checked::new(stream, limits, activity));
        let served = http1_builder(limits).serve_connection(io, service).with_upgrades();
        life.live(pin!(served), |served| served.graceful_shutdown()).await
    };
    let tunnel = tunnel.take();
    if let Some(tunnel) = tunnel {
        Box::pin(tunnel.run()).await;
    }
    if let Err(error) = ended {
        tracing::debug!(%peer, "client connection ended: {error}");
    }
}

/// Heads are bounded and timed by [`Checked`] and [`Activity`], as nginx does it.
fn http1_builder(limits: Limits) -> hyper::server::conn::http1::Builder {
    /// What the library may hold of a connection besides a head.
    const READ: usize = 64 << 10;
    // nginx bounds the bytes of a head, not its lines. Above 100 the library fills two lists of so
    // many lines for each request.
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .max_headers(LINES_MAX)
        .max_buf_size(READ.max(limits.head + limits.line));
    builder
}

/// The library bounds what a client can do with frames alone: streams that are opened and reset,
/// heads without an end, pings and settings.
fn http2_builder(clients: &Clients) -> hyper::server::conn::http2::Builder<StreamExec> {
    /// Bytes of a response that wait for a stream's window.
    const WAITING: usize = 128 << 10;
    /// Streams that the client has reset before they were looked at, and that broke the protocol.
    const RESETS: usize = 20;
    const ERRORS: usize = 128;
    let exec = StreamExec { limit: clients.send_time };
    let mut builder = hyper::server::conn::http2::Builder::new(exec);
    builder
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .keep_alive_interval(clients.head_time)
        .max_concurrent_streams(clients.streams_max)
        .max_header_list_size(u32::try_from(clients.head_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS)
        .max_send_buf_size(WAITING);
    builder
}

/// One request and its response, as a part of its connection's life.
async fn exchange(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
    activity: Arc<Activity>,
    slot: Slot,
) -> Result<Response<Reply>, HungUp> {
    let busy = activity.begin();
    let is_http1 = request.version() < Version::HTTP_2;
    if !is_http1 {
        // Its heads are not seen here before they are whole.
        activity.head_ended();
    }
    let wants = Wish::of(&request);
    let mut response = serve(worker.clone(), connection, request, slot).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        activity.upgrade();
    } else if is_http1 {
        let is_last = activity.is_last() || worker.shared.ending.load(Ordering::Relaxed);
        say_connection(response.headers_mut(), wants, is_last);
    }
    Ok(response.map(|reply| reply.lasting(busy)))
}

/// What a client of HTTP/1 wants to become of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stay,
    Close,
    /// One of HTTP/1.0 that wants to stay says so; the library answers that.
    Old,
}

impl Wish {
    fn of<B>(request: &Request<B>) -> Self {
        let is_old = request.version() == Version::HTTP_10;
        let says = |word| headers::has_token(request.headers(), &CONNECTION, word);
        match is_old {
            _ if says("close") => Self::Close,
            true if says("keep-alive") => Self::Old,
            true => Self::Close,
            false => Self::Stay,
        }
    }
}

/// Says what becomes of the connection, as nginx does in every answer.
fn say_connection(headers: &mut HeaderMap, wants: Wish, ends: bool) {
    if ends || wants == Wish::Close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    } else if wants == Wish::Stay {
        headers.entry(CONNECTION).or_insert(HeaderValue::from_static("keep-alive"));
    }
}

/// What may end a connection from our side.
struct Life<'a> {
    clients: &'a Clients,
    activity: Arc<Activity>,
    drain: watch::Receiver<bool>,
}

impl Life<'_> {
    /// Serves until the end. `finish` asks it to take no more requests.
    async fn live<C>(
        mut self,
        mut served: Pin<&mut C>,
        finish: impl Fn(Pin<&mut C>),
    ) -> hyper::Result<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let (head, idle) = (self.clients.head_time, self.clients.idle_time);
        // Zero closes behind a response; until there is one, the time for a head counts.
        let idle = if idle.is_zero() { head } else { idle };
        let mut overdue = pin!(self.activity.overdue(head, idle));
        tokio::select! {
            // An answer that is ready with the news of the end says that it is the last.
            biased;
            _ = self.drain.wait_for(|draining| *draining) => {}
            () = self.activity.spent() => {}
            ended = served.as_mut() => return ended,
            () = overdue.as_mut() => {
                self.activity.leave();
                finish(served.as_mut());
                return tokio::time::timeout(GOODBYE, served).await.unwrap_or(Ok(()));
            }
        }
        self.activity.leave();
        finish(served.as_mut());
        tokio::select! {
            ended = served.as_mut() => ended,
            () = overdue.as_mut() => Ok(()),
        }
    }
}

/// How long a connection that is closed for its silence has to take notice.
const GOODBYE: Duration = Duration::from_secs(1);

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
