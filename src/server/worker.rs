//! One worker: a thread, its runtime, its Runloop, its connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::dns::Names;
use crate::metrics::{Counter, Histogram, Metrics};
use crate::pdk::{Exchange, Source, Times};
use crate::runloop::{Runloop, Scripts};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::telemetry::{ACCESS_LOG_DELAY, AccessLog, Lines};
use crate::upstream::{Keepalive, Pool};

/// The configuration that each worker works with, by its number.
pub(super) type Followed = watch::Sender<Vec<Option<Arc<Snapshot>>>>;

/// What the exchanges of one thread share.
pub(super) struct Worker {
    /// What all threads share.
    pub(super) shared: Arc<Shared>,
    /// Upstream connections.
    pub(super) pool: Rc<Pool>,
    /// DNS answers.
    pub(super) names: Names,
    /// Access log lines on their way out.
    pub(super) access_log: Option<AccessLog>,
    /// Exchanges that have not ended.
    pub(super) open: Cell<usize>,
    /// Client connections that have not ended: the last bytes of an exchange may still be on them.
    pub(super) connections: Cell<usize>,
    /// Requests taken by this process.
    pub(super) requests: Counter,
    /// What the gateway itself takes of the time of exchanges.
    pub(super) overhead: Overhead,
    runloop: RefCell<Rc<Runloop>>,
    pub(super) scripts: RefCell<Rc<Scripts>>,
}

impl Worker {
    /// A worker for the current configuration.
    ///
    /// # Errors
    /// The configuration cannot be compiled; the loader has tried it, so this is not expected.
    pub(super) fn new(
        shared: &Arc<Shared>,
        snapshot: &Arc<Snapshot>,
        log: Option<Lines>,
    ) -> Result<Rc<Self>, String> {
        let settings = &shared.settings;
        let keepalive = Keepalive {
            pool_size: settings.keepalive_pool_size,
            idle: unless_zero(settings.keepalive_idle_ms, Duration::MAX, Duration::from_millis),
            max_requests: unless_zero(settings.keepalive_max_requests, u64::MAX, |n| n),
        };
        let scripts = Scripts::default();
        let mark = shared.tokens.mark();
        let runloop = Runloop::new(snapshot, shared, &scripts, None)
            .map_err(|refusals| format!("configuration does not compile: {refusals:?}"))?;
        shared.tokens.take_over(mark);
        let help = "Requests taken by the proxy listeners";
        Ok(Rc::new(Self {
            pool: Pool::new(keepalive),
            names: Names::new(shared.dns.clone()),
            access_log: log.map(|lines| AccessLog::new(lines, settings.log_format)),
            open: Cell::new(0),
            connections: Cell::new(0),
            requests: shared.metrics.counter("kong_nginx_requests_total", help, &[]),
            overhead: Overhead::new(&shared.metrics),
            runloop: RefCell::new(Rc::new(runloop)),
            scripts: RefCell::new(Rc::new(scripts)),
            shared: shared.clone(),
        }))
    }

    /// The configuration for a new exchange.
    pub(super) fn runloop(&self) -> Rc<Runloop> {
        self.runloop.borrow().clone()
    }

    /// Takes over each new configuration, off the request path, until the sender is gone.
    pub(super) async fn follow(
        self: Rc<Self>,
        number: usize,
        mut news: watch::Receiver<Arc<Snapshot>>,
        followed: Followed,
    ) {
        while news.changed().await.is_ok() {
            let snapshot = news.borrow_and_update().clone();
            let old = self.runloop();
            let mark = self.shared.tokens.mark();
            let before = self.scripts.borrow().clone();
            let is_same = snapshot.code == old.snapshot.code;
            let scripts = if is_same { before.clone() } else { Rc::new(before.successor()) };
            match Runloop::new(&snapshot, &self.shared, &scripts, Some(&old)) {
                Ok(new) => {
                    self.shared.tokens.take_over(mark);
                    *self.runloop.borrow_mut() = Rc::new(new);
                    if !is_same {
                        *self.scripts.borrow_mut() = scripts;
                        before.end_timers();
                    }
                    if old.snapshot.hash != snapshot.hash {
                        self.shared.dicts.purge_caches();
                    }
                }
                Err(refusals) => {
                    if !is_same {
                        scripts.end_timers();
                    }
                    tracing::error!("configuration does not compile: {refusals:?}");
                }
            }
            followed.send_modify(|all| {
                if let Some(mine) = all.get_mut(number) {
                    *mine = Some(snapshot);
                }
            });
        }
    }

    /// Small chores: idle connections, access log lines that wait.
    pub(super) async fn housekeeping(self: Rc<Self>) {
        const PERIOD: Duration = Duration::from_secs(5);
        let step = if self.access_log.is_some() { ACCESS_LOG_DELAY } else { PERIOD };
        let mut swept = Instant::now();
        loop {
            tokio::time::sleep(step).await;
            if let Some(log) = &self.access_log {
                log.flush();
            }
            if swept.elapsed() >= PERIOD {
                swept = Instant::now();
                self.pool.sweep();
            }
        }
    }
}

/// The gateway's own time in exchanges, apart for answers of upstreams and for its own.
pub(super) struct Overhead {
    proxied: Histogram,
    own: Histogram,
}

impl Overhead {
    fn new(metrics: &Metrics) -> Self {
        const BOUNDS_US: &[u64] = Times::OVERHEAD_BOUNDS_US;
        let help = "Microseconds that the gateway itself took";
        let of = |source| {
            metrics.histogram("silverback_overhead_us", help, BOUNDS_US, &[("source", source)])
        };
        Self { proxied: of("upstream"), own: of("kong") }
    }

    /// Counts an exchange that has ended, if it has come to a head.
    pub(super) fn count(&self, ex: &Exchange) {
        let Some(time) = ex.times.overhead.get() else { return };
        let is_proxied = ex.response.source() == Source::Service;
        let histogram = if is_proxied { &self.proxied } else { &self.own };
        histogram.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// nginx' zero: no limit.
fn unless_zero<T>(value: u64, unlimited: T, limited: impl FnOnce(u64) -> T) -> T {
    if value == 0 { unlimited } else { limited(value) }
}
