//! Recorded ports and today's.
//!
//! The recordings were made on fixed ports; a test takes what the system gives. What goes in is
//! rewritten to today's ports, what comes out to the recorded ones, so that both sides of a
//! comparison speak of the same place.

use std::net::SocketAddr;

/// Which port stands for which.
#[derive(Default)]
pub struct Places {
    pairs: Vec<(u16, u16)>,
}

/// The port on which Kong was listening.
pub const PROXY: u16 = 18000;

impl Places {
    /// Says that `today` stands for the recorded port.
    pub fn add(&mut self, recorded: u16, today: SocketAddr) {
        self.pairs.push((recorded, today.port()));
    }

    /// The address that stands for a recorded port.
    pub fn today(&self, recorded: u16) -> SocketAddr {
        let pair = self.pairs.iter().find(|pair| pair.0 == recorded);
        SocketAddr::from(([127, 0, 0, 1], pair.map_or(recorded, |pair| pair.1)))
    }

    /// A recorded text with today's ports.
    pub fn enter(&self, text: &str) -> String {
        self.pairs.iter().fold(text.to_owned(), |text, (old, new)| swap(&text, *old, *new))
    }

    /// Lua code with today's ports, which stand there as numbers.
    pub fn enter_code(&self, code: &str) -> String {
        numbers(code, |port| self.pairs.iter().find(|(old, _)| *old == port).map(|pair| pair.1))
    }

    /// The other way round.
    pub fn leave_code(&self, text: &str) -> String {
        numbers(text, |port| self.pairs.iter().find(|(_, new)| *new == port).map(|pair| pair.0))
    }

    /// A text of today with the recorded ports.
    pub fn leave(&self, text: &str) -> String {
        // A value that is nothing but a port: X-Forwarded-Port.
        let whole = self.pairs.iter().find(|(_, new)| new.to_string() == text);
        if let Some((old, _)) = whole {
            return old.to_string();
        }
        self.pairs.iter().fold(text.to_owned(), |text, (old, new)| swap(&text, *new, *old))
    }
}

/// Puts `:to` where `:from` stands as a port.
fn swap(text: &str, from: u16, to: u16) -> String {
    let from = format!(":{from}");
    let mut parts = text.split(from.as_str());
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_longer = part.starts_with(|next: char| next.is_ascii_digit());
        out += &if is_longer { from.clone() } else { format!(":{to}") };
        out += part;
    }
    out
}

/// Puts other ports where a whole number is a port: all at once, for one of today's may contain
/// the digits of a recorded one.
fn numbers(text: &str, other: impl Fn(u16) -> Option<u16>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = &rest[start..];
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (number, behind) = digits.split_at(end);
        out += &rest[..start];
        match number.parse().ok().and_then(&other) {
            Some(port) => out += &port.to_string(),
            None => out += number,
        }
        rest = behind;
    }
    out + rest
}

#[test]
fn a_port_of_today_that_contains_a_recorded_one_reaches_the_code_whole() {
    let mut places = Places::default();
    places.add(19005, SocketAddr::from(([127, 0, 0, 1], 34437)));
    places.add(443, SocketAddr::from(([127, 0, 0, 1], 40000)));
    let code = r#"s:connect("127.0.0.1", 19005) t:connect("x", 443) local n = 4430"#;
    let today = places.enter_code(code);
    assert_eq!(today, r#"s:connect("127.0.0.1", 34437) t:connect("x", 40000) local n = 4430"#);
    assert_eq!(places.leave_code(&today), code);
}
