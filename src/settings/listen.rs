//! Listeners, as Kong writes them: `0.0.0.0:8443 ssl http2 reuseport backlog=16384`.

use std::net::SocketAddr;

/// One address that clients can connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Where to bind; port 0 takes any free port.
    pub address: SocketAddr,
    /// TLS (`ssl`).
    pub tls: bool,
    /// HTTP/2: by ALPN with TLS, by its preface without.
    pub http2: bool,
}

impl Listen {
    /// A plain listener.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: false, http2: false }
    }

    /// Parses a list; `off` is the empty one. `None` when any part is not a listener.
    pub fn parse_list(text: &str) -> Option<Vec<Self>> {
        if text == "off" {
            return Some(Vec::new());
        }
        text.split(',').map(|one| Self::parse(one.trim())).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let address = words.next()?;
        let mut listen = Self::plain(address.replace("localhost", "127.0.0.1").parse().ok()?);
        for word in words {
            match word {
                "ssl" => listen.tls = true,
                "http2" => listen.http2 = true,
                // What nginx needs to be told and one shared listener does not.
                "reuseport" | "deferred" | "bind" | "so_keepalive=on" | "so_keepalive=off" => {}
                word if word.starts_with("backlog=") => {}
                word if word.starts_with("ipv6only=") => {}
                _ => return None,
            }
        }
        Some(listen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_kongs_default() {
        let text = "0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl reuseport";
        let list = Listen::parse_list(text).unwrap();
        assert_eq!(list.len(), 2);
        assert!(list[1].tls && list[1].http2 && !list[0].tls);
        assert_eq!(Listen::parse_list("off"), Some(Vec::new()));
        assert_eq!(Listen::parse_list("8000"), None);
        assert_eq!(Listen::parse_list("0.0.0.0:8000 proxy_protocol"), None);
    }
}
