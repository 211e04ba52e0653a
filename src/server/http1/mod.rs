//! HTTP/1 with a client: one request after the other, each answered before the next one is read.
//!
//! A codec of our own, as towards upstreams (`upstream/http1`), and for the same reason: every
//! request goes through it. It is as strict as nginx or stricter: what is doubtful is refused, and
//! answered with Kong's page like any other request.

mod answer;
mod away;
mod head;
#[cfg(test)]
mod tests;
mod wire;

use std::cell::RefCell;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use head::Limits;

use super::activity::Activity;
use crate::http1::{Output, Raw};
use crate::pdk::{self, Arriving};
use crate::respond::Failure;
use answer::{Answer, Spoilt};
use head::Wishes;
use wire::{Held, Next, Wire};

/// A request as it arrives, over either version of HTTP.
pub(super) struct Arrival {
    pub(super) head: Parts,
    pub(super) body: pdk::Body,
    /// Its head is not in order, and nothing behind it is read.
    pub(super) refused: Option<Failure>,
    /// Its connection can change to another protocol.
    pub(super) can_switch: bool,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum Ended {
    /// The system, TLS, or the client's time ran out.
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the client has left")]
    Left,
    /// There is no answer, or it broke off.
    #[error("no whole answer: {0}")]
    Cut(String),
}

/// Serves a connection to its end: each request is given to `answer`. A stream comes back when it
/// has changed to another protocol.
///
/// # Errors
/// It has ended within a request or an answer.
pub(super) async fn serve<S, F, B, E>(
    stream: S,
    limits: Limits,
    activity: Rc<Activity>,
    answer: impl Fn(Arrival) -> F,
) -> Result<Option<Raw<S>>, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes, Error: Display> + Unpin,
    E: Display,
{
    let wire = Rc::new(RefCell::new(Wire::new(stream, limits, activity)));
    loop {
        let next = poll_fn(|cx| wire.borrow_mut().poll_next(cx)).await?;
        let (arrival, wishes) = match next {
            Next::End => break,
            Next::Refused(head, failure) => refused(head, failure),
            Next::Request(head) => {
                let body = match head.has_body {
                    true => pdk::Body::Stream(Arriving::http1(Rc::new(Held::new(&wire)))),
                    false => pdk::Body::Empty,
                };
                let (head, wishes) = (head.parts, head.wishes);
                (Arrival { head, body, refused: None, can_switch: wishes.upgrade }, wishes)
            }
        };
        let method = arrival.head.method.clone();
        // Boxed at once: a connection would be as large as its largest part, twice. Made in its
        // box: it would be copied there, with all the room that it has for later.
        let exchange = Box::into_pin(Box::write(Box::new_uninit(), answer(arrival)));
        let response = answered(&wire, exchange).await?;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let closes = write(&wire, response, &method, wishes).await?;
        if switches {
            // A holder of the request's body would have the stream, too.
            return Ok(Rc::into_inner(wire).and_then(|wire| wire.into_inner().into_raw()));
        }
        if closes || !wire.borrow_mut().end_exchange() {
            break;
        }
    }
    poll_fn(|cx| wire.borrow_mut().poll_close(cx)).await?;
    Ok(None)
}

/// What is answered like a request and behind which nothing more is read.
fn refused(head: Parts, failure: Failure) -> (Arrival, Wishes) {
    let wishes = Wishes { closes: true, ..Wishes::default() };
    let refused = Some(failure);
    (Arrival { head, body: pdk::Body::Empty, refused, can_switch: false }, wishes)
}

/// Waits for the answer, as long as its client does.
async fn answered<S, B, E>(
    wire: &RefCell<Wire<S>>,
    mut answer: Pin<Box<impl Future<Output = Result<Response<B>, E>>>>,
) -> Result<Response<B>, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
    E: Display,
{
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(answer.map_err(|error| Ended::Cut(error.to_string())));
        }
        ready!(wire.borrow_mut().poll_left(cx));
        Poll::Ready(Err(Ended::Left))
    })
    .await
}

/// Writes an answer to its end; whether the connection is to be closed behind it.
async fn write<S, B>(
    wire: &RefCell<Wire<S>>,
    response: Response<B>,
    method: &Method,
    mut wishes: Wishes,
) -> Result<bool, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    poll_fn(|cx| wire.borrow_mut().poll_answer(cx)).await;
    wishes.closes |= wire.borrow().is_stuck();
    let mut output = Output::default();
    let mut answer = Answer::begin(&mut output, response, method, wishes);
    let mut end = None;
    poll_fn(|cx| {
        loop {
            if end.is_none()
                && let Poll::Ready(filled) = answer.poll_fill(&mut output, cx)
            {
                end = Some(filled);
            }
            let waits = output.is_empty();
            match wire.borrow_mut().poll_write(&mut output, cx)? {
                Poll::Ready(()) if end.is_some() => return Poll::Ready(Ok(())),
                Poll::Ready(()) if !waits => {}
                _ => break,
            }
        }
        ready!(wire.borrow_mut().poll_left(cx));
        Poll::Ready(Err(Ended::Left))
    })
    .await?;
    match end {
        Some(Err(Spoilt::Body(error))) => Err(Ended::Cut(error.to_string())),
        Some(Err(Spoilt::Length)) => {
            Err(Ended::Cut("it is not as long as its Content-Length".to_owned()))
        }
        _ => Ok(answer.closes),
    }
}
