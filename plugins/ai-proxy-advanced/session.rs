//! One exchange with a model: what the client wants, which target gets it, and what then happened.
//!
//! A session is made in `access`: it prepares the request for a target. It drives the `attempts`,
//! too. The client's own credentials go nowhere when the gateway has one of its own (Kong forwards
//! them).

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{HeaderName, HeaderValue, StatusCode};

use super::client::{CREDENTIALS, Client, FORWARDED};
use super::reply::Reply;
use super::setup::Setup;
use super::targets::{Indexes, Target};
use crate::azure::Token;
use crate::guard::{self, Named};
use crate::llm::azure::Names;
use crate::llm::{self, Prepared, usage};
use crate::pdk::Exchange;
use crate::plugin::{Outcome, Stop};
use crate::respond::{self, Failure};

/// Everything about one exchange; the exchange holds it until its log record is written.
pub(super) struct Session {
    /// The configuration.
    pub(super) setup: Rc<Setup>,
    /// What the client sent; unset when it was refused before it was read.
    pub(super) client: OnceCell<Client>,
    /// The reply, as far as it has been seen.
    pub(super) reply: RefCell<Reply>,
    pub(super) progress: RefCell<Progress>,
}

/// Where the attempts stand.
#[derive(Default)]
pub(super) struct Progress {
    asked: Option<Rc<Asked>>,
    /// Positions of the targets that were tried, in order.
    pub(super) tried: Indexes,
    pub(super) retries_left: u32,
    /// The next attempt goes to another target.
    pub(super) elsewhere: bool,
    /// The gateway's token that the request carries.
    pub(super) token: Option<Arc<Token>>,
    /// A refused token has been replaced once.
    pub(super) replayed: bool,
    /// The body can be sent a second time.
    pub(super) replayable: bool,
}

/// A request as it went to its target.
pub(super) struct Asked {
    /// Position of the target.
    pub(super) index: usize,
    /// The model; only `preserve` may do without.
    pub(super) model: Option<Arc<str>>,
    /// `X-Kong-LLM-Model`.
    pub(super) model_header: Option<HeaderValue>,
    /// Whether a stream was asked for.
    pub(super) stream: bool,
    /// Azure's names for the log record.
    pub(super) azure: Option<Arc<Names>>,
    /// The body, when payloads are logged.
    pub(super) payload: Option<Bytes>,
}

/// Why a request goes to no target.
pub(super) enum Refusal {
    /// The client's fault, in the words of Kong's AI plugins; or no token.
    Llm(llm::Error),
    /// A failure of the gateway.
    Gateway(Failure),
    /// A mistake of the operator: a 500 without its cause.
    Fault(anyhow::Error),
}

impl From<llm::Error> for Refusal {
    fn from(error: llm::Error) -> Self {
        Self::Llm(error)
    }
}

impl Refusal {
    /// Answers the client.
    pub(super) fn answer(self, ex: &Exchange) -> Outcome {
        match self {
            Self::Llm(error) => {
                let status = StatusCode::from_u16(error.status());
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let kind = "application/json; charset=utf-8";
                ex.response.exit(status, Some(kind), error.body(ex.id.as_str()).into())
            }
            Self::Gateway(failure) => {
                respond::fail(ex, failure);
                Err(Stop::Exit)
            }
            Self::Fault(fault) => {
                tracing::error!(request_id = %ex.id, fault = "gateway", "{fault:#}");
                Self::Llm(llm::Error::NoTarget).answer(ex)
            }
        }
    }
}

impl Session {
    /// Reads the request and prepares it for its first target.
    pub(super) async fn open(setup: &Rc<Setup>, ex: &Exchange) -> Outcome {
        let session = Rc::new(Self {
            setup: setup.clone(),
            client: OnceCell::new(),
            reply: RefCell::default(),
            progress: RefCell::default(),
        });
        // Before anything can be refused: refusals are logged too.
        ex.service.drive(session.clone());
        session.begin(ex).await.or_else(|refusal| refusal.answer(ex))
    }

    async fn begin(&self, ex: &Exchange) -> Result<(), Refusal> {
        if let Some(limits) = self.setup.limits {
            ex.service.limits.set(limits);
        }
        self.progress.borrow_mut().retries_left = ex.service.limits.get().retries;
        let client = Client::read(&self.setup, ex).await?;
        let client = self.client.get_or_init(|| client);
        self.enter(ex, client, self.setup.targets.pick(&client.candidates, &[]))
    }

