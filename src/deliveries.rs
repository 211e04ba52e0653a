//! Records on their way to a log server or a collector: queues that the control thread empties.
//!
//! The rules are those of Kong's queues: records are sent in batches, a batch that fails is tried
//! again for some time, and a queue that is full loses its oldest records. A worker only puts a
//! record there. A queue has as many senders as Kong has, one for each worker, and any of them
//! takes any record. When the gateway drains, what is left is sent once more, for some seconds.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::Client;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use url::Url;

use crate::dns::{Dns, Records};
use crate::otlp::Envelope;

/// How long a gateway that stops waits for its queues.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Bytes that one queue may hold which has no limit of its own.
const BYTES_MAX: usize = 64 << 20;
/// Senders of a queue without a limit for them.
const SENDERS_MAX: usize = 256;

/// Where records go.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// The address.
    pub url: Url,
    /// POST, PUT or PATCH.
    pub method: Method,
    /// Every header but those that the body decides.
    pub headers: HeaderMap,
    /// What the body is.
    pub framing: Framing,
    /// How long a connection may take; `None` is as long as the delivery.
    pub connect: Option<Duration>,
    /// How long one delivery may take.
    pub timeout: Duration,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
}

/// How the records of a batch become a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// One by itself, several as a JSON array.
    Json,
    /// As OpenTelemetry's collectors read them.
    Otlp(Arc<Envelope>),
    /// One behind the other: each is whole by itself.
    Concatenated,
}

/// How records wait: the `queue` record of Kong's plugins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Records in one delivery.
    pub batch_max: usize,
    /// How long the first record of a batch waits for others.
    pub delay: Duration,
    /// Records that may wait.
    pub entries_max: usize,
    /// Bytes that may wait or be on their way.
    pub bytes_max: Option<usize>,
    /// How long a batch is tried again.
    pub retry_time: Duration,
    /// The pause before the first retry; it doubles.
    pub retry_delay: Duration,
    /// The longest pause.
    pub retry_delay_max: Duration,
    /// Each record is sent at once and by itself, as long as there are senders.
    pub unlimited: bool,
}

/// The queues of the process.
pub struct Deliveries {
    common: Arc<Common>,
    tls: Arc<rustls::ClientConfig>,
    dns: Arc<Dns>,
    workers: usize,
    queues: Mutex<Vec<Weak<Queue>>>,
}

struct Common {
    control: Handle,
    /// The gateway stops.
    closing: watch::Sender<bool>,
    /// Tasks that have something to send.
    busy: watch::Sender<usize>,
}

impl Deliveries {
    /// Queues that use `tls` and `dns`, and are emptied on `control` by a sender for each worker.
    pub fn new(
        control: Handle,
        tls: Arc<rustls::ClientConfig>,
        dns: Arc<Dns>,
        workers: usize,
    ) -> Self {
        let (closing, busy) = (watch::Sender::new(false), watch::Sender::new(0));
        let common = Arc::new(Common { control, closing, busy });
        Self { common, tls, dns, workers, queues: Mutex::default() }
    }

    /// The queue to a destination. Those of all workers, before and after a reload, are one.
    ///
    /// # Errors
    /// The HTTP library refuses to make a client.
    pub fn queue(&self, destination: Destination, terms: Terms) -> Result<Arc<Queue>, String> {
        let mut queues = lock(&self.queues);
        queues.retain(|queue| queue.strong_count() > 0);
        let is_same = |queue: &Arc<Queue>| queue.destination == destination && queue.terms == terms;
        if let Some(queue) = queues.iter().filter_map(Weak::upgrade).find(is_same) {
            return Ok(queue);
        }
        let mut client = Client::builder();
        if let Some(connect) = destination.connect {
            client = client.connect_timeout(connect);
        }
        let client = client
            .tls_backend_preconfigured((*self.tls).clone())
            .dns_resolver(Names(self.dns.clone()))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(destination.keepalive)
            .user_agent(concat!("silverback/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        let queue = Arc::new(Queue {
            common: self.common.clone(),
            client,
            destination,
            terms,
            senders_max: if terms.unlimited { SENDERS_MAX } else { self.workers.max(1) },
            state: Mutex::default(),
            more: Notify::new(),
        });
        queues.push(Arc::downgrade(&queue));
        Ok(queue)
    }

