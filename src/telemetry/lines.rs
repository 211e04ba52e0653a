//! The thread that writes the access log.
//!
//! A pipe whose reader has stopped blocks whoever writes to it. Workers therefore hand their lines
//! over and go on. What waits is bounded; lines beyond that are dropped, counted and told of.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::metrics::Counter;

/// Bytes that may wait for the file.
const WAITING_MAX: usize = 4 << 20;

/// The way to the thread.
#[derive(Clone)]
pub struct Lines {
    sender: mpsc::Sender<Vec<u8>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    waiting: AtomicUsize,
    /// The file has been moved away.
    moved: AtomicBool,
    /// Lines dropped that nobody has been told of.
    untold: AtomicU64,
    dropped: Counter,
}

/// The thread, which ends after the last [`Lines`].
pub struct Writer {
    state: Arc<State>,
    /// Nothing is ever sent: it closes when the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Lines {
    /// Starts a thread that writes to what `open` opens; `dropped` counts lines that it never gets.
    ///
    /// # Errors
    /// There is nothing to write to, or the thread cannot be made.
    pub fn to<W: Write + Send + 'static>(
        mut open: impl FnMut() -> io::Result<W> + Send + 'static,
        dropped: Counter,
    ) -> io::Result<(Self, Writer)> {
        let (sender, lines) = mpsc::channel::<Vec<u8>>();
        let (running, ended) = mpsc::channel::<()>();
        let state = Arc::new(State { dropped, ..State::default() });
        let out = open()?;
        let thread = std::thread::Builder::new().name("access-log".into());
        let of_thread = state.clone();
        thread.spawn(move || {
            of_thread.write(out, open, &lines);
            drop(running);
        })?;
        Ok((Self { sender, state: state.clone() }, Writer { state, ended }))
    }

    /// Hands whole lines over. It never waits.
    pub fn put(&self, lines: Vec<u8>) {
        let length = lines.len();
        let waiting = self.state.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting + length > WAITING_MAX {
            self.state.waiting.fetch_sub(length, Ordering::Relaxed);
            let count = memchr::memchr_iter(b'\n', &lines).count() as u64;
            self.state.dropped.add(count);
            self.state.untold.fetch_add(count, Ordering::Relaxed);
            return;
        }
        let _ = self.sender.send(lines);
    }
}

impl State {
    fn write<W: Write>(
        &self,
        mut out: W,
        mut open: impl FnMut() -> io::Result<W>,
        lines: &mpsc::Receiver<Vec<u8>>,
    ) {
        while let Ok(lines) = lines.recv() {
            if self.moved.swap(false, Ordering::Relaxed) {
                match open() {
                    Ok(new) => out = new,
                    Err(error) => tracing::error!("access log: {error}; the old file goes on"),
                }
            }
            // Nobody is left to tell when the log itself cannot be written.
            let _ = out.write_all(&lines);
            self.waiting.fetch_sub(lines.len(), Ordering::Relaxed);
            // Told when the queue is empty: as long as it is full there is more to count.
            if self.waiting.load(Ordering::Relaxed) == 0 {
                let count = self.untold.swap(0, Ordering::Relaxed);
                if count > 0 {
                    tracing::warn!("access log: its reader was too slow, {count} lines are lost");
                }
            }
        }
    }
}

impl Writer {
    /// Opens the file anew before the next line: it has been moved away (`logrotate`).
    pub fn reopen(&self) {
        self.state.moved.store(true, Ordering::Relaxed);
    }

    /// Waits until everything is written, at most `limit`: a reader that has stopped must not hold
    /// up the end of the process.
    pub fn finish(self, limit: Duration) {
        if self.ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("access log: nobody reads it, its last lines are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that takes nothing before it is told to.
    struct Stuck(mpsc::Receiver<()>, mpsc::Sender<usize>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_does_not_stop_a_worker() {
        const PIECE: usize = 1 << 20;
        let (go, waits) = mpsc::channel();
        let (sizes, written) = mpsc::channel();
        let dropped = Counter::default();
        let mut stuck = Some(Stuck(waits, sizes));
        let open = move || Ok(stuck.take().unwrap());
        let (lines, writer) = Lines::to(open, dropped.clone()).unwrap();
        let piece = [vec![b'x'; PIECE - 2], b"\n\n".to_vec()].concat();
        for _ in 0..WAITING_MAX / PIECE + 3 {
            lines.put(piece.clone());
        }
        assert_eq!(dropped.value(), 3 * 2, "lines, not pieces");
        drop(go);
        drop(lines);
        writer.finish(Duration::from_secs(30));
        assert_eq!(written.iter().sum::<usize>(), WAITING_MAX, "what was taken is written");
    }
}
