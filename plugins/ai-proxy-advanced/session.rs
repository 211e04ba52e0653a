//! One exchange with a model: what the client wants, which target gets it, and what then happened.
//!
//! A session is made in `access`: it prepares the request for a target. It drives the `attempts`,
//! too. The client's own credentials go nowhere when the gateway has one of its own (Kong forwards
//! them).

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, RETRY_AFTER};
use http::{HeaderName, HeaderValue};

use super::balance::{Ask, Hint, Idle, Reserved, Spent};
use super::client::{CREDENTIALS, Client, FORWARDED};
use super::messages;
use super::realtime;
use super::reply::Reply;
use super::setup::Setup;
use super::targets::{Indexes, Target};
use super::trail::{ATTEMPTS, SPILLED, Trail};
use crate::azure::Token;
use crate::guard::{self, Named};
use crate::llm::azure::Names;
use crate::llm::{self, Prepared, RouteType, Wire, usage};
use crate::pdk::{Exchange, ModelCall, ModelWatch, Parameters};
use crate::plugin::{Outcome, Stop};
use crate::plugins::prompts;
use crate::respond::{self, Failure};

/// Everything about one exchange; the exchange holds it until its log record is written.
pub(super) struct Session {
    /// The configuration.
    pub(super) setup: Rc<Setup>,
    /// What the client sent; unset when it was refused before it was read.
    pub(super) client: OnceCell<Box<Client>>,
    /// What decides on its targets; unset until it is read.
    hint: OnceCell<Hint>,
    /// The reply, as far as it has been seen.
    pub(super) reply: RefCell<Reply>,
    pub(super) progress: RefCell<Progress>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let open = self.progress.get_mut().open.take();
        if let Some(target) = open.and_then(|index| self.setup.targets.at(index)) {
            target.standing.open.leave();
        }
    }
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
    /// The target that is asked once more, without `stream_options` of the gateway's.
    pub(super) unasked: Option<usize>,
    /// The body can be sent a second time.
    pub(super) replayable: bool,
    /// What the attempts have come to.
    pub(super) trail: Trail,
    /// The target that counts this request as under way.
    open: Option<usize>,
    /// The target that this request should have gone to, and what it was expected to come to
    /// elsewhere.
    spilled: Option<(usize, Reserved)>,
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
    /// Whether the event with its tokens is the gateway's alone.
    pub(super) hides_usage: bool,
    /// Whether it takes no tokens: it asks how long a message is, or is about a batch.
    pub(super) is_free: bool,
    /// Whether a 200 must be a reply of the route type.
    pub(super) is_checked: bool,
    /// Azure's names for the log record.
    pub(super) azure: Option<Arc<Names>>,
    /// What it asked beside words; only where traces want to know.
    pub(super) parameters: Parameters,
    /// The body, when payloads are logged.
    pub(super) payload: Option<Bytes>,
}

/// Why a request goes to no target.
pub(super) enum Refusal {
    /// The client's fault, in the words of Kong's AI plugins; or no token.
    Llm(llm::Error),
    /// A failure of the gateway.
    Gateway(Failure),
    /// Every target has asked for patience; the first takes requests after this time.
    Cooling(Duration),
    /// A mistake of the operator: a 500 without its cause.
    Fault(anyhow::Error),
    /// None at all: the client asked how many tokens its request has.
    Counted(u64),
}

impl From<llm::Error> for Refusal {
    fn from(error: llm::Error) -> Self {
        Self::Llm(error)
    }
}

impl From<Idle> for Refusal {
    fn from(idle: Idle) -> Self {
        match idle {
            Idle::Cooling(wait) => Self::Cooling(wait),
            Idle::Resting => Self::Fault(anyhow!(
                "every target rests after too many failures (balancer.max_fails)"
            )),
            Idle::Tried => Self::Fault(anyhow!("every target has been tried")),
            Idle::Far => Self::Fault(anyhow!(
                "the prompt fits no target; raise vectordb.threshold, or give a target the \
                 description CATCHALL"
            )),
        }
    }
}

