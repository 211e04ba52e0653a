//! Listeners, as Kong writes them: `0.0.0.0:8443 ssl http2 reuseport backlog=16384`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::text::time;

/// One address that clients can connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Where to bind; port 0 takes any free port.
    pub address: SocketAddr,
    /// TLS (`ssl`).
    pub tls: bool,
    /// HTTP/2: by ALPN with TLS, by its preface without.
    pub http2: bool,
    /// Each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Taken as Kong takes it; connections are accepted at once all the same.
    pub deferred: bool,
    /// Connections that wait to be accepted.
    pub backlog: Option<i32>,
    /// Whether an address of IPv6 takes no clients of IPv4; nginx' default is on.
    pub ipv6only: bool,
    /// TCP keep-alive of connections.
    pub keepalive: Keepalive,
}

/// nginx' `so_keepalive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// `None` is the system's default.
    pub on: Option<bool>,
    /// Silence before the first probe.
    pub idle: Option<Duration>,
    /// Time between two probes.
    pub interval: Option<Duration>,
    /// Probes without an answer that end the connection.
    pub probes: Option<u32>,
}

/// Kong's words for a list that is none, behind the name of the setting.
const USAGE: &str = "must be of form: [off] | <ip>:<port> [ssl] [http2] [proxy_protocol] \
    [deferred] [bind] [reuseport] [backlog=%d+] [ipv6only=on] [ipv6only=off] [so_keepalive=on] \
    [so_keepalive=off] [so_keepalive=%w*:%w*:%d*], [... next entry ...]";

impl Listen {
    /// A plain listener.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tls: false,
            http2: false,
            proxy_protocol: false,
            deferred: false,
            backlog: None,
            ipv6only: true,
            keepalive: Keepalive::default(),
        }
    }

    /// Parses a list; one that begins with `off` is empty.
    ///
    /// # Errors
    /// Kong's words for what is no listener, to be put behind the name of the setting.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let entries: Vec<_> = text.split(',').map(str::trim).filter(|e| !e.is_empty()).collect();
        match entries.first() {
            None => return Err(USAGE.to_owned()),
            Some(&"off") => return Ok(Vec::new()),
            Some(_) => {}
        }
        let mut list = Vec::new();
        for entry in entries {
            list.extend(Self::parse(entry)?);
        }
        Ok(list)
    }

    /// One entry: a name may stand for several addresses.
    fn parse(entry: &str) -> Result<Vec<Self>, String> {
        let usage = || USAGE.to_owned();
        let mut words = entry.split_whitespace();
        let place = words.next().ok_or_else(usage)?;
        let addresses = addresses(place)?;
        let mut listen = Self::plain(*addresses.first().ok_or_else(usage)?);
        for word in words {
            listen.take_flag(word).ok_or_else(usage)?;
        }
        Ok(addresses.into_iter().map(|address| Self { address, ..listen }).collect())
    }

    fn take_flag(&mut self, word: &str) -> Option<()> {
        match word {
            "ssl" => self.tls = true,
            "http2" => self.http2 = true,
            "proxy_protocol" => self.proxy_protocol = true,
            "deferred" => self.deferred = true,
            "ipv6only=on" => self.ipv6only = true,
            "ipv6only=off" => self.ipv6only = false,
            // All workers share one socket, and each address has one of its own.
            "reuseport" | "bind" => {}
            word => {
                let (name, value) = word.split_once('=')?;
                match name {
                    "backlog" => self.backlog = Some(value.parse().ok().filter(|n| *n > 0)?),
                    "so_keepalive" => self.keepalive = Keepalive::parse(value)?,
                    _ => return None,
                }
            }
        }
        Some(())
    }
}

impl Keepalive {
    /// `on`, `off`, or `idle:interval:probes`, each of which may be left out.
    fn parse(value: &str) -> Option<Self> {
        match value {
            "on" => return Some(Self { on: Some(true), ..Self::default() }),
            "off" => return Some(Self { on: Some(false), ..Self::default() }),
            _ => {}
        }
        let mut parts = value.split(':');
        let (idle, interval, probes) = (parts.next()?, parts.next()?, parts.next()?);
        let span = |text: &str| match text {
            "" => Some(None),
            text => time(text).filter(|span| !span.is_zero()).map(Some),
        };
        let probes = if probes.is_empty() { None } else { Some(probes.parse().ok()?) };
        if parts.next().is_some() || (idle.is_empty() && interval.is_empty() && probes.is_none()) {
            return None;
        }
        Some(Self { on: Some(true), idle: span(idle)?, interval: span(interval)?, probes })
    }
}

/// An address, or those of a name.
fn addresses(place: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = place.parse() {
        return Ok(vec![address]);
    }
    let is_name = place.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        // What looks like an address of IPv4 and is none is no name.
        let is_number = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        port.parse::<u16>().is_ok() && !is_number && host.bytes().all(is_host)
    });
    if !is_name {
        return Err(USAGE.to_owned());
    }
    let mut found: Vec<SocketAddr> = match place.rsplit_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}").parse().into_iter().collect(),
        _ => place.to_socket_addrs().map(Iterator::collect).unwrap_or_default(),
    };
    found.dedup();
    if found.is_empty() { Err(format!("host not found in '{place}'")) } else { Ok(found) }
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
        assert_eq!((list[0].backlog, list[1].backlog), (Some(16384), None));
        assert_eq!(Listen::parse_list("off"), Ok(Vec::new()));
        assert_eq!(Listen::parse_list("off, 0.0.0.0:1"), Ok(Vec::new()));
    }

    #[test]
    fn every_flag_of_kong_is_read() {
        let text = "[::1]:80 proxy_protocol deferred bind ipv6only=off so_keepalive=30m::10, \
                    localhost:1 so_keepalive=off";
        let list = Listen::parse_list(text).unwrap();
        assert!(list[0].proxy_protocol && list[0].deferred && !list[0].ipv6only);
        assert_eq!(list[0].keepalive.idle, Some(Duration::from_secs(1800)));
        assert_eq!((list[0].keepalive.interval, list[0].keepalive.probes), (None, Some(10)));
        assert_eq!(list[1].address, "127.0.0.1:1".parse().unwrap());
        assert_eq!(list[1].keepalive.on, Some(false));
        assert!(list[1].ipv6only, "flags hold for one entry");
    }

    #[test]
    fn what_is_no_listener_is_refused_in_kongs_words() {
        for text in [
            "",
            "8000",
            "::1:80",
            "1.2.3:80",
            "1.2.3.4.5:80",
            "0.0.0.0:99999",
            "0.0.0.0:80 tls",
            "0.0.0.0:80 backlog=x",
            "0.0.0.0:80 backlog=0",
            "0.0.0.0:80 so_keepalive=::",
            "0.0.0.0:80 so_keepalive=1:2:3:4",
            "0.0.0.0:80 ipv6only=maybe",
            "0.0.0.0:80, nonsense",
        ] {
            let error = Listen::parse_list(text).unwrap_err();
            assert!(error.starts_with("must be of form: [off] | <ip>:<port> [ssl]"), "{text}");
        }
    }
}
