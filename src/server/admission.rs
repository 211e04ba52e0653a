//! How many client connections the process has at once, and what becomes of further ones.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::metrics::Counter;
use crate::shared::Shared;

/// Kong's words for a process that has no room.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Temporarily Unavailable\r\nConnection: close\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 33\r\n\r\n\
    {\"message\":\"Service unavailable\"}";

/// One for the process.
pub(super) struct Admission {
    open: AtomicUsize,
    max: usize,
    accepted: Counter,
    closed: Counter,
    refused: Counter,
    failed: Counter,
    told: Mutex<Option<Instant>>,
}

/// A connection that counts as long as this lives.
pub(super) struct Admitted(Arc<Admission>);

impl Admission {
    pub(super) fn new(shared: &Shared) -> Arc<Self> {
        let counter = |name, help| shared.metrics.counter(name, help, &[]);
        Arc::new(Self {
            open: AtomicUsize::new(0),
            max: shared.settings.clients.connections_max,
            accepted: counter(
                "silverback_connections_accepted_total",
                "Client connections accepted, refused ones among them",
            ),
            closed: counter(
                "silverback_connections_closed_total",
                "Client connections that have ended, refused ones among them",
            ),
            refused: counter(
                "silverback_connections_refused_total",
                "Client connections refused because there were too many",
            ),
            failed: counter(
                "silverback_accept_failures_total",
                "Client connections that the system could not hand over",
            ),
            told: Mutex::new(None),
        })
    }

    /// Room for one more connection, if there is any.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let admitted = Admitted(self.clone());
        self.accepted.add(1);
        let others = self.open.fetch_add(1, Ordering::Relaxed);
        (self.max == 0 || others < self.max).then_some(admitted)
    }

    /// Ends a connection that there is no room for. It waits for nothing: an HTTP answer where the
    /// client speaks in the clear, and none where it would cost a handshake.
    pub(super) fn refuse(&self, stream: TcpStream, is_tls: bool) {
        self.refused.add(1);
        if self.is_time_to_tell() {
            let max = self.max;
            tracing::warn!("more than {max} client connections (silverback_max_connections)");
        }
        if let (false, Ok(mut stream)) = (is_tls, stream.into_std()) {
            // What is left unread makes the system reset the connection before the answer is read.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write(REFUSAL);
        }
    }

    /// Waits after a failed accept: most likely the process is out of descriptors, and closing
    /// connections will give some back. Trying again at once would only burn the processor.
    pub(super) async fn rest(&self, error: &std::io::Error) {
        const REST: Duration = Duration::from_millis(50);
        self.failed.add(1);
        if self.is_time_to_tell() {
            tracing::error!("accept: {error}");
        }
        tokio::time::sleep(REST).await;
    }

    /// Once a second, whoever asks: an overload must not fill the log as well.
    fn is_time_to_tell(&self) -> bool {
        const PAUSE: Duration = Duration::from_secs(1);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = told.is_none_or(|told| told.elapsed() >= PAUSE);
        if is_time {
            *told = Some(Instant::now());
        }
        is_time
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.closed.add(1);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
