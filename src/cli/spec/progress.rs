//! What has been seen of a run, and the ways to end it from outside.
//!
//! Nothing inside the VM can interrupt a case that loops without waiting. So a thread of its own
//! looks at the clock, and signals are heard elsewhere; both tell what has been seen until then.

use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::report::Report;
use crate::cli::complain;
use crate::lua::{self, Case, Outcome};

/// What a step may take over its limit before it counts as stuck.
const GRACE: Duration = Duration::from_secs(3);
const PERIOD: Duration = Duration::from_millis(200);

/// How long the report may be busy, with a reader that is gone for example, when a run is to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The signals that end a run, and their numbers, which are part of the exit status.
const ENDING: [(&str, i32); 4] = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("TERM", 15)];

/// A run: what it is at, and what it has to tell.
pub(super) struct Progress(Mutex<State>);

struct State {
    report: Report,
    /// What runs: a case, or a file.
    name: String,
    place: String,
    began: Instant,
    /// The part of it that runs, such as `before_each`, and since when.
    step: String,
    since: Instant,
}

impl Progress {
    /// A run that has just begun. `limit` is what a step may take.
    pub(super) fn start(report: Report, limit: Duration) -> Arc<Self> {
        let now = Instant::now();
        let (name, place, step) = (String::new(), String::new(), String::new());
        let state = State { report, name, place, began: now, step, since: now };
        let progress = Arc::new(Self(Mutex::new(state)));
        let watched = Arc::downgrade(&progress);
        std::thread::spawn(move || watch(&watched, limit));
        progress
    }

    /// Ends the run at a signal, and the gateways that it has started with it.
    ///
    /// # Errors
    /// The system has no room for the signals.
    pub(super) fn end_at_signals(self: &Arc<Self>, control: &Handle) -> std::io::Result<()> {
        let _context = control.enter();
        for (name, number) in ENDING {
            let signal = signal(SignalKind::from_raw(number))?;
            control.spawn(ended_by(self.clone(), signal, name, number));
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A case begins, or a file.
    pub(super) fn begin(&self, name: &str, place: &str) {
        let mut state = self.state();
        name.clone_into(&mut state.name);
        place.clone_into(&mut state.place);
        state.step.clear();
        state.began = Instant::now();
        state.since = state.began;
    }

    /// A part of it begins.
    pub(super) fn step(&self, what: &str) {
        let mut state = self.state();
        what.clone_into(&mut state.step);
        state.since = Instant::now();
    }

    /// A case has ended.
    pub(super) fn end(&self, case: Case) {
        self.state().report.add(case);
    }

    /// Tells everything that is to be told at the end; gives how many cases there were.
    pub(super) fn finish(&self) -> usize {
        let state = self.state();
        state.report.finish();
        state.report.len()
    }

    /// Ends the process in the middle of a case, which is an error then.
    fn cut_short(&self, message: impl FnOnce(&State) -> String, status: i32) {
        lua::end_children();
        // Nobody may print behind the summary: the lock is never given back.
        if let Some(mut state) = self.state_within(PATIENCE) {
            let message = message(&state);
            complain(&format!("{} {}: {message}; the run ends here", state.place, state.name));
            let case = Case {
                name: state.name.clone(),
                place: state.place.clone(),
                outcome: Outcome::Error,
                message,
                trace: None,
                took: state.began.elapsed(),
            };
            state.report.add(case);
            state.report.finish();
            process::exit(status);
        }
        process::exit(status);
    }

    #[allow(clippy::disallowed_methods)] // a thread of its own, with nobody to wait for it
    fn state_within(&self, patience: Duration) -> Option<MutexGuard<'_, State>> {
        let began = Instant::now();
        loop {
            match self.0.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(state)) => return Some(state.into_inner()),
                Err(TryLockError::WouldBlock) if began.elapsed() >= patience => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

/// Ends the run when a step is stuck, as long as there is a run.
#[allow(clippy::disallowed_methods)] // a thread of its own
fn watch(progress: &Weak<Progress>, limit: Duration) {
    loop {
        std::thread::sleep(PERIOD);
        let Some(progress) = progress.upgrade() else { return };
        if progress.state().since.elapsed() > limit + GRACE {
            let told = |state: &State| {
                let step = match state.step.as_str() {
                    "" | "it" => String::new(),
                    step => format!(" in {step}"),
                };
                let limit = limit.as_secs();
                format!("stuck{step} for more than {limit} seconds without waiting for anything")
            };
            progress.cut_short(told, 1);
        }
    }
}

/// The first signal ends the run with a summary; the second one at once, since somebody may hold
/// up the first.
async fn ended_by(progress: Arc<Progress>, mut signal: Signal, name: &'static str, number: i32) {
    let status = 128 + number;
    signal.recv().await;
    std::thread::spawn(move || progress.cut_short(|_| format!("ended by {name}"), status));
    signal.recv().await;
    process::exit(status);
}
