//! What gateways in this process log: one subscriber for all tests, which find their own lines by
//! an address that nobody else has at the time.

use std::io::{self, Write};
use std::sync::{Mutex, Once, PoisonError};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to keep what is logged, as JSON.
pub fn keep() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let subscriber = tracing_subscriber::fmt().json().with_writer(Keeper).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// A place in the log: the number of lines so far.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

/// The end of the log.
pub fn mark() -> Mark {
    Mark(LINES.lock().unwrap_or_else(PoisonError::into_inner).len())
}

/// The lines with this text since then, oldest first. Before, the system may have given the same
/// port to somebody else.
pub fn since(mark: Mark, text: &str) -> Vec<Value> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let found = lines[mark.0..].iter().filter(|line| line.contains(text));
    found.map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Keeper;

impl Write for Keeper {
    /// The formatter writes each line at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line).into_owned();
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Keeper {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
