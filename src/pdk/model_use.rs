//! What an AI plugin tells plugins that count about the model that it asked.

use std::cell::RefCell;
use std::sync::Arc;

/// One request to a model; kept in `Exchange::own` at the end of the exchange.
#[derive(Debug, Clone)]
pub struct ModelUse {
    /// Kong's name of the provider.
    pub provider: &'static str,
    /// The name of the model; of limited variety where clients choose it.
    pub model: Arc<str>,
    /// What it cost; `None` when no answer came.
    pub spent: Option<Spent>,
}

/// Tokens, money and time.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Tokens that were sent.
    pub prompt_tokens: u64,
    /// Tokens that came back.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// In the currency of the configured prices.
    pub cost: f64,
    /// From the request to the last byte of the reply, in milliseconds.
    pub latency_ms: u64,
}

/// What a plugin that ran earlier wants to do when it is known what a model has cost. Without a
/// request to a model it is told so when the exchange ends.
pub struct ModelWatch(RefCell<Option<Watcher>>);

type Watcher = Box<dyn FnOnce(Option<&ModelUse>)>;

impl ModelWatch {
    /// Keep it in `Exchange::own`.
    pub fn new(watcher: impl FnOnce(Option<&ModelUse>) + 'static) -> Self {
        Self(RefCell::new(Some(Box::new(watcher))))
    }

    /// Tells it, once.
    pub fn tell(&self, used: Option<&ModelUse>) {
        let watcher = self.0.borrow_mut().take();
        if let Some(watcher) = watcher {
            watcher(used);
        }
    }
}

impl Drop for ModelWatch {
    fn drop(&mut self) {
        self.tell(None);
    }
}
