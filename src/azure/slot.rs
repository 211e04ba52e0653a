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
use super::state::{LABELS_MAX, State, Status};
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

/// Whether an exchange is under way, and when the next one may be.
#[derive(Default)]
struct Flight {
    is_up: bool,
    started_at: Option<Instant>,
    dropped_at: Option<Instant>,
    /// How the identity's files looked just before they were last read.
    files: Option<Stamp>,
}

/// The least time between two background refreshes, between two drops of a refused token, and
/// between two tellings of a failure.
pub(super) const QUIET: Duration = Duration::from_secs(30);

/// More than any source's retries need; an endpoint that trickles its answer ends here.
const FLIGHT_MAX: Duration = Duration::from_secs(150);

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
        self.state.borrow().living().cloned()
    }

    /// Lets a token serve that was had with an earlier proof, until this one has worked.
    pub(super) fn inherit(&self, token: &Token) {
        self.state.send_if_modified(|state| state.inherit(token));
    }

    /// A request has a token that grows old: starts an exchange, if the last one is long enough
    /// ago. Tokens of a few seconds would end before 30 s are over.
    pub(super) fn refresh(self: &Arc<Self>) {
        let (life, wish) = {
            let state = self.state.borrow();
            let wish = state.failure().and_then(|failure| failure.cause.retry_after);
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

    /// Starts an exchange for a token that a target keeps refusing; it serves others meanwhile.
    pub(super) fn replace(self: &Arc<Self>) {
        self.refresh_after(QUIET);
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

    /// Drops a refused token and starts the exchange for the next; returns whether there will be
    /// another one. A token whose renewal fails stays: it may be refused by one target only, and
    /// its successor is being asked for anyway.
    pub(super) fn invalidate(self: &Arc<Self>, used: &Token) -> bool {
        let mut is_replaceable = true;
        {
            let now = Instant::now();
            let mut flight = lock(&self.flight);
            self.state.send_if_modified(|state| {
                let is_current = state.token().is_some_and(|token| token.is_same(used));
                if !is_current {
                    return false;
                }
                is_replaceable = flight.dropped_at.is_none_or(|at| now >= at + QUIET)
                    && !state.is_renewal_failing();
                if is_replaceable {
                    flight.dropped_at = Some(now);
                    state.drop_token();
                }
                is_replaceable
            });
        }
        if is_replaceable {
            self.fetch();
        }
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
        self.state.borrow().status(self.identity())
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
        if let Some(failure) = self.state.borrow().failure() {
            cause.remedy = format!("before that: {}", failure.cause);
        }
        self.failure(cause, start)
    }
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
