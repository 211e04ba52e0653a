//! Which origins a configuration allows.
//!
//! An entry is an origin, a host, or, if it has any other character than those have, a regular
//! expression for one of the two. It speaks of hosts if it has no colon. Expressions are anchored
//! at both ends.

use std::borrow::Cow;

use http::HeaderValue;
use regex::Regex;

/// The entries of a configuration.
pub(super) enum Origins {
    /// Everybody.
    All,
    /// One that is written out: it is named whoever asks.
    Fixed(HeaderValue),
    /// They are compared with the client's.
    Listed(Vec<Entry>),
}

/// One of several entries.
pub(super) enum Entry {
    Everybody,
    Origin(String),
    Matching { expression: Regex, is_host: bool },
}

/// What a client is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    All,
    One(HeaderValue),
    Nobody,
}

impl Origins {
    /// # Errors
    /// Entries that cannot be used.
    pub(super) fn new(entries: &[String]) -> Result<Self, Vec<String>> {
        match entries {
            [] => return Ok(Self::All),
            [one] if one == "*" => return Ok(Self::All),
            [one] if !one.is_empty() && is_plain(one) => {
                let value = HeaderValue::from_str(one);
                return value.map(Self::Fixed).map_err(|error| vec![error.to_string()]);
            }
            _ => {}
        }
        let (listed, errors): (Vec<_>, Vec<_>) =
            entries.iter().map(|entry| Entry::new(entry)).partition(Result::is_ok);
        let errors: Vec<String> = errors.into_iter().filter_map(Result::err).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self::Listed(listed.into_iter().flatten().collect()))
    }

    /// Whether caches must keep the replies to different origins apart.
    pub(super) fn depend_on_the_client(&self) -> bool {
        !matches!(self, Self::All)
    }

    /// What a client of this origin is told.
    pub(super) fn allowed(&self, origin: Option<&HeaderValue>) -> Allowed {
        let entries = match self {
            Self::All => return Allowed::All,
            Self::Fixed(origin) => return Allowed::One(origin.clone()),
            Self::Listed(entries) => entries,
        };
        let Some(origin) = origin.and_then(|origin| std::str::from_utf8(origin.as_bytes()).ok())
        else {
            return Allowed::Nobody;
        };
        if entries.iter().any(|entry| matches!(entry, Entry::Everybody)) {
            return Allowed::All;
        }
        let origin = Origin::read(origin);
        let value = || HeaderValue::from_str(&origin.text).ok();
        let found = entries.iter().any(|entry| entry.allows(&origin));
        found.then(value).flatten().map_or(Allowed::Nobody, Allowed::One)
    }
}

impl Entry {
    fn new(entry: &str) -> Result<Self, String> {
        if entry == "*" {
            return Ok(Self::Everybody);
        }
        if is_plain(entry) {
            return Ok(Self::Origin(Origin::read(entry).text.into_owned()));
        }
        let expression = entry.strip_prefix('^').unwrap_or(entry);
        let end = if expression.ends_with('$') { "" } else { "$" };
        // Like PCRE's anchor: every alternative begins at the start, only the last must reach the
        // end.
        let expression = Regex::new(&format!("\\A(?:{expression}{end})"))
            .map_err(|_| format!("config.origins: '{entry}' is not a valid regex"))?;
        Ok(Self::Matching { expression, is_host: !entry.contains(':') })
    }

    fn allows(&self, origin: &Origin<'_>) -> bool {
        match self {
            Self::Everybody => true,
            Self::Origin(known) => *known == origin.text,
            Self::Matching { expression, is_host: true } => expression.is_match(origin.host),
            Self::Matching { expression, .. } => expression.is_match(&origin.text),
        }
    }
}

/// Whether an entry is an origin or a host, and no expression. A dot is taken for itself.
fn is_plain(entry: &str) -> bool {
    entry.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:/-".contains(&byte))
}

/// An origin without the port that goes without saying, and its host.
struct Origin<'o> {
    text: Cow<'o, str>,
    host: &'o str,
}

impl<'o> Origin<'o> {
    fn read(origin: &'o str) -> Self {
        let whole = Self { text: Cow::Borrowed(origin), host: origin };
        let Some((scheme, rest)) = origin.split_once("://") else { return whole };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if authority.is_empty() {
            return whole;
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (authority, ""),
        };
        let text = match (scheme, port) {
            ("http", "80") | ("https", "443") | (_, "") => format!("{scheme}://{host}"),
            _ => format!("{scheme}://{host}:{port}"),
        };
        Self { text: Cow::Owned(text), host }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client is told: the origin, `*`, or nothing.
    fn told(entries: &[&str], origin: &str) -> String {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        let value = HeaderValue::from_str(origin).unwrap();
        let origin = (!origin.is_empty()).then_some(&value);
        match Origins::new(&entries).unwrap().allowed(origin) {
            Allowed::All => "*".to_owned(),
            Allowed::One(one) => one.to_str().unwrap().to_owned(),
            Allowed::Nobody => String::new(),
        }
    }

    #[test]
    fn entries_are_origins_hosts_or_expressions() {
        let two = ["https://a.test", "b.test"];
        let hosts = [r"(.*\.)?c\.test", "x"];
        for (entries, origin, expected) in [
            (&[][..], "https://z", "*"),
            (&["*"], "", "*"),
            (&["https://a.test:8443"], "https://z", "https://a.test:8443"),
            (&["a.test"], "", "a.test"),
            (&["x", "*"], "https://z", "*"),
            (&["x", "*"], "", ""),
            (&two, "https://a.test", "https://a.test"),
            (&two, "https://a.test:443", "https://a.test"),
            (&two, "https://a.test:444", ""),
            (&two, "http://a.test", ""),
            (&two, "b.test", "b.test"),
            (&two, "https://b.test", ""),
            (&two, "null", ""),
            (&hosts, "https://c.test:9", "https://c.test:9"),
            (&hosts, "http://y.c.test", "http://y.c.test"),
            (&hosts, "http://c.test.evil", ""),
            (&hosts, "http://xc.test", ""),
            (&[r"^https://.*\.b\.test$"], "https://x.b.test", "https://x.b.test"),
            (&[r"^https://.*\.b\.test$"], "http://x.b.test", ""),
            (&[r"https?://b_b"], "http://b_b", "http://b_b"),
            (&["https?://[::1]", "x"], "http://[::1]:80", ""),
            (&["http://[::1]:80", "*", "x"], "http://q", "*"),
        ] {
            assert_eq!(told(entries, origin), expected, "{entries:?} {origin}");
        }
    }

    #[test]
    fn brackets_of_an_address_stay() {
        assert_eq!(Origin::read("http://[::1]:80").text, "http://[::1]");
        assert_eq!(Origin::read("http://[::1]:81").text, "http://[::1]:81");
        assert_eq!(Origin::read("http://[::1]").host, "[::1]");
    }
}
