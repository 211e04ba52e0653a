//! The upstream, for a plugin that asks it and then answers the client by itself.

use std::future::Future;
use std::pin::Pin;

use http::{HeaderMap, StatusCode};

use super::Exchange;
use super::body::Buffered;
use crate::respond::Failure;

/// Whoever can get an exchange to its upstream.
pub trait Upstream {
    /// Sends the exchange as it stands, with all that drives its attempts, and reads the whole
    /// reply. Nothing of it goes to the client, and the exchange is then as if nobody had asked.
    fn ask<'a>(&'a self, ex: &'a Exchange) -> Asking<'a>;
}

/// A question that is under way.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Answer, Unanswered>> + 'a>>;

/// What the upstream has answered.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those of the hop.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Buffered,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// A plugin that drives the attempts has answered the client.
    Exited,
    /// It was lost on the way there or back.
    Lost {
        /// What the client would be told.
        failure: Failure,
        /// The upstream cannot have seen the request.
        unsent: bool,
    },
}