    /// Sends what is left, as far as it goes in some seconds.
    pub fn flush(&self) {
        self.common.closing.send_replace(true);
        let mut busy = self.common.busy.subscribe();
        let (done, wait) = std::sync::mpsc::channel();
        self.common.control.spawn(async move {
            let _ = busy.wait_for(|busy| *busy == 0).await;
            let _ = done.send(());
        });
        if wait.recv_timeout(FLUSH_LIMIT).is_err() {
            tracing::error!("records were lost: their server does not take them");
        }
    }
}

/// Records that wait for one destination.
pub struct Queue {
    common: Arc<Common>,
    client: Client,
    destination: Destination,
    terms: Terms,
    senders_max: usize,
    state: Mutex<State>,
    more: Notify,
}

/// While records wait, a sender gathers them, or all senders are on their way.
#[derive(Default)]
struct State {
    entries: VecDeque<Bytes>,
    /// Bytes that wait.
    waiting: usize,
    /// Bytes on their way, also while they are tried again.
    sending: usize,
    senders: usize,
    /// One of the senders waits for a batch.
    is_gathering: bool,
    /// Records that were dropped since one was sent.
    dropped: usize,
}

impl Queue {
    /// Puts a record there. It never waits; a full queue loses its oldest.
    pub fn push(self: &Arc<Self>, entry: Bytes) {
        let bytes_max = self.terms.bytes_max.unwrap_or(BYTES_MAX);
        let length = entry.len();
        if length > bytes_max {
            tracing::error!("a record is longer ({length} bytes) than max_bytes ({bytes_max})");
            return;
        }
        let mut state = lock(&self.state);
        if state.sending + length > bytes_max {
            // Those that wait make no room for it.
            return self.dropped(&mut state);
        }
        while state.entries.len() >= self.terms.entries_max
            || state.sending + state.waiting + length > bytes_max
        {
            let Some(oldest) = state.entries.pop_front() else { break };
            state.waiting -= oldest.len();
            self.dropped(&mut state);
        }
        state.waiting += length;
        state.entries.push_back(entry);
        if state.is_gathering {
            if state.entries.len() >= self.batch_max() {
                self.more.notify_one();
            }
        } else if state.senders < self.senders_max {
            self.start(&mut state);
        }
    }

    /// Records in one delivery.
    fn batch_max(&self) -> usize {
        if self.terms.unlimited { 1 } else { self.terms.batch_max }
    }

    /// Another sender.
    fn start(self: &Arc<Self>, state: &mut State) {
        state.senders += 1;
        state.is_gathering = true;
        self.spawn(Self::serve);
    }

    /// The operator hears of the first one, and of all when records are sent again.
    fn dropped(&self, state: &mut State) {
        state.dropped += 1;
        if state.dropped == 1 {
            let server = self.server();
            tracing::error!(%server, "queue full, dropping old records until they are sent");
        }
    }

