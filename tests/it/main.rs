//! Black-box tests over sockets: one binary, ports from the system, nothing outside loopback.

// A test that cannot go on panics, and may have any number of threads.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::print_stdout)]
#![allow(unreachable_pub)] // the harness is public to the tests beside it

mod as_nginx;
mod authentication;
mod azure;
mod azure_scene;
mod azure_secrets;
mod azure_wire;
mod balancing;
mod broken_uploads;
mod bundled;
mod caching;
mod cli;
mod cli_process;
mod code_reload;
mod community;
mod docs_hosting;
mod draining;
mod explain;
mod functions;
mod fuzz_seeds;
mod gateway;
mod golden;
mod grpc;
mod grpc_ends;
mod grpc_failures;
mod guard;
mod health;
mod hostile;
mod http;
mod identity_command;
mod identity_matrix;
mod identity_oracle;
mod listeners;
mod log_lines;
mod lua;
mod lua_buffered;
mod lua_context;
mod lua_db;
mod lua_handshakes;
mod lua_libraries;
mod lua_workers;
mod metrics;
mod no_token;
mod openresty;
mod operations;
mod pdk;
mod plugin_new;
mod protocols;
mod proxy;
mod reload;
mod reload_load;
mod rotation;
mod routing;
mod sdk;
mod specs;
mod stream;
mod stream_ends;
mod tidy;
mod tls;
mod traffic;
mod transforming;
mod upstream_tls;
mod websocket;
