//! What the gateway says about itself: logs, access log, `/status` and `/metrics`.

mod access;
mod lines;
mod status;
mod tokens;
mod upstreams;

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

pub use access::{AccessLog, DELAY as ACCESS_LOG_DELAY, open as open_access_log};
pub use lines::{Lines, Writer};
pub use status::{Status, serve};

use crate::settings::LogFormat;

/// Sends log lines to stderr.
pub fn start_logs(level: &str, format: LogFormat) {
    let level = LevelFilter::from_level(tracing_level(level));
    let logs = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // It fails only when somebody has started logs before us, as tests do.
    let _ = match format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            tracing::subscriber::set_global_default(
                logs.with_target(false).with_ansi(ansi).finish(),
            )
        }
        LogFormat::Json => {
            tracing::subscriber::set_global_default(logs.json().flatten_event(true).finish())
        }
    };
}

/// Kong's level names in tracing's five. `trace` is ours: each step of the libraries, too.
fn tracing_level(level: &str) -> Level {
    match level {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "info" | "notice" => Level::INFO,
        "warn" => Level::WARN,
        _ => Level::ERROR,
    }
}
