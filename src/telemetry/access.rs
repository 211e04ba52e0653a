//! The access log: one line for each exchange.
//!
//! Each worker has a buffer of its own, written out when it is full, a moment later (the worker's
//! housekeeping), and at the end. Whole lines are written in one call, by a thread that may wait.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::lines::Lines;
use crate::pdk::{Exchange, log};
use crate::settings::LogFormat;

/// A full buffer.
const BUFFER: usize = 16 << 10;
/// How long a line may wait.
pub const DELAY: Duration = Duration::from_millis(200);

/// Access log lines of one worker on their way to a file.
pub struct AccessLog {
    out: RefCell<Out>,
    format: LogFormat,
}

struct Out {
    buffer: Vec<u8>,
    lines: Lines,
}

/// The file of an access log, to append to.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> std::io::Result<File> {
    // Opened by name, a standard stream would have an offset of its own: redirected to one file,
    // stdout and stderr would then write over each other.
    match path.to_str() {
        Some("/dev/stdout") => dup(std::io::stdout()),
        Some("/dev/stderr") => dup(std::io::stderr()),
        _ => OpenOptions::new().append(true).create(true).open(path),
    }
}

impl AccessLog {
    /// A log whose lines go where those of all workers go.
    pub fn new(lines: Lines, format: LogFormat) -> Self {
        Self { out: RefCell::new(Out { buffer: Vec::new(), lines }), format }
    }

    /// Adds the line of an exchange that is over.
    pub fn write(&self, ex: &Exchange) {
        let mut out = self.out.borrow_mut();
        match self.format {
            LogFormat::Text => line(&mut out.buffer, ex),
            LogFormat::Json => {
                let _ = serde_json::to_writer(&mut out.buffer, &log::serialize(ex));
                out.buffer.push(b'\n');
            }
        }
        if out.buffer.len() >= BUFFER {
            out.flush();
        }
    }

    /// Writes out what is waiting.
    pub fn flush(&self) {
        self.out.borrow_mut().flush();
    }

    /// Whether lines are log records.
    pub fn writes_records(&self) -> bool {
        self.format == LogFormat::Json
    }
}

impl Out {
    fn flush(&mut self) {
        if !self.buffer.is_empty() {
            self.lines.put(std::mem::take(&mut self.buffer));
        }
    }
}

impl Drop for Out {
    /// Exchanges that a drain cuts off write their lines last of all.
    fn drop(&mut self) {
        self.flush();
    }
}

fn dup(stream: impl std::os::fd::AsFd) -> std::io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// Kong's `kong_log_format`, with the Route and the upstream's time.
fn line(out: &mut Vec<u8>, ex: &Exchange) {
    let request = &ex.request;
    let client = request.connection.client.ip();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let _ = write!(out, "{client} - ");
    match ex.client.consumer().and_then(|consumer| consumer.username.clone()) {
        Some(name) => escape(out, name.as_bytes()),
        None => out.push(b'-'),
    }
    let _ = write!(out, " [{}] \"{} ", Utc(now), request.method);
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    escape(out, ex.log.masked(target).as_bytes());
    let (status, sent) = (ex.response.status().as_u16(), ex.response.sent.get());
    let _ = write!(out, " {:?}\" {status} {sent} \"", request.version);
    let headers = request.headers();
    let text = |name: &str| headers.get(name).map_or(&b"-"[..], |value| value.as_bytes());
    escape(out, text("referer"));
    out.extend_from_slice(b"\" \"");
    escape(out, text("user-agent"));
    let _ = write!(out, "\" kong_request_id: \"{}\" route: \"", ex.id);
    let route = ex.matched().and_then(|matched| matched.route.name.as_deref());
    escape(out, route.unwrap_or("-").as_bytes());
    match ex.times.upstream_ms() {
        Some(ms) => drop(writeln!(out, "\" upstream_ms: {ms}")),
        None => out.extend_from_slice(b"\" upstream_ms: -\n"),
    }
}

/// nginx' escaping: a client cannot write lines of its own into the log.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if !(32..=126).contains(&byte) || byte == b'"' || byte == b'\\' {
            let _ = write!(out, "\\x{byte:02X}");
        } else {
            out.push(byte);
        }
    }
}

/// A moment as `21/Nov/2026:08:00:00 +0000`.
struct Utc(u64);

impl std::fmt::Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // `Sat, 21 Nov 2026 08:00:00 GMT`, put in nginx' order.
        let http = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.0));
        let mut words = http.split(' ').skip(1);
        let mut next = || words.next().unwrap_or_default();
        let (day, month, year, time) = (next(), next(), next(), next());
        write!(f, "{day}/{month}/{year}:{time} +0000")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_forge_a_line() {
        let mut out = Vec::new();
        escape(&mut out, b"a\"\n\xC3\\");
        assert_eq!(out, br"a\x22\x0A\xC3\x5C");
    }

    #[test]
    fn moments_are_in_nginx_order() {
        assert_eq!(Utc(1_795_176_000).to_string(), "20/Nov/2026:12:00:00 +0000");
    }
}
