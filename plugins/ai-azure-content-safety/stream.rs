//! A stream is looked at part by part (`response_buffer_size`): what has been said since the last
//! look is held back until Azure has seen it.
//!
//! Each look has some of what went before, too: what is bad may stand on both sides of a border.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use serde_json::json;

use super::{Guard, Refused, Side, Unseen, said};
use crate::llm::sse::{Ended, Event, Framer};
use crate::pdk::{Exchange, Screen, Screened, Screening};

/// Bytes of events that are held back, however little they say.
const HELD_MAX: usize = 64 << 10;

/// Looks at one stream.
pub(super) struct Watch {
    guard: Rc<Guard>,
    /// Bytes of text in one look.
    window: usize,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// `None` once the stream is over, or could not be read any further.
    framer: Option<Framer>,
    /// Whole events that wait.
    held: BytesMut,
    /// What they say.
    text: String,
    /// The end of what was said before.
    before: String,
    is_messages: bool,
    refused: Option<Refused>,
}

impl Watch {
    pub(super) fn new(guard: Rc<Guard>, window: usize) -> Self {
        let state = State { framer: Some(Framer::default()), ..State::default() };
        Self { guard, window, state: RefCell::new(state) }
    }

    /// Takes a piece in, and says whether it could be read. What could not may pass unseen.
    fn take(&self, piece: Option<Bytes>) -> Result<(), Unseen> {
        let mut state = self.state.borrow_mut();
        let State { framer, held, text, is_messages, .. } = &mut *state;
        let mut see = |event: Event<'_>| {
            *is_messages |= event.raw().starts_with(b"event: message_start");
            text.push_str(&said::of_event(event));
        };
        let Some(reading) = framer else {
            held.extend_from_slice(&piece.unwrap_or_default());
            return Ok(());
        };
        match piece.map(|piece| reading.push(piece, &mut see)) {
            Some(Ok(passed)) => passed.iter().for_each(|part| held.extend_from_slice(part)),
            Some(Err(error)) => {
                *framer = None;
                held.extend_from_slice(&error.left);
                return Err(Unseen(error.to_string()));
            }
            None => {
                let rest = framer.take().map(|framer| framer.finish(Ended::Complete, see).0);
                held.extend_from_slice(&rest.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// What is to be looked at before what is held may go on.
    fn due(&self) -> Option<String> {
        let mut state = self.state.borrow_mut();
        let State { framer, held, text, before, .. } = &mut *state;
        // Without a framer no more will be said: the stream has ended, or is not read any further.
        let is_due = framer.is_none() || text.len() >= self.window || held.len() > HELD_MAX;
        if text.is_empty() || !is_due {
            return None;
        }
        let whole = format!("{before}{text}");
        let from = whole.len().saturating_sub(self.window);
        let from = (0..=from).rev().find(|at| whole.is_char_boundary(*at));
        *before = whole[from.unwrap_or_default()..].to_owned();
        text.clear();
        Some(whole)
    }

    async fn look_at(&self, ex: &Exchange, piece: Option<Bytes>) -> Result<(), Refused> {
        self.take(piece).or_else(|unseen| self.guard.unseen(ex, Side::Output, &unseen))?;
        match self.due() {
            Some(text) => self.guard.judge(ex, Side::Output, &text).await,
            None => Ok(()),
        }
    }

    async fn judge(&self, ex: &Exchange, piece: Option<Bytes>) -> Screened {
        let judged = self.look_at(ex, piece).await;
        let mut state = self.state.borrow_mut();
        if let Err(refused) = judged {
            state.refused = Some(refused);
            return Screened::Refused;
        }
        let waits = !state.text.is_empty();
        Screened::Pass(if waits { Bytes::new() } else { state.held.split().freeze() })
    }
}

impl Screen for Watch {
    fn look(self: Rc<Self>, ex: Rc<Exchange>, piece: Option<Bytes>) -> Screening {
        Box::pin(async move { self.judge(&ex, piece).await })
    }

    fn refuse(&self, ex: &Exchange) {
        if let Some(refused) = self.state.borrow_mut().refused.take() {
            let _ = refused.answer(ex);
        }
    }

    /// An error in the grammar of the stream, which clients raise as one.
    fn ending(&self) -> Bytes {
        let state = self.state.borrow();
        let message = state.refused.as_ref().map(|refused| refused.message.as_str());
        if state.is_messages {
            let error = json!({ "type": "invalid_request_error", "message": message });
            let event = json!({ "type": "error", "error": error });
            return format!("event: error\ndata: {event}\n\n").into();
        }
        let error = json!({
            "message": message, "type": "invalid_request_error", "param": null,
            "code": "content_filter",
        });
        format!("data: {}\n\n", json!({ "error": error })).into()
    }
}
