//! A target compiled for requests, and the request that goes to it.
//!
//! Everything that is the same for all clients (URL, options as JSON, credential) is worked out
//! when the configuration loads. A fail-over to another target prepares the same [`Body`] again.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};

use crate::entity::Secret;
use crate::llm::address::{self, Arguments, Endpoint};
use crate::llm::config::{ResponseStreaming, Target};
use crate::llm::convert::{Overrides, Said};
use crate::llm::credential::Credential;
use crate::llm::error::Error;
use crate::llm::filter_events::{FilterEvents, Folder};
use crate::llm::include_usage::IncludeUsage;
use crate::llm::openai::{self, Body};
use crate::llm::operation::{Branch, Media, Naming, Operation};
use crate::llm::site::{Located, Where};
use crate::llm::splice::{Key, quote};
use crate::llm::template::{Client, Place, Text};
use crate::llm::{Provider, RouteType, Wire, anthropic, azure, providers};

mod invalid;

pub use invalid::Invalid;

pub(super) static MODEL: LazyLock<Key> = LazyLock::new(|| Key::new("model"));

/// A target, ready for requests.
pub struct Plan {
    provider: Provider,
    pub(super) route_type: RouteType,
    pub(super) operation: &'static Operation,
    streaming: ResponseStreaming,
    name: Option<Text>,
    /// The fixed name as JSON and as the value of `X-Kong-LLM-Model`.
    pub(super) name_json: Option<Box<[u8]>>,
    name_header: Option<HeaderValue>,
    alias: Option<Box<str>>,
    pub(super) site: Where,
    pub(super) overrides: Overrides,
    pub(super) include_usage: IncludeUsage,
    filter_events: FilterEvents,
    /// `anthropic-version` for clients that name none.
    pub(super) anthropic_version: HeaderValue,
    pub(super) credential: Credential,
    /// The gateway signs in there, with a key or an identity.
    signs_in: bool,
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
    /// The stream says its tokens because the gateway has asked; that event is not the client's.
    pub hides_usage: bool,
    /// It takes no tokens: it asks how long a message is, or is about a batch.
    pub is_free: bool,
    /// Whether a reply of 200 must be one of the route type.
    pub is_checked: bool,
    /// What to log about an Azure target.
    pub azure: Option<Arc<azure::Names>>,
}

