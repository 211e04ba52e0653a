//! Azure access tokens: one per identity, shared by all workers.
//!
//! A request takes [`TokenHandle::current`], which never waits: while a token lives it serves. It
//! is renewed in time by a task on the control thread, requests or not. Only without a token does
//! a request [`TokenHandle::wait`], together with all others, for one exchange.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::clients::Clients;
use super::exchange;
use super::handle::TokenHandle;
use super::identity::{Identity, Key};
use super::slot::{Exchange, Slot, lock};
use super::state::Status;
use super::token::Token;

/// The tokens of one process.
pub struct Tokens {
    control: Handle,
    exchange: Exchange,
    register: Arc<Mutex<Register>>,
}

/// All slots, and which of them count.
#[derive(Default)]
struct Register {
    slots: HashMap<Key, Kept>,
    /// Registrations so far.
    count: u64,
    /// What was registered after this point belongs to the configuration in force.
    in_force_since: u64,
}

/// A slot and when it was last registered.
struct Kept {
    slot: Arc<Slot>,
    lineage: Key,
    registered: u64,
    /// Since when nobody has held a handle of it.
    unused_since: Option<Instant>,
    /// The newest description of the identity, until a configuration with it is in force.
    newest: Option<Identity>,
}

/// A point in the order of registrations, see [`Tokens::take_over`].
#[derive(Debug, Clone, Copy)]
pub struct Mark(u64);

/// How long a token without a handle is kept: a reload, or a trial of a configuration, drops its
/// handles a moment before the next ones are made.
const GRACE: Duration = Duration::from_secs(300);

/// How often old tokens and changed files are looked for.
const TICK: Duration = Duration::from_secs(2);

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
        let register = Arc::default();
        control.spawn(renew_in_time(Arc::downgrade(&register)));
        control.spawn(follow_files(Arc::downgrade(&register)));
        Self { control, exchange: Arc::new(exchange), register }
    }

    /// The token of an identity; equal identities share it, however often they are configured.
    ///
    /// The registration that is taken over last counts for what is not part of the key, such as
    /// the environment that holds `IDENTITY_HEADER`.
    pub fn handle(&self, identity: Identity) -> TokenHandle {
        let (key, lineage) = (identity.key(), identity.lineage());
        let mut register = lock(&self.register);
        register.slots.retain(|_, kept| kept.is_wanted());
        register.count += 1;
        let registered = register.count;
        if let Some(kept) = register.slots.get_mut(&key) {
            kept.unused_since = None;
            kept.registered = registered;
            kept.newest = Some(identity);
            return TokenHandle::new(kept.slot.clone());
        }
        tracing::info!("Azure identity: {identity}, because {}", identity.why());
        for note in identity.notes() {
            tracing::warn!("Azure identity of {}: {note}", identity.subject());
        }
        let slot = Slot::new(self.control.clone(), self.exchange.clone(), identity);
        let handle = TokenHandle::new(slot.clone());
        let kept = Kept { slot, lineage, registered, unused_since: None, newest: None };
        register.slots.insert(key, kept);
        handle
    }

    /// Where the registrations stand, to be taken before a configuration is compiled.
    pub fn mark(&self) -> Mark {
        Mark(lock(&self.register).count)
    }

    /// A worker has compiled a configuration since `mark` and takes it over: what was registered
    /// since is in force now. Starts the first exchange of each such identity; does not wait.
    ///
    /// An identity that differs from an earlier one in nothing but its proof starts with the
    /// earlier one's token, so that a rotated secret keeps nobody waiting, and a wrong one locks
    /// nobody out before the token ends. An earlier one that is still in force leaves nothing: two
    /// targets of one configuration may name one application, but each needs its own proof.
    ///
    /// A configuration that is only being tried calls nobody.
    pub fn take_over(&self, mark: Mark) {
        let mut register = lock(&self.register);
        register.in_force_since = register.in_force_since.max(mark.0);
        let (new, old): (Vec<_>, Vec<_>) =
            register.slots.values_mut().partition(|kept| kept.registered > mark.0);
        for kept in new.into_iter().filter(|kept| kept.is_used()) {
            if let Some(identity) = kept.newest.take() {
                kept.slot.rename(identity);
            }
            let earlier = old.iter().filter(|other| other.lineage == kept.lineage);
            let tokens = earlier.filter_map(|other| other.slot.living());
            let longest = |a: Arc<Token>, b: Arc<Token>| if b.outlives(&a) { b } else { a };
            if let Some(token) = tokens.reduce(longest) {
                kept.slot.inherit(&token);
            }
            kept.slot.fetch();
        }
    }

    /// All identities in use, in a stable order, for metrics and status pages; holds no secret.
    pub fn list(&self) -> Vec<Status> {
        let slots = in_force(&self.register);
        let mut list: Vec<_> = slots.iter().map(|slot| slot.status()).collect();
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

/// The slots in use that belong to the configuration in force. A stream that began under an older
/// one holds a handle too, but its identity needs no further token.
fn in_force(register: &Mutex<Register>) -> Vec<Arc<Slot>> {
    let register = lock(register);
    let counts = |kept: &&Kept| kept.is_used() && kept.registered > register.in_force_since;
    register.slots.values().filter(counts).map(|kept| kept.slot.clone()).collect()
}

/// Renews tokens that grow old, so that the first request after a quiet hour does not wait, and
/// forgets what nobody uses, secrets included.
async fn renew_in_time(register: Weak<Mutex<Register>>) {
    loop {
        sleep(TICK).await;
        let Some(register) = register.upgrade() else { return };
        lock(&register).slots.retain(|_, kept| kept.is_wanted());
        in_force(&register).iter().for_each(Slot::renew_in_time);
    }
}

/// Looks for changed files. A task of its own: a file system that hangs holds up no renewal.
async fn follow_files(register: Weak<Mutex<Register>>) {
    loop {
        sleep(TICK).await;
        let Some(slots) = register.upgrade().map(|register| in_force(&register)) else { return };
        for slot in slots {
            slot.follow_files().await;
        }
    }
}

#[cfg(test)]
mod tests;
