//! The exchanges of `silverback identity`: a token for each identity, a question to each target.
//!
//! Tokens come from the gateway's own [`crate::azure::Tokens`], questions go over its own upstream
//! connections, names and trust store: what works here works there.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture, Shared, join_all};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::progress::Progress;
use super::survey::{Survey, Where, Who};
use crate::azure::{self, Failure, SignedIn, Token, Verdict};
use crate::dns::{Names, Unresolved};
use crate::entity::Secret;
use crate::llm::{Question, anthropic};
use crate::pdk::ReadError;
use crate::pdk::body::Buffered;
use crate::pdk::service::Limits;
use crate::plugins::Credential;
use crate::shared::Shared as Process;
use crate::tls::Policies;
use crate::upstream::{
    Keepalive, Key, Outgoing, Pool, ReplyBody, SendError, Tls, Unread, tls_name,
};

/// Exchanges at a time; a hundred targets shall not look like an attack.
const AT_ONCE: usize = 8;
/// A refusal has a few hundred bytes; pages of portals have more, and nobody reads them.
const ANSWER_MAX: usize = 64 * 1024;

/// What came of everything, in the order of the survey.
pub(super) struct Results {
    /// One for each identity; `None` when nobody was called.
    pub(super) tokens: Vec<Option<Rc<Exchanged>>>,
    /// One for each target.
    pub(super) answers: Vec<Answer>,
}

/// The outcome of one token exchange.
pub(super) struct Exchanged {
    /// From the first call to the end.
    pub(super) elapsed: Duration,
    /// The token, or why there is none.
    pub(super) outcome: Result<Arc<Token>, Arc<Failure>>,
}

/// How a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// It would serve.
    Ok,
    /// It cannot be asked, or was not to be.
    Skipped,
    /// It would not serve.
    Failed,
}

/// What came of one target.
pub(super) struct Answer {
    /// Well or not.
    pub(super) state: State,
    /// The status of its answer.
    pub(super) status: Option<u16>,
    /// How long that took.
    pub(super) elapsed: Option<Duration>,
    /// What is the case.
    pub(super) meaning: String,
    /// What to do.
    pub(super) remedy: String,
    /// The endpoint's or the system's own words.
    pub(super) said: String,
    /// Azure's name for the request, which its support asks for.
    pub(super) request_id: Option<String>,
}

impl Answer {
    fn new(verdict: Verdict, elapsed: Option<Duration>, said: String) -> Self {
        let state = if verdict.is_well { State::Ok } else { State::Failed };
        let Verdict { meaning, remedy, .. } = verdict;
        Self { state, status: None, elapsed, meaning, remedy, said, request_id: None }
    }

    fn skipped(reason: String) -> Self {
        Self { state: State::Skipped, ..Self::new(Verdict::well(reason), None, String::new()) }
    }
}

/// What is known without a call; all of it when `offline`.
fn without_call(at: &Where, offline: bool) -> Option<Answer> {
    if let Credential::Unresolved(field) = at.target.credential {
        let meaning = format!("the vault reference in {field} could not be resolved");
        let remedy =
            "set what it names, or correct it: a warning says more; until then requests get 500";
        return Some(Answer::new(Verdict::bad(meaning, remedy), None, String::new()));
    }
    match &at.target.question {
        _ if offline => Some(Answer::skipped("not asked (--offline)".to_owned())),
        Err(reason) => Some(Answer::skipped(reason.to_string())),
        Ok(_) => None,
    }
}

/// How many steps [`ask`] has.
pub(super) fn steps(survey: &Survey) -> usize {
    let asked = survey.targets.iter().filter(|at| without_call(at, false).is_none());
    survey.identities.len() + asked.count()
}

/// Calls nobody.
pub(super) fn offline(survey: &Survey) -> Results {
    let answer = |at| without_call(at, true).unwrap_or_else(|| Answer::skipped(String::new()));
    Results {
        tokens: survey.identities.iter().map(|_| None).collect(),
        answers: survey.targets.iter().map(answer).collect(),
    }
}

/// Tries everything at once, each exchange for at most `patience`. To be run in a `LocalSet`.
pub(super) async fn ask(
    process: &Process,
    survey: &Survey,
    policies: &Policies,
    patience: Duration,
    progress: &Progress,
) -> Results {
    let keepalive = Keepalive { pool_size: 0, idle: Duration::ZERO, max_requests: 1 };
    let way = Way {
        pool: Pool::new(keepalive),
        names: Names::new(process.dns.clone()),
        process,
        survey,
        policies,
        turns: Semaphore::new(AT_ONCE),
        patience,
        progress,
    };
    let exchanges: Vec<_> =
        survey.identities.iter().map(|who| exchange(&way, who).boxed_local().shared()).collect();
    let answers = survey.targets.iter().map(|at| target(&way, at, &exchanges));
    let tokens = join_all(exchanges.iter().cloned());
    let (tokens, answers) = tokio::join!(tokens, join_all(answers));
    Results { tokens: tokens.into_iter().map(Some).collect(), answers }
}

