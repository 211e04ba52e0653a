//! What the gateway says about itself: logs, access log, `/status` and `/metrics`.

mod access;
mod level;
mod lines;
mod overheard;
mod prometheus;
mod standings;
mod status;
mod tokens;
mod upstreams;

pub use access::{AccessLog, DELAY as ACCESS_LOG_DELAY, open as open_access_log};
pub use level::{LOG_LEVELS, LogLevel, start_logs};
pub use lines::{Lines, Writer};
pub use status::{Status, StatusListener, serve};