impl Refusal {
    /// Answers the client, in Anthropic's shape where it speaks Anthropic's API.
    pub(super) fn answer(self, ex: &Exchange, messages: bool) -> Outcome {
        match self {
            Self::Llm(error) if messages => messages::refuse(ex, &error),
            Self::Llm(error) => prompts::answer(ex, &error),
            Self::Counted(tokens) => messages::counted(ex, tokens),
            Self::Gateway(failure) => {
                respond::fail(ex, failure);
                Err(Stop::Exit)
            }
            Self::Cooling(wait) => {
                let millis = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
                let seconds = millis.div_ceil(1000);
                ex.response.set_header(RETRY_AFTER, HeaderValue::from(seconds));
                ex.response.set_header("retry-after-ms", HeaderValue::from(millis));
                Self::Llm(llm::Error::Cooling { seconds }).answer(ex, messages)
            }
            Self::Fault(fault) => {
                tracing::error!(request_id = %ex.id, fault = "gateway", "{fault:#}");
                Self::Llm(llm::Error::NoTarget).answer(ex, messages)
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
            hint: OnceCell::new(),
            reply: RefCell::default(),
            progress: RefCell::default(),
        });
        // Before anything can be refused: refusals are logged too.
        ex.service.drive(session.clone());
        session.begin(ex).await.or_else(|refusal| refusal.answer(ex, setup.messages))
    }

    async fn begin(&self, ex: &Exchange) -> Result<(), Refusal> {
        if let Some(limits) = self.setup.limits {
            ex.service.limits.set(limits);
        }
        self.progress.borrow_mut().retries_left = ex.service.limits.get().retries;
        let client = Client::read(&self.setup, ex).await?;
        let client = self.client.get_or_init(|| client);
        if client.asks_for_count && !self.can_ask_for_count(client) {
            return Err(messages::count(client));
        }
        let hint = self.setup.targets.hint(ex, &client.candidates, client.words().object());
        let hint = hint.await?;
        self.hint.get_or_init(|| hint);
        let first = self.with_ask(ex, client, |ask| self.setup.targets.pick(ask));
        self.enter(ex, client, first?)
    }

    /// Whether a target can say how long a message is.
    fn can_ask_for_count(&self, client: &Client) -> bool {
        let first = client.candidates.first().and_then(|index| self.setup.targets.at(*index));
        first.is_some_and(|target| target.plan.wire() == Wire::Messages)
    }

