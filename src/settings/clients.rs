//! What clients may do, and how long: nginx' `client_*`, `keepalive_*` and their likes.

use std::time::Duration;

use super::layers::Layers;
use super::text::{size, time};

/// Limits for clients. Their names in kong.conf are nginx' with `nginx_http_` in front.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Longest request line or header line, bytes (`large_client_header_buffers`).
    pub line_max: usize,
    /// Longest head, bytes (`large_client_header_buffers`).
    pub head_max: usize,
    /// How long a head may take (`client_header_timeout`).
    pub head_time: Duration,
    /// Milliseconds that a client may take between two reads of its body (`client_body_timeout`).
    pub body_ms: u64,
    /// How long a client may read nothing (`send_timeout`).
    pub send_time: Duration,
    /// How long a connection may be idle (`keepalive_timeout`); zero closes after one request.
    pub idle_time: Duration,
    /// Requests that a connection serves (`keepalive_requests`).
    pub requests_max: usize,
    /// How long a TLS handshake or a PROXY header may take (`ssl_handshake_timeout`).
    pub handshake_time: Duration,
    /// Largest request body, bytes; 0 is no limit (`client_max_body_size`).
    pub body_max: u64,
    /// Body bytes that Lua plugins find in memory; longer bodies are in a file for them
    /// (`client_body_buffer_size`).
    pub body_buffer: usize,
    /// Requests that an HTTP/2 connection has at once (`http2_max_concurrent_streams`).
    pub streams_max: u32,
    /// Connections at once; 0 is no limit (`silverback_max_connections`).
    pub connections_max: usize,
    /// The charset of texts whose `Content-Type` names none (`charset`).
    pub charset: Option<String>,
}

/// Directives that are read here.
pub(super) const DIRECTIVES: &[&str] = &[
    "charset",
    "client_body_buffer_size",
    "client_body_timeout",
    "client_header_buffer_size",
    "client_header_timeout",
    "client_max_body_size",
    "http2_max_concurrent_streams",
    "keepalive_requests",
    "keepalive_timeout",
    "large_client_header_buffers",
    "send_timeout",
    "ssl_handshake_timeout",
];

/// Kong's ways to put a directive somewhere, the innermost first: it counts.
pub(super) const BLOCKS: [&str; 3] = ["nginx_location_", "nginx_proxy_", "nginx_http_"];

const TIME: &str = "a time such as 60s, 500ms or 1m";
const SIZE: &str = "a size such as 16m, 512k or 1048576";

impl Layers {
    pub(super) fn clients(&mut self, workers: usize) -> Clients {
        let (line_max, head_max) = self.header_buffers();
        let streams = self.number(&self.block("http2_max_concurrent_streams"), 128);
        Clients {
            line_max,
            head_max,
            head_time: self.time("client_header_timeout", "60s"),
            body_ms: self.time("client_body_timeout", "60s").as_millis() as u64,
            send_time: self.time("send_timeout", "60s"),
            idle_time: self.time("keepalive_timeout", "75s"),
            requests_max: self.number(&self.block("keepalive_requests"), 10_000) as usize,
            handshake_time: self.time("ssl_handshake_timeout", "60s"),
            body_max: self.body_max(),
            body_buffer: self.body_buffer(),
            streams_max: u32::try_from(streams).unwrap_or(u32::MAX).max(1),
            connections_max: self.connections_max(workers),
            charset: Some(self.text(&self.block("charset"), "UTF-8")).filter(|name| name != "off"),
        }
    }

    /// The name under which a directive is set; the innermost block counts, as in nginx.
    fn block(&self, directive: &str) -> String {
        let names = BLOCKS.map(|block| format!("{block}{directive}"));
        let given = names.iter().find(|name| self.has(name));
        given.unwrap_or(&names[BLOCKS.len() - 1]).clone()
    }

    /// A time; `keepalive_timeout` may have a second one, which is for a header that nobody reads.
    fn time(&mut self, directive: &str, default: &str) -> Duration {
        let read = |text: &str| time(text.split_whitespace().next()?);
        self.parse(&self.block(directive), default, TIME, read).unwrap_or_default()
    }

