//! One open connection of HTTP/1, and who moves it.
//!
//! The library gives a connection as a future that reads and writes whenever it is polled. The
//! usual way is a task of its own, which every event then has to go through: the socket wakes that
//! task, it puts a piece into a channel, and the channel wakes the exchange. Here whoever holds a
//! connection polls it. That spares two wake-ups for each request, and lets pieces that are ready
//! together be taken together.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;

use super::Outgoing;

/// An open connection; dropped it is closed at once, whatever it is busy with.
pub(crate) struct Link {
    sender: SendRequest<Outgoing>,
    drive: Drive,
}

/// Who polls the connection.
enum Drive {
    /// Its holder.
    Holder(Pin<Box<dyn Future<Output = ()>>>),
    /// A task of its own: both directions are busy, or another protocol is spoken.
    Task(AbortHandle),
    /// It has ended.
    Over,
}

impl Drive {
    /// Moves a connection that its holder polls.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Holder(connection) = self
            && connection.as_mut().poll(cx).is_ready()
        {
            *self = Self::Over;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Drive::Task(task) = &self.drive {
            task.abort();
        }
    }
}

impl Link {
    /// A connection, and how it is used.
    pub(super) fn new(
        sender: SendRequest<Outgoing>,
        connection: impl Future<Output = ()> + 'static,
    ) -> Self {
        Self { sender, drive: Drive::Holder(Box::pin(connection)) }
    }

    /// Reads and writes what can be; its holder is woken when there is more.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        self.drive.poll(cx);
    }

    /// The same, and nobody is woken.
    pub(super) fn advance(&mut self) {
        self.drive(&mut Context::from_waker(Waker::noop()));
    }

    /// Whether its holder polls it, so that whatever comes out of it wakes its holder already.
    pub(super) fn is_held(&self) -> bool {
        !matches!(self.drive, Drive::Task(_))
    }

    /// From now on it moves by itself.
    pub(super) fn detach(&mut self) {
        match std::mem::replace(&mut self.drive, Drive::Over) {
            Drive::Holder(connection) => {
                self.drive = Drive::Task(tokio::task::spawn_local(connection).abort_handle());
            }
            other => self.drive = other,
        }
    }

    /// Whether it has ended, as far as that is known.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.drive, Drive::Over) || self.sender.is_closed()
    }

    /// Whether it would take a request at once.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Looks whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        self.advance();
        self.is_closed()
    }

    /// Whether it takes a request now. One that was given back a moment ago needs a turn for that;
    /// one that is still busy, such as with a request body that its upstream did not wait for, may
    /// be so for long, and nobody should wait for it.
    pub(super) async fn is_free(&mut self) -> bool {
        const TURN: Duration = Duration::from_millis(10);
        if self.has_ended() {
            return false;
        }
        if self.is_ready() {
            return true;
        }
        let free = async {
            let Self { sender, drive } = self;
            let mut ready = pin!(sender.ready());
            std::future::poll_fn(|cx| {
                drive.poll(cx);
                if matches!(drive, Drive::Over) {
                    return Poll::Ready(false);
                }
                ready.as_mut().poll(cx).map(|ready| ready.is_ok())
            })
            .await
        };
        tokio::time::timeout(TURN, free).await.unwrap_or_default()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn ask(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        std::future::poll_fn(|cx| {
            self.drive(cx);
            // What comes out of a connection that was just polled needs to wake nobody. A task that
            // has had its share of this turn is told so by the promise of an answer, and only so.
            match self.is_held() && tokio::task::coop::has_budget_remaining() {
                true => answer.as_mut().poll(&mut Context::from_waker(Waker::noop())),
                false => answer.as_mut().poll(cx),
            }
        })
        .await
    }
}