    /// Asks the balancer something.
    pub(super) fn with_ask<T>(
        &self,
        ex: &Exchange,
        client: &Client,
        question: impl FnOnce(&Ask<'_>) -> T,
    ) -> T {
        let hint = self.hint.get_or_init(Hint::default);
        let tried = &self.progress.borrow().tried;
        question(&Ask { ex, candidates: &client.candidates, tried, hint })
    }

    /// Prepares the request for a target, as if no other had been tried before.
    fn enter(&self, ex: &Exchange, client: &Client, index: usize) -> Result<(), Refusal> {
        let Some(target) = self.setup.targets.at(index) else {
            return Err(Refusal::Fault(anyhow!("there is no target {index}")));
        };
        if let Some(field) = target.unresolved {
            return Err(Refusal::Fault(anyhow!("{field}: the vault reference was not resolved")));
        }
        if self.asked().is_some() {
            client.restore(&self.setup, ex);
        }
        let counts = self.counts(ex, target) && self.progress.borrow().unasked != Some(index);
        let prepared = client.prepare(ex, &target.plan, counts)?;
        // Of forms most is sound or pictures, which say nothing in a log.
        let body = client.body_for(&target.plan);
        let sent = prepared.body.as_ref().unwrap_or_else(|| body.bytes());
        let parameters = match ModelCall::is_wanted(ex) && body.form().is_none() {
            true => llm::parameters::of(sent),
            false => Parameters::new(),
        };
        let payload = (target.log_payloads && body.form().is_none())
            .then(|| target.plan.redacted_body(sent).unwrap_or_else(|| sent.clone()));
        if target.plan.route_type() == RouteType::Realtime && counts {
            realtime::ask_plainly(ex);
        }
        address(ex, target, &prepared);
        sign(ex, target, &prepared);
        messages::name_version(ex, target);
        if let Some(body) = prepared.body {
            ex.request.set_body(body);
        } else if client.was_read {
            ex.request.set_body(body.bytes().clone());
        }
        let asked = Asked {
            index,
            model: prepared.model,
            model_header: prepared.model_header,
            stream: prepared.stream,
            hides_usage: prepared.hides_usage,
            is_free: prepared.is_free,
            is_checked: prepared.is_checked,
            azure: prepared.azure,
            parameters,
            payload,
        };
        let spilled = self.with_ask(ex, client, |ask| self.setup.targets.spilled_from(ask, index));
        {
            let mut progress = self.progress.borrow_mut();
            progress.tried.push(index);
            progress.asked = Some(Rc::new(asked));
            progress.token = None;
            target.standing.open.enter();
            let left = progress.open.replace(index).and_then(|left| self.setup.targets.at(left));
            left.inspect(|left| left.standing.open.leave());
        }
        self.settle(None);
        if let Some(from) = spilled {
            let reserved = self.reserve(target);
            self.progress.borrow_mut().spilled = Some((from, reserved));
        }
        Ok(())
    }

    /// Whether somebody wants to know the tokens of a stream: the log and Kong's metrics, a plugin
    /// that limits or traces them, the balancer, or a client whose API always tells them.
    pub(super) fn counts(&self, ex: &Exchange, target: &Target) -> bool {
        if target.standing.refuses_tokens() {
            return false;
        }
        target.log_statistics
            || self.setup.messages
            || self.setup.targets.counts_tokens()
            || ex.own.find::<ModelWatch>().is_some()
            || ModelCall::is_wanted(ex)
    }

    /// Counts a request that is sent to a lower group as far as its size is known.
    fn reserve(&self, target: &Target) -> Reserved {
        let Some(spill) = self.setup.targets.capped_spill() else { return Reserved::default() };
        let prompt = usage::Usage::estimate(self.prompt_tokens(), 0);
        spill.reserve(prompt.total_tokens, target.prices.cost(&prompt, None))
    }

    /// A request that was sent to a lower group has come to this; says which target it should
    /// have gone to.
    pub(super) fn settle(&self, spent: Option<&Spent>) -> Option<usize> {
        let (from, reserved) = self.progress.borrow_mut().spilled.take()?;
        if let Some(spill) = self.setup.targets.capped_spill() {
            spill.settle(reserved, spent);
        }
        Some(from)
    }

    /// Tells the client of more than one attempt, and of another target than the first choice.
    /// `ai-proxy` has one target, and its answers are Kong's.
    pub(super) fn tell(&self, ex: &Exchange) {
        if !self.setup.is_advanced {
            return;
        }
        let progress = self.progress.borrow();
        let (targets, names) = (&self.setup.targets, self.setup.model_name_header);
        if let Some(text) = progress.trail.header(targets, names) {
            ex.response.set_header(ATTEMPTS, text);
        }
        let from = progress.spilled.as_ref().and_then(|(from, _)| targets.at(*from));
        if let Some(from) = from {
            let name = if names { &from.label } else { "yes" };
            if let Ok(name) = HeaderValue::from_str(name) {
                ex.response.set_header(SPILLED, name);
            }
        }
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
        let body = self.client.get().and_then(|client| client.words().object());
        let stream = self.asked().is_some_and(|asked| asked.stream);
        body.map_or(0, |body| usage::estimate_prompt(body, stream))
    }

    /// Sets out for the next target, if the failure asked for one.
    pub(super) fn move_on(&self, ex: &Exchange) -> Result<(), Refusal> {
        let (elsewhere, unasked) = {
            let mut progress = self.progress.borrow_mut();
            (std::mem::take(&mut progress.elsewhere), progress.unasked)
        };
        if let (Some(index), Some(client), false) = (unasked, self.client.get(), elsewhere)
            && self.asked().is_some_and(|asked| asked.index == index && asked.hides_usage)
        {
            return self.enter(ex, client, index);
        }
        let Some(client) = self.client.get().filter(|_| elsewhere) else { return Ok(()) };
        let next = self.with_ask(ex, client, |ask| self.setup.targets.pick(ask));
        let next = next.inspect_err(|_| {
            self.settle(None); // nothing was sent elsewhere in the end
        })?;
        if self.asked().is_some_and(|asked| asked.index == next) {
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
    if target.plan.route_type() == RouteType::Realtime && target.authenticates() {
        realtime::sign_off(ex);
    }
}
