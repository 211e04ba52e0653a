//! A token as one target of one worker sees it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::failure::Failure;
use super::identity::Identity;
use super::slot::{QUIET, Slot};
use super::state::{State, Status};
use super::token::Token;

/// One identity's token, as one target of one worker sees it.
///
/// It keeps a copy of its own and looks at an atomic for news: counting references to one shared
/// token costs several times as much as soon as two workers do it (43 ns against 350 ns measured).
pub struct TokenHandle {
    slot: Arc<Slot>,
    view: RefCell<View>,
    refusals: Cell<Refusals>,
}

/// What a worker has seen of its slot.
struct View {
    news: watch::Receiver<State>,
    token: Option<Arc<Token>>,
    /// When a refresh was last asked for.
    asked_at: Option<Instant>,
}

/// What a target has made of its tokens since it took one.
#[derive(Debug, Clone, Copy, Default)]
struct Refusals {
    /// The serial of the token refused last.
    last: Option<u64>,
    /// Different tokens refused in a row.
    tokens: u32,
    /// The target says that the token is good, and something else is missing.
    token_is_good: bool,
}

/// The least time between two requests of a worker for a refresh, each of which takes a lock.
const ASK: Duration = Duration::from_secs(1);

/// The longest pause between two new tokens for a target that refuses every one.
const REFUSED_MAX: Duration = Duration::from_secs(300);

impl TokenHandle {
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        let mut news = slot.news();
        news.mark_changed();
        let view = View { news, token: None, asked_at: None };
        Self { slot, view: RefCell::new(view), refusals: Cell::default() }
    }

    /// The token, while it lives; for the request path: no wait, no lock, nothing
    /// shared is written.
    ///
    /// Asks for a background refresh, at most once a second, when the token is old enough; a timer
    /// does so too (see [`super::Tokens`]), but tokens of a few seconds need it sooner.
    pub fn current(&self) -> Option<Arc<Token>> {
        let mut view = self.view.borrow_mut();
        let token = view.token()?;
        if token.is_old() {
            if !token.is_alive() {
                return None;
            }
            if view.may_ask() {
                self.slot.refresh();
            }
        }
        Some(token)
    }

    /// The token, or a new one: joins the exchange under way, or starts it.
    ///
    /// A caller that goes away ends its wait and nothing else. A recent failure is answered at
    /// once, so that a burst of requests makes one call; and no caller waits for a second exchange
    /// when the first one has ended, whatever it brought.
    pub async fn wait(&self, deadline: Instant) -> Result<Arc<Token>, Arc<Failure>> {
        self.slot.wait(deadline).await
    }

    /// Drops a token that the target refused with 401, if it is still the one that serves, and
    /// starts the exchange for the next.
    ///
    /// Returns whether another token is to be had by [`wait`](Self::wait). It is not when the
    /// target has refused the token before this one as well: then the token is probably not what
    /// is wrong. It goes on to serve other targets, and a further one is fetched beside it when it
    /// is 30 s old, doubling to five minutes. Nor when the target has said that the token is good,
    /// or when its renewal has just failed.
    pub fn invalidate(&self, used: &Token) -> bool {
        let is_current = self.view.borrow_mut().token().is_some_and(|token| token.is_same(used));
        if !is_current {
            return true;
        }
        let mut refusals = self.refusals.get();
        if refusals.last.replace(used.serial()) != Some(used.serial()) {
            refusals.tokens += 1;
        }
        self.refusals.set(refusals);
        if refusals.token_is_good || used.age() < refusals.pause() {
            return false;
        }
        if refusals.tokens > 1 {
            self.slot.replace();
            return false;
        }
        self.slot.invalidate(used)
    }

    /// The target has taken a token: what it refused before counts no more.
    pub fn accepted(&self) {
        if self.refusals.get().tokens > 0 {
            self.refusals.set(Refusals::default());
        }
    }

    /// What the target said with its 401: `token_is_good` if only a role is missing. Azure looks
    /// roles up at each call, so that no new token is needed once the role is there.
    pub fn explained(&self, token_is_good: bool) {
        self.refusals.set(Refusals { token_is_good, ..self.refusals.get() });
    }

    /// Whether the operator has not read of such a failure within 30 s; the answer counts as
    /// telling it. A burst of requests must not bury the log under one paragraph.
    pub fn is_news(&self, failure: &Failure) -> bool {
        self.slot.is_news(&failure.cause.label())
    }

    /// Whose token it is.
    pub fn identity(&self) -> Arc<Identity> {
        self.slot.identity()
    }

    /// How this token stands.
    pub fn status(&self) -> Status {
        self.slot.status()
    }
}

impl View {
    fn token(&mut self) -> Option<Arc<Token>> {
        if self.news.has_changed().unwrap_or(false) {
            let state = self.news.borrow_and_update();
            self.token = state.token().map(|token| Arc::new(token.copy()));
        }
        self.token.clone()
    }

    fn may_ask(&mut self) -> bool {
        let now = Instant::now();
        let may = self.asked_at.is_none_or(|at| now >= at + ASK);
        if may {
            self.asked_at = Some(now);
        }
        may
    }
}

impl Refusals {
    /// How old a token must be before it is worth another exchange. It is measured at the token,
    /// which all workers share, so that they do not take turns.
    fn pause(self) -> Duration {
        match self.tokens {
            0 | 1 => Duration::ZERO,
            n => (QUIET * (1 << (n - 2).min(4))).min(REFUSED_MAX),
        }
    }
}

impl Clone for TokenHandle {
    fn clone(&self) -> Self {
        Self::new(self.slot.clone())
    }
}

impl fmt::Debug for TokenHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status().fmt(f)
    }
}
