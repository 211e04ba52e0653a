//! The place of one token: who reads it, who renews it, what is remembered of failures.
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
use super::identity::Identity;
use super::token::{Status, Token};

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
}

/// What readers see. It changes when an exchange ends or a token is dropped.
#[derive(Default)]
pub(super) struct State {
    token: Option<Arc<Token>>,
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
}

/// The least time between two background refreshes, and between two drops of a refused token.
const QUIET: Duration = Duration::from_secs(30);

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

    /// Starts an exchange for a token that serves but grows old.
    pub(super) fn refresh(self: &Arc<Self>) {
        let now = Instant::now();
        self.take_off(|flight| flight.started_at.is_none_or(|at| now >= at + QUIET));
    }

    /// Starts an exchange if there is no token and no fresh failure.
    pub(super) fn fetch(self: &Arc<Self>) {
        self.take_off(|_| self.state.borrow().settled().is_none());
    }

    pub(super) async fn wait(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Arc<Token>, Arc<Failure>> {
        let start = Instant::now();
        let mut news = self.state.subscribe();
        let settled = async {
            loop {
                let settled = news.borrow_and_update().settled();
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
            }
            is_replaceable
        });
        is_replaceable
    }

    pub(super) fn status(&self) -> Status {
        let state = self.state.borrow();
        let left = state.token.as_ref().map(|token| token.left());
        Status {
            identity: self.identity(),
            expires_in_secs: left.map(|left| left.as_secs()).filter(|secs| *secs > 0),
            exchanges: state.exchanges,
            failures: state.failures.clone(),
            last_failure: state.failure.as_ref().map(|r| r.failure.clone()),
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
            Err(failure) => {
                let has_token = self.state.borrow().token().is_some_and(Token::is_alive);
                failure.log(has_token);
            }
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
        let (is_first, streak) = {
            let state = self.state.borrow();
            (state.exchanges == 0, state.streak)
        };
        if is_first {
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

    fn aborted(&self, start: Instant) -> Arc<Failure> {
        let cause = Cause::new(Class::Aborted, "the exchange ended without a result", "");
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

    /// What a caller can have without waiting: a living token, or a failure that is still fresh.
    fn settled(&self) -> Option<Result<Arc<Token>, Arc<Failure>>> {
        if let Some(token) = self.token.as_ref().filter(|token| token.is_alive()) {
            return Some(Ok(token.clone()));
        }
        let fresh = self.failure.as_ref().filter(|failure| Instant::now() < failure.until)?;
        Some(Err(fresh.failure.clone()))
    }

    fn succeed(&mut self, token: Token) {
        self.exchanges += 1;
        self.streak = 0;
        self.failure = None;
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
        let exchange = (self.slot.exchange)(identity);
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
