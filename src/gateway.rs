//! The whole gateway in one value: what `run`, `quickstart` and the tests start.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

use crate::balancer::keeper;
use crate::loader::{Input, Loader};
use crate::server::{self, Bound, Workers};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::telemetry::{self, LogLevel, Status, StatusListener};
use crate::tls;

/// What a gateway is started with.
pub struct Start {
    /// Listeners, limits, the environment.
    pub settings: Settings,
    /// The configuration.
    pub inputs: Vec<Input>,
    /// Fixed DNS answers by `name:port`, for tests that stand in for public hosts.
    pub names: Option<HashMap<String, SocketAddr>>,
}

/// A running gateway.
pub struct Gateway {
    /// Where clients connect.
    pub addresses: Vec<SocketAddr>,
    /// Where `/status` is.
    pub status_addresses: Vec<SocketAddr>,
    /// What all threads share.
    pub shared: Arc<Shared>,
    control: Control,
    loader: Loader,
    workers: Workers,
    status: Arc<Status>,
}

impl Gateway {
    /// Loads the configuration, binds, and starts every thread.
    ///
    /// # Errors
    /// Everything that stands in the way, one line each.
    pub fn start(start: Start) -> Result<Self, Vec<String>> {
        tls::install_provider();
        let control = Control::start().map_err(|error| vec![format!("control thread: {error}")])?;
        let shared = Shared::new(start.settings, control.handle.clone(), start.names)?;
        let shared = Arc::new(shared);
        let (loader, news) = Loader::start(shared.clone(), start.inputs)?;
        control.keep_upstreams(&shared, &news);
        let bound = server::bind(&shared)?;
        let status = Arc::new(Status {
            shared: shared.clone(),
            snapshot: news.clone(),
            history: loader.history(),
            draining: AtomicBool::new(false),
            ready: Arc::default(),
            log_level: LogLevel::new(&shared.settings.log_level),
        });
        let status_addresses = control.serve_status(&shared, &status)?;
        let workers = server::start(&shared, &bound, &news, &status.ready)
            .map_err(|error| vec![error.to_string()])?;
        let addresses = bound.iter().map(|one: &Bound| one.address).collect();
        Ok(Self { addresses, status_addresses, shared, control, loader, workers, status })
    }

    /// Loads the configuration again, and waits until every worker works with it.
    ///
    /// # Errors
    /// Everything that is wrong with it; the one in force stays.
    pub async fn reload(&self) -> Result<(), Vec<String>> {
        self.loader.reload().await?;
        self.workers.have_followed(&self.status.snapshot).await;
        Ok(())
    }

    /// A way to ask for a reload from a watcher.
    pub fn reload_trigger(&self) -> impl Fn() + Send + use<> {
        self.loader.trigger()
    }

    /// What is logged from now on: `log_level` has changed.
    pub fn set_log_level(&self, level: &str) {
        self.status.log_level.configure(level);
    }

    /// Opens the access log anew: its file has been moved away.
    pub fn reopen_logs(&self) {
        self.workers.reopen_log();
    }

    /// Takes no more connections, lets open exchanges end, and stops every thread.
    pub fn drain(self) {
        self.shared.systemd.stopping();
        self.status.draining.store(true, Ordering::Relaxed);
        self.shared.ending.store(true, Ordering::Relaxed);
        self.workers.drain();
        self.shared.deliveries.flush();
        self.loader.stop();
        self.control.stop();
    }
}

/// What stays on the control thread for as long as it lives.
enum Errand {
    Status(StatusListener, Arc<Status>),
    Upstreams(Arc<Shared>, watch::Receiver<Arc<Snapshot>>),
}

impl Errand {
    async fn run(self) {
        match self {
            Self::Status(listener, status) => telemetry::serve(listener, status).await,
            Self::Upstreams(shared, news) => keeper::keep(shared, news).await,
        }
    }
}

/// The control thread: errands that no worker may delay.
pub struct Control {
    /// The way in, for work that may move between threads.
    pub handle: Handle,
    errands: std::sync::mpsc::Sender<Errand>,
    wake: Arc<tokio::sync::Notify>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub fn start() -> std::io::Result<Self> {
        let runtime = server::single_thread()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (errands, given) = std::sync::mpsc::channel::<Errand>();
        let wake = Arc::new(tokio::sync::Notify::new());
        let woken = wake.clone();
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
            let local = LocalSet::new();
            local.spawn_local(async move {
                loop {
                    woken.notified().await;
                    while let Ok(errand) = given.try_recv() {
                        drop(tokio::task::spawn_local(errand.run()));
                    }
                }
            });
            let _ = local.block_on(&runtime, stopped);
        })?;
        Ok(Self { handle, errands, wake, stop, thread })
    }

    fn serve_status(
        &self,
        shared: &Shared,
        status: &Arc<Status>,
    ) -> Result<Vec<SocketAddr>, Vec<String>> {
        let settings = &shared.settings;
        let mut addresses = Vec::new();
        for listen in &settings.status_listen {
            let failed = |error: &dyn std::fmt::Display| {
                vec![format!("status_listen {}: {error}", listen.address)]
            };
            let listener = server::open(listen).map_err(|e| failed(&e))?;
            addresses.push(listener.local_addr().map_err(|e| failed(&e))?);
            let tls = match listen.tls {
                true => Some(tls::of_status(settings)?),
                false => None,
            };
            let proxy_protocol = listen.proxy_protocol;
            let listener = StatusListener { listener, tls, proxy_protocol };
            self.give(Errand::Status(listener, status.clone()));
        }
        Ok(addresses)
    }

    /// Lets the names of targets be followed and their health be checked.
    fn keep_upstreams(&self, shared: &Arc<Shared>, news: &watch::Receiver<Arc<Snapshot>>) {
        self.give(Errand::Upstreams(shared.clone(), news.clone()));
    }

    fn give(&self, errand: Errand) {
        let _ = self.errands.send(errand);
        self.wake.notify_one();
    }

    /// Ends the thread.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// The configuration files to use when none are named: `kong.yaml`, then `kong.yml`.
pub fn default_file() -> Option<PathBuf> {
    ["kong.yaml", "kong.yml"].into_iter().map(PathBuf::from).find(|path| path.is_file())
}
