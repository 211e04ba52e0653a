//! What Lua's tracer and the plugin that tells collectors of traces know of one another.

use std::cell::{Cell, RefCell};

use serde_json::Value;

use super::Exchange;

/// Spans of Lua code that one exchange keeps.
const MADE_MAX: usize = 1000;

/// The trace of an exchange and the span that all others hang below; in `Exchange::own`, from who
/// needs them first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
}

impl Root {
    /// The one that there is, or else this one.
    pub fn of(ex: &Exchange, make: impl FnOnce() -> Self) -> Self {
        if let Some(root) = ex.own.find::<Self>() {
            return *root;
        }
        let root = make();
        ex.own.keep(std::rc::Rc::new(root));
        root
    }
}

/// A span that Lua code has made and ended (`kong.tracing.start_span`).
#[derive(Debug, Clone)]
pub struct MadeSpan {
    /// What it is.
    pub name: String,
    /// As OpenTelemetry numbers kinds: 1 internal, 2 server, 3 client, ...
    pub kind: i32,
    /// Itself.
    pub span: u64,
    /// The one above it; `None` hangs below the exchange's.
    pub parent: Option<u64>,
    /// Unix nanoseconds.
    pub began_ns: u64,
    /// Unix nanoseconds.
    pub ended_ns: u64,
    /// What is known of it.
    pub attributes: Vec<(String, Value)>,
    /// What happened in it.
    pub events: Vec<MadeEvent>,
    /// OpenTelemetry's code of how it went.
    pub status: Option<i32>,
}

/// An event of such a span.
#[derive(Debug, Clone)]
pub struct MadeEvent {
    /// What it is.
    pub name: String,
    /// Unix nanoseconds.
    pub at_ns: u64,
    /// What is known of it.
    pub attributes: Vec<(String, Value)>,
}

/// Those of one exchange, in `Exchange::own`.
#[derive(Default)]
pub struct MadeSpans {
    spans: RefCell<Vec<MadeSpan>>,
    is_closed: Cell<bool>,
}

impl MadeSpans {
    /// Keeps a span for who tells of them; beyond a thousand they are lost.
    pub fn keep(ex: &Exchange, span: MadeSpan) {
        let kept = ex.own.find::<Self>().unwrap_or_else(|| {
            let kept = std::rc::Rc::new(Self::default());
            ex.own.keep(kept.clone());
            kept
        });
        let mut spans = kept.spans.borrow_mut();
        if spans.len() < MADE_MAX && !kept.is_closed.get() {
            spans.push(span);
        }
    }

    /// Takes them; none are kept from then on.
    pub fn take(ex: &Exchange) -> Vec<MadeSpan> {
        let Some(kept) = ex.own.find::<Self>() else { return Vec::new() };
        kept.is_closed.set(true);
        kept.spans.take()
    }
}
