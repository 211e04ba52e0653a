//! The OpenAI wire: what a client's body is, and where OpenAI takes it.
//!
//! The checks and their texts are Kong's. Only the first message is looked at: the rest is the
//! upstream's business, and a second pass over a long chat costs as much as the first.

use std::borrow::Cow;

use bytes::Bytes;

use crate::llm::address::{self, BadUrl};
use crate::llm::error::Error;
use crate::llm::form::{self, Form};
use crate::llm::json;
use crate::llm::operation::Operation;
use crate::llm::plan::Invalid;
use crate::llm::site::{Located, Site};
use crate::llm::splice::Object;
use crate::llm::{Provider, RouteType, providers};

/// A client's request body, read once for every target that may get it.
#[derive(Clone)]
pub struct Body {
    bytes: Bytes,
    object: Option<Object<Bytes>>,
    form: Option<Form>,
}

impl Body {
    /// Reads a body; what is not a JSON object is kept as bytes, for route type `preserve`.
    ///
    /// No `Content-Type` counts as JSON, and any type that contains `application/json` does
    /// (Kong). `limit` is in bytes, 0 is none; it bounds what is read, so not other types.
    pub fn read(content_type: Option<&[u8]>, bytes: Bytes, limit: usize) -> Result<Self, Error> {
        if !content_type.is_none_or(is_json) {
            let boundary = content_type.and_then(form::boundary).filter(|_| !bytes.is_empty());
            let form = boundary.and_then(|boundary| Form::read(bytes.clone(), boundary));
            return Ok(Self { bytes, object: None, form });
        }
        if limit > 0 && bytes.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        let object = Object::read(bytes.clone()).ok();
        Ok(Self { bytes, object, form: None })
    }

    /// The bytes as the client sent them.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The body as a JSON object, when it is one.
    pub fn object(&self) -> Option<&Object<Bytes>> {
        self.object.as_ref()
    }

    /// The body as a form, when it is one and was read.
    pub fn form(&self) -> Option<&Form> {
        self.form.as_ref()
    }

    /// Whether nobody has looked into it, as with an upload that streams.
    pub fn is_unread(&self) -> bool {
        self.object.is_none() && self.form.is_none()
    }

    /// The model the client names; `None` when the member is no string, as if it were not there.
    pub fn model(&self) -> Option<Cow<'_, str>> {
        if let Some(form) = self.form() {
            return form.get("model").map(Cow::Borrowed);
        }
        json::text(self.object()?.get("model")?)
    }

    /// Whether the client asks for a stream. As in Kong anything but `false` asks; null does not.
    pub fn asks_for_stream(&self) -> bool {
        if let Some(form) = self.form() {
            return form.get("stream").is_some_and(|stream| stream != "false");
        }
        let stream = self.object().and_then(|object| object.get("stream"));
        !matches!(stream, None | Some(b"false" | b"null"))
    }

    /// Which of Kong's formats the body has: chat, completion, both or none.
    pub(super) fn formats(&self) -> (bool, bool) {
        let Some(object) = self.object() else { return (false, false) };
        let chat = object.get("messages").is_some_and(begins_with_object);
        let completion = object.get("prompt").is_some_and(|prompt| prompt.starts_with(b"\""));
        (chat, completion)
    }
}

/// Whether a body of this type is read as JSON: others may stream to the upstream unread.
///
/// Kong matches the type anywhere in the header, whatever its case.
pub fn is_json(content_type: &[u8]) -> bool {
    const JSON: &[u8] = b"application/json";
    content_type.windows(JSON.len()).any(|part| part.eq_ignore_ascii_case(JSON))
}

/// Whether a JSON array has an object as its first item. (Kong fails with a 500 on other items.)
fn begins_with_object(array: &[u8]) -> bool {
    array.strip_prefix(b"[").is_some_and(|items| items.trim_ascii_start().starts_with(b"{"))
}

/// Whether a body of these formats suits the route; Kong's rules and texts.
pub(super) fn check_format(
    (chat, completion): (bool, bool),
    route: RouteType,
) -> Result<(), Error> {
    let found = match (chat, completion) {
        (true, true) => return Err(Error::ManyFormats),
        (true, false) => RouteType::Chat,
        (false, _) => RouteType::Completions,
    };
    if found == route { Ok(()) } else { Err(Error::OtherFormat { found, route }) }
}

