//! Values with a `$(source.key)` that the client fills in: `$(headers.x-model)`.
//!
//! Kong replaces the first template of a value and no other. Templates are planned when the
//! configuration loads, so that a value without one costs nothing per request; a template that
//! makes no sense is reported per request, as in Kong. What a client may put into a URL is bounded
//! by the place the template has in it.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};

use crate::llm::error::Error;

/// What the client sent, as far as a target depends on it.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as it came.
    pub raw_path: &'a str,
    /// The normalized path, for route type `preserve` and for what stands behind an operation.
    pub path: &'a str,
    /// The query as it came, without `?`.
    pub query: &'a str,
    /// The headers the client sent.
    pub headers: &'a HeaderMap,
    /// Named captures of the route's regular expression.
    pub captures: &'a dyn Fn(&str) -> Option<String>,
}

/// Where a value goes, which bounds what a client may say there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A JSON string or an encoded query argument: anything.
    Free,
    /// A label of a host name: letters, digits, hyphens.
    Label,
    /// One segment of a path.
    Segment,
    /// Some segments of a path.
    Path,
}

impl Place {
    fn admits(self, value: &str) -> bool {
        match self {
            Self::Free => true,
            Self::Label => {
                !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            }
            Self::Segment => is_plain_segment(value),
            Self::Path => value.trim_start_matches('/').split('/').all(is_plain_segment),
        }
    }
}

/// Whether `value` is one path segment whatever a server decodes or normalizes.
pub(super) fn is_plain_segment(value: &str) -> bool {
    let unsafe_char = |c: char| matches!(c, '/' | '\\' | '?' | '#' | '%') || c.is_control();
    !value.is_empty() && value != "." && value != ".." && !value.contains(unsafe_char)
}

/// A configured text, with or without a template.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Fixed(Arc<str>),
    Template(Box<Template>),
    /// A template that no request can fill.
    Faulty {
        /// What every request gets told.
        error: Error,
        /// What could stand in its field.
        sample: &'static str,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Template {
    field: &'static str,
    place: Place,
    before: String,
    source: Source,
    key: String,
    after: String,
}

#[derive(Debug, Clone)]
enum Source {
    /// `None`: no header can have this name.
    Headers(Option<HeaderName>),
    QueryParams,
    UriCaptures,
}

impl Text {
    /// Plans `value` of the option `field`.
    pub(super) fn new(field: &'static str, value: &str, place: Place) -> Self {
        let Some((before, expression, after)) = first_template(value) else {
            return Self::Fixed(value.into());
        };
        let sample = if field == "upstream_url" { "https://x/" } else { "x" };
        let faulty = |error| Self::Faulty { error, sample };
        let mut parts = expression.split('.');
        let (Some(source), Some(key), None) = (parts.next(), parts.next(), parts.next()) else {
            return faulty(Error::TemplateExpression(value.to_owned()));
        };
        let source = match source {
            "headers" => Source::Headers(HeaderName::from_bytes(key.as_bytes()).ok()),
            "query_params" => Source::QueryParams,
            "uri_captures" => Source::UriCaptures,
            other => return faulty(Error::TemplateSource(other.to_owned())),
        };
        let (before, key, after) = (before.to_owned(), key.to_owned(), after.to_owned());
        Self::Template(Box::new(Template { field, place, before, source, key, after }))
    }

    /// The text, when it is the same for every client.
    pub(super) fn fixed(&self) -> Option<&Arc<str>> {
        match self {
            Self::Fixed(text) => Some(text),
            Self::Template(_) | Self::Faulty { .. } => None,
        }
    }

    /// The text with a stand-in for what the client says; for trying a configuration.
    pub(super) fn sample(&self) -> Cow<'_, str> {
        match self {
            Self::Fixed(text) => Cow::Borrowed(text),
            Self::Template(template) => {
                Cow::Owned([&template.before, "x", &template.after].concat())
            }
            Self::Faulty { sample, .. } => Cow::Borrowed(sample),
        }
    }

    /// The text for this client.
    pub(super) fn render(&self, client: &Client<'_>) -> Result<Cow<'_, str>, Error> {
        match self {
            Self::Fixed(text) => Ok(Cow::Borrowed(text)),
            Self::Template(template) => template.render(client).map(Cow::Owned),
            Self::Faulty { error, .. } => Err(error.clone()),
        }
    }
}

