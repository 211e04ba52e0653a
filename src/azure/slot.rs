//! The place of one token: who renews it, what is remembered of failures.
//!
//! An exchange runs as a task on the control runtime. Requests only watch for its end, so none
//! that is cancelled can take it along, and however it ends (a panic and a shutdown included)
//! its [`Landing`] tells those who wait.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::exchange::Grant;
use super::failure::{Cause, Class, Failure};
use super::files::Stamp;
use super::identity::Identity;
use super::token::Token;

/// How a token is had: the exchange of an identity, retries included.
pub(super) type Exchange = Arc<dyn Fn(Arc<Identity>) -> Exchanging + Send + Sync>;

/// An exchange under way.
pub(crate) type Exchanging = Pin<Box<dyn Future<Output = Result<Grant, Arc<Failure>>> + Send>>;

pub(super) struct Slot {
    control: Handle,
    exchange: Exchange,
    identity: Mutex<Arc<Identity>>,
    state: watch::Sender<State>,
    flight: Mutex<Flight>,
    /// When which kind of failure was last told, by its label.
    told: Mutex<BTreeMap<String, Instant>>,
}

/// What readers see. It changes when an exchange ends or a token is dropped.
#[derive(Default)]
pub(super) struct State {
    token: Option<Arc<Token>>,
    /// The token was had with an earlier proof; it serves until this one works.
    is_inherited: bool,
    succeeded_at: Option<Instant>,
    failure: Option<Remembered>,
    /// Failures since the last success.
    streak: u32,
    exchanges: u64,
    failures: BTreeMap<String, u64>,
}

/// A failure that answers in place of further calls for a while.
struct Remembered {
    failure: Arc<Failure>,
    until: Instant,
}

/// Whether an exchange is under way, and when the next one may be.
#[derive(Default)]
struct Flight {
    is_up: bool,
    started_at: Option<Instant>,
    dropped_at: Option<Instant>,
    /// How the identity's files looked just before they were last read.
    files: Option<Stamp>,
}

/// How one identity's token stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whose token it is.
    pub identity: Arc<Identity>,
    /// Seconds until the token ends; `None` when there is none.
    pub expires_in_secs: Option<u64>,
    /// Seconds until it is renewed; `None` when there is none.
    pub refresh_in_secs: Option<u64>,
    /// Whether the token was had with an earlier proof, and the present one has not worked yet.
    pub is_inherited: bool,
    /// Seconds since the last exchange that succeeded.
    pub succeeded_secs_ago: Option<u64>,
    /// Exchanges that have ended, well or not, since the identity was first used.
    pub exchanges: u64,
    /// Those that failed, by `AADSTS` code, HTTP status or class.
    pub failures: BTreeMap<String, u64>,
    /// Why there is no newer token; `None` after a success.
    pub last_failure: Option<Arc<Failure>>,
}

/// The least time between two background refreshes, between two drops of a refused token, and
/// between two tellings of a failure.
pub(super) const QUIET: Duration = Duration::from_secs(30);

/// More than any source's retries need; an endpoint that trickles its answer ends here.
const FLIGHT_MAX: Duration = Duration::from_secs(150);

/// Distinct failure labels that are counted; the numbers in them come from outside.
const LABELS_MAX: usize = 32;

impl Slot {
    pub(super) fn new(control: Handle, exchange: Exchange, identity: Identity) -> Arc<Self> {
        Arc::new(Self {
            control,
            exchange,
            identity: Mutex::new(Arc::new(identity)),
            state: watch::Sender::default(),
            flight: Mutex::default(),
            told: Mutex::default(),
        })
    }

    pub(super) fn identity(&self) -> Arc<Identity> {
        lock(&self.identity).clone()
    }

    /// Takes over a newer description of the same identity.
    pub(super) fn rename(&self, identity: Identity) {
        *lock(&self.identity) = Arc::new(identity);
    }