/// Where a target is whose provider speaks OpenAI's wire: `upstream_url`, or its own host.
///
/// `upstream_url` wins over `upstream_path` (Kong), except for `preserve`. Hosts of one's own may
/// be named without a path.
pub(super) fn locate(
    site: &Site<'_>,
    provider: Provider,
    route: RouteType,
) -> Result<Located, Invalid> {
    let operation = Operation::of(route);
    let not_built = Invalid::NotBuilt(provider, route);
    let base = providers::base(provider, site.fixed.variant).ok_or(not_built)?;
    let own_path = || match site.upstream_path {
        Some(path) => address::upstream_path(path).map_err(Invalid::url("upstream_path")),
        None => Ok(providers::path(&base, operation)),
    };
    let (endpoint, path) = match site.upstream_url {
        Some(url) => {
            let (endpoint, path) =
                address::upstream_url(url).map_err(Invalid::url("upstream_url"))?;
            let says_all = matches!(provider, Provider::Openai | Provider::Llama2);
            (endpoint, if path == "/" && !says_all { own_path()? } else { path })
        }
        None => {
            let host = base.host.as_deref().ok_or(Invalid::NoUrl(provider))?;
            let endpoint = address::https(host).map_err(Invalid::url("databricks"))?;
            (endpoint, own_path()?)
        }
    };
    if provider == Provider::Ollama && path.starts_with("/api/") {
        return Err(Invalid::Url { field: "upstream_url", error: BadUrl::OllamasOwn });
    }
    let path = match (route, site.upstream_path) {
        (RouteType::Preserve, None) => None,
        (RouteType::Preserve, Some(_)) => Some(own_path()?),
        _ => Some(path),
    };
    let prefix = path.as_deref().and_then(|path| prefix(path, operation));
    Ok(Located::new(endpoint, prefix, path).finished())
}

/// What stands in front of the operations in the path of one.
pub(super) fn prefix(path: &str, operation: &Operation) -> Option<String> {
    let ends = [operation.path, operation.azure_path()];
    let front = ends.into_iter().find_map(|end| path.strip_suffix(end))?;
    let front = match front.rsplit_once('/') {
        Some((before, _deployment)) => before.strip_suffix("/deployments").unwrap_or(front),
        None => front,
    };
    Some(front.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &'static str) -> Body {
        Body::read(None, Bytes::from_static(text.as_bytes()), 0).unwrap()
    }

    #[test]
    fn formats_of_bodies() {
        let table = [
            (r#"{"messages":[{}]}"#, (true, false)),
            (r#"{"messages": [ {"role":"user"}, 1]}"#, (true, false)),
            (r#"{"prompt":""}"#, (false, true)),
            (r#"{"messages":[{}],"prompt":"x"}"#, (true, true)),
            (r#"{"messages":[{}],"prompt":5}"#, (true, false)),
            (r#"{"messages":[]}"#, (false, false)),
            (r#"{"messages":[1]}"#, (false, false)),
            (r#"{"messages":"hi"}"#, (false, false)),
            (r#"{"messages":{"role":"user"}}"#, (false, false)),
            (r#"{"prompt":["x"]}"#, (false, false)),
            (r#"{"messages":[{}"#, (false, false)),
            ("[]", (false, false)),
            ("null", (false, false)),
            ("", (false, false)),
        ];
        for (text, formats) in table {
            assert_eq!(body(text).formats(), formats, "{text}");
        }
    }

    #[test]
    fn content_types_that_are_json() {
        let formats = |content_type: Option<&'static str>| {
            let bytes = Bytes::from_static(br#"{"prompt":"x"}"#);
            Body::read(content_type.map(str::as_bytes), bytes, 0).unwrap().formats()
        };
        assert_eq!(formats(None), (false, true));
        assert_eq!(formats(Some("Application/JSON; charset=utf-8")), (false, true));
        assert_eq!(formats(Some("application/vnd.api+json")), (false, false));
        assert_eq!(formats(Some("multipart/form-data; boundary=x")), (false, false));
    }

    #[test]
    fn the_limit_is_exact() {
        let read = |limit| Body::read(None, Bytes::from_static(b"{}"), limit).err();
        assert_eq!(read(1), Some(Error::TooLarge { limit: 1 }));
        assert_eq!(read(2).or_else(|| read(0)), None);
        let other = Body::read(Some(b"multipart/form-data"), Bytes::from_static(b"long"), 1);
        assert_eq!(other.unwrap().bytes(), "long");
    }

    #[test]
    fn streams_are_asked_for() {
        for (text, asks) in [
            (r#"{"stream":true}"#, true),
            (r#"{"stream":1}"#, true),
            (r#"{"stream":false}"#, false),
            (r#"{"stream":null}"#, false),
            ("{}", false),
            (r#"{"stream":true,"stream":false}"#, false),
        ] {
            assert_eq!(body(text).asks_for_stream(), asks, "{text}");
        }
    }

    #[test]
    fn models_are_strings() {
        assert_eq!(body(r#"{"model":"a\u0062"}"#).model().as_deref(), Some("ab"));
        assert_eq!(body(r#"{"model":5}"#).model(), None);
        assert_eq!(body("[]").model(), None);
    }
}
