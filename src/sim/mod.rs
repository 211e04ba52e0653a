//! The Azure simulator: Azure OpenAI, Entra and the managed identity endpoints on a loopback port.
//!
//! It is a product (`silverback azure-sim`), the upstream of `quickstart`, the test double of our
//! tests and a benchmark upstream. It answers with Azure's shapes, oddities included, and fails on
//! demand. It runs on a thread of its own, so a caller that blocks cannot stop it, and a stuck
//! simulator cannot stop a caller. docs/simulator.md is its manual.

mod answer;
mod arc;
mod assertion;
mod auth;
mod call;
mod clock;
mod cloud_shell;
mod control;
mod embeddings;
mod entra;
mod errors;
mod expiry;
mod faults;
mod lean;
mod metadata;
mod named;
mod openai;
mod ops;
mod options;
mod record;
mod rule;
mod serve;
mod service_fabric;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod tokens;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use call::Kind;
pub use expiry::Expiry;
pub use options::Options;
pub use record::{Outcome, Recorded};
pub use rule::{Quirk, Rule, RuleError};
pub use service_fabric::{Pinned, ServiceFabric};

use state::State;

/// A running simulator; dropping it stops it and closes its connections.
pub struct Sim {
    state: Arc<State>,
    addr: SocketAddr,
    service_fabric: Option<ServiceFabric>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sim {
    /// Binds `options.listen` (port 0 picks a free one) and serves on a new thread.
    ///
    /// The error is the one of the bind, or of creating the thread and its runtime.
    pub fn start(options: Options) -> io::Result<Self> {
        let (listener, addr) = bind(options.listen)?;
        let tls = options.tls.clone().map(TlsAcceptor::from);
        let mut doors = vec![(listener, tls)];
        let mut service_fabric = None;
        if let Some(pinned) = &options.service_fabric {
            let (listener, addr) = bind(SocketAddr::new(options.listen.ip(), 0))?;
            service_fabric = Some(pinned.at(addr));
            doors.push((listener, Some(pinned.acceptor())));
        }
        let state = Arc::new(State::new(options));
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("azure-sim".into()).spawn(move || {
            let begun = runtime(doors);
            let (outcome, running) = match begun {
                Ok(running) => (Ok(()), Some(running)),
                Err(error) => (Err(error), None),
            };
            let _ = ready.send(outcome);
            if let Some((runtime, doors)) = running {
                runtime.block_on(async {
                    for (listener, tls) in doors {
                        let accepting = serve::accept(listener, tls, Arc::clone(&served));
                        tokio::task::spawn_local(accepting);
                    }
                    let _ = stopped.await;
                });
            }
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok(Self { state, addr, service_fabric, stop: Some(stop), thread: Some(thread) })
    }

    /// The address it listens on, with the port that was picked.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL without a trailing slash; a wildcard address is given as loopback.
    pub fn url(&self) -> String {
        let scheme = if self.state.options.tls.is_some() { "https" } else { "http" };
        let mut addr = self.addr;
        if addr.ip().is_unspecified() {
            addr.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("{scheme}://{addr}")
    }

    /// Service Fabric's endpoint, if `Options::service_fabric` asked for it.
    pub fn service_fabric(&self) -> Option<&ServiceFabric> {
        self.service_fabric.as_ref()
    }

    /// The requests received and still kept, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.records().all()
    }

    /// The newest request.
    pub fn last(&self) -> Option<Recorded> {
        self.state.records().last()
    }

    /// Gives the kept requests away and starts counting anew.
    pub fn take(&self) -> Vec<Recorded> {
        self.state.records().take()
    }

    /// Waits until `n` requests arrived since the start or the last `take`; then as `requests`.
    ///
    /// It never gives up by itself, so that a paused clock cannot hurry it: bound it where needed.
    pub async fn wait_for(&self, n: usize) -> Vec<Recorded> {
        self.state.wait_until(|records| records.received() >= n).await;
        self.requests()
    }

    /// Waits until the reply to a request has ended one way or another, and says which.
    ///
    /// This is how a test sees that a gateway let go of the upstream when its own client left.
    pub async fn settled(&self, request: &Recorded) -> Outcome {
        self.state.wait_until(|_| request.outcome() != Outcome::Pending).await;
        request.outcome()
    }

    /// Adds a rule; the oldest rule that matches a request decides its reply. Gives the rule's id.
    pub fn fault(&self, rule: Rule) -> Result<u64, RuleError> {
        self.state.faults().add(rule)
    }

    /// Removes all rules and forgets which `-once` faults have fired.
    pub fn clear_faults(&self) {
        self.state.faults().clear();
    }

    /// Revokes every token issued so far: the next call with one gets 401, as after an expiry.
    pub fn revoke_tokens(&self) {
        self.state.tokens().revoke_all();
    }

    /// How many tokens were issued since the start.
    pub fn tokens_issued(&self) -> u64 {
        self.state.tokens().issued()
    }

    /// Stops it and waits for its thread; the same as dropping it.
    pub fn stop(self) {}
}

impl Drop for Sim {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listener, and what its clients have to speak.
type Door<L> = (L, Option<TlsAcceptor>);

fn bind(listen: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

fn runtime(
    doors: Vec<Door<TcpListener>>,
) -> io::Result<(LocalRuntime, Vec<Door<tokio::net::TcpListener>>)> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let guard = runtime.enter();
    let registered = doors.into_iter().map(|(listener, tls)| {
        tokio::net::TcpListener::from_std(listener).map(|listener| (listener, tls))
    });
    let doors = registered.collect::<io::Result<_>>()?;
    drop(guard);
    Ok((runtime, doors))
}
