//! The way to an upstream: connections of this worker, one request, the head of the answer.
//!
//! The pool is our own. hyper-util's costs more per request and keys on scheme and authority, so
//! that services with different certificates or verification could share a connection; here the
//! key is everything that makes a connection what it is.

mod body;
mod connect;
mod http1;
mod shared;
#[cfg(test)]
mod tests;
mod upload;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use thiserror::Error;
use tokio::time::Instant;

pub use body::{Interrupted, Outgoing, ReplyBody, Unread};
pub use connect::tls_name;
pub use http1::{Fault, Stream};
pub use upload::{Cut, Upload};

use http1::{Connection, Unanswered};
use shared::SharedPool;

use crate::pdk::service::Limits;
use crate::tls::{self, Policy};

/// What a connection goes to. Connections with equal keys are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The address.
    pub address: SocketAddr,
    /// How it is encrypted; `None` is plain text.
    pub tls: Option<Tls>,
    /// It speaks HTTP/2, which only Services for gRPC do (Kong).
    pub http2: bool,
    /// The address is that of a proxy, which is asked to connect to this `host:port` first.
    pub tunnel: Option<Rc<str>>,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The name for the hello, and the one that the certificate must be for.
    pub name: Rc<str>,
    /// Who is trusted and what is shown. Policies are equal by content, so that a reload keeps the
    /// connections of a Service that it did not touch, and no others.
    pub policy: Rc<Policy>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum SendError {
    /// The connection could not be opened.
    #[error("connect to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// It took longer than `connect_timeout`.
    #[error("connect to {0}: no answer within {1} ms (connect_timeout)")]
    ConnectTimeout(SocketAddr, u64),
    /// The TLS handshake failed: most often the certificate.
    #[error("TLS to {0} as '{1}': {2}{hint}", hint = tls::hint(.2))]
    Tls(SocketAddr, Rc<str>, std::io::Error),
    /// The upstream closed, or spoke something else, before a whole head was here.
    #[error("{0} broke off before it answered: {cause}", cause = cause(.1))]
    Broken(SocketAddr, Fault),
    /// The upstream did not look at the request: it takes no more, or is about to stop.
    #[error("{0} refused the request unseen: {cause}", cause = cause(.1))]
    Refused(SocketAddr, Fault),
    /// Where the answer ends can be read in two ways: the second may be somebody else's answer.
    #[error("{0} framed its answer in a way that is not safe: {1}")]
    Framing(SocketAddr, &'static str),
    /// It took longer than `read_timeout` or `write_timeout`.
    #[error("{0} did not answer within {1} ms (read_timeout)")]
    Timeout(SocketAddr, u64),
    /// The client broke off its body, or framed it wrongly.
    #[error("the client did not finish its body: {0}")]
    Client(String),
    /// The client did not send more of its body in time.
    #[error("the client sent no more of its body within {0} ms")]
    SlowClient(u64),
}

/// An error says what was being done, and only its source why that ended: such as the alert of an
/// upstream that was shown no client certificate.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let Some(source) = error.source() else { return error.to_string() };
    let hint = source.downcast_ref().map_or("", tls::hint);
    format!("{error}: {source}{hint}")
}

impl SendError {
    /// Whether the upstream cannot have seen the request.
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::Connect(..) | Self::ConnectTimeout(..) | Self::Tls(..) | Self::Refused(..)
        )
    }

    /// Whether it is the client's fault: no other target would fare better.
    pub fn is_client(&self) -> bool {
        matches!(self, Self::Client(_) | Self::SlowClient(_))
    }

    /// Whether what came is not HTTP, or not safe to take for it.
    pub fn is_invalid_answer(&self) -> bool {
        match self {
            Self::Broken(_, fault) => fault.is_no_http(),
            Self::Framing(..) => true,
            _ => false,
        }
    }

    /// The same once more, for those who waited for the same connection.
    fn again(&self) -> Self {
        let copy = |error: &std::io::Error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(inner) => std::io::Error::new(error.kind(), inner.clone()),
                None => std::io::Error::new(error.kind(), error.to_string()),
            }
        };
        match self {
            Self::Connect(address, error) => Self::Connect(*address, copy(error)),
            Self::ConnectTimeout(address, ms) => Self::ConnectTimeout(*address, *ms),
            Self::Tls(address, name, error) => Self::Tls(*address, name.clone(), copy(error)),
            Self::Timeout(address, ms) => Self::Timeout(*address, *ms),
            Self::Client(cause) => Self::Client(cause.clone()),
            Self::SlowClient(ms) => Self::SlowClient(*ms),
            Self::Framing(address, what) => Self::Framing(*address, what),
            Self::Broken(address, error) | Self::Refused(address, error) => {
                Self::Connect(*address, std::io::Error::other(cause(error)))
            }
        }
    }

    /// Whether time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(..) | Self::ConnectTimeout(..))
    }
}

