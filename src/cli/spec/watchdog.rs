//! Ends the run when a case loops without waiting: nothing inside the VM can interrupt it.

use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::complain;
use crate::lua;

/// What a step may take over its limit before it counts as stuck.
const GRACE: Duration = Duration::from_secs(3);
const PERIOD: Duration = Duration::from_millis(200);

pub(super) struct Watchdog {
    state: Arc<Mutex<State>>,
    /// Nothing is ever sent: the thread ends when this closes.
    _over: mpsc::Sender<()>,
}

struct State {
    /// What runs.
    case: String,
    since: Instant,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    /// Watches from a thread of its own. `limit` is what a step may take.
    pub(super) fn start(limit: Duration) -> Self {
        let case = "before the first case".to_owned();
        let state = Arc::new(Mutex::new(State { case, since: Instant::now() }));
        let watched = state.clone();
        let (over, ends) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            while ends.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let state = locked(&watched);
                if state.since.elapsed() > limit + GRACE {
                    let limit = limit.as_secs();
                    complain(&format!(
                        "{}: stuck for more than {limit} seconds without waiting for anything; \
                         the run ends here",
                        state.case
                    ));
                    lua::end_children();
                    process::exit(1);
                }
            }
        });
        Self { state, _over: over }
    }

    pub(super) fn begin(&self, case: &str) {
        let mut state = locked(&self.state);
        case.clone_into(&mut state.case);
        state.since = Instant::now();
    }

    pub(super) fn step(&self) {
        locked(&self.state).since = Instant::now();
    }
}