/// What an exchange needs.
struct Way<'a> {
    pool: Rc<Pool>,
    names: Names,
    process: &'a Process,
    survey: &'a Survey,
    policies: &'a Policies,
    turns: Semaphore,
    patience: Duration,
    progress: &'a Progress,
}

type Exchanging<'a> = Shared<LocalBoxFuture<'a, Rc<Exchanged>>>;

async fn exchange(way: &Way<'_>, who: &Who) -> Rc<Exchanged> {
    let _turn = way.turns.acquire().await; // never closed
    let step = format!("token of {}: {}", who.identity.kind(), who.identity.subject());
    let step = way.progress.begin(step);
    let start = Instant::now();
    let outcome = who.handle.wait(start + way.patience).await;
    step.end(if outcome.is_ok() { "ok" } else { "failed" });
    Rc::new(Exchanged { elapsed: start.elapsed(), outcome })
}

async fn target(way: &Way<'_>, at: &Where, exchanges: &[Exchanging<'_>]) -> Answer {
    if let Some(answer) = without_call(at, false) {
        return answer;
    }
    let Ok(question) = &at.target.question else { return Answer::skipped(String::new()) };
    let name = format!("question to {} at {}", at.name(), question.endpoint.host);
    let mut token = None;
    if let Some(who) = at.who {
        let exchanged = exchanges[who].clone().await;
        match &exchanged.outcome {
            Ok(granted) => token = Some(granted.clone()),
            Err(failure) => {
                way.progress.begin(name).end("not asked, for want of a token");
                let meaning = &failure.cause.meaning;
                let meaning = format!("not asked: identity {} has no token ({meaning})", who + 1);
                let remedy = format!("mend identity {} first", who + 1);
                return Answer::new(Verdict::bad(meaning, remedy), None, String::new());
            }
        }
    }
    let signed_in = match (at.who, &at.target.credential) {
        (Some(who), _) => SignedIn::As(&way.survey.identities[who].identity),
        (None, Credential::Key { field, .. }) => SignedIn::WithKey(field),
        (None, _) => SignedIn::Not,
    };
    let _turn = way.turns.acquire().await;
    let step = way.progress.begin(name);
    let start = Instant::now();
    let answer = match put(way, at, question, token.as_deref()).await {
        Ok(reply) => judge(question, signed_in, token.as_deref(), &reply, start.elapsed()),
        Err(silence) => silence.answer(way.patience, start.elapsed()),
    };
    step.end(if answer.state == State::Ok { "ok" } else { "failed" });
    answer
}

/// An answer, read to its end.
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Buffered,
}

