//! The upstream's body, ahead of all filters, with a plugin that looks at it piece by piece.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::reply::Cut;
use crate::pdk::{CURRENT, Exchange, Screen, Screened, Screening};
use crate::upstream::ReplyBody;

/// The body as it comes, or as it may go on.
pub(super) struct Incoming {
    body: ReplyBody,
    /// Boxed: few replies are looked at, and all are moved from hand to hand.
    screened: Option<Box<Held>>,
}

struct Held {
    screen: Rc<dyn Screen>,
    exchange: Rc<Exchange>,
    under_way: Option<Screening>,
    is_over: bool,
}

impl Incoming {
    pub(super) fn new(body: ReplyBody, exchange: &Rc<Exchange>) -> Self {
        let screen = exchange.response.screen.borrow().clone();
        let screened = screen.map(|screen| {
            Box::new(Held { screen, exchange: exchange.clone(), under_way: None, is_over: false })
        });
        Self { body, screened }
    }

    /// Who looks at it, if anybody does.
    pub(super) fn screen(&self) -> Option<Rc<dyn Screen>> {
        self.screened.as_ref().map(|held| held.screen.clone())
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &self.screened {
            Some(held) => held.is_over && held.under_way.is_none(),
            None => self.body.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.screened.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }

    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Some(held) = &mut self.screened else {
            return self.body.poll_next(cx).map(|next| next.map(|frame| frame.map_err(Cut::from)));
        };
        loop {
            if let Some(looking) = &mut held.under_way {
                let screened = ready!(looking.as_mut().poll(cx));
                held.under_way = None;
                match screened {
                    Screened::Pass(data) if data.is_empty() => {}
                    Screened::Pass(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Screened::Refused => return Poll::Ready(Some(Err(Cut::Refused))),
                }
            }
            if held.is_over {
                return Poll::Ready(None);
            }
            let piece = match ready!(self.body.poll_next(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => None,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            };
            held.is_over = piece.is_none();
            let exchange = held.exchange.clone();
            let looking = held.screen.clone().look(exchange.clone(), piece);
            held.under_way = Some(Box::pin(CURRENT.scope(exchange, looking)));
        }
    }
}
