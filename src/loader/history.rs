//! The last loads of a process, for `/status`: what was tried when, and what came of it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};

/// Loads that are remembered.
const KEPT: usize = 10;

/// The last loads, the first one included.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Load>>);

#[derive(Debug)]
struct Load {
    ended: SystemTime,
    outcome: Outcome,
}

/// The hash of what is in force since, or how many errors there were.
type Outcome = Result<String, usize>;

impl History {
    /// A load has ended.
    pub(super) fn add(&self, outcome: Outcome) {
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loads.truncate(KEPT - 1);
        loads.push_front(Load { ended: SystemTime::now(), outcome });
    }

    /// The last ones, the youngest first.
    pub fn json(&self) -> Value {
        let loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loads.iter().map(Load::json).collect()
    }
}

impl Load {
    fn json(&self) -> Value {
        let time = httpdate::fmt_http_date(self.ended);
        match &self.outcome {
            Ok(hash) => json!({"time": time, "outcome": "ok", "configuration_hash": hash}),
            Err(errors) => json!({"time": time, "outcome": "error", "errors": errors}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_loads_are_remembered() {
        let history = History::default();
        for errors in 0..100 {
            history.add(Err(errors));
        }
        let json = history.json();
        assert_eq!(json.as_array().map(Vec::len), Some(KEPT));
        assert_eq!((&json[0]["errors"], &json[9]["errors"]), (&json!(99), &json!(90)));
    }
}