    /// Prepares the request for a target, as if no other had been tried before.
    fn enter(&self, ex: &Exchange, client: &Client, index: Option<usize>) -> Result<(), Refusal> {
        let found = index.and_then(|index| Some((index, self.setup.targets.at(index)?)));
        let Some((index, target)) = found else {
            let fault = "every target rests after too many failures (balancer.max_fails)";
            return Err(Refusal::Fault(anyhow!(fault)));
        };
        if let Some(field) = target.unresolved {
            return Err(Refusal::Fault(anyhow!("{field}: the vault reference was not resolved")));
        }
        if self.asked().is_some() {
            client.restore(&self.setup, ex);
        }
        let prepared = client.prepare(ex, &target.plan)?;
        let payload = target.log_payloads.then(|| {
            let sent = prepared.body.as_ref().unwrap_or_else(|| client.body.bytes());
            target.plan.redacted_body(sent).unwrap_or_else(|| sent.clone())
        });
        address(ex, target, &prepared);
        sign(ex, target, &prepared);
        if let Some(body) = prepared.body {
            ex.request.set_body(body);
        } else if client.was_read {
            ex.request.set_body(client.body.bytes().clone());
        }
        let asked = Asked {
            index,
            model: prepared.model,
            model_header: prepared.model_header,
            stream: prepared.stream,
            azure: prepared.azure,
            payload,
        };
        let mut progress = self.progress.borrow_mut();
        progress.tried.push(index);
        progress.asked = Some(Rc::new(asked));
        progress.token = None;
        Ok(())
    }

    /// The request of the attempt that is under way, or was last.
    pub(super) fn asked(&self) -> Option<Rc<Asked>> {
        self.progress.borrow().asked.clone()
    }

    /// The target of that request.
    pub(super) fn target(&self) -> Option<&Target> {
        let index = self.progress.borrow().asked.as_ref()?.index;
        self.setup.targets.at(index)
    }

    /// Whether that request carried a token of the gateway.
    pub(super) fn has_sent_token(&self) -> bool {
        self.progress.borrow().token.is_some()
    }

    /// Kong's estimate of the tokens the client sent.
    pub(super) fn prompt_tokens(&self) -> u64 {
        let body = self.client.get().and_then(|client| client.body.object());
        let stream = self.asked().is_some_and(|asked| asked.stream);
        body.map_or(0, |body| usage::estimate_prompt(body, stream))
    }

    /// Positions of the targets that were tried, in order.
    pub(super) fn tried(&self) -> Indexes {
        self.progress.borrow().tried.clone()
    }

    /// Sets out for the next target, if the failure asked for one.
    pub(super) fn move_on(&self, ex: &Exchange) -> Result<(), Refusal> {
        let (elsewhere, tried) = {
            let mut progress = self.progress.borrow_mut();
            (std::mem::take(&mut progress.elsewhere), progress.tried.clone())
        };
        let Some(client) = self.client.get().filter(|_| elsewhere) else { return Ok(()) };
        let next = self.setup.targets.pick(&client.candidates, &tried);
        if next.is_some() && next == self.asked().map(|asked| asked.index) {
            return Ok(()); // the only one there is: the request is ready
        }
        self.enter(ex, client, next)
    }
}

/// Says where the request goes.
fn address(ex: &Exchange, target: &Target, prepared: &Prepared) {
    let endpoint = &prepared.endpoint;
    let call = &ex.service;
    call.set_scheme(endpoint.protocol);
    let (host, header) = match &target.host {
        Some((host, header)) => (host.clone(), Some(header.clone())),
        None => (Rc::from(&*endpoint.host), HeaderValue::from_str(&endpoint.host).ok()),
    };
    let named = if target.plan.is_host_theirs() { Named::Client } else { Named::Operator };
    call.set_target(host, endpoint.port, named);
    call.set_host_header(header);
    call.set_path(prepared.target.path());
    call.set_query(prepared.target.query().map(str::to_owned));
}

/// Puts the key on the request and takes off what the client signs in with elsewhere, and what
/// it says of metadata and of its way here.
fn sign(ex: &Exchange, target: &Target, prepared: &Prepared) {
    let is_kept =
        |name: &HeaderName| target.allow_override && target.plan.key_header() == Some(name);
    for name in guard::HEADERS.iter().filter(|name| !is_kept(name)) {
        ex.request.clear_header(name);
    }
    if !ex.request.connection.trusted {
        FORWARDED.iter().for_each(|name| ex.request.clear_header(name));
    }
    if target.authenticates() && !target.allow_override {
        for name in &CREDENTIALS {
            ex.request.clear_header(name);
        }
    }
    if let Some((name, value)) = &prepared.credential {
        ex.request.set_header(name, value.clone());
    }
    let encodings = HeaderValue::from_static(llm::ACCEPT_ENCODING);
    ex.request.set_header(ACCEPT_ENCODING, encodings);
}
