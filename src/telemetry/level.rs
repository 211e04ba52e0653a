//! Log lines on stderr, and their lowest level, which may be changed for a while.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::overheard::Overheard;
use crate::settings::LogFormat;

/// The filter of this process, once it has logs.
static FILTER: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Kong's names, and `trace`, which is ours: each step of the libraries, too.
pub const LOG_LEVELS: [&str; 9] =
    ["trace", "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"];

/// Sends log lines to stderr.
pub fn start_logs(level: &str, format: LogFormat) {
    let (filter, handle) = reload::Layer::new(filter_of(level));
    let logs = tracing_subscriber::registry().with(filter).with(Overheard);
    let lines = fmt::layer().with_writer(std::io::stderr);
    // It fails only when somebody has started logs before us, as tests do.
    let started = match format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let lines = lines.with_target(false).with_ansi(ansi);
            tracing::subscriber::set_global_default(logs.with(lines))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            tracing::subscriber::set_global_default(logs.with(lines))
        }
    };
    if started.is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Kong's level names in tracing's five.
fn filter_of(level: &str) -> LevelFilter {
    match level {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" | "notice" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        _ => LevelFilter::ERROR,
    }
}

/// What is logged at present.
pub struct LogLevel(Arc<Mutex<State>>);

struct State {
    /// What the settings say.
    configured: String,
    current: String,
    /// When it is as configured again.
    until: Option<Instant>,
    /// Which change it was: only the last one may take itself back.
    change: u64,
}

impl LogLevel {
    /// The level of the settings.
    pub fn new(configured: &str) -> Self {
        Self(Arc::new(Mutex::new(State {
            configured: configured.to_owned(),
            current: configured.to_owned(),
            until: None,
            change: 0,
        })))
    }

    /// Whether there is a level of this name.
    pub fn knows(level: &str) -> bool {
        LOG_LEVELS.contains(&level)
    }

    /// Its name now.
    pub fn current(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// How long until it is as configured again; `None` if it is.
    pub fn reverts_in(&self) -> Option<Duration> {
        let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// The settings have another level now. One that was changed for a while stays until then.
    pub fn configure(&self, level: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = state.configured != level;
        level.clone_into(&mut state.configured);
        if is_news && state.until.is_none() {
            level.clone_into(&mut state.current);
            state.apply();
        }
    }

    /// Changes it at once. What this returns waits for `timeout`, and then takes the change back.
    pub fn change(&self, level: &str, timeout: Duration) -> impl Future<Output = ()> + use<> {
        let state = self.0.clone();
        let mine = set(&state, |state| {
            level.clone_into(&mut state.current);
            // Beyond what a clock can tell it is for good.
            state.until = Instant::now().checked_add(timeout);
        });
        async move {
            tokio::time::sleep(timeout).await;
            let is_last = state.lock().unwrap_or_else(PoisonError::into_inner).change == mine;
            if is_last {
                set(&state, |state| {
                    state.current.clone_from(&state.configured);
                    state.until = None;
                });
            }
        }
    }
}

/// Changes the state and the filter, and says which change this was.
fn set(state: &Mutex<State>, change: impl FnOnce(&mut State)) -> u64 {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut state);
    state.change += 1;
    state.apply();
    state.change
}

impl State {
    fn apply(&self) {
        if let Some(filter) = FILTER.get() {
            let _ = filter.reload(filter_of(&self.current));
        }
        tracing::info!("log level: {}", self.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_taken_back_unless_there_was_a_later_one() {
        let level = LogLevel::new("notice");
        let first = level.change("debug", Duration::from_secs(60));
        assert_eq!(level.current(), "debug");
        assert!(level.reverts_in().is_some());
        let second = level.change("error", Duration::from_secs(600));
        first.await;
        assert_eq!(level.current(), "error");
        second.await;
        assert_eq!((level.current().as_str(), level.reverts_in()), ("notice", None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_for_a_while_outlasts_new_settings_and_ends_in_them() {
        let level = LogLevel::new("notice");
        let change = level.change("debug", Duration::from_secs(60));
        level.configure("error");
        assert_eq!(level.current(), "debug");
        change.await;
        assert_eq!(level.current(), "error");
        level.configure("warn");
        assert_eq!(level.current(), "warn");
    }
}
