//! The process: bind once, start the threads, drain on a signal.
//!
//! N workers share one listener each address; a control thread does errands (tokens, DNS, status);
//! a loader thread reads configuration. A worker that is busy delays neither tokens nor `/status`.

mod activity;
mod admission;
mod ask;
mod bind;
mod conn;
mod head;
mod http1;
mod patience;
pub(crate) mod proxy_protocol;
mod realip;
mod reply;
pub(crate) mod route;
mod screened;
mod serve;
mod speak;
mod tunnel;
mod worker;

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime, Runtime};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::lua::THREAD_STACK;
use crate::metrics;
use crate::settings::Listen;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::telemetry::{self, Lines};
use crate::tls;
use admission::Admission;
use conn::Dialect;
use worker::{Followed, Worker};

pub use bind::open;

/// A listener that is bound and not served yet.
pub struct Bound {
    listener: TcpListener,
    dialect: Dialect,
    /// Where it really is; the port was chosen by the system if 0 was asked for.
    pub address: SocketAddr,
}

/// Binds every proxy listener.
///
/// # Errors
/// One line for each address that cannot be had.
pub fn bind(shared: &Shared) -> Result<Vec<Bound>, Vec<String>> {
    let mut bound = Vec::new();
    let mut errors = Vec::new();
    for listen in &shared.settings.proxy_listen {
        match bind_one(listen, shared) {
            Ok(one) => bound.push(one),
            Err(error) => errors.push(format!("proxy_listen {}: {error}", listen.address)),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

fn bind_one(listen: &Listen, shared: &Shared) -> Result<Bound, String> {
    let listener = open(listen).map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let settings = &shared.settings;
    let tls = &settings.listener_tls;
    let config = listen.tls.then(|| tls::server(&shared.certificates, listen.http2, tls));
    let config = config.transpose().map_err(|e| e.to_string())?;
    let dialect = Dialect {
        tls: config.map(TlsAcceptor::from),
        http2: listen.http2,
        proxy_protocol: listen.proxy_protocol,
        port: *settings.port_maps.get(&address.port()).unwrap_or(&address.port()),
    };
    Ok(Bound { listener, dialect, address })
}

/// The running workers.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    followed: Followed,
    drain: watch::Sender<bool>,
    /// Nothing is ever sent: it closes when the last worker has ended.
    ended: mpsc::Receiver<()>,
    log: Option<telemetry::Writer>,
    drain_limit: Duration,
}

/// Starts the workers on bound listeners with a configuration that the loader has tried. `ready`
/// counts those that take requests.
///
/// # Errors
/// The access log cannot be opened, or a thread or a runtime cannot be made.
pub fn start(
    shared: &Arc<Shared>,
    bound: &[Bound],
    news: &watch::Receiver<Arc<Snapshot>>,
    ready: &Arc<AtomicUsize>,
) -> std::io::Result<Workers> {
    let (drain, draining) = watch::channel(false);
    let (running, ended) = mpsc::channel();
    let (started, starting) = mpsc::channel();
    let mut threads = Vec::new();
    let (lines, log) = access_log(shared)?.unzip();
    let admission = Admission::new(shared);
    let followed = watch::Sender::new(vec![Some(news.borrow().clone()); shared.settings.workers]);
    for number in 0..shared.settings.workers {
        let listeners: Vec<_> = bound
            .iter()
            .map(|one| Ok((one.listener.try_clone()?, one.dialect.clone(), admission.clone())))
            .collect::<std::io::Result<_>>()?;
        let (shared, news, draining) = (shared.clone(), news.clone(), draining.clone());
        let (running, lines, followed) = (running.clone(), lines.clone(), followed.clone());
        let ready = Ready { count: ready.clone(), started: started.clone() };
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        let thread = thread.stack_size(THREAD_STACK);
        threads.push(thread.spawn(move || {
            metrics::enter_worker(number);
            match local_runtime() {
                Ok(runtime) => {
                    let news = (number, news, followed);
                    runtime.block_on(work(shared, listeners, news, draining, ready, lines));
                    // What is still open is cut here, and writes its log records.
                    drop((runtime, running));
                }
                Err(error) => tracing::error!("worker cannot start: {error}"),
            }
        })?);
    }
    drop(started);
    wait_for(&starting, shared.settings.workers)?;
    let drain_limit = Duration::from_secs(shared.settings.drain_secs);
    Ok(Workers { threads, followed, drain, ended, log, drain_limit })
}

/// How long a worker is waited for that is busy, in a plugin's `init_worker` for example.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until every worker takes requests: who is told that the gateway is there may use it.
fn wait_for(starting: &mpsc::Receiver<()>, workers: usize) -> std::io::Result<()> {
    let end = Instant::now() + PATIENCE;
    for ready in 0..workers {
        match starting.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                tracing::warn!("{ready} of {workers} workers have started in {PATIENCE:?}");
                return Ok(());
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(std::io::Error::other("a worker cannot start"));
            }
        }
    }
    Ok(())
}

