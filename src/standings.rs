//! How the targets of AI plugins are doing, as all workers together have seen it.
//!
//! What one worker learns of a target, such as that it asks for patience, all act on at once. A
//! number is an atomic, so nobody waits. A target is known by its plugin and by where it is: what
//! is known of it outlives a reload that leaves it in place, whatever else changes.

mod average;
mod whereabouts;
mod window;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

pub use self::average::Average;
pub use self::whereabouts::{Resource, Whereabouts};
pub use self::window::Window;
use crate::llm::RouteType;
use crate::metrics::Gauge;

/// What may be refused on its own: a target that takes no chats may take embeddings.
pub const OPERATIONS: [RouteType; 15] = [
    RouteType::Chat,
    RouteType::Completions,
    RouteType::Embeddings,
    RouteType::Files,
    RouteType::Batches,
    RouteType::Assistants,
    RouteType::Responses,
    RouteType::Speech,
    RouteType::Transcriptions,
    RouteType::Translations,
    RouteType::ImageGenerations,
    RouteType::ImageEdits,
    RouteType::VideoGenerations,
    RouteType::Realtime,
    RouteType::Preserve,
];

/// All targets of the configurations in use.
pub struct Standings {
    began: Instant,
    known: Mutex<HashMap<Key, Weak<Standing>>>,
    spilled: Mutex<HashMap<(String, u64), Weak<Spilled>>>,
    /// Where things are that targets keep.
    pub whereabouts: Whereabouts,
}

/// The id of a plugin, and where a target of it is.
type Key = (String, String);

/// One target.
pub struct Standing {
    began: Instant,
    label: Mutex<Label>,
    /// Requests that are under way.
    pub open: Gauge,
    /// Milliseconds: of a reply, or of one token of it.
    pub latency: Average,
    /// What it has cost lately, in the unit of whoever counts.
    pub used: Window,
    /// The requests that this was for.
    pub requests: Window,
    fails: AtomicU32,
    rests_until: AtomicU64,
    cools_until: [AtomicU64; OPERATIONS.len()],
    /// It has told the tokens of a stream that was asked for them.
    tells_tokens: AtomicBool,
    refuses_tokens_until: AtomicU64,
}

/// What people know a target by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// The plugin: its instance name or id.
    pub plugin: String,
    /// The target; no two of a plugin are called the same.
    pub target: String,
}

/// What one plugin has sent to targets that are not its first choice.
pub struct Spilled {
    began: Instant,
    /// Tokens.
    pub tokens: Window,
    /// Money, in parts of the currency of the prices.
    pub cost: Window,
}

impl Default for Standings {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            known: Mutex::default(),
            spilled: Mutex::default(),
            whereabouts: Whereabouts::default(),
        }
    }
}

impl Standings {
    /// The standing of a target, made when it is first asked for.
    pub fn of(&self, plugin_id: &str, place: &str, label: &Label) -> Arc<Standing> {
        let key = (plugin_id.to_owned(), place.to_owned());
        let standing = shared(&self.known, key, || Standing::new(self.began, label.clone()));
        *standing.label.lock().unwrap_or_else(PoisonError::into_inner) = label.clone();
        standing
    }

    /// What a plugin has spilled in windows of this length.
    pub fn spilled(&self, plugin_id: &str, window: Duration) -> Arc<Spilled> {
        let began = self.began;
        let make = || Spilled { began, tokens: Window::new(window), cost: Window::new(window) };
        shared(&self.spilled, (plugin_id.to_owned(), micros(window)), make)
    }

    /// Every target in use, in the order of their labels.
    pub fn list(&self) -> Vec<Arc<Standing>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = known.values().filter_map(Weak::upgrade).collect();
        drop(known);
        list.sort_by_cached_key(|standing| standing.label());
        list
    }
}

/// Finds or makes what others may have in use; what nobody uses any more is dropped.
fn shared<K: Eq + Hash, T>(
    map: &Mutex<HashMap<K, Weak<T>>>,
    key: K,
    make: impl FnOnce() -> T,
) -> Arc<T> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = map.get(&key).and_then(Weak::upgrade) {
        return found;
    }
    map.retain(|_, one| one.strong_count() > 0);
    let made = Arc::new(make());
    map.insert(key, Arc::downgrade(&made));
    made
}

impl Standing {
    fn new(began: Instant, label: Label) -> Self {
        const LATELY: Duration = Duration::from_secs(60);
        Self {
            began,
            label: Mutex::new(label),
            open: Gauge::default(),
            latency: Average::default(),
            used: Window::new(LATELY),
            requests: Window::new(LATELY),
            fails: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            cools_until: Default::default(),
            tells_tokens: AtomicBool::new(false),
            refuses_tokens_until: AtomicU64::new(0),
        }
    }

    /// What people know it by.
    pub fn label(&self) -> Label {
        self.label.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Microseconds since the process began: what its windows count in.
    pub fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }

