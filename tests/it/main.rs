//! Black-box tests over sockets: one binary, ports from the system, nothing outside loopback.

#![allow(unreachable_pub)] // the harness is public to the tests beside it

mod gateway;
mod golden;
mod http;
mod lua;
mod proxy;
mod tidy;
