//! A target compiled for requests, and the request that goes to it.
//!
//! Everything that is the same for all clients (URL, options as JSON, credential) is worked out
//! when the configuration loads. A fail-over to another target prepares the same [`Body`] again.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use serde_json::Number;
use smallvec::SmallVec;

use crate::entity::Secret;
use crate::llm::address::{self, Arguments, BadUrl, Endpoint};
use crate::llm::config::{Options, ResponseStreaming, Target};
use crate::llm::credential::Credential;
use crate::llm::error::Error;
use crate::llm::openai::{self, Body};
use crate::llm::site::{Located, Where};
use crate::llm::splice::{Edit, Key, quote};
use crate::llm::template::{Client, Place, Text};
use crate::llm::{Provider, RouteType, azure};

pub(super) static MODEL: LazyLock<Key> = LazyLock::new(|| Key::new("model"));
static STREAM: LazyLock<Key> = LazyLock::new(|| Key::new("stream"));
static TOP_K: LazyLock<Key> = LazyLock::new(|| Key::new("top_k"));

/// Why a target cannot be used; found when the configuration loads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A provider or route type without a driver; `unsupported` has said so before.
    #[error("model.provider '{0}' with route_type '{1}' is not built yet")]
    NotBuilt(Provider, RouteType),
    /// The schema asks for it, too.
    #[error("model.options.{0}: must be set for provider azure, unless upstream_url is")]
    Missing(&'static str),
    /// A URL, or a part of one.
    #[error("model.options.{field}: {error}")]
    Url {
        /// The option.
        field: &'static str,
        /// What is wrong with it.
        error: BadUrl,
    },
    /// `auth.header_name` or `auth.header_value` is no HTTP header. The value is not shown.
    #[error("auth.{0}: not valid in an HTTP header")]
    Header(&'static str),
    /// `auth.header_name` or `auth.param_name` is a part that the gateway sets or reads.
    #[error("auth.{field}: '{name}' is a part of the request itself; choose another name")]
    Reserved {
        /// The field.
        field: &'static str,
        /// What it says.
        name: String,
    },
}

impl Invalid {
    pub(super) fn url(field: &'static str) -> impl Fn(BadUrl) -> Self {
        move |error| Self::Url { field, error }
    }
}

/// A target, ready for requests.
pub struct Plan {
    provider: Provider,
    pub(super) route_type: RouteType,
    streaming: ResponseStreaming,
    name: Option<Text>,
    /// The fixed name as JSON and as the value of `X-Kong-LLM-Model`.
    pub(super) name_json: Option<Box<[u8]>>,
    name_header: Option<HeaderValue>,
    alias: Option<Box<str>>,
    pub(super) site: Where,
    options: Vec<(Key, Box<[u8]>)>,
    pub(super) credential: Credential,
}

/// A request that is ready to be sent to its target. Not printable: it holds credentials.
pub struct Prepared {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// The request target, in origin form.
    pub target: PathAndQuery,
    /// `None`: the client's body goes as it came.
    pub body: Option<Bytes>,
    /// The header to set in place of any the client sent; `None` when there is none to set or
    /// when the client's own is kept. A managed identity's token goes in place of it.
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// The model asked for. `None` only for `preserve`, where nobody may have named one.
    pub model: Option<Arc<str>>,
    /// `X-Kong-LLM-Model`, if the model's name can be in a header.
    pub model_header: Option<HeaderValue>,
    /// Whether the reply is to be a stream.
    pub stream: bool,
    /// What to log about an Azure target.
    pub azure: Option<Arc<azure::Names>>,
}

impl Plan {
    /// Compiles a target; `streaming` is the plugin's `response_streaming`.
    pub fn new(target: &Target, streaming: ResponseStreaming) -> Result<Self, Invalid> {
        let (provider, route_type) = (target.model.provider, target.route_type);
        let built = matches!(provider, Provider::Azure | Provider::Openai)
            && matches!(route_type, RouteType::Chat | RouteType::Completions | RouteType::Preserve);
        if !built {
            return Err(Invalid::NotBuilt(provider, route_type));
        }
        let options = target.model.options.clone().unwrap_or_default();
        let name = target.model.name.as_deref();
        let name = name.map(|name| Text::new("model.name", name, Place::Free));
        let fixed = name.as_ref().and_then(Text::fixed).cloned();
        Ok(Self {
            provider,
            route_type,
            streaming,
            name_json: fixed.as_deref().map(|name| quote(name).into()),
            name_header: fixed.as_deref().and_then(|name| model_header(provider, name)),
            name,
            alias: target.model.model_alias.as_deref().map(Into::into),
            site: Where::new(provider, route_type, &options)?,
            options: overrides(&options),
            credential: target.auth.as_ref().map_or(Ok(Credential::default()), Credential::new)?,
        })
    }

    /// Whether this target is meant by `model`: its alias, its name, or any when it has no name.
    pub fn answers_to(&self, model: &str) -> bool {
        match (self.alias.as_deref(), &self.name) {
            (Some(alias), _) if alias == model => true,
            (_, Some(name)) => name.fixed().is_none_or(|name| &**name == model),
            (alias, None) => alias.is_none(),
        }
    }

    /// Whether `model` is the alias of this target.
    pub fn has_alias(&self, model: &str) -> bool {
        self.alias.as_deref() == Some(model)
    }

    /// The configured name of the model, when it is the same for all clients.
    pub fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref().and_then(Text::fixed)
    }

    /// Whether clients say the name of the model, or a part of it.
    pub(super) fn has_template_in_name(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.fixed().is_none())
    }

    /// The options that win over a client's.
    pub(super) fn overrides(&self) -> impl Iterator<Item = Edit<'_>> {
        self.options.iter().map(|(key, value)| Edit::set(key, value))
    }

    /// What the target does.
    pub fn route_type(&self) -> RouteType {
        self.route_type
    }

    /// Who runs the model.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Where the target is, when that does not depend on the client.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.site.fixed().map(|located| &located.endpoint)
    }

    /// Where the target is, as far as that can be known before a request: a client may choose a
    /// label of the host name, never the scheme, the rest of the name or the port.
    pub fn sample_endpoint(&self) -> Option<&Endpoint> {
        self.site.sample()
    }

    /// The path there, with a stand-in for what the client says in it; `None` when it is all the
    /// client's.
    pub fn sample_path(&self) -> Option<&str> {
        self.site.sample_path()
    }

    /// Whether a client says a part of the host's name.
    pub fn is_host_theirs(&self) -> bool {
        self.site.is_host_theirs()
    }

    /// The header that holds the key, when one does.
    pub fn key_header(&self) -> Option<&HeaderName> {
        self.credential.header_name()
    }

    /// The query argument that holds the key: no log may show its value.
    pub fn secret_arg(&self) -> Option<&str> {
        self.credential.in_query().map(|(name, ..)| name)
    }

    /// A body for logs: without the value of the key, whoever gave it.
    pub fn redacted_body(&self, body: &Bytes) -> Option<Bytes> {
        self.credential.redacted_body(body)
    }

    /// Whether a key is configured (not an identity): a load error when the endpoint is exposed.
    pub fn has_key(&self) -> bool {
        self.credential.is_set()
    }

    /// The field of `auth` that holds the key, and where the key goes, such as `header api-key`.
    pub fn key_place(&self) -> Option<(&'static str, String)> {
        self.credential.place()
    }

    /// The values of the key, as they were configured and as they are sent: no log may quote them.
    pub fn secrets(&self) -> Vec<Secret> {
        self.credential.secrets()
    }

    /// Another name that clients may use for the model.
    pub fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// Azure's names for the target, when they are the same for all clients.
    pub fn names(&self) -> Option<&Arc<azure::Names>> {
        self.site.fixed()?.names.as_ref()
    }

    /// The request for this target. The order of the checks is Kong's, and so are their texts.
    pub fn prepare(&self, client: &Client<'_>, body: &Body) -> Result<Prepared, Error> {
        let configured = self.name.as_ref().map(|name| name.render(client)).transpose()?;
        let located = self.site.of(self.provider, self.route_type, client)?;
        let formats = body.formats();
        let convert = self.route_type != RouteType::Preserve;
        if convert && formats == (false, false) {
            return Err(Error::NoPrompts);
        }
        let model = self.model(configured, body)?;
        if convert {
            if model.is_none() {
                return Err(Error::NoModel);
            }
            openai::check_format(formats, self.route_type)?;
        }
        let stream = self.stream(body)?;
        let text = if convert {
            Some(self.converted(body, model.as_deref().unwrap_or_default(), stream))
        } else {
            self.credential.in_preserved(body)?
        };
        Ok(Prepared {
            target: self.target(&located, client)?,
            endpoint: located.endpoint.clone(),
            body: text,
            credential: self.credential.header(client),
            model_header: match (&self.name_json, &model) {
                (Some(_), _) => self.name_header.clone(),
                (None, Some(model)) => model_header(self.provider, model),
                (None, None) => None,
            },
            model,
            stream,
            azure: located.names.clone(),
        })
    }

    /// The model to ask for: the configuration's, else the client's (which may be empty in Kong).
    fn model(
        &self,
        configured: Option<Cow<'_, str>>,
        body: &Body,
    ) -> Result<Option<Arc<str>>, Error> {
        let asked = body.model();
        let Some(name) = configured else { return Ok(asked.map(Into::into)) };
        let other = asked.filter(|asked| {
            !asked.is_empty() && *asked != name && self.alias.as_deref() != Some(asked)
        });
        if other.is_some() {
            return Err(Error::OwnModel(name.into_owned()));
        }
        // A fixed name is shared, not copied.
        let fixed = self.name.as_ref().and_then(Text::fixed).cloned();
        Ok(Some(fixed.unwrap_or_else(|| name.into())))
    }

    fn stream(&self, body: &Body) -> Result<bool, Error> {
        let asked = body.asks_for_stream();
        match self.streaming {
            ResponseStreaming::Deny if asked => Err(Error::StreamingDenied),
            // A preserved body cannot be told to stream.
            ResponseStreaming::Always => Ok(asked || self.route_type != RouteType::Preserve),
            ResponseStreaming::Allow | ResponseStreaming::Deny => Ok(asked),
        }
    }

    /// The client's body with what the gateway sets: model, stream, options, credential.
    fn converted(&self, body: &Body, model: &str, stream: bool) -> Bytes {
        let Some(object) = body.object() else { return body.bytes().clone() };
        let other;
        let model = match &self.name_json {
            Some(json) => json,
            None => {
                other = quote(model).into_boxed_slice();
                &other
            }
        };
        let mut edits: SmallVec<[Edit<'_>; 8]> = SmallVec::new();
        edits.push(Edit::set(&MODEL, model));
        edits.push(Edit::set(&STREAM, if stream { b"true" } else { b"false" }));
        edits.push(Edit::drop(&TOP_K));
        edits.extend(self.overrides());
        edits.extend(self.credential.in_body(body));
        object.edited(&edits)
    }

    pub(super) fn target(
        &self,
        located: &Located,
        client: &Client<'_>,
    ) -> Result<PathAndQuery, Error> {
        let credential = self.credential.in_query();
        if let Some(target) = &located.target
            && client.query.is_empty()
            && credential.is_none()
        {
            return Ok(target.clone());
        }
        let arguments = Arguments { api_version: located.api_version.as_deref(), credential };
        let query = address::query(client.query, arguments);
        let path = located.path.as_deref().unwrap_or(client.path);
        path_and_query(path, &query).ok_or(Error::UnsafeValue { field: "the request path" })
    }
}

/// An origin-form request target; `None` when a byte in it cannot be sent.
pub(super) fn path_and_query(path: &str, query: &str) -> Option<PathAndQuery> {
    let mark = if query.is_empty() { "" } else { "?" };
    PathAndQuery::try_from([path, mark, query].concat()).ok()
}

/// `X-Kong-LLM-Model: <provider>/<model>`.
fn model_header(provider: Provider, model: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes([provider.as_str(), "/", model].concat().as_bytes()).ok()
}

/// The options that win over the client's, as JSON.
fn overrides(options: &Options) -> Vec<(Key, Box<[u8]>)> {
    let options = [
        ("max_tokens", &options.max_tokens),
        ("temperature", &options.temperature),
        ("top_p", &options.top_p),
    ];
    let json = |number: &Number| match number.as_f64() {
        // Kong writes 1.0 as 1; models that take an integer refuse the other spelling.
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
            (float as i64).to_string()
        }
        _ => number.to_string(),
    };
    let set = options.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    set.map(|(name, value)| (Key::new(name), json(value).into_bytes().into())).collect()
}

#[cfg(test)]
mod tests;