    fn spawn<F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.common.busy.send_modify(|busy| *busy += 1);
        let (work, common) = (work(self.clone()), self.common.clone());
        self.common.control.spawn(async move {
            work.await;
            common.busy.send_modify(|busy| *busy -= 1);
        });
    }

    /// Empties the queue, batch by batch.
    async fn serve(self: Arc<Self>) {
        let mut closing = self.common.closing.subscribe();
        loop {
            // The time of a batch begins with its first record.
            let until = Instant::now() + self.terms.delay;
            while self.waits_for_more() && !*closing.borrow() {
                tokio::select! {
                    () = self.more.notified() => {}
                    () = tokio::time::sleep_until(until) => break,
                    _ = closing.changed() => break,
                }
            }
            let batch = self.batch();
            let bytes = batch.iter().map(Bytes::len).sum();
            self.deliver(batch).await;
            if !self.goes_on(bytes) {
                return;
            }
        }
    }

    /// Whether there are records, but less than a batch.
    fn waits_for_more(&self) -> bool {
        (1..self.batch_max()).contains(&lock(&self.state).entries.len())
    }

    /// The next records. For those that stay there is another sender.
    fn batch(self: &Arc<Self>) -> Vec<Bytes> {
        let mut state = lock(&self.state);
        let length = state.entries.len().min(self.batch_max());
        let batch: Vec<Bytes> = state.entries.drain(..length).collect();
        let bytes = batch.iter().map(Bytes::len).sum::<usize>();
        state.waiting -= bytes;
        state.sending += bytes;
        state.is_gathering = false;
        if !state.entries.is_empty() && state.senders < self.senders_max {
            self.start(&mut state);
        }
        if std::mem::take(&mut state.dropped) > 0 {
            tracing::warn!(server = %self.server(), "queue resumed processing");
        }
        batch
    }

    /// After a delivery: whether its sender gathers the next batch, or goes.
    fn goes_on(&self, sent: usize) -> bool {
        let mut state = lock(&self.state);
        state.sending -= sent;
        let is_needed = !state.is_gathering && !state.entries.is_empty();
        if is_needed {
            state.is_gathering = true;
        } else {
            state.senders -= 1;
        }
        is_needed
    }

    /// Sends a batch, again and again until its time is over.
    async fn deliver(&self, batch: Vec<Bytes>) {
        let mut closing = self.common.closing.subscribe();
        let (started, lost) = (Instant::now(), batch.len());
        let body = self.body(batch);
        let mut pause = self.terms.retry_delay;
        loop {
            let Err(error) = self.send(body.clone()).await else { return };
            let server = self.server();
            tracing::warn!(%server, "records could not be sent: {error}");
            if started.elapsed() > self.terms.retry_time || *closing.borrow() {
                tracing::error!(%server, lost, "records were lost after max_retry_time");
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause.min(self.terms.retry_delay_max)) => {}
                _ = closing.changed() => {}
            }
            pause = pause.saturating_mul(2);
        }
    }

    /// One record by itself, or a JSON array where a batch may have several, also of one.
    fn body(&self, mut batch: Vec<Bytes>) -> Bytes {
        match &self.destination.framing {
            Framing::Otlp(envelope) => return envelope.wrap(&batch),
            Framing::Concatenated => return batch.concat().into(),
            Framing::Json => {}
        }
        if self.terms.batch_max == 1 {
            return batch.pop().unwrap_or_default();
        }
        let mut body = vec![b'['];
        for (at, entry) in batch.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(entry);
        }
        body.push(b']');
        body.into()
    }

    async fn send(&self, body: Bytes) -> Result<(), String> {
        let to = &self.destination;
        let request = self.client.request(to.method.clone(), to.url.clone());
        let request = request.headers(to.headers.clone()).timeout(to.timeout).body(body);
        let told = |error: reqwest::Error| causes(&error.without_url());
        let mut reply = request.send().await.map_err(told)?;
        let status = reply.status().as_u16();
        // Read to its end the connection can be used again; a long answer is not worth it.
        let mut read = 0;
        while let Some(data) = reply.chunk().await.map_err(told)? {
            read += data.len();
            if read > 64 << 10 {
                break;
            }
        }
        if status < 300 { Ok(()) } else { Err(format!("it answered with status {status}")) }
    }

    /// Host and port, which are no secret; the rest of the address can be.
    fn server(&self) -> String {
        let url = &self.destination.url;
        let port = url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", url.host_str().unwrap_or_default())
    }
}

/// An error with what caused it: reqwest's own texts say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The names of log servers, by our own DNS.
struct Names(Arc<Dns>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let dns = self.0.clone();
        Box::pin(async move {
            const DEPTH_MAX: usize = 5;
            let (mut host, mut port) = (name.as_str().to_owned(), 0);
            for _ in 0..DEPTH_MAX {
                if let Ok(ip) = host.parse() {
                    let only = std::iter::once(SocketAddr::new(ip, port));
                    return Ok(Box::new(only) as Addrs);
                }
                match dns.records(&host).await.0? {
                    Records::Addresses(addresses) => {
                        let all: Vec<SocketAddr> =
                            addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
                        return Ok(Box::new(all.into_iter()) as Addrs);
                    }
                    Records::Services(services) => {
                        let Some(service) = services.first() else { break };
                        (host, port) = (service.target.to_string(), service.port);
                    }
                }
            }
            Err("the name leads to no address".into())
        })
    }
}

#[cfg(test)]
mod tests;
