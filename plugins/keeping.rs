//! What comes of a reply that is to be kept: pieces on their way to the client, put together.

use std::cell::{Cell, RefCell};

use http::header::CONTENT_LENGTH;

use crate::pdk::body::{Buffered, Collector};
use crate::pdk::{Chunk, Exchange, ReadError};

/// The body so far.
pub(super) struct Keeping {
    /// `None` once it is kept, or clear that it will not be.
    body: RefCell<Option<Collector>>,
    /// Bytes that are still to come, where the reply says how long it is.
    missing: Cell<Option<usize>>,
}

impl Keeping {
    /// For the reply whose head is about to go out; its body may have so many bytes.
    pub(super) fn new(ex: &Exchange, limit: usize) -> Self {
        let length = ex.response.header(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let body = Collector::new(limit, ex.request.budget());
        Self { body: RefCell::new(Some(body)), missing: Cell::new(length) }
    }

    /// Takes a piece for a plugin, and says whether that was all. A body that cannot be kept is
    /// dropped: what goes to the client is the same.
    pub(super) fn is_whole_with(&self, ex: &Exchange, plugin: &str, chunk: &Chunk) -> bool {
        self.push(chunk).unwrap_or_else(|error| {
            tracing::debug!(request_id = %ex.id, plugin, "not kept: {error}");
            drop(self.take());
            false
        })
    }

    /// The server does not ask for the end of a body whose length is known.
    fn push(&self, chunk: &Chunk) -> Result<bool, ReadError> {
        let mut body = self.body.borrow_mut();
        let Some(collector) = &mut *body else { return Ok(false) };
        if chunk.broken {
            *body = None;
            return Ok(false);
        }
        collector.push(chunk.data.clone())?;
        let missing = self.missing.get().map(|missing| missing.saturating_sub(chunk.data.len()));
        self.missing.set(missing);
        Ok(chunk.last || missing == Some(0))
    }

    /// The whole of it, once; nothing if it was dropped.
    pub(super) fn take(&self) -> Option<Buffered> {
        self.body.take().map(Collector::finish)
    }
}