/// The thread that writes the access log.
fn access_log(shared: &Shared) -> std::io::Result<Option<(Lines, telemetry::Writer)>> {
    let Some(path) = &shared.settings.access_log else { return Ok(None) };
    let path = path.clone();
    let open = move || {
        telemetry::open_access_log(&path).map_err(|error| {
            let text = format!("proxy_access_log {}: {error}", path.display());
            std::io::Error::new(error.kind(), text)
        })
    };
    let help = "Lines of the access log that were dropped because its reader was too slow";
    let dropped = shared.metrics.counter("silverback_access_log_dropped_total", help, &[]);
    Lines::to(open, dropped).map(Some)
}

/// A runtime for one thread.
///
/// # Errors
/// The system gives no more file descriptors.
pub fn single_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// A runtime whose tasks never leave their thread: they may hold `Rc` and Lua values.
fn local_runtime() -> std::io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

impl Workers {
    /// Opens the access log anew: its file has been moved away.
    pub fn reopen_log(&self) {
        self.log.iter().for_each(telemetry::Writer::reopen);
    }

    /// Waits until every worker works with the configuration that is in force.
    pub async fn have_followed(&self, news: &watch::Receiver<Arc<Snapshot>>) {
        let mut followed = self.followed.subscribe();
        let is_news = |one: &Option<Arc<Snapshot>>| {
            one.as_ref().is_some_and(|one| Arc::ptr_eq(one, &news.borrow()))
        };
        let all = followed.wait_for(|all| all.iter().all(is_news));
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("not every worker has taken over the configuration in {PATIENCE:?}");
        }
    }

    /// Stops accepting, lets open exchanges end, and waits for the threads. One that is stuck, in
    /// Lua for example, is not waited for.
    pub fn drain(self) {
        const CUTTING: Duration = Duration::from_secs(2);
        let _ = self.drain.send(true);
        let limit = self.drain_limit.saturating_add(CUTTING);
        if self.ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            return tracing::error!("a worker is stuck and does not end");
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        if let Some(log) = self.log {
            log.finish(CUTTING);
        }
    }
}

/// The life of a worker.
async fn work(
    shared: Arc<Shared>,
    listeners: Vec<(TcpListener, Dialect, Arc<Admission>)>,
    (number, mut news, followed): (usize, watch::Receiver<Arc<Snapshot>>, Followed),
    mut draining: watch::Receiver<bool>,
    ready: Ready,
    log: Option<Lines>,
) {
    let snapshot = news.borrow_and_update().clone();
    let worker = match Worker::new(&shared, &snapshot, log) {
        Ok(worker) => worker,
        Err(error) => return tracing::error!("worker cannot start: {error}"),
    };
    tokio::task::spawn_local(worker.clone().follow(number, news, followed));
    tokio::task::spawn_local(worker.clone().housekeeping());
    for (listener, dialect, admission) in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let draining = draining.clone();
                let accept = accept(worker.clone(), listener, dialect, admission, draining);
                tokio::task::spawn_local(accept);
            }
            Err(error) => return tracing::error!("worker cannot listen: {error}"),
        }
    }
    let (_serving, count) = ready.serve();
    if count == shared.settings.workers {
        shared.systemd.ready();
    }
    let _ = draining.wait_for(|draining| *draining).await;
    finish(&worker).await;
}

/// A worker that has not started yet.
struct Ready {
    count: Arc<AtomicUsize>,
    started: mpsc::Sender<()>,
}

/// A worker that takes requests, as long as this lives.
struct Serving(Arc<AtomicUsize>);

impl Ready {
    /// One more takes requests, and so many do with it.
    fn serve(self) -> (Serving, usize) {
        let others = self.count.fetch_add(1, Ordering::Release);
        let _ = self.started.send(());
        (Serving(self.count), others + 1)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Waits for the open exchanges, at most `drain_secs`.
async fn finish(worker: &Worker) {
    const LOOK: Duration = Duration::from_millis(20);
    const LAST_BYTES: Duration = Duration::from_secs(5);
    let limit = Duration::from_secs(worker.shared.settings.drain_secs);
    let scripts = worker.scripts.borrow().clone();
    scripts.end_timers();
    let waited = tokio::time::timeout(limit, async {
        while worker.open.get() > 0 || scripts.busy_timers() > 0 {
            tokio::time::sleep(LOOK).await;
        }
        // A connection that nobody uses closes at once; others have bytes to deliver, or an
        // unfinished head that is not worth a long wait.
        let since = Instant::now();
        while worker.connections.get() > 0 && since.elapsed() < LAST_BYTES {
            tokio::time::sleep(LOOK).await;
        }
    });
    if waited.await.is_err() {
        tracing::warn!("{} exchanges did not end within {limit:?}", worker.open.get());
    }
}

async fn accept(
    worker: Rc<Worker>,
    listener: tokio::net::TcpListener,
    dialect: Dialect,
    admission: Arc<Admission>,
    mut draining: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|draining| *draining) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(admitted) = admission.admit() else {
                    admission.refuse(stream, dialect.tls.is_some());
                    continue;
                };
                let run =
                    conn::run(worker.clone(), dialect.clone(), stream, peer, draining.clone());
                tokio::task::spawn_local(async move {
                    run.await;
                    drop(admitted);
                });
            }
            Err(error) => admission.rest(&error).await,
        }
    }
}
