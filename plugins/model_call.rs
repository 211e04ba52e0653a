//! A call to a model that a plugin makes by itself: JSON to the address of a target, with its key
//! or with a token of its identity, and a reply of limited size.
//!
//! It goes over connections of its own: a proxy may stand in between, and the operator says how
//! long it may take. What failed is told in the words of Kong's HTTP client.

use std::cell::OnceCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use tokio::time::Instant;

use super::Context;
use super::ai_proxy_advanced::{FieldNames, Instance, Setup, Target, Wanted, describe};
use crate::azure::{self, Token};
use crate::dns::Names;
use crate::llm::config;
use crate::llm::errand::Place;
use crate::pdk::Exchange;
use crate::pdk::body::Buffered;
use crate::pdk::service::Limits;
use crate::respond::SERVER_TOKEN;
use crate::shared::Shared;
use crate::tls::{self, Policy};
use crate::upstream::{Keepalive, Key, Outgoing, Pool, SendError, Tls, tls_name};

/// The longest a call waits for a token; a living token costs no wait.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(20);

/// How long an idle connection to a model is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How a model is called.
pub(super) struct Terms {
    /// Milliseconds to connect, and between two reads.
    pub(super) timeout_ms: u64,
    /// Whether the certificate must be good.
    pub(super) verify: bool,
    /// Host and port of the proxy for `http://`.
    pub(super) http_proxy: Option<(String, u16)>,
    /// Host and port of the proxy for `https://`.
    pub(super) https_proxy: Option<(String, u16)>,
}

/// One target that a plugin calls.
pub(super) struct Caller {
    shared: Arc<Shared>,
    setup: Setup,
    place: Place,
    proxy: Option<(Rc<str>, u16)>,
    policy: Option<Rc<Policy>>,
    limits: Limits,
    line: OnceCell<Line>,
}

/// What a worker calls with; made at the first call, because the loader makes plugins, too.
struct Line {
    pool: Rc<Pool>,
    names: Names,
}

/// What a model has answered.
pub(super) struct Answered {
    /// Its status.
    pub(super) status: StatusCode,
    /// The whole body.
    pub(super) body: Buffered,
    /// How long it took.
    pub(super) took: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// No token is to be had; the log says why.
    NoToken,
    /// A vault reference was not resolved; the log says which.
    NoTarget,
    /// The call, in the words of Kong's HTTP client.
    Lost(String),
}

impl Caller {
    /// Compiles a target, or says all that stands against it, in the words of its configuration.
    pub(super) fn new(
        context: &Context<'_>,
        names: FieldNames,
        target: config::Target,
        terms: Terms,
    ) -> Result<Self, Vec<String>> {
        let shared = context.shared;
        let url = target.model.options.as_ref().and_then(|options| options.upstream_url.clone());
        let (env, instance) = (&context.snapshot.env, Instance::of(context.entity));
        let setup = Setup::new(shared, env, instance, Wanted::one(names.clone(), target))?;
        setup.warnings.iter().for_each(|warning| context.warn(warning));
        if let Some(findings) = context.findings {
            findings.targets.borrow_mut().extend(describe(context.entity, &setup, names.place()));
        }
        let plan = setup.targets.at(0).map(|target| &target.plan);
        let plan = plan.ok_or_else(|| vec![format!("{}: no target", names.place())])?;
        let at = plan.place(url.as_deref()).map_err(|no_place| {
            let field = names.path(no_place.field());
            vec![format!("{field}: {no_place}")]
        })?;
        let is_tls = at.endpoint.protocol.is_tls();
        let proxy = if is_tls { terms.https_proxy } else { terms.http_proxy };
        let policy = match is_tls {
            true => Some(shared.tls.own(terms.verify).map_err(|error| vec![error.to_string()])?),
            false => None,
        };
        // As in OpenResty, 0 is the default.
        let ms = if terms.timeout_ms == 0 { 60_000 } else { terms.timeout_ms };
        Ok(Self {
            shared: shared.clone(),
            place: at,
            proxy: proxy.map(|(host, port)| (host.into(), port)),
            policy,
            limits: Limits { connect_ms: ms, write_ms: ms, read_ms: ms, retries: 0 },
            line: OnceCell::new(),
            setup,
        })
    }