fn judge(
    question: &Question,
    signed_in: SignedIn<'_>,
    token: Option<&Token>,
    reply: &Reply,
    elapsed: Duration,
) -> Answer {
    // An endpoint that is not Azure might say back what it was sent.
    let token = token.and_then(|token| token.authorization().to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let secrets: Vec<_> = question.secrets.iter().map(Secret::expose).chain(token).collect();
    let words = azure::words(&reply.body.bytes, &secrets);
    let said = words.clone().unwrap_or_default();
    let mut verdict = Verdict::on_question(reply.status, &said, signed_in);
    let header = |name: &str| reply.headers.get(name)?.to_str().ok();
    let is_page = header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
    if is_page && words.is_none() {
        verdict = Verdict::bad(
            "what answers is a web page, not a model endpoint",
            "see whether a proxy or a portal answers for this host",
        );
    }
    // Others than Azure quote parts of the key.
    let is_quotable = question.is_azure || !matches!(signed_in, SignedIn::WithKey(_));
    let said = if is_quotable { said } else { String::new() };
    let mut answer = Answer::new(verdict, Some(elapsed), said);
    answer.status = Some(reply.status);
    let id = header("apim-request-id").filter(|id| id.len() <= 64);
    answer.request_id = id.map(str::to_owned);
    answer
}

/// Why there is no answer.
enum Silence {
    Name(Unresolved),
    Send(SendError),
    Broken(String),
    Late,
}

async fn put(
    way: &Way<'_>,
    at: &Where,
    question: &Question,
    token: Option<&Token>,
) -> Result<Reply, Silence> {
    let deadline = Instant::now() + way.patience;
    let late = |_| Silence::Late;
    let endpoint = &question.endpoint;
    let limits = limits(&at.limits, way.patience);
    let tls = endpoint.protocol.is_tls().then(|| Tls {
        name: tls_name(&endpoint.host.as_ref().into()),
        policy: way.policies.of(at.service, false).clone(),
    });
    let mut tried = Vec::new();
    let mut silence = Silence::Late;
    // As a request would: another address when one cannot be connected to.
    for _ in 0..3 {
        let address = way.names.address(&endpoint.host, endpoint.port);
        let address = timeout_at(deadline, address).await.map_err(late)?.map_err(Silence::Name)?;
        if tried.contains(&address) {
            break;
        }
        tried.push(address);
        let key = Key { address, tls: tls.clone(), http2: false, tunnel: None };
        let Some(request) = request(question, token) else { return Err(silence) };
        let sent = way.pool.send(&key, &limits, request);
        match timeout_at(deadline, sent).await.map_err(late)? {
            Ok(response) => {
                return timeout_at(deadline, read(way, response)).await.map_err(late)?;
            }
            Err(error) if error.is_unsent() => silence = Silence::Send(error),
            Err(error) => return Err(Silence::Send(error)),
        }
    }
    Err(silence)
}

/// The target's own timeouts, as far as there is patience; half of it for a connection, so that
/// what does not connect is told from what does not answer.
fn limits(own: &Limits, patience: Duration) -> Limits {
    let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    Limits { connect_ms: own.connect_ms.min(ms / 2), read_ms: own.read_ms.min(ms), ..*own }
}

fn request(question: &Question, token: Option<&Token>) -> Option<Request<Outgoing>> {
    let body = Buffered::from(question.body.clone());
    let mut request = Request::new(Outgoing::whole(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(question.target.clone());
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&question.endpoint.host).ok()?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(question.body.len()));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some((name, value)) = &question.header {
        headers.insert(name, value.clone());
    }
    if let Some(version) = &question.version {
        headers.insert(anthropic::VERSION, version.clone());
    }
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, token.authorization().clone());
    }
    Some(request)
}

async fn read(way: &Way<'_>, response: Response<ReplyBody>) -> Result<Reply, Silence> {
    let (head, body) = response.into_parts();
    let body = body.read_whole(ANSWER_MAX, &way.process.budget).await;
    // The status alone says much; a page that is too long is none of ours.
    let body = body.or_else(|error| match error {
        Unread::TooMuch(ReadError::TooLarge { .. }) => Ok(Buffered::default()),
        other => Err(Silence::Broken(other.to_string())),
    })?;
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

impl Silence {
    fn answer(self, patience: Duration, elapsed: Duration) -> Answer {
        let secs = patience.as_secs();
        let said = match &self {
            Self::Name(error) => error.to_string(),
            Self::Send(error) => error.to_string(),
            Self::Broken(error) => error.clone(),
            Self::Late => format!("nothing within {secs} s (--timeout)"),
        };
        Answer::new(self.verdict(), Some(elapsed), azure::clean(&said, &[]))
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Name(_) => Verdict::bad(
                "the host name does not resolve",
                "correct model.options.azure_instance or upstream_url; behind a private endpoint, \
                 link the private DNS zone to this network",
            ),
            Self::Send(SendError::Tls(_, _, error)) => tls_verdict(error),
            Self::Send(SendError::Connect(..) | SendError::ConnectTimeout(..)) => Verdict::bad(
                "the endpoint cannot be connected to",
                "check firewall and private endpoint; the gateway uses no proxy for models",
            ),
            Self::Send(SendError::Broken(..)) | Self::Broken(_) => Verdict::bad(
                "the endpoint broke off before it had answered",
                "see what is between here and there, and that http or https is right",
            ),
            Self::Send(_) | Self::Late => {
                Verdict::bad("the endpoint does not answer in time", "try a longer --timeout")
            }
        }
    }
}

fn tls_verdict(error: &std::io::Error) -> Verdict {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Verdict::bad(
            "the endpoint's certificate is not accepted",
            "name the CA of a TLS-inspecting proxy in lua_ssl_trusted_certificate, or correct the \
             host in upstream_url",
        ),
        _ => Verdict::bad(
            "the endpoint speaks no TLS that is understood here",
            "see what is at this address, and whether it is http://",
        ),
    }
}
