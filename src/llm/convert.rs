//! The body for a target: the client's, with what the gateway sets.
//!
//! Model, stream, options, credential, and nothing else; whatever is not set stays as it was
//! written.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Number, Value};
use smallvec::SmallVec;

use crate::llm::RouteType;
use crate::llm::address;
use crate::llm::config;
use crate::llm::error::Error;
use crate::llm::form::Form;
use crate::llm::include_usage::STREAM_OPTIONS;
use crate::llm::openai::Body;
use crate::llm::operation::Options;
use crate::llm::plan::{MODEL, Plan};
use crate::llm::site::Located;
use crate::llm::splice::{Edit, Key, Object, quote};
use crate::llm::template::Client;
use crate::llm::token_limit::TokensField;

static STREAM: LazyLock<Key> = LazyLock::new(|| Key::new("stream"));
static TOP_K: LazyLock<Key> = LazyLock::new(|| Key::new("top_k"));

/// The options that win over the client's.
pub(super) struct Overrides {
    /// Members and their JSON.
    members: Vec<(Key, Box<[u8]>)>,
    /// A chat has two names for `max_tokens`.
    is_chat: bool,
    max_tokens: Option<Box<[u8]>>,
    tokens_field: TokensField,
}

impl Overrides {
    /// Those of `options` that this kind of body has.
    pub(super) fn new(options: &config::Options, kind: Options) -> Self {
        let limit = options.max_tokens.as_ref();
        let dimensions = match &options.embeddings_dimensions {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        let all = [
            ("temperature", options.temperature.as_ref()),
            ("top_p", options.top_p.as_ref()),
            ("top_k", options.top_k.as_ref()),
        ];
        let sampling = &all[..2]; // which OpenAI has
        let (first, rest) = match kind {
            Options::Chat => (None, sampling),
            Options::Completions => (Some(("max_tokens", limit)), sampling),
            Options::Responses => (Some(("max_output_tokens", limit)), sampling),
            Options::Messages => (Some(("max_tokens", limit)), &all[..]),
            Options::Embeddings => (Some(("dimensions", dimensions)), &[][..]),
            Options::None => (None, &[][..]),
        };
        let set = first.iter().chain(rest).filter_map(|(name, value)| Some((name, (*value)?)));
        Self {
            members: set.map(|(name, value)| (Key::new(name), json(value))).collect(),
            is_chat: kind == Options::Chat,
            max_tokens: limit.filter(|_| kind == Options::Chat).map(json),
            tokens_field: options.max_tokens_field.unwrap_or_default(),
        }
    }

    /// The edits of a body for `model`; `api_version` is the dated one of Azure.
    pub(super) fn edits<'a>(
        &'a self,
        model: &str,
        api_version: Option<&str>,
        object: &'a Object<Bytes>,
    ) -> SmallVec<[Edit<'a>; 4]> {
        let mut edits: SmallVec<[Edit<'a>; 4]> = SmallVec::new();
        if self.is_chat {
            let configured = self.max_tokens.as_deref();
            let limit = self.tokens_field.edits(model, api_version, configured, object);
            edits.extend(limit.into_iter().flatten());
        }
        edits.extend(self.members.iter().map(|(key, value)| Edit::set(key, value)));
        edits
    }
}

/// Kong writes 1.0 as 1; models that take an integer refuse the other spelling.
fn json(number: &Number) -> Box<[u8]> {
    let text = match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
            (float as i64).to_string()
        }
        _ => number.to_string(),
    };
    text.into_bytes().into()
}

/// What a request is to say.
pub(super) struct Said<'a> {
    /// The model, if the body names one.
    pub(super) model: Option<&'a str>,
    pub(super) stream: bool,
    /// `stream_options`, where the gateway asks for the tokens.
    pub(super) usage: Option<&'a [u8]>,
    /// It asks a model for something new.
    pub(super) creates: bool,
    /// It asks how long it is, where options have no place.
    pub(super) is_free: bool,
    /// It is about a batch of messages, which names its models within.
    pub(super) is_batch: bool,
    pub(super) located: &'a Located,
    pub(super) client: &'a Client<'a>,
}

impl Said<'_> {
    /// The name in the body: the deployment, where that is not in the path.
    fn name(&self, is_named: bool) -> Option<&str> {
        let deployment = self.located.model.as_deref();
        deployment
            .filter(|_| self.creates || self.model.is_some())
            .or(self.model)
            .filter(|_| is_named)
    }
}

impl Plan {
    /// The body for a target; `None` when the client's goes as it came.
    pub(super) fn body(&self, said: &Said<'_>, body: &Body) -> Result<Option<Bytes>, Error> {
        use crate::llm::operation::Naming::{Always, Creation};
        let is_named = matches!(self.operation.naming, Always | Creation);
        if self.route_type == RouteType::Preserve {
            return self.credential.in_preserved(body);
        }
        if said.is_batch {
            return self.in_batch(said, body);
        }
        match (body.object(), body.form()) {
            (Some(object), _) => Ok(Some(self.in_object(said, is_named, object, body))),
            (None, Some(form)) => Ok(Some(self.in_form(said.name(is_named), form))),
            (None, None) => self.credential.in_preserved(body),
        }
    }

    fn in_object(
        &self,
        said: &Said<'_>,
        is_named: bool,
        object: &Object<Bytes>,
        body: &Body,
    ) -> Bytes {
        let name = said.name(is_named).map(|name| self.name_as_json(name));
        let version = dated(said);
        let mut edits: SmallVec<[Edit<'_>; 8]> = SmallVec::new();
        edits.extend(name.as_deref().map(|name| Edit::set(&MODEL, name)));
        if self.operation.is_checked {
            edits.push(Edit::set(&STREAM, if said.stream { b"true" } else { b"false" }));
            edits.push(Edit::drop(&TOP_K));
            edits.extend(said.usage.map(|usage| Edit::set(&STREAM_OPTIONS, usage)));
        } else if said.creates && said.stream && !body.asks_for_stream() {
            edits.push(Edit::set(&STREAM, b"true"));
        }
        if said.creates && !said.is_free {
            let model = said.model.unwrap_or_default();
            edits.extend(self.overrides.edits(model, version.as_deref(), object));
        }
        edits.extend(self.credential.in_body(body));
        object.edited(&edits)
    }

    fn in_form(&self, name: Option<&str>, form: &Form) -> Bytes {
        let name = name.map(|name| ("model", name));
        let key = self.credential.in_form(form);
        let edits: SmallVec<[(&str, &str); 2]> = name.into_iter().chain(key).collect();
        form.edited(&edits)
    }

    fn name_as_json(&self, name: &str) -> Cow<'_, [u8]> {
        match (&self.name_json, self.name()) {
            (Some(json), Some(own)) if **own == *name => Cow::Borrowed(json),
            _ => Cow::Owned(quote(name)),
        }
    }
}

/// The dated api-version that the request goes with.
fn dated<'a>(said: &'a Said<'_>) -> Option<Cow<'a, str>> {
    let own = said.located.api_version.as_deref().filter(|_| said.located.is_dated)?;
    let version = address::argument(said.client.query, "api-version");
    let version = version.unwrap_or(Cow::Borrowed(own));
    version.starts_with("20").then_some(version)
}