    /// The target.
    pub(super) fn target(&self) -> Option<&Target> {
        self.setup.targets.at(0)
    }

    /// Host and port of the model.
    pub(super) fn server(&self) -> (Rc<str>, u16) {
        let endpoint = &self.place.endpoint;
        (Rc::from(&*endpoint.host), endpoint.port)
    }

    /// The whole address of the model, without a key in its query.
    pub(super) fn address(&self) -> String {
        let Place { endpoint, target, .. } = &self.place;
        let key = self.target().and_then(|target| target.plan.secret_arg());
        let is_key = |argument: &str| key.is_some() && argument.split('=').next() == key;
        let query = target.query().into_iter().flat_map(|query| query.split('&'));
        let query: Vec<_> = query.filter(|argument| !is_key(argument)).collect();
        let (scheme, host, port) = (endpoint.protocol.name(), &endpoint.host, endpoint.port);
        format!("{scheme}://{host}:{port}{}?{}", target.path(), query.join("&"))
    }

    /// The id of the plugin.
    pub(super) fn plugin_id(&self) -> &str {
        &self.setup.plugin_id
    }

    /// Sends a body. A token that is refused is replaced once.
    ///
    /// # Errors
    /// There is no answer at all; one with whatever status is none.
    pub(super) async fn post(&self, ex: &Exchange, body: Bytes) -> Result<Answered, Failed> {
        self.posted(Some(ex), body).await
    }

    /// The same, maybe on behalf of no request.
    ///
    /// # Errors
    /// There is no answer at all.
    pub(super) async fn posted(
        &self,
        ex: Option<&Exchange>,
        body: Bytes,
    ) -> Result<Answered, Failed> {
        let target = self.target().ok_or(Failed::NoTarget)?;
        if let Some(field) = target.unresolved {
            let fault = "the vault reference was not resolved";
            tracing::error!(request_id = id(ex), fault = "gateway", "{field}: {fault}");
            return Err(Failed::NoTarget);
        }
        let Some(identity) = &target.identity else { return self.send(ex, body, None).await };
        let token = self.token(ex, target).await?;
        let answered = self.send(ex, body.clone(), Some(&*token)).await?;
        if answered.status.is_success() {
            identity.accepted();
        }
        if answered.status != StatusCode::UNAUTHORIZED {
            return Ok(answered);
        }
        if identity.invalidate(&token) {
            let token = self.token(ex, target).await?;
            return self.send(ex, body, Some(&*token)).await;
        }
        let said = azure::words(&answered.body.bytes, &[]).unwrap_or_default();
        identity.explained(azure::lacks_role(&said));
        Ok(answered)
    }

    async fn token(&self, ex: Option<&Exchange>, target: &Target) -> Result<Arc<Token>, Failed> {
        let identity = target.identity.as_ref().ok_or(Failed::NoToken)?;
        if let Some(token) = identity.current() {
            return Ok(token);
        }
        let wait = Duration::from_millis(self.limits.connect_ms).min(TOKEN_WAIT_MAX);
        identity.wait(Instant::now() + wait).await.map_err(|failure| {
            let line = match identity.is_news(&failure) {
                true => failure.to_string(),
                false => failure.reminder(),
            };
            tracing::error!(request_id = id(ex), fault = "azure", "{line}");
            Failed::NoToken
        })
    }

    async fn send(
        &self,
        ex: Option<&Exchange>,
        body: Bytes,
        token: Option<&Token>,
    ) -> Result<Answered, Failed> {
        let began = std::time::Instant::now();
        let sent = self.sent(body, token).await;
        if let Some(ex) = ex {
            ex.times.waited_since(began);
        }
        sent.map(|(status, body)| Answered { status, body, took: began.elapsed() })
    }

