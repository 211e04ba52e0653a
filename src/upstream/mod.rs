//! The way to an upstream: connections of this worker, one request, the head of the answer.
//!
//! The pool is our own. hyper-util's costs more per request and keys on scheme and authority, so
//! that services with different certificates or verification could share a connection; here the
//! key is everything that makes a connection what it is.

mod body;
mod connect;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::client::conn::http1::SendRequest;
use thiserror::Error;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use body::{Interrupted, Outgoing, ReplyBody};
pub use connect::tls_name;

use crate::pdk::service::Limits;
use crate::tls::{self, Policy};

/// What a connection goes to. Connections with equal keys are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The address.
    pub address: SocketAddr,
    /// How it is encrypted; `None` is plain text.
    pub tls: Option<Tls>,
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
    Broken(SocketAddr, hyper::Error),
    /// It took longer than `read_timeout` or `write_timeout`.
    #[error("{0} did not answer within {1} ms (read_timeout)")]
    Timeout(SocketAddr, u64),
    /// The client did not send more of its body in time.
    #[error("the client sent no more of its body within {0} ms")]
    SlowClient(u64),
}

/// hyper says what it was doing, and only its source why that ended: such as the alert of an
/// upstream that was shown no client certificate.
fn cause(error: &hyper::Error) -> String {
    let Some(source) = std::error::Error::source(error) else { return error.to_string() };
    let hint = source.downcast_ref().map_or("", tls::hint);
    format!("{error}: {source}{hint}")
}

impl SendError {
    /// Whether the upstream cannot have seen the request.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect(..) | Self::ConnectTimeout(..) | Self::Tls(..))
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
}

struct Idle {
    link: Link,
    since: Instant,
    served: u64,
}

/// An open connection; dropped it is closed at once, whatever it is busy with.
pub(crate) struct Link {
    sender: SendRequest<Outgoing>,
    task: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Whether it takes a request now. One that was given back a moment ago needs a turn for that;
    /// one that is still busy, such as with a request body that its upstream did not wait for, may
    /// be so for long, and nobody should wait for it.
    async fn is_free(&mut self) -> bool {
        const TURN: Duration = Duration::from_millis(10);
        let ready = self.sender.is_ready();
        ready || tokio::time::timeout(TURN, self.sender.ready()).await.is_ok_and(|r| r.is_ok())
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(keepalive: Keepalive) -> Rc<Self> {
        Rc::new(Self { keepalive, idle: RefCell::default(), idle_count: Cell::new(0) })
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
        loop {
            let (mut link, served) = match self.take(key).await {
                Some(kept) => kept,
                None => (connect::open(key, limits.connect_ms).await?, 0),
            };
            let progress = request.body().progress();
            progress.restart();
            let answer = link.sender.try_send_request(request);
            let answer = progress.bound(answer, limits, key.address).await?;
            match answer {
                Ok(response) => {
                    let home = Home { pool: self.clone(), key: key.clone(), served: served + 1 };
                    let way_home = (link, home, progress);
                    return Ok(
                        response.map(|incoming| ReplyBody::new(incoming, way_home, limits.read_ms))
                    );
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if served > 0 => request = unsent,
                    _ => return Err(SendError::Broken(key.address, error.into_error())),
                },
            }
        }
    }

    /// A kept connection that can take a request.
    async fn take(&self, key: &Key) -> Option<(Link, u64)> {
        loop {
            let mut kept = self.idle.borrow_mut().get_mut(key)?.pop_back()?;
            self.idle_count.set(self.idle_count.get().saturating_sub(1));
            if kept.link.sender.is_closed() || kept.since.elapsed() > self.keepalive.idle {
                continue;
            }
            if kept.link.is_free().await {
                return Some((kept.link, kept.served));
            }
        }
    }

    fn give_back(&self, key: Key, link: Link, served: u64) {
        let Keepalive { pool_size, max_requests, .. } = self.keepalive;
        if served >= max_requests || pool_size == 0 || link.sender.is_closed() {
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
        kept.push_back(Idle { link, since: Instant::now(), served });
    }

    /// Closes connections that have been idle for too long. The worker calls it now and then.
    pub fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        let keep = |kept: &Idle| {
            !kept.link.sender.is_closed() && kept.since.elapsed() <= self.keepalive.idle
        };
        idle.retain(|_, kept| {
            kept.retain(keep);
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
    fn give_back(self, link: Link) {
        self.pool.give_back(self.key, link, self.served);
    }
}
