//! Pieces of a reply that are held back until a plugin has looked at them, which may take time.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;

use super::Exchange;

/// What has become of the pieces so far.
pub enum Screened {
    /// These may go on; empty while it waits for more.
    Pass(Bytes),
    /// Nothing more goes on.
    Refused,
}

/// What it takes.
pub type Screening = Pin<Box<dyn Future<Output = Screened>>>;

/// Looks at the upstream's body ahead of all filters; in `Response::screen` from `header_filter`.
pub trait Screen {
    /// Takes a piece, or the end. One is looked at after the other.
    fn look(self: Rc<Self>, ex: Rc<Exchange>, piece: Option<Bytes>) -> Screening;

    /// Answers in place of a reply of which nothing has gone out.
    fn refuse(&self, ex: &Exchange);

    /// What ends a reply that has begun.
    fn ending(&self) -> Bytes;
}