    async fn sent(
        &self,
        body: Bytes,
        token: Option<&Token>,
    ) -> Result<(StatusCode, Buffered), Failed> {
        let line = self.line.get_or_init(|| Line::new(&self.shared));
        let endpoint = &self.place.endpoint;
        let (host, port) = match &self.proxy {
            Some((host, port)) => (&**host, *port),
            None => (&*endpoint.host, endpoint.port),
        };
        let address = line.names.address(host.trim_matches(['[', ']']), port).await;
        let address = address.map_err(|error| {
            let (reason, name) = (error.reason, error.name);
            Failed::Lost(format!("[cosocket] DNS resolution failed: {reason}. Tried: [\"{name}\"]"))
        })?;
        let tls = self.policy.as_ref().map(|policy| {
            let name = tls_name(&Rc::from(&*endpoint.host));
            Tls { name, policy: policy.clone() }
        });
        let tunnel = tls.is_some() && self.proxy.is_some();
        let tunnel = tunnel.then(|| format!("{}:{}", endpoint.host, endpoint.port).into());
        let key = Key { address, tls, http2: false, tunnel };
        let request = self.request(body, token)?;
        let reply = line.pool.send(&key, &self.limits, request).await;
        let (head, body) = reply.map_err(|error| Failed::Lost(words(&error)))?.into_parts();
        let limit = self.shared.settings.buffer_limit;
        let body = body.read_whole(limit, &self.shared.budget).await;
        let body = body.map_err(|error| Failed::Lost(error.to_string()))?;
        Ok((head.status, body))
    }

    fn request(&self, body: Bytes, token: Option<&Token>) -> Result<Request<Outgoing>, Failed> {
        let endpoint = &self.place.endpoint;
        let is_plain = endpoint.port == endpoint.protocol.default_port();
        let authority = match is_plain {
            true => endpoint.host.to_string(),
            false => format!("{}:{}", endpoint.host, endpoint.port),
        };
        let bad = |error: http::Error| Failed::Lost(error.to_string());
        let uri = match self.proxy.is_some() && self.policy.is_none() {
            false => Uri::from(self.place.target.clone()),
            true => Uri::builder()
                .scheme("http")
                .authority(authority.as_str())
                .path_and_query(self.place.target.clone())
                .build()
                .map_err(bad)?,
        };
        let json = HeaderValue::from_static("application/json");
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(HOST, authority)
            .header(ACCEPT, json.clone())
            .header(CONTENT_TYPE, json)
            .header(CONTENT_LENGTH, body.len())
            .header(USER_AGENT, SERVER_TOKEN)
            .body(Outgoing::whole(body.into()))
            .map_err(bad)?;
        if let Some((name, value)) = &self.place.header {
            request.headers_mut().insert(name, value.clone());
        }
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.authorization().clone());
        }
        Ok(request)
    }
}

impl Line {
    fn new(shared: &Arc<Shared>) -> Self {
        let settings = &shared.settings;
        let pool = Pool::new(Keepalive {
            pool_size: settings.keepalive_pool_size,
            idle: IDLE,
            max_requests: u64::MAX,
        });
        let weak = Rc::downgrade(&pool);
        tokio::task::spawn_local(async move {
            while let Some(pool) = weak.upgrade() {
                pool.sweep();
                drop(pool);
                tokio::time::sleep(IDLE / 4).await;
            }
        });
        Self { pool, names: Names::new(shared.dns.clone()) }
    }
}

/// For log lines.
fn id(ex: Option<&Exchange>) -> Option<&str> {
    ex.map(|ex| ex.id.as_str())
}

/// What OpenResty's sockets and Kong's HTTP client say.
fn words(error: &SendError) -> String {
    match error {
        SendError::Connect(_, error) if error.kind() == ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        SendError::Connect(_, error) => error.to_string(),
        SendError::Tls(_, _, error) => match tls::words(error) {
            "handshake failed" => format!("handshake failed: {error}"),
            words => words.to_owned(),
        },
        error if error.is_timeout() => "timeout".to_owned(),
        SendError::Broken(..) | SendError::Refused(..) => "closed".to_owned(),
        other => other.to_string(),
    }
}
