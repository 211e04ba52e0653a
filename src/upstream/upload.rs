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
use thiserror::Error;

use super::cause;
use crate::pdk::body::{Arriving, Unfinished};

/// The body broke off on its way to the upstream.
#[derive(Debug, Error)]
pub enum Cut {
    /// The client did not finish it.
    #[error(transparent)]
    Client(#[from] Unfinished),
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
    arriving: Arriving,
    kept: Kept,
    /// Its trailers are a part of it.
    has_trailers: bool,
    /// Why the client did not finish it. The library says so once and then calls it the end.
    broken: Option<String>,
    /// The attempt that may send; none has this number once it is over.
    attempt: u32,
    sender: Option<Waker>,
}

/// What was sent and can be sent again.
#[derive(Default)]
struct Kept {
    pieces: Vec<Bytes>,
    /// Bytes that there is still room for.
    room: usize,
    /// Something was sent that is not here.
    gone: bool,
}

/// The part of one attempt.
pub(super) struct Sending {
    upload: Upload,
    attempt: u32,
    /// Kept pieces that this attempt has sent.
    repeated: usize,
}

impl Upload {
    /// A body that cannot be sent again once some of it was. Trailers are left out, as by nginx:
    /// who reads them as headers would take from a client what plugins have refused.
    pub fn new(arriving: Arriving) -> Self {
        Self::with(arriving, 0, false)
    }

    /// That of a call by gRPC, of which the first `keep` bytes can be sent again.
    pub fn of_call(arriving: Arriving, keep: usize) -> Self {
        Self::with(arriving, keep, true)
    }

    fn with(arriving: Arriving, room: usize, has_trailers: bool) -> Self {
        let kept = Kept { room, ..Kept::default() };
        let (attempt, sender, broken) = (0, None, None);
        let state = State { arriving, kept, has_trailers, broken, attempt, sender };
        Self(Rc::new(RefCell::new(state)))
    }

    /// Whether one more attempt could send all of it.
    pub fn can_restart(&self) -> bool {
        let state = self.0.borrow();
        !state.kept.gone && state.broken.is_none()
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
}

impl Kept {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        match frame.data_ref() {
            // Nothing bounds how many of these a client sends.
            Some(data) if data.is_empty() => {}
            Some(data) if data.len() <= self.room => {
                self.room -= data.len();
                self.pieces.push(data.clone());
            }
            _ => *self = Self { gone: true, ..Self::default() },
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
        if let Some(data) = state.kept.pieces.get(self.repeated).cloned() {
            self.repeated += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if state.broken.is_some() {
            return Poll::Ready(Some(Err(Cut::Unfinished)));
        }
        match Pin::new(&mut state.arriving).poll_frame(cx) {
            Poll::Pending => {
                state.sender = Some(cx.waker().clone());
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() && !state.has_trailers => {
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                state.kept.keep(&frame);
                self.repeated = state.kept.pieces.len();
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
        self.repeated >= state.kept.pieces.len() && state.arriving.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = self.upload.0.borrow();
        let kept = state.kept.pieces.iter().skip(self.repeated);
        let kept = kept.map(Bytes::len).sum::<usize>() as u64;
        match state.arriving.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(kept + rest),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_pieces_without_end_take_no_memory() {
        let mut kept = Kept { room: 4, ..Kept::default() };
        for _ in 0..1000 {
            kept.keep(&Frame::data(Bytes::new()));
        }
        kept.keep(&Frame::data(Bytes::from_static(b"abcd")));
        assert_eq!((kept.pieces.len(), kept.gone), (1, false));
        kept.keep(&Frame::data(Bytes::from_static(b"e")));
        assert_eq!((kept.pieces.len(), kept.gone), (0, true));
    }
}
