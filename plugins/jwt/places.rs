//! Where a request may hold its token: query arguments, cookies, headers.
//!
//! All of them are looked at. The same token twice is one token; two different ones are refused.

use super::authentication::behind;
use super::{COOKIE, Cow, Exchange, HeaderName};

/// The names to look under.
pub(super) struct Places {
    arguments: Vec<String>,
    cookies: Vec<String>,
    headers: Vec<HeaderName>,
}

/// What a request holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Token(Box<str>),
    /// An argument of the name without a value: Lua's `true`.
    Nameless,
    /// Tokens that differ.
    Several,
}

impl Places {
    /// # Errors
    /// A header name that no request can hold.
    pub(super) fn new(
        arguments: Vec<String>,
        cookies: Vec<String>,
        headers: &[String],
    ) -> Result<Self, Vec<String>> {
        let header = |name: &String| {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| vec![format!("config.header_names: '{name}' is no header name")])
        };
        let headers: Result<_, _> = headers.iter().map(header).collect();
        Ok(Self { arguments, cookies, headers: headers? })
    }

    /// A token, good or bad, is in no log.
    pub(super) fn keep_from_logs(&self, ex: &Exchange) {
        self.headers.iter().for_each(|name| ex.request.hide_header(name));
        if !self.cookies.is_empty() {
            ex.request.hide_header(&COOKIE);
        }
        if ex.request.raw_query().is_some() {
            self.arguments.iter().for_each(|name| ex.log.hide_arg(name));
        }
    }

    pub(super) fn look(&self, ex: &Exchange) -> Found {
        let mut found = Found::Nothing;
        if let Some(query) = ex.service.query().filter(|_| !self.arguments.is_empty()) {
            self.look_in_query(&query, &mut found);
        }
        let headers = ex.request.headers();
        for name in &self.cookies {
            let lines = headers.get_all(COOKIE).iter();
            if let Some(value) = lines.filter_map(|line| cookie(line.as_bytes(), name)).next() {
                found.add(value);
            }
        }
        for name in &self.headers {
            if let Some(token) = headers.get(name).and_then(|value| bearer(value.as_bytes())) {
                found.add(token);
            }
        }
        found
    }

    fn look_in_query(&self, query: &str, found: &mut Found) {
        for argument in query.split('&').filter(|argument| !argument.is_empty()) {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument, None),
            };
            if !self.arguments.iter().any(|known| *known == *decoded(name)) {
                continue;
            }
            match value {
                Some(value) => found.add(decoded(value).as_bytes()),
                None if *found == Found::Nothing => *found = Found::Nameless,
                None if *found != Found::Nameless => *found = Found::Several,
                None => {}
            }
        }
    }
}

impl Found {
    fn add(&mut self, token: &[u8]) {
        let text = String::from_utf8_lossy(token);
        match self {
            _ if text.is_empty() => {}
            Self::Nothing => *self = Self::Token(text.into()),
            Self::Token(known) if **known == *text => {}
            _ => *self = Self::Several,
        }
    }
}

/// The part of a URL as it is meant; `+` is a blank.
fn decoded(part: &str) -> Cow<'_, str> {
    let mut pairs = url::form_urlencoded::parse(part.as_bytes());
    pairs.next().map_or(Cow::Borrowed(""), |(name, _)| name)
}

/// What stands behind the scheme, which may be anywhere in the value.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    behind(value, b"bearer").find_map(|rest| {
        let token = rest.trim_ascii_start();
        match rest.len() - token.len() {
            0 => None,
            // Of blanks alone the last one is the token.
            1 if token.is_empty() => None,
            _ if token.is_empty() => rest.get(rest.len() - 1..),
            _ => Some(token),
        }
    })
}

/// A cookie, read as nginx reads `$cookie_name`: without regard to the case of its name.
fn cookie<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    line.split(|byte| matches!(byte, b';' | b',')).find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (known, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        known.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(target: &str, headers: &[(&str, &str)]) -> Found {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let headers_names: Vec<String> = names(&["authorization", "x-jwt"]);
        let places = Places::new(names(&["jwt", "t"]), names(&["Token"]), &headers_names);
        places.unwrap().look(&Exchange::for_test("GET", target, headers))
    }

    #[test]
    fn every_place_is_looked_at_and_all_must_agree() {
        let token = |text: &str| Found::Token(text.into());
        let bearer = ("authorization", "Bearer a.b.c");
        for (target, headers, expected) in [
            ("/", vec![], Found::Nothing),
            ("/?jwt=", vec![("authorization", "Basic x")], Found::Nothing),
            ("/?x=1&jwt=a%2Eb.c", vec![], token("a.b.c")),
            ("/?jwt=a.b.c&t=a.b.c", vec![bearer], token("a.b.c")),
            ("/?jwt=a&t=b", vec![], Found::Several),
            ("/?jwt=a&jwt=b", vec![], Found::Several),
            ("/?jwt=x", vec![bearer], Found::Several),
            ("/?jwt", vec![], Found::Nameless),
            ("/?jwt", vec![bearer], Found::Several),
            ("/", vec![("authorization", "x bearer \t a b")], token("a b")),
            ("/", vec![("authorization", "BEARER a")], Found::Nothing),
            ("/", vec![("authorization", "bearerBearer a")], token("a")),
            ("/", vec![("authorization", "Bearer ")], Found::Nothing),
            ("/", vec![("authorization", "Bearer  ")], token(" ")),
            ("/", vec![("authorization", "Bearer")], Found::Nothing),
            ("/", vec![("x-jwt", "Bearer a"), ("x-jwt", "Bearer b")], token("a")),
            ("/", vec![("cookie", "x=1; token=a=b; Token=c")], token("a=b")),
            ("/", vec![("cookie", "token"), ("cookie", "TOKEN=c")], token("c")),
            ("/", vec![("cookie", "token=\"\"; x")], token("\"\"")),
        ] {
            assert_eq!(look(target, &headers), expected, "{target} {headers:?}");
        }
    }
}
