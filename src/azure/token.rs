//! Azure access tokens: one per identity, shared by all workers.
//!
//! A request takes [`TokenHandle::current`], which never waits: while a token lives it serves,
//! and once it is old enough the first request to notice starts a refresh in the background. Only
//! without a token does a request [`TokenHandle::wait`], together with all others, for one
//! exchange.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::clients::Clients;
use super::exchange::{self, Grant};
use super::failure::{Cause, Class, Failure};
use super::identity::{Identity, Key};
use super::slot::{Exchange, Slot, lock};

/// The tokens of one process.
pub struct Tokens {
    control: Handle,
    exchange: Exchange,
    /// Weak, so that an identity that no configuration names any more is forgotten.
    slots: Mutex<HashMap<Key, Weak<Slot>>>,
}

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
        slots.retain(|_, slot| slot.strong_count() > 0);
        if let Some(slot) = slots.get(&key).and_then(Weak::upgrade) {
            slot.rename(identity);
            return TokenHandle { slot };
        }
        let slot = Slot::new(self.control.clone(), self.exchange.clone(), identity);
        slots.insert(key, Arc::downgrade(&slot));
        TokenHandle { slot }
    }

    /// All identities in use, for metrics and status pages; holds no secret.
    pub fn list(&self) -> Vec<Status> {
        lock(&self.slots).values().filter_map(Weak::upgrade).map(|slot| slot.status()).collect()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

/// One identity's token, wherever it stands.
#[derive(Clone)]
pub struct TokenHandle {
    slot: Arc<Slot>,
}

impl TokenHandle {
    /// The token, while it lives; for the request path: no wait, no allocation.
    ///
    /// Starts a background refresh when the token is old enough, at most every 30 s.
    pub fn current(&self) -> Option<Arc<Token>> {
        let now = Instant::now();
        let token = self.slot.token()?;
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

impl fmt::Debug for TokenHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status().fmt(f)
    }
}

/// An access token, ready to be sent.
#[derive(Debug)]
pub struct Token {
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
