//! Azure access tokens: one per identity, shared by all workers.
//!
//! A request takes [`TokenHandle::current`], which never waits: while a token lives it serves,
//! and once it is old enough the first request to notice starts a refresh in the background. Only
//! without a token does a request [`TokenHandle::wait`], together with all others, for one
//! exchange.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clients::Clients;
use super::exchange::{self, Grant};
use super::failure::{Cause, Class, Failure};
use super::identity::{Identity, Key};
use super::slot::{Exchange, Slot, State, lock};

/// The tokens of one process.
pub struct Tokens {
    control: Handle,
    exchange: Exchange,
    slots: Mutex<HashMap<Key, Kept>>,
}

/// A slot, and since when nobody has held a handle of it.
struct Kept {
    slot: Arc<Slot>,
    unused_since: Option<Instant>,
}

/// How long a token without a handle is kept: a reload, or a trial of a configuration, drops its
/// handles a moment before the next ones are made.
const GRACE: Duration = Duration::from_secs(300);

impl Tokens {
    /// No tokens yet; exchanges will run on `control`, so that no busy worker delays them.
    pub fn new(control: Handle, clients: Clients) -> Self {
        let clients = Arc::new(clients);
        Self::with_exchange(control, move |identity| {
            let clients = clients.clone();
            Box::pin(async move { exchange::exchange(&clients, &identity).await })
        })
    }

    /// Tokens from elsewhere: the seam for tests.
    pub(crate) fn with_exchange<F>(control: Handle, exchange: F) -> Self
    where
        F: Fn(Arc<Identity>) -> super::slot::Exchanging + Send + Sync + 'static,
    {
        Self { control, exchange: Arc::new(exchange), slots: Mutex::default() }
    }

    /// The token of an identity; equal identities share it, however often they are configured.
    ///
    /// The newest registration counts for what is not part of the key, such as the environment
    /// that holds `IDENTITY_HEADER`.
    pub fn handle(&self, identity: Identity) -> TokenHandle {
        let key = identity.key();
        let mut slots = lock(&self.slots);
        slots.retain(|_, kept| kept.is_wanted());
        if let Some(kept) = slots.get_mut(&key) {
            kept.unused_since = None;
            kept.slot.rename(identity);
            return TokenHandle::new(kept.slot.clone());
        }
        tracing::info!("Azure identity: {identity}, because {}", identity.why());
        for note in identity.notes() {
            tracing::warn!("Azure identity of {}: {note}", identity.subject());
        }
        let slot = Slot::new(self.control.clone(), self.exchange.clone(), identity);
        slots.insert(key, Kept { slot: slot.clone(), unused_since: None });
        TokenHandle::new(slot)
    }

    /// Starts the first exchange of every identity in use that has no token; does not wait.
    ///
    /// A worker asks for it when it has taken over a configuration. A configuration that is only
    /// being tried calls nobody.
    pub fn warm_up(&self) {
        for kept in lock(&self.slots).values().filter(|kept| kept.is_used()) {
            kept.slot.fetch();
        }
    }

    /// All identities in use, in a stable order, for metrics and status pages; holds no secret.
    pub fn list(&self) -> Vec<Status> {
        let slots = lock(&self.slots);
        let used = slots.values().filter(|kept| kept.is_used());
        let mut list: Vec<_> = used.map(|kept| kept.slot.status()).collect();
        list.sort_by_cached_key(|status| status.identity.to_string());
        list
    }
}