impl Template {
    fn render(&self, client: &Client<'_>) -> Result<String, Error> {
        let value = self.source.value(&self.key, client).ok_or_else(|| Error::TemplateMissing {
            source_name: self.source.name(),
            key: self.key.clone(),
        })?;
        if !self.place.admits(&value) {
            return Err(Error::UnsafeValue { field: self.field });
        }
        Ok([&self.before, value.as_ref(), &self.after].concat())
    }
}

impl Source {
    fn name(&self) -> &'static str {
        match self {
            Self::Headers(_) => "headers",
            Self::QueryParams => "query_params",
            Self::UriCaptures => "uri_captures",
        }
    }

    fn value<'a>(&self, key: &str, client: &Client<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Headers(name) => {
                let value = client.headers.get(name.as_ref()?)?;
                std::str::from_utf8(value.as_bytes()).ok().map(Cow::Borrowed)
            }
            Self::QueryParams => url::form_urlencoded::parse(client.query.as_bytes())
                .find_map(|(name, value)| (name == key).then_some(value)),
            Self::UriCaptures => (client.captures)(key).map(Cow::Owned),
        }
    }
}

/// What is before, inside and after the first `$(...)`.
pub(super) fn first_template(value: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = value.split_once("$(")?;
    let (expression, after) = rest.split_once(')')?;
    Some((before, expression, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(value: &str, place: Place) -> Result<String, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", "v1".parse().unwrap());
        headers.insert("x-evil", "d/../1".parse().unwrap());
        let captures = |key: &str| (key == "cap").then(|| "east".to_owned());
        let query = "q=a%20b&e=";
        let (method, path) = (&Method::POST, "/");
        let (headers, captures) = (&headers, &captures);
        let client = Client { method, raw_path: path, path, query, headers, captures };
        Text::new("azure_deployment_id", value, place).render(&client).map(Cow::into_owned)
    }

    #[test]
    fn the_first_template_is_filled() {
        let ok = |value| render(value, Place::Free).unwrap();
        assert_eq!(ok("plain $x ("), "plain $x (");
        assert_eq!(ok("$(headers.X-A)"), "v1");
        assert_eq!(ok("a-$(uri_captures.cap)-$(headers.x-a)"), "a-east-$(headers.x-a)");
        assert_eq!(ok("$(query_params.q)|$(query_params.e)"), "a b|$(query_params.e)");
        assert_eq!(ok("open $(headers.x"), "open $(headers.x");
    }

    #[test]
    fn faults_have_the_texts_of_kong() {
        let text = |value| render(value, Place::Free).unwrap_err().to_string();
        assert_eq!(text("$(headers)"), "cannot parse expression for field '$(headers)'");
        assert_eq!(text("x$(a.b.c)"), "cannot parse expression for field 'x$(a.b.c)'");
        assert_eq!(text("$(body.model)"), "source 'body' is not supported");
        assert_eq!(text("$(headers.x-dep)"), "headers key x-dep was not provided");
        assert_eq!(text("$(uri_captures.z)"), "uri_captures key z was not provided");
    }

    #[test]
    fn a_client_cannot_leave_its_place() {
        let unsafe_value = Err(Error::UnsafeValue { field: "azure_deployment_id" });
        assert_eq!(render("$(headers.x-evil)", Place::Segment), unsafe_value);
        assert_eq!(render("$(headers.x-evil)", Place::Path), unsafe_value);
        assert_eq!(render("$(query_params.q)", Place::Label), unsafe_value);
        assert_eq!(render("$(query_params.e)", Place::Segment), unsafe_value);
        assert_eq!(render("$(headers.x-a)", Place::Label).as_deref(), Ok("v1"));
    }

    #[test]
    fn segments_that_are_safe_to_place_in_a_path() {
        for good in ["gpt-4.1-mini", "a_b", "a b", "ü", "..."] {
            assert!(is_plain_segment(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "x?y", "x#y", "%2f", "a\nb", "a\0"] {
            assert!(!is_plain_segment(bad), "{bad}");
        }
        assert!(Place::Path.admits("/v1/embeddings") && !Place::Path.admits("/v1//x"));
    }
}