    /// nginx reads a head into one small buffer and `number` large ones; no line may be longer
    /// than one of these.
    fn header_buffers(&mut self) -> (usize, usize) {
        /// What the HTTP library can take in a target, and what a connection may hold.
        const LINE: usize = 64_000;
        const HEAD: usize = 512 << 10;
        let read = |text: &str| {
            let (number, bytes) = text.split_once(' ')?;
            let number = number.parse::<usize>().ok().filter(|n| *n > 0)?;
            let bytes = usize::try_from(size(bytes.trim())?).ok().filter(|n| *n >= 64)?;
            Some((bytes.min(LINE), bytes.checked_mul(number)?.min(HEAD)))
        };
        let name = self.block("large_client_header_buffers");
        let large = self.parse(&name, "4 8k", "a number and a size such as 4 8k", read);
        let (line, head) = large.unwrap_or((8 << 10, 32 << 10));
        let name = self.block("client_header_buffer_size");
        let small = self.parse(&name, "1k", SIZE, size).unwrap_or_default();
        let small = usize::try_from(small).unwrap_or(LINE).min(LINE);
        (line.max(small), head.max(small))
    }

    fn body_max(&mut self) -> u64 {
        self.size(&self.block_or_old("client_max_body_size"), "0")
    }

    fn body_buffer(&mut self) -> usize {
        let size = self.size(&self.block_or_old("client_body_buffer_size"), "8k");
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    /// Kong 1.x had names of its own for two of them.
    fn block_or_old(&self, directive: &str) -> String {
        let name = self.block(directive);
        if !self.has(&name) && self.has(directive) { directive.to_owned() } else { name }
    }

    /// nginx counts by worker. What we have a name for is for the process, and stands above it.
    fn connections_max(&mut self, workers: usize) -> usize {
        let given = self.has("silverback_max_connections");
        let ours = self.number("silverback_max_connections", 16_384) as usize;
        let read = |text: &str| match text {
            "auto" => Some(None),
            text => text.parse::<usize>().ok().filter(|n| *n > 0).map(Some),
        };
        let expected = "a number of connections, or auto";
        let each = self.parse("nginx_events_worker_connections", "auto", expected, read);
        match each.flatten() {
            Some(each) if !given => each.saturating_mul(workers),
            _ => ours,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Env, Flags, Settings};
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Clients, Vec<String>> {
        let flags: Flags =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Ok(Settings::read(&flags, Env::default(), None)?.settings.clients)
    }

    #[test]
    fn the_innermost_block_counts() {
        let given = [
            ("nginx_http_client_max_body_size", "1m"),
            ("nginx_proxy_client_max_body_size", "2m"),
            ("nginx_http_keepalive_timeout", "5s 4s"),
            ("client_max_body_size", "9m"),
        ];
        let clients = read(&given).unwrap();
        assert_eq!(clients.body_max, 2 << 20);
        assert_eq!(clients.idle_time, Duration::from_secs(5));
        assert_eq!(read(&[("client_max_body_size", "9m")]).unwrap().body_max, 9 << 20);
    }

    #[test]
    fn a_head_may_be_as_long_as_its_buffers() {
        let clients = read(&[]).unwrap();
        assert_eq!((clients.line_max, clients.head_max), (8 << 10, 32 << 10));
        let given = [
            ("nginx_http_large_client_header_buffers", "2 1k"),
            ("nginx_http_client_header_buffer_size", "4k"),
        ];
        let clients = read(&given).unwrap();
        assert_eq!((clients.line_max, clients.head_max), (4 << 10, 4 << 10));
        let huge = read(&[("nginx_http_large_client_header_buffers", "1000 1m")]).unwrap();
        assert_eq!((huge.line_max, huge.head_max), (64_000, 512 << 10));
        for text in ["8k", "0 8k", "4 8x", "4 1"] {
            let errors = read(&[("nginx_http_large_client_header_buffers", text)]).err().unwrap();
            assert!(errors[0].contains("is not a number and a size such as 4 8k"), "{errors:?}");
        }
    }

    #[test]
    fn connections_are_counted_by_worker_or_for_all() {
        let workers = ("nginx_worker_processes", "2");
        let each = ("nginx_events_worker_connections", "10");
        assert_eq!(read(&[workers, each]).unwrap().connections_max, 20);
        let all = ("silverback_max_connections", "7");
        assert_eq!(read(&[workers, each, all]).unwrap().connections_max, 7);
        assert_eq!(read(&[]).unwrap().connections_max, 16_384);
    }
}
