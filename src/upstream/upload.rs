//! A request body that streams, over all attempts of its exchange.
//!
//! As long as the upstream cannot have read any of it, another attempt can send it. Of a call by
//! gRPC the first bytes are kept, too: an upstream that is about to stop refuses calls unseen.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use super::cause;

/// The body broke off on its way to the upstream.
#[derive(Debug, Error)]
pub enum Cut {
    /// The client did not finish it.
    #[error(transparent)]
    Client(#[from] hyper::Error),
    /// The client did not finish it, as an earlier reader was told.
    #[error("the client did not finish the request")]
    Unfinished,
    /// Nobody waits for the rest: the call is over, or another attempt has it.
    #[error("the rest of the request is not wanted")]
    Unwanted(#[source] h2::Error),
}

/// A body and what is known of it. Clones are the same body.
#[derive(Clone)]
pub struct Upload(Rc<RefCell<State>>);

struct State {
    incoming: Incoming,
    /// The bytes that were sent, up to `keep`.
    kept: Vec<Bytes>,
    keep: usize,
    /// Something was sent that is not kept.
    gone: bool,
    /// Why the client did not finish it. The library says so once and then calls it the end.
    broken: Option<String>,
    /// The attempt that may send; none has this number once it is over.
    attempt: u32,
    sender: Option<Waker>,
}

/// The part of one attempt.
pub(super) struct Sending {
    upload: Upload,
    attempt: u32,
    /// Kept pieces that this attempt has sent.
    repeated: usize,
}

impl Upload {
    /// A body of which the first `keep` bytes can be sent again.
    pub fn new(incoming: Incoming, keep: usize) -> Self {
        let (kept, sender) = (Vec::new(), None);
        let (gone, broken, attempt) = (false, None, 0);
        let state = State { incoming, kept, keep, gone, broken, attempt, sender };
        Self(Rc::new(RefCell::new(state)))
    }

    /// Whether one more attempt could send all of it.
    pub fn can_restart(&self) -> bool {
        let state = self.0.borrow();
        !state.gone && state.broken.is_none()
    }

    /// Why the client did not finish it, when it is known that it did not.
    pub fn broken(&self) -> Option<String> {
        self.0.borrow().broken.clone()
    }

    /// Nothing more is sent, and the client is asked for nothing more.
    pub(super) fn stop(&self) {
        self.0.borrow_mut().next();
    }

    /// The body from its beginning. An earlier attempt that still sends stops.
    pub(super) fn start(&self) -> Sending {
        let attempt = self.0.borrow_mut().next();
        Sending { upload: self.clone(), attempt, repeated: 0 }
    }
}

impl State {
    fn next(&mut self) -> u32 {
        self.attempt = self.attempt.wrapping_add(1);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
        self.attempt
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            Some(data) if data.len() <= self.keep => {
                self.keep -= data.len();
                self.kept.push(data.clone());
            }
            _ => {
                self.gone = true;
                (self.keep, self.kept) = (0, Vec::new());
            }
        }
    }
}

impl Sending {
    pub(super) fn upload(&self) -> &Upload {
        &self.upload
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let mut state = self.upload.0.borrow_mut();
        if state.attempt != self.attempt {
            let unwanted = Cut::Unwanted(h2::Reason::CANCEL.into());
            return Poll::Ready(Some(Err(unwanted)));
        }
        if let Some(data) = state.kept.get(self.repeated).cloned() {
            self.repeated += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if state.broken.is_some() {
            return Poll::Ready(Some(Err(Cut::Unfinished)));
        }
        match Pin::new(&mut state.incoming).poll_frame(cx) {
            Poll::Pending => {
                state.sender = Some(cx.waker().clone());
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                state.keep(&frame);
                self.repeated = state.kept.len();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                state.broken = Some(cause(&error));
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.upload.0.borrow();
        self.repeated >= state.kept.len() && state.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.upload.0.borrow();
        let kept = state.kept.iter().skip(self.repeated).map(Bytes::len).sum::<usize>() as u64;
        match state.incoming.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(kept + rest),
            None => SizeHint::default(),
        }
    }
}
