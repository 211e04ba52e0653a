//! HTTP on a client connection: both versions, their limits, and its end.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::activity::Activity;
use super::http1::{self, Arrival, Limits};
use super::patience::{Patient, StreamExec};
use super::realip;
use super::reply::Reply;
use super::serve::{HungUp, serve};
use super::tunnel::Slot;
use super::worker::Worker;
use crate::pdk::request::Connection;
use crate::pdk::{Arriving, Body};
use crate::settings::Clients;

/// Speaks HTTP until the client, a limit or the drain ends it.
pub(super) async fn speak<S>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: S,
    http2: bool,
    drain: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let _open = Open::new(&worker);
    let shared = worker.shared.clone();
    let clients = &shared.settings.clients;
    let activity = Activity::new(match clients.idle_time.is_zero() {
        true => 1,
        false => clients.requests_max,
    });
    let life = Life { clients, activity: activity.clone(), drain };
    let stream = Patient::new(stream, clients.send_time, activity.clone());
    if http2 {
        // Boxed: no connection of the other version should hold room for it.
        return Box::pin(speak_http2(worker, connection, stream, life)).await;
    }
    let limits = Limits { line: clients.line_max, head: clients.head_max };
    let slot = Slot::default();
    let served = http1::serve(stream, limits, activity.clone(), |arrival| {
        exchange(worker.clone(), &connection, arrival, &activity, slot.clone())
    });
    // It looks at its activity by itself.
    let ended = life.live(pin!(served), |_| {}).await;
    let client = ended.unwrap_or(Ok(None));
    let tunnel = slot.take();
    let client = client.map_err(|error| tell(connection.peer, error));
    if let (Ok(Some(client)), Some(tunnel)) = (client, tunnel) {
        Box::pin(tunnel.run(client)).await;
    }
}

async fn speak_http2<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    stream: Patient<S>,
    life: Life<'_>,
) {
    let (peer, activity) = (connection.peer, life.activity.clone());
    let http2 = http2_builder(life.clients);
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, connection, activity) = (worker.clone(), connection.clone(), activity.clone());
        // Boxed, and made in here: held inline, the future would make every stream as large as its
        // largest part, and be copied from hand to hand.
        async move {
            let exchange =
                exchange(worker, &connection, arrival(request), &activity, Slot::default());
            Box::pin(exchange).await
        }
    });
    let served = http2.serve_connection(TokioIo::new(stream), service);
    let ended = life.live(pin!(served), |served| served.graceful_shutdown()).await;
    ended.unwrap_or(Ok(())).unwrap_or_else(|error| tell(peer, error));
}

fn tell(peer: SocketAddr, error: impl Error) {
    tracing::debug!(%peer, "client connection ended: {error}");
}

/// A request of HTTP/2.
fn arrival(request: Request<Incoming>) -> Arrival {
    let (head, body) = request.into_parts();
    let body = match http_body::Body::is_end_stream(&body) {
        true => Body::Empty,
        false => Body::Stream(Arriving::http2(body)),
    };
    Arrival { head, body, refused: None, can_switch: false }
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
    connection: &Rc<Connection>,
    arrival: Arrival,
    activity: &Rc<Activity>,
    slot: Slot,
) -> Result<Response<Box<Reply>>, HungUp> {
    let busy = activity.begin();
    let connection = realip::seen_from(&worker.shared.settings, connection, &arrival.head.headers);
    let is_http1 = arrival.head.version < Version::HTTP_2;
    if !is_http1 {
        // Its heads are not seen here before they are whole.
        activity.head_ended();
    }
    let mut response = serve(worker.clone(), connection, arrival, slot).await?;
    let is_last = activity.is_last() || worker.shared.ending.load(Ordering::Relaxed);
    if is_http1 && is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|reply| reply.lasting(busy)))
}

/// What may end a connection from our side.
struct Life<'a> {
    clients: &'a Clients,
    activity: Rc<Activity>,
    drain: watch::Receiver<bool>,
}

impl Life<'_> {
    /// Serves until the end; `None` if that is cut short. `finish` asks for no more requests.
    async fn live<C: Future>(
        mut self,
        mut served: Pin<&mut C>,
        finish: impl Fn(Pin<&mut C>),
    ) -> Option<C::Output> {
        let (head, idle) = (self.clients.head_time, self.clients.idle_time);
        // Zero closes behind a response; until there is one, the time for a head counts.
        let idle = if idle.is_zero() { head } else { idle };
        let mut overdue = pin!(self.activity.overdue(head, idle));
        tokio::select! {
            // An answer that is ready with the news of the end says that it is the last.
            biased;
            _ = self.drain.wait_for(|draining| *draining) => {}
            () = self.activity.spent() => {}
            ended = served.as_mut() => return Some(ended),
            () = overdue.as_mut() => {
                self.activity.leave();
                finish(served.as_mut());
                return tokio::time::timeout(GOODBYE, served).await.ok();
            }
        }
        self.activity.leave();
        finish(served.as_mut());
        tokio::select! {
            ended = served.as_mut() => Some(ended),
            () = overdue.as_mut() => None,
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
