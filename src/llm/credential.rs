//! A configured key: the header, query argument or body member that carries it.
//!
//! Kong's rules: the configured key replaces what the client sent in the same place, unless
//! `allow_override` is on. Nothing here can be printed.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::entity::Secret;
use crate::llm::address::encode;
use crate::llm::config::{Auth, ParamLocation};
use crate::llm::error::Error;
use crate::llm::form::Form;
use crate::llm::json;
use crate::llm::openai::Body;
use crate::llm::plan::Invalid;
use crate::llm::splice::{Edit, Key, Object, quote};
use crate::llm::template::Client;

/// Headers that frame a message or concern one connection: a key there would never arrive.
const FRAMING: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Members that the gateway reads or sets, so that no key can be there.
const RESERVED: [&str; 8] =
    ["messages", "prompt", "model", "stream", "max_tokens", "temperature", "top_p", "top_k"];

/// The key of a target, if it has one; a managed identity is none.
#[derive(Default)]
pub(super) struct Credential {
    header: Option<(HeaderName, HeaderValue)>,
    param: Option<Param>,
    allow_override: bool,
}

struct Param {
    key: Key,
    location: ParamLocation,
    /// `name=value`, encoded, or the JSON of the value.
    text: Box<str>,
    /// The value itself.
    plain: Box<str>,
}

impl Credential {
    pub(super) fn new(auth: &Auth) -> Result<Self, Invalid> {
        let header = match (&auth.header_name, &auth.header_value) {
            (Some(name), Some(value)) => {
                let name = HeaderName::from_bytes(name.as_bytes());
                let name = name.map_err(|_| Invalid::Header("auth.header_name"))?;
                if FRAMING.contains(&name.as_str()) {
                    return Err(Invalid::Reserved { field: "header_name", name: name.to_string() });
                }
                let mut value = HeaderValue::from_bytes(value.expose().as_bytes())
                    .map_err(|_| Invalid::Header("auth.header_value"))?;
                value.set_sensitive(true);
                Some((name, value))
            }
            _ => None,
        };
        let param = match (&auth.param_name, &auth.param_value, auth.param_location) {
            (Some(name), Some(value), Some(location)) => {
                Some(Param::new(name, value.expose(), location)?)
            }
            _ => None,
        };
        Ok(Self { header, param, allow_override: auth.allow_override == Some(true) })
    }

    pub(super) fn is_set(&self) -> bool {
        self.header.is_some() || self.param.is_some()
    }

    pub(super) fn header_name(&self) -> Option<&HeaderName> {
        self.header.as_ref().map(|(name, _)| name)
    }

    /// The field that holds the key, and where it goes: `header api-key`.
    pub(super) fn place(&self) -> Option<(&'static str, String)> {
        if let Some((name, _)) = &self.header {
            return Some(("auth.header_value", format!("header {name}")));
        }
        let param = self.param.as_ref()?;
        let kind = match param.location {
            ParamLocation::Query => "query argument",
            ParamLocation::Body => "body member",
        };
        Some(("auth.param_value", format!("{kind} {}", param.key.name())))
    }

    /// The values, as they were configured and as they are sent.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let header = self.header.as_ref().and_then(|(_, value)| value.to_str().ok());
        let param = self.param.iter().flat_map(|param| match param.location {
            ParamLocation::Query => {
                let sent = param.text.split_once('=').map_or(&*param.text, |(_, value)| value);
                let plain = percent_decode_str(sent).decode_utf8_lossy().into_owned();
                vec![sent.to_owned(), plain]
            }
            ParamLocation::Body => json::text(param.text.as_bytes())
                .map(|text| text.into_owned())
                .into_iter()
                .collect(),
        });
        let bare = header.and_then(|value| value.split_once(' ')).map(|(_scheme, key)| key);
        let all = header.into_iter().chain(bare).map(str::to_owned).chain(param);
        all.map(|text| Secret::new(&text)).collect()
    }

    /// The header to set, unless the client's own is kept.
    pub(super) fn header(&self, client: &Client<'_>) -> Option<(HeaderName, HeaderValue)> {
        let header = self.header.as_ref();
        header
            .filter(|(name, _)| !(self.allow_override && client.headers.contains_key(name)))
            .cloned()
    }

    /// The query argument: its name, `name=value`, and whether the client's own is kept.
    pub(super) fn in_query(&self) -> Option<(&str, &str, bool)> {
        let param = self.param.as_ref().filter(|param| param.location == ParamLocation::Query)?;
        Some((param.key.name(), &param.text, self.allow_override))
    }

    /// The member to set in the body, unless the client's own is kept.
    pub(super) fn in_body(&self, body: &Body) -> Option<Edit<'_>> {
        let param = self.body_param()?;
        let own = body.object().is_some_and(|object| object.get(param.key.name()).is_some());
        (!(own && self.allow_override)).then(|| Edit::set(&param.key, param.text.as_bytes()))
    }

    /// Whether the key is a part of the body.
    pub(super) fn is_in_body(&self) -> bool {
        self.body_param().is_some()
    }

    /// The field to set in a form, unless the client's own is kept.
    pub(super) fn in_form(&self, form: &Form) -> Option<(&str, &str)> {
        let param = self.body_param()?;
        let own = form.get(param.key.name()).is_some();
        (!(own && self.allow_override)).then(|| (param.key.name(), &*param.plain))
    }

    /// The body of route type `preserve`; `None` when it stays as it is.
    ///
    /// Kong leaves the key out here without a word; a request without its key is of no use.
    pub(super) fn in_preserved(&self, body: &Body) -> Result<Option<Bytes>, Error> {
        if self.body_param().is_none() {
            return Ok(None);
        }
        let object = body.object().ok_or(Error::NoBodyForCredential)?;
        Ok(self.in_body(body).map(|edit| object.edited(&[edit])))
    }

    /// The body with the key masked, when its place is the body.
    pub(super) fn redacted_body(&self, body: &Bytes) -> Option<Bytes> {
        let param = self.body_param()?;
        let object = Object::read(body.clone()).ok()?;
        object.get(param.key.name())?;
        Some(object.edited(&[Edit::set(&param.key, b"\"***\"")]))
    }

    fn body_param(&self) -> Option<&Param> {
        self.param.as_ref().filter(|param| param.location == ParamLocation::Body)
    }
}

impl Param {
    fn new(name: &str, value: &str, location: ParamLocation) -> Result<Self, Invalid> {
        let reserved = || Invalid::Reserved { field: "param_name", name: name.to_owned() };
        let text = match location {
            ParamLocation::Query if name == "api-version" => return Err(reserved()),
            ParamLocation::Query => format!("{}={}", encode(name), encode(value)),
            ParamLocation::Body if RESERVED.contains(&name) => return Err(reserved()),
            ParamLocation::Body => String::from_utf8_lossy(&quote(value)).into_owned(),
        };
        Ok(Self { key: Key::new(name), location, text: text.into(), plain: value.into() })
    }
}