impl Kept {
    /// Whether there is a handle, or an exchange under way.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.slot) > 1
    }

    fn is_wanted(&mut self) -> bool {
        if self.is_used() {
            self.unused_since = None;
            return true;
        }
        let now = Instant::now();
        now < *self.unused_since.get_or_insert(now) + GRACE
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

/// One identity's token, as one worker sees it.
///
/// It keeps a copy of its own and looks at an atomic for news: counting references to one shared
/// token costs several times as much as soon as two workers do it (43 ns against 350 ns measured).
pub struct TokenHandle {
    slot: Arc<Slot>,
    view: RefCell<View>,
}

/// What a worker has seen of its slot.
struct View {
    news: watch::Receiver<State>,
    token: Option<Arc<Token>>,
}

impl TokenHandle {
    fn new(slot: Arc<Slot>) -> Self {
        let mut news = slot.news();
        news.mark_changed();
        Self { slot, view: RefCell::new(View { news, token: None }) }
    }

    /// The token, while it lives; for the request path: no wait, no lock, nothing
    /// shared is written.
    ///
    /// Starts a background refresh when the token is old enough, at most every 30 s.
    pub fn current(&self) -> Option<Arc<Token>> {
        let token = self.view.borrow_mut().token()?;
        let now = Instant::now();
        if now >= token.refresh_at {
            if now >= token.expires_at {
                return None;
            }
            self.slot.refresh();
        }
        Some(token)
    }

    /// The token, or a new one: joins the exchange under way, or starts it.
    ///
    /// A caller that goes away ends its wait and nothing else. A recent failure is answered at
    /// once, so that a burst of requests makes one call.
    pub async fn wait(&self, deadline: Instant) -> Result<Arc<Token>, Arc<Failure>> {
        self.slot.wait(deadline).await
    }

    /// Starts the first exchange, for the moment a configuration loads; does not wait.
    pub fn warm_up(&self) {
        self.slot.fetch();
    }

    /// Drops a token that the target refused with 401, if it is still the one that serves.
    ///
    /// Returns whether another token is to be had by [`wait`](Self::wait). It is not when the
    /// refused one is itself the replacement of one dropped within 30 s: then the token is not
    /// what is wrong, and asking again for every request would help nobody.
    pub fn invalidate(&self, used: &Token) -> bool {
        self.slot.invalidate(used)
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

/// An access token, ready to be sent.
#[derive(Debug)]
pub struct Token {
    /// Which grant it is: copies of one token have one serial.
    serial: u64,
    authorization: HeaderValue,
    refresh_at: Instant,
    expires_at: Instant,
}

impl Token {
    /// `Bearer ...`, made once per token and marked sensitive, so that `Debug` does not show it.
    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// How long it still serves.
    pub fn left(&self) -> Duration {
        self.expires_at.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.serial == other.serial
    }

    /// A copy that shares nothing with the original, not even the header's bytes.
    fn copy(&self) -> Self {
        let bytes = HeaderValue::from_bytes(self.authorization.as_bytes());
        let mut authorization = bytes.unwrap_or_else(|_| self.authorization.clone());
        authorization.set_sensitive(true);
        Self { authorization, ..*self }
    }

    pub(super) fn is_alive(&self) -> bool {
        Instant::now() < self.expires_at
    }

    pub(super) fn new(grant: &Grant) -> Result<Self, Cause> {
        let text = format!("Bearer {}", grant.access_token.expose());
        let mut authorization = HeaderValue::try_from(text).map_err(|_| {
            Cause::new(Class::Protocol, "the token holds characters that no header may hold", "")
        })?;
        authorization.set_sensitive(true);
        let early = 1.0 - fastrand::f64() / 10.0; // a fleet shall not refresh in the same second
        Ok(Self {
            serial: fastrand::u64(..),
            authorization,
            refresh_at: grant.asked_at + refresh_after(grant).mul_f64(early),
            expires_at: grant.asked_at + grant.lifetime,
        })
    }
}

/// When a token is old enough for a refresh: when the server says so; at half its life if that is
/// long (MSAL's rule from two hours on); else five minutes before its end, or at half time.
fn refresh_after(grant: &Grant) -> Duration {
    const MARGIN: Duration = Duration::from_secs(300);
    const LONG: Duration = Duration::from_secs(7200);
    let life = grant.lifetime;
    match grant.refresh_in {
        Some(wish) if wish < life => wish,
        _ if life >= LONG => life / 2,
        _ => life.saturating_sub(MARGIN).max(life / 2),
    }
}

/// How one identity's token stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whose token it is.
    pub identity: Arc<Identity>,
    /// Seconds until the token ends; `None` when there is none.
    pub expires_in_secs: Option<u64>,
    /// Exchanges that have ended, well or not, since the identity was first used.
    pub exchanges: u64,
    /// Those that failed, by `AADSTS` code, HTTP status or class.
    pub failures: BTreeMap<String, u64>,
    /// Why there is no newer token; `None` after a success.
    pub last_failure: Option<Arc<Failure>>,
}

#[cfg(test)]
mod tests;