    /// It failed in a way that counts: after so many times it rests for so long.
    pub fn fail(&self, max_fails: u32, rest: Duration) {
        let fails = self.fails.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if fails >= max_fails {
            self.rests_until.store(self.now() + micros(rest), Ordering::Relaxed);
        }
    }

    /// It answered. Only after a rest its failures are forgotten (Kong).
    pub fn succeed(&self) {
        let until = self.rests_until.load(Ordering::Relaxed);
        if until > 0 && until <= self.now() {
            self.rests_until.store(0, Ordering::Relaxed);
            self.fails.store(0, Ordering::Relaxed);
        }
    }

    /// Failures that count so far.
    pub fn fails(&self) -> u32 {
        self.fails.load(Ordering::Relaxed)
    }

    /// How long it still rests.
    pub fn rests(&self) -> Option<Duration> {
        self.left(&self.rests_until)
    }

    /// It asks to be left alone with an operation for so long.
    pub fn cool(&self, operation: RouteType, wait: Duration) {
        if let Some(until) = self.cooling(operation) {
            until.fetch_max(self.now() + micros(wait), Ordering::Relaxed);
        }
    }

    /// How long it still wants to be left alone with an operation.
    pub fn cools(&self, operation: RouteType) -> Option<Duration> {
        self.left(self.cooling(operation)?)
    }

    /// It has taken a request that asks a stream for its tokens, or will take none for a while.
    /// Says whether that is news.
    pub fn learn_tokens(&self, takes: bool) -> bool {
        const AGAIN: Duration = Duration::from_secs(3600);
        let until = if takes { 0 } else { self.now() + micros(AGAIN) };
        let was_until = self.refuses_tokens_until.swap(until, Ordering::Relaxed);
        let took = self.tells_tokens.swap(takes, Ordering::Relaxed);
        took != takes || (was_until == 0) != takes
    }

    /// Whether it has taken such a request.
    pub fn tells_tokens(&self) -> bool {
        self.tells_tokens.load(Ordering::Relaxed)
    }

    /// Whether it has refused one lately.
    pub fn refuses_tokens(&self) -> bool {
        self.left(&self.refuses_tokens_until).is_some()
    }

    fn cooling(&self, operation: RouteType) -> Option<&AtomicU64> {
        let index = OPERATIONS.iter().position(|one| *one == operation)?;
        self.cools_until.get(index)
    }

    fn left(&self, until: &AtomicU64) -> Option<Duration> {
        let until = until.load(Ordering::Relaxed);
        if until == 0 {
            return None; // most often; the clock is not asked
        }
        until.checked_sub(self.now()).filter(|left| *left > 0).map(Duration::from_micros)
    }
}

impl Spilled {
    /// Microseconds since the process began: what its windows count in.
    pub fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(target: &str) -> Label {
        Label { plugin: "p".to_owned(), target: target.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_rests_after_too_many_failures_and_until_it_answers() {
        let standings = Standings::default();
        let one = standings.of("id", "a:1/x", &label("a"));
        let rest = Duration::from_secs(10);
        one.fail(2, rest);
        one.succeed(); // failures add up, whatever succeeds in between
        assert_eq!((one.rests(), one.fails()), (None, 1));
        one.fail(2, rest);
        assert_eq!(one.rests(), Some(rest));
        one.succeed(); // an old answer: it still rests
        assert_eq!(one.rests(), Some(rest));
        tokio::time::advance(rest).await;
        assert_eq!(one.rests(), None);
        one.fail(2, rest); // one more failure is enough now
        assert_eq!(one.rests(), Some(rest));
        tokio::time::advance(rest).await;
        one.succeed();
        assert_eq!((one.rests(), one.fails()), (None, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_cools_by_operation_and_for_exactly_the_time() {
        let standings = Standings::default();
        let one = standings.of("id", "a:1/x", &label("a"));
        one.cool(RouteType::Chat, Duration::from_millis(1987));
        one.cool(RouteType::Chat, Duration::from_millis(5)); // the longer wait counts
        assert_eq!(one.cools(RouteType::Embeddings), None);
        tokio::time::advance(Duration::from_millis(1986)).await;
        assert_eq!(one.cools(RouteType::Chat), Some(Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(one.cools(RouteType::Chat), None);
    }

    #[test]
    fn what_is_in_use_is_found_again_and_the_rest_forgotten() {
        let standings = Standings::default();
        let one = standings.of("id", "a:1/x", &label("a"));
        one.fail(9, Duration::ZERO);
        let again = standings.of("id", "a:1/x", &label("b"));
        assert!(Arc::ptr_eq(&one, &again));
        assert_eq!(again.label(), label("b"), "people may call it something else now");
        let other = standings.of("other", "a:1/x", &label("a"));
        assert_eq!((other.fails(), standings.list().len()), (0, 2));
        drop((one, again));
        assert_eq!(standings.of("id", "a:1/x", &label("a")).fails(), 0);
    }
}