impl Plan {
    /// Compiles a target; `streaming` is the plugin's `response_streaming`.
    pub fn new(target: &Target, streaming: ResponseStreaming) -> Result<Self, Invalid> {
        let (provider, route_type) = (target.model.provider, target.route_type);
        if !providers::takes(provider, route_type) {
            return Err(Invalid::NotBuilt(provider, route_type));
        }
        let options = target.model.options.clone().unwrap_or_default();
        let wire = Some(azure::wire(&options)).filter(|_| provider == Provider::Azure);
        let operation = Operation::on(wire.unwrap_or_default(), route_type);
        let name = target.model.name.as_deref();
        let name = name.map(|name| Text::new("model.name", name, Place::Free));
        let fixed = name.as_ref().and_then(Text::fixed).cloned();
        let auth = target.auth.as_ref();
        let credential = auth.map_or(Ok(Credential::default()), Credential::new)?;
        let has_identity = auth.is_some_and(|a| a.azure_use_managed_identity == Some(true));
        Ok(Self {
            provider,
            route_type,
            operation,
            streaming,
            name_json: fixed.as_deref().map(|name| quote(name).into()),
            name_header: fixed.as_deref().and_then(|name| model_header(provider, name)),
            name,
            alias: target.model.model_alias.as_deref().map(Into::into),
            site: Where::new(provider, route_type, &options)?,
            overrides: Overrides::new(&options, operation.options),
            include_usage: options.include_usage.unwrap_or_default(),
            filter_events: options.azure_filter_events.unwrap_or_default(),
            anthropic_version: anthropic::version(&options)?,
            signs_in: credential.is_set() || has_identity,
            credential,
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

    /// Whether a form of several parts has to be read for this target: its body names the model.
    pub fn reads_forms(&self) -> bool {
        let is_named_by_path = self.site.sample_place().is_some_and(|located| {
            located.path.as_deref().is_some_and(|path| path.contains("/deployments/"))
        });
        self.operation.media == Media::Form && !is_named_by_path
            || self.credential.is_in_body() && self.route_type != RouteType::Preserve
    }

    /// Whether bodies are chats or completions, whose format the gateway answers for.
    pub fn converts(&self) -> bool {
        self.operation.is_checked
    }

    /// What makes a stream one for clients that do not know Azure, where that is wanted.
    pub fn folder(&self) -> Option<Folder> {
        let is_azure = self.provider == Provider::Azure && self.converts();
        Folder::new(self.filter_events, self.route_type).filter(|_| is_azure)
    }

    /// `genai_category`, as the route type has it.
    pub fn category(&self) -> &'static str {
        self.operation.category
    }

    /// The request for this target. The order of the checks is Kong's, and so are their texts.
    /// `counts`: somebody wants to know the tokens of the reply.
    pub fn prepare(
        &self,
        client: &Client<'_>,
        body: &Body,
        counts: bool,
    ) -> Result<Prepared, Error> {
        let configured = self.name.as_ref().map(|name| name.render(client)).transpose()?;
        let located = self.site.of(self.provider, self.route_type, client)?;
        if let Some(prepared) = self.list_of_models(&located, client)? {
            return Ok(prepared);
        }
        let has_azures_names = self.provider == Provider::Azure
            && located.path.as_deref().is_none_or(|p| p.ends_with(self.operation.azure_path()));
        let branch = self.operation.branch(has_azures_names, client.raw_path, client.path)?;
        let is_free = self.wire() == Wire::Messages && branch.is_some();
        let is_batch = is_free && branch.as_ref().is_some_and(Branch::is_batch);
        let creates = !is_batch && self.creates(branch.as_ref(), client);
        let formats = body.formats();
        if self.operation.is_checked && formats == (false, false) {
            return Err(Error::NoPrompts);
        }
        if self.operation.media == Media::Json && creates && body.object().is_none() {
            return Err(Error::NotJson);
        }
        let asked = self.asked(client, body);
        let names_one = asked.as_deref().is_some_and(|name| !name.is_empty());
        let model = self.model(configured, asked)?;
        let is_unread = self.operation.media == Media::Form && body.is_unread();
        if creates && !is_unread && model.is_none() && located.model.is_none() {
            return Err(Error::NoModel);
        }
        if self.operation.is_checked {
            openai::check_format(formats, self.route_type)?;
        }
        let stream = !is_free && self.stream(body)?;
        let counts = counts && stream;
        let usage = counts.then(|| self.usage_options(&located, client, body)).flatten();
        let said = Said {
            model: model.as_deref().filter(|_| creates || names_one),
            stream,
            usage: usage.as_deref(),
            creates,
            is_free,
            is_batch,
            located: &located,
            client,
        };
        Ok(Prepared {
            body: self.body(&said, body)?,
            target: self.target(&located, branch.as_ref(), model.as_deref(), client)?,
            endpoint: located.endpoint.clone(),
            credential: self.credential.header(client),
            model_header: match (&self.name_json, &model) {
                (Some(_), _) => self.name_header.clone(),
                (None, Some(model)) => model_header(self.provider, model),
                (None, None) => None,
            },
            model,
            stream,
            hides_usage: usage.is_some(),
            is_free,
            is_checked: self.operation.is_checked,
            azure: located.names.clone(),
        })
    }

    /// Whether the request asks a model for something new, and so has to name it.
    fn creates(&self, branch: Option<&Branch<'_>>, client: &Client<'_>) -> bool {
        let is_root = branch.is_none_or(|branch| {
            let own = [self.operation.path, self.operation.azure_path()];
            branch.rest.is_empty() && own.contains(&branch.root)
        });
        match self.operation.naming {
            Naming::Always => true,
            Naming::Creation => is_root && *client.method == Method::POST,
            Naming::Query => is_root,
            Naming::Never => false,
        }
    }

    /// The model that the client names.
    fn asked<'c>(&self, client: &Client<'c>, body: &'c Body) -> Option<Cow<'c, str>> {
        match self.operation.naming {
            Naming::Query => {
                let of = |name| address::argument(client.query, name);
                of("model").or_else(|| of("deployment"))
            }
            Naming::Never if self.route_type != RouteType::Preserve => None,
            _ => body.model(),
        }
    }

    /// The model to ask for: the configuration's, else the client's (which may be empty in Kong).
    fn model(
        &self,
        configured: Option<Cow<'_, str>>,
        asked: Option<Cow<'_, str>>,
    ) -> Result<Option<Arc<str>>, Error> {
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
        // A body that is not ours to write cannot be told to stream.
        let is_ours = self.operation.is_checked
            || self.route_type == RouteType::Responses
            || self.wire() == Wire::Messages;
        match self.streaming {
            ResponseStreaming::Deny if asked => Err(Error::StreamingDenied),
            ResponseStreaming::Always => Ok(asked || is_ours),
            ResponseStreaming::Allow | ResponseStreaming::Deny => Ok(asked),
        }
    }

    /// The request target: what is configured, and what the client asks for below it.
    pub(super) fn target(
        &self,
        located: &Located,
        branch: Option<&Branch<'_>>,
        model: Option<&str>,
        client: &Client<'_>,
    ) -> Result<PathAndQuery, Error> {
        let below = branch.filter(|branch| {
            !branch.rest.is_empty()
                || ![self.operation.path, self.operation.azure_path()].contains(&branch.root)
        });
        if let Some(target) = &located.target
            && below.is_none()
            && client.query.is_empty()
            && self.credential.in_query().is_none()
            && self.operation.naming != Naming::Query
        {
            return Ok(target.clone());
        }
        let own = located.path.as_deref().unwrap_or(client.path);
        let path = match (below, &located.prefix) {
            (Some(Branch { root, rest }), Some(prefix)) => {
                Cow::Owned([prefix, *root, *rest].concat())
            }
            (Some(Branch { rest, .. }), None) => Cow::Owned([own, *rest].concat()),
            (None, _) => Cow::Borrowed(own),
        };
        let model = model.filter(|_| below.is_none());
        self.with_query(&path, located, model, client)
    }

    pub(super) fn with_query(
        &self,
        path: &str,
        located: &Located,
        model: Option<&str>,
        client: &Client<'_>,
    ) -> Result<PathAndQuery, Error> {
        let is_named = self.operation.naming == Naming::Query;
        let named = located.model.as_deref().or(model).filter(|_| is_named && model.is_some());
        let own = named.map(|model| {
            // Azure's preview says deployment, everybody else model.
            let by_date = self.provider == Provider::Azure && !located.undated;
            let name = if by_date { "deployment" } else { "model" };
            format!("{name}={}", address::encode(model))
        });
        let dropped: &[&str] = match (own.is_some(), is_named && self.signs_in) {
            (true, true) => &["model", "deployment", "api-key"],
            (true, false) => &["model", "deployment"],
            (false, true) => &["api-key"],
            (false, false) => &[],
        };
        // The path of `preserve` is the client's, and may be one without dates.
        let undated = located.undated || located.path.is_none() && azure::is_v1(path);
        let date = located.api_version.as_deref();
        let arguments = Arguments {
            api_version: date.filter(|date| located.undated || !undated || *date == "preview"),
            undated,
            credential: self.credential.in_query(),
            dropped,
            own: own.as_deref(),
        };
        let query = address::query(client.query, arguments);
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

#[cfg(test)]
mod tests;
