//! What is known of a token: the last grant, the last failure, and how many there were.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::{Cause, Failure};
use super::identity::Identity;
use super::slot::QUIET;
use super::token::Token;

/// What readers see. It changes when an exchange ends or a token is dropped.
#[derive(Default)]
pub(super) struct State {
    token: Option<Arc<Token>>,
    /// The token was had with an earlier proof; it serves until this one works.
    pub(super) is_inherited: bool,
    succeeded_at: Option<Instant>,
    failure: Option<Remembered>,
    /// Failures since the last success.
    pub(super) streak: u32,
    pub(super) exchanges: u64,
    failures: BTreeMap<String, u64>,
}

/// A failure that answers in place of further calls for a while.
struct Remembered {
    failure: Arc<Failure>,
    until: Instant,
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

/// Distinct failure labels that are counted; the numbers in them come from outside.
pub(super) const LABELS_MAX: usize = 32;

impl State {
    /// The last token, alive or not.
    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_deref()
    }

    pub(super) fn living(&self) -> Option<&Arc<Token>> {
        self.token.as_ref().filter(|token| token.is_alive())
    }

    /// Why there is no newer token.
    pub(super) fn failure(&self) -> Option<&Arc<Failure>> {
        self.failure.as_ref().map(|last| &last.failure)
    }

    /// What a caller can have without waiting longer: a living token, or a failure that is still
    /// fresh, or whatever came of an exchange that ended after the first `before` ones. A token
    /// that was granted for next to no time serves those who have waited for it.
    pub(super) fn settled(&self, before: u64) -> Option<Result<Arc<Token>, Arc<Failure>>> {
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
    pub(super) fn lacks_token(&self) -> bool {
        let has_own = !self.is_inherited && self.living().is_some();
        !has_own && !self.failure.as_ref().is_some_and(Remembered::is_fresh)
    }

    /// Whether the last exchange failed, or there is no token.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.streak > 0 || self.living().is_none()
    }

    /// Whether the token is old and could not be renewed; that is tried again all the time.
    pub(super) fn is_renewal_failing(&self) -> bool {
        self.streak > 0 && self.living().is_some_and(|token| token.is_old())
    }

    /// Lets a new exchange begin at once; what went wrong stays on show.
    pub(super) fn forget_failure(&mut self) {
        if let Some(last) = &mut self.failure {
            last.until = Instant::now();
        }
    }

    /// Takes an earlier proof's token, unless this one has worked before or has a better token.
    pub(super) fn inherit(&mut self, token: &Token) -> bool {
        let is_better = self.token().is_none_or(|own| token.outlives(own));
        let takes = self.succeeded_at.is_none() && is_better;
        if takes {
            self.token = Some(Arc::new(token.bequeathed()));
            self.is_inherited = true;
        }
        takes
    }

    pub(super) fn drop_token(&mut self) {
        self.token = None;
        self.is_inherited = false;
    }

    pub(super) fn succeed(&mut self, token: Token) {
        self.exchanges += 1;
        self.streak = 0;
        self.failure = None;
        self.succeeded_at = Some(Instant::now());
        self.is_inherited = false;
        self.token = Some(Arc::new(token));
    }

    /// An older token stays: it serves until it really ends.
    pub(super) fn fail(&mut self, failure: Arc<Failure>) {
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

    pub(super) fn status(&self, identity: Arc<Identity>) -> Status {
        let living = self.living();
        Status {
            identity,
            expires_in_secs: living.map(|token| token.left().as_secs()),
            refresh_in_secs: living.map(|token| token.fresh_for().as_secs()),
            is_inherited: self.is_inherited && living.is_some(),
            succeeded_secs_ago: self.succeeded_at.map(|at| at.elapsed().as_secs()),
            exchanges: self.exchanges,
            failures: self.failures.clone(),
            last_failure: self.failure().cloned(),
        }
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