/// Idle connections of a worker with whatever keys: clients choose names of TLS (`preserve_host`),
/// and must not open as many connections as they know names.
const IDLE_MAX: usize = 8192;

/// How many idle connections are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Keepalive {
    /// Idle connections with the same key, in a worker; 0 keeps none.
    pub pool_size: usize,
    /// How long one may be idle.
    pub idle: Duration,
    /// Requests one connection serves.
    pub max_requests: u64,
}

/// The upstream connections of one worker.
pub struct Pool {
    keepalive: Keepalive,
    idle: RefCell<HashMap<Key, VecDeque<Idle>>>,
    idle_count: Cell<usize>,
    shared: Rc<SharedPool>,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
    served: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(keepalive: Keepalive) -> Rc<Self> {
        let shared = SharedPool::new(keepalive);
        Rc::new(Self { keepalive, idle: RefCell::default(), idle_count: Cell::new(0), shared })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// A kept connection may have been closed by the upstream in the meantime. If the request did
    /// not get onto the wire it goes over the next connection; that is no attempt of its own.
    ///
    /// # Errors
    /// There is no answer; [`SendError::is_unsent`] says whether a repetition is safe.
    pub async fn send(
        self: &Rc<Self>,
        key: &Key,
        limits: &Limits,
        mut request: Request<Outgoing>,
    ) -> Result<Response<ReplyBody>, SendError> {
        if key.http2 {
            return Box::pin(self.shared.send(key, limits, request)).await;
        }
        loop {
            let (mut connection, served) = match self.take(key) {
                Some(kept) => kept,
                // Boxed: what it takes to connect is large, and seldom needed.
                None => (Box::pin(connect::open(key, limits.connect_ms)).await?, 0),
            };
            let progress = request.body().progress();
            progress.restart();
            let answer = poll_fn(|cx| connection.poll_ask(&mut request, cx));
            match progress.bound(answer, limits, key.address).await? {
                Ok(response) => {
                    let home = Home { pool: self.clone(), key: key.clone(), served: served + 1 };
                    let upload = request.body().upload().cloned();
                    let body = |()| ReplyBody::own(connection, home, upload, limits.read_ms);
                    return Ok(response.map(body));
                }
                Err(Unanswered { is_unsent: true, .. }) if served > 0 => {}
                Err(Unanswered { fault: Fault::Framing(what), .. }) => {
                    return Err(SendError::Framing(key.address, what));
                }
                Err(Unanswered { fault, .. }) => {
                    return Err(SendError::Broken(key.address, fault));
                }
            }
        }
    }

    /// A kept connection that can take a request.
    fn take(&self, key: &Key) -> Option<(Box<Connection>, u64)> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(key)?;
        loop {
            let mut last = kept.pop_back()?;
            self.idle_count.set(self.idle_count.get().saturating_sub(1));
            if last.since.elapsed() <= self.keepalive.idle && !last.connection.has_ended() {
                return Some((last.connection, last.served));
            }
        }
    }

    fn give_back(&self, key: Key, mut connection: Box<Connection>, served: u64) {
        let Keepalive { pool_size, max_requests, .. } = self.keepalive;
        if served >= max_requests || pool_size == 0 || !connection.rest() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(key).or_default();
        // As in nginx, the one that has been idle for longest makes room.
        if kept.len() >= pool_size {
            kept.pop_front();
        } else if self.idle_count.get() < IDLE_MAX {
            self.idle_count.set(self.idle_count.get() + 1);
        } else {
            return;
        }
        kept.push_back(Idle { connection, since: Instant::now(), served });
    }

    /// Closes connections that have been idle for too long. The worker calls it now and then.
    pub fn sweep(&self) {
        self.shared.sweep();
        let mut idle = self.idle.borrow_mut();
        let keep = |kept: &mut Idle| {
            kept.since.elapsed() <= self.keepalive.idle && !kept.connection.has_ended()
        };
        idle.retain(|_, kept| {
            kept.retain_mut(keep);
            !kept.is_empty()
        });
        self.idle_count.set(idle.values().map(VecDeque::len).sum());
    }
}

/// Where a connection goes when its answer has been read.
pub(crate) struct Home {
    pool: Rc<Pool>,
    key: Key,
    served: u64,
}

impl Home {
    fn give_back(self, connection: Box<Connection>) {
        self.pool.give_back(self.key, connection, self.served);
    }
}
