//! Silverback: an AI gateway for Azure OpenAI that runs Kong's configuration and Kong's plugins.
//!
//! One sentence: **data is shared, behaviour is per worker.** ARCHITECTURE.md has the rest; the
//! modules below are in reading order.

pub mod azure;
pub mod balancer;
pub mod cache;
pub mod catalog;
pub mod chain;
pub mod cli;
pub mod code;
pub mod config;
pub mod deliveries;
pub mod dicts;
pub mod distance;
pub mod dns;
pub mod entity;
pub mod gateway;
pub mod guard;
pub mod http1;
pub mod line;
pub mod llm;
pub mod loader;
pub mod lua;
pub mod metrics;
pub mod otlp;
pub mod pdk;
pub mod plugin;
#[path = "../plugins/mod.rs"]
pub mod plugins;
pub mod postgres;
pub mod proxy;
pub mod quota;
pub mod redis;
pub mod respond;
pub mod router;
pub mod runloop;
pub mod schema;
pub mod server;
pub mod settings;
pub mod shared;
pub mod sim;
pub mod snapshot;
pub mod standings;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod vectors;
pub mod vms;