    pub(super) fn news(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The token, if it lives.
    pub(super) fn living(&self) -> Option<Arc<Token>> {
        self.state.borrow().token.clone().filter(|token| token.is_alive())
    }

    /// Lets a token serve that was had with an earlier proof, until this one has worked.
    pub(super) fn inherit(&self, token: &Token) {
        self.state.send_if_modified(|state| {
            let is_better = state.token().is_none_or(|own| token.outlives(own));
            let takes = state.succeeded_at.is_none() && is_better;
            if takes {
                state.token = Some(Arc::new(token.bequeathed()));
                state.is_inherited = true;
            }
            takes
        });
    }

    /// A request has a token that grows old: starts an exchange, if the last one is long enough
    /// ago. Tokens of a few seconds would end before 30 s are over.
    pub(super) fn refresh(self: &Arc<Self>) {
        let (life, wish) = {
            let state = self.state.borrow();
            let wish = state.failure.as_ref().and_then(|last| last.failure.cause.retry_after);
            (state.token().map_or(QUIET, Token::life), wish.unwrap_or_default())
        };
        self.refresh_after((life / 10).max(wish).clamp(Duration::from_secs(1), QUIET));
    }

    /// The same without a request, and then never more than one exchange in 30 s.
    pub(super) fn renew_in_time(self: &Arc<Self>) {
        if self.living().is_some_and(|token| token.is_old()) {
            self.refresh_after(QUIET);
        }
    }

    fn refresh_after(self: &Arc<Self>, quiet: Duration) {
        let now = Instant::now();
        self.take_off(|flight| flight.started_at.is_none_or(|at| now >= at + quiet));
    }

    /// Starts an exchange if there is no token of its own and no fresh failure.
    pub(super) fn fetch(self: &Arc<Self>) {
        self.take_off(|_| self.state.borrow().lacks_token());
    }

    /// Starts an exchange when a file of the identity has changed, if that can help: after a
    /// failure, which is then remembered no longer, and whenever a certificate is replaced. A
    /// federated token is rewritten all the time, and read when it is needed.
    pub(super) async fn follow_files(self: &Arc<Self>) {
        let identity = self.identity();
        let paths = identity.files();
        if paths.is_empty() {
            return;
        }
        let stamp = Stamp::of(&paths).await;
        {
            let mut flight = lock(&self.flight);
            let is_news = flight.files.as_ref().is_some_and(|seen| *seen != stamp);
            if flight.is_up || !is_news || !stamp.is_complete() {
                return;
            }
            flight.files = Some(stamp);
        }
        let helps = identity.is_rotated_by_file() || self.state.borrow().is_in_trouble();
        if helps {
            tracing::info!("a new exchange, since a file has changed, for {identity}");
            self.state.send_modify(State::forget_failure);
            self.take_off(|_| true);
        }
    }

    pub(super) async fn wait(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Arc<Token>, Arc<Failure>> {
        let start = Instant::now();
        let mut news = self.state.subscribe();
        let before = news.borrow().exchanges;
        let settled = async {
            loop {
                let settled = news.borrow_and_update().settled(before);
                if let Some(outcome) = settled {
                    return outcome;
                }
                self.fetch();
                if news.changed().await.is_err() {
                    return Err(self.aborted(start)); // cannot be: `self` is the sender
                }
            }
        };
        timeout_at(deadline, settled).await.unwrap_or_else(|_| Err(self.too_late(start)))
    }

    pub(super) fn invalidate(&self, used: &Token) -> bool {
        let now = Instant::now();
        let mut flight = lock(&self.flight);
        let mut is_replaceable = true;
        self.state.send_if_modified(|state| {
            let is_current = state.token().is_some_and(|token| token.is_same(used));
            if !is_current {
                return false;
            }
            is_replaceable = flight.dropped_at.is_none_or(|at| now >= at + QUIET);
            if is_replaceable {
                flight.dropped_at = Some(now);
                state.token = None;
                state.is_inherited = false;
            }
            is_replaceable
        });
        is_replaceable
    }

    /// Whether this kind of failure was not told within 30 s; counts as telling it.
    pub(super) fn is_news(&self, label: &str) -> bool {
        let now = Instant::now();
        let mut told = lock(&self.told);
        told.retain(|_, at| now < *at + QUIET);
        let is_news = !told.contains_key(label) && told.len() < LABELS_MAX;
        if is_news {
            told.insert(label.to_owned(), now);
        }
        is_news
    }

    pub(super) fn status(&self) -> Status {
        let state = self.state.borrow();
        let living = state.token().filter(|token| token.is_alive());
        Status {
            identity: self.identity(),
            expires_in_secs: living.map(|token| token.left().as_secs()),
            refresh_in_secs: living.map(|token| token.fresh_for().as_secs()),
            is_inherited: state.is_inherited && living.is_some(),
            succeeded_secs_ago: state.succeeded_at.map(|at| at.elapsed().as_secs()),
            exchanges: state.exchanges,
            failures: state.failures.clone(),
            last_failure: state.failure.as_ref().map(|last| last.failure.clone()),
        }
    }

    /// Starts an exchange unless one is under way or `is_due` says no; the check and the start
    /// are one step, so that a thousand callers start one.
    fn take_off(self: &Arc<Self>, is_due: impl Fn(&Flight) -> bool) {
        {
            let mut flight = lock(&self.flight);
            if flight.is_up || !is_due(&flight) {
                return;
            }
            flight.is_up = true;
            flight.started_at = Some(Instant::now());
        }
        let landing = Landing { slot: self.clone(), start: Instant::now(), outcome: None };
        self.control.spawn(landing.fly());
    }

    /// Ends an exchange. State and flight change as one, so that nobody who finds no token waits
    /// for a flight that is over.
    fn land(&self, outcome: Result<Token, Arc<Failure>>) {
        match &outcome {
            Ok(token) => self.log_success(token),
            Err(failure) => failure.log(self.living().map(|token| token.left())),
        }
        let mut flight = lock(&self.flight);
        flight.is_up = false;
        self.state.send_modify(|state| match outcome {
            Ok(token) => state.succeed(token),
            Err(failure) => state.fail(failure),
        });
    }

    fn log_success(&self, token: &Token) {
        let (identity, secs) = (self.identity(), token.left().as_secs());
        let (is_first, is_inherited, streak) = {
            let state = self.state.borrow();
            (state.exchanges == 0, state.is_inherited, state.streak)
        };
        if is_inherited {
            tracing::info!("Azure token with the new proof, valid for {secs} s, for {identity}");
        } else if is_first {
            tracing::info!("Azure token for {identity}, valid for {secs} s");
        } else if streak > 0 {
            tracing::info!("Azure token again, after {streak} failed exchanges, for {identity}");
        } else {
            tracing::debug!("Azure token renewed, valid for {secs} s, for {identity}");
        }
    }

    fn failure(&self, cause: Cause, start: Instant) -> Arc<Failure> {
        Arc::new(Failure {
            identity: self.identity(),
            cause,
            attempts: 0,
            elapsed: start.elapsed(),
        })
    }

    /// A task ends early when it panics, or with its runtime.
    fn aborted(&self, start: Instant) -> Arc<Failure> {
        let cause = match std::thread::panicking() {
            true => Cause::new(Class::Defect, "the exchange panicked, which is a defect", ""),
            false => Cause::new(Class::Aborted, "the gateway is stopping", ""),
        };
        self.failure(cause, start)
    }

    fn too_late(&self, start: Instant) -> Arc<Failure> {
        let mut cause = Cause::new(Class::Deadline, "no token before the caller's deadline", "");
        if let Some(last) = &self.state.borrow().failure {
            cause.remedy = format!("before that: {}", last.failure.cause);
        }
        self.failure(cause, start)
    }
}

impl State {
    /// The last token, alive or not.
    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_deref()
    }

    /// What a caller can have without waiting longer: a living token, or a failure that is still
    /// fresh, or whatever came of an exchange that ended after the first `before` ones. A token
    /// that was granted for next to no time serves those who have waited for it.
    fn settled(&self, before: u64) -> Option<Result<Arc<Token>, Arc<Failure>>> {
        let has_waited = self.exchanges > before;
        let has_failed = self.streak > 0;
        if let Some(token) = &self.token
            && (token.is_alive() || has_waited && !has_failed)
        {
            return Some(Ok(token.clone()));
        }
        let last = self.failure.as_ref().filter(|last| last.is_fresh() || has_waited)?;
        Some(Err(last.failure.clone()))
    }

    /// Whether a token of its own is missing, and nothing speaks against asking for it.
    fn lacks_token(&self) -> bool {
        let has_own = !self.is_inherited && self.token().is_some_and(Token::is_alive);
        !has_own && !self.failure.as_ref().is_some_and(Remembered::is_fresh)
    }

    /// Whether the last exchange failed, or there is no token.
    fn is_in_trouble(&self) -> bool {
        self.streak > 0 || !self.token().is_some_and(Token::is_alive)
    }

    /// Lets a new exchange begin at once; what went wrong stays on show.
    fn forget_failure(&mut self) {
        if let Some(last) = &mut self.failure {
            last.until = Instant::now();
        }
    }

    fn succeed(&mut self, token: Token) {
        self.exchanges += 1;
        self.streak = 0;
        self.failure = None;
        self.succeeded_at = Some(Instant::now());
        self.is_inherited = false;
        self.token = Some(Arc::new(token));
    }

    /// An older token stays: it serves until it really ends.
    fn fail(&mut self, failure: Arc<Failure>) {
        self.exchanges += 1;
        self.streak += 1;
        let mut label = failure.cause.label();
        if self.failures.len() >= LABELS_MAX && !self.failures.contains_key(&label) {
            label = "other".to_owned();
        }
        *self.failures.entry(label).or_default() += 1;
        let until = Instant::now() + memory(&failure.cause, self.streak);
        self.failure = Some(Remembered { failure, until });
    }
}

impl Remembered {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

/// How long a failure answers for the endpoint: 30 s if only a person can end it, as long as the
/// endpoint asks for, else 1 s doubling to 30 s.
fn memory(cause: &Cause, streak: u32) -> Duration {
    if cause.class.needs_a_person() {
        return QUIET;
    }
    let backoff = Duration::from_secs(1 << streak.saturating_sub(1).min(5));
    cause.retry_after.unwrap_or(backoff).clamp(Duration::from_secs(1), QUIET)
}

/// An exchange in the air. Dropping it, for whatever reason, is its end.
struct Landing {
    slot: Arc<Slot>,
    start: Instant,
    outcome: Option<Result<Token, Arc<Failure>>>,
}

impl Landing {
    async fn fly(mut self) {
        let identity = self.slot.identity();
        let exchange = async {
            let paths = identity.files();
            if !paths.is_empty() {
                let stamp = Stamp::of(&paths).await;
                lock(&self.slot.flight).files = Some(stamp);
            }
            (self.slot.exchange)(identity.clone()).await
        };
        let granted = timeout(FLIGHT_MAX, exchange).await.unwrap_or_else(|_| {
            let cause = Cause::new(Class::Transient, "the exchange takes too long", "");
            Err(self.slot.failure(cause, self.start))
        });
        self.outcome = Some(granted.and_then(|grant| {
            Token::new(&grant).map_err(|cause| self.slot.failure(cause, self.start))
        }));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let aborted = || Err(self.slot.aborted(self.start));
        let outcome = self.outcome.take().unwrap_or_else(aborted);
        self.slot.land(outcome);
    }
}

/// A panic elsewhere does not make what is behind a lock unusable: no update here is half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
