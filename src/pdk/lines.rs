//! Log lines of the gateway for plugins that send them to collectors.
//!
//! A line belongs to the exchange that was running, or to the process. They are kept only while
//! some plugin wants them, and in limited numbers: Kong's.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{CURRENT, Exchange};

/// Lines that wait for an exchange to end, or for the next one.
const LINES_MAX: usize = 1000;
/// The longest text of a line, in bytes.
const TEXT_MAX: usize = 16 << 10;

/// Plugins that want lines.
static WANTED: AtomicUsize = AtomicUsize::new(0);
/// Lines of no exchange.
static OF_PROCESS: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// A log line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Unix nanoseconds.
    pub at_ns: u64,
    /// How bad it is.
    pub level: tracing::Level,
    /// What it says.
    pub text: String,
    /// What it says besides, by name.
    pub fields: Vec<(&'static str, String)>,
}

/// Somebody wants lines, for as long as this lives.
pub struct Wanting(());

impl Wanting {
    /// Lines are kept from now on.
    pub fn begin() -> Self {
        WANTED.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Wanting {
    fn drop(&mut self) {
        WANTED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The lines of one exchange.
#[derive(Default)]
struct OfExchange(RefCell<Vec<Line>>);

impl Line {
    /// Whether lines are kept.
    pub fn is_wanted() -> bool {
        WANTED.load(Ordering::Relaxed) > 0
    }

    /// Keeps it. What is too much is not told of: that would be a line.
    pub fn keep(mut self) {
        let texts = self.fields.iter_mut().map(|(_, text)| text).chain([&mut self.text]);
        texts.for_each(cut);
        let mut line = Some(self);
        let of_exchange = CURRENT.try_with(|ex| {
            let kept = ex.own.find::<OfExchange>().unwrap_or_else(|| {
                let kept = Rc::new(OfExchange::default());
                ex.own.keep(kept.clone());
                kept
            });
            push(&mut kept.0.borrow_mut(), line.take());
        });
        if of_exchange.is_err() {
            push(&mut OF_PROCESS.lock().unwrap_or_else(PoisonError::into_inner), line);
        }
    }

    /// The lines of no exchange, and those of this one.
    pub fn take(ex: &Exchange) -> (Vec<Self>, Vec<Self>) {
        let mut of_process = OF_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        let own = ex.own.find::<OfExchange>().map(|kept| kept.0.take());
        (std::mem::take(&mut of_process), own.unwrap_or_default())
    }
}

fn push(lines: &mut Vec<Line>, line: Option<Line>) {
    if lines.len() < LINES_MAX {
        lines.extend(line);
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
    }
}
