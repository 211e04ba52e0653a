//! Log records on their way to a log server: queues that the control thread empties.
//!
//! The rules are those of Kong's queues: records are sent in batches, a batch that fails is tried
//! again for some time, and a queue that is full loses its oldest records. A worker only puts a
//! record there. When the gateway drains, what is left is sent once more, for some seconds.

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

/// How long a gateway that stops waits for its queues.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Bytes that may wait in one queue which has no limit of its own.
const BYTES_MAX: usize = 64 << 20;

/// Where records go.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// The address.
    pub url: Url,
    /// POST, PUT or PATCH.
    pub method: Method,
    /// Every header but those that the body decides.
    pub headers: HeaderMap,
    /// How long one delivery may take.
    pub timeout: Duration,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
}

/// How records wait: the `queue` record of Kong's plugins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Records in one delivery; one of them goes by itself, several are a JSON array.
    pub batch_max: usize,
    /// How long the first record of a batch waits for others.
    pub delay: Duration,
    /// Records that may wait.
    pub entries_max: usize,
    /// Bytes that may wait.
    pub bytes_max: Option<usize>,
    /// How long a batch is tried again.
    pub retry_time: Duration,
    /// The pause before the first retry; it doubles.
    pub retry_delay: Duration,
    /// The longest pause.
    pub retry_delay_max: Duration,
    /// Each record is sent at once, by itself.
    pub unlimited: bool,
}

/// The queues of the process.
pub struct Deliveries {
    common: Arc<Common>,
    tls: Arc<rustls::ClientConfig>,
    dns: Arc<Dns>,
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
    /// Queues that use `tls` and `dns`, and are emptied on `control`.
    pub fn new(control: Handle, tls: Arc<rustls::ClientConfig>, dns: Arc<Dns>) -> Self {
        let (closing, busy) = (watch::Sender::new(false), watch::Sender::new(0));
        let common = Arc::new(Common { control, closing, busy });
        Self { common, tls, dns, queues: Mutex::default() }
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
        let client = Client::builder()
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
            tracing::error!("log records were lost: their server does not take them");
        }
    }
}

/// Records that wait for one destination.
pub struct Queue {
    common: Arc<Common>,
    client: Client,
    destination: Destination,
    terms: Terms,
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Bytes>,
    bytes: usize,
    /// Somebody is there to empty it.
    is_served: bool,
    /// Records that were dropped since one was sent.
    dropped: usize,
    /// Deliveries on their way, if their number is not limited.
    alone: usize,
}

impl Queue {
    /// Puts a record there. It never waits; a full queue loses its oldest.
    pub fn push(self: &Arc<Self>, entry: Bytes) {
        let bytes_max = self.terms.bytes_max.unwrap_or(BYTES_MAX);
        if entry.len() > bytes_max {
            let length = entry.len();
            tracing::error!("a log record is longer ({length} bytes) than max_bytes ({bytes_max})");
            return;
        }
        let mut state = lock(&self.state);
        if self.terms.unlimited {
            return self.send_alone(&mut state, entry);
        }
        while state.entries.len() >= self.terms.entries_max || state.bytes + entry.len() > bytes_max
        {
            let Some(oldest) = state.entries.pop_front() else { break };
            state.bytes -= oldest.len();
            self.dropped(&mut state);
        }
        state.bytes += entry.len();
        state.entries.push_back(entry);
        let enough = state.entries.len() >= self.terms.batch_max;
        if !state.is_served {
            state.is_served = true;
            self.spawn(Self::serve);
        } else if enough {
            self.more.notify_one();
        }
    }

    fn send_alone(self: &Arc<Self>, state: &mut State, entry: Bytes) {
        if state.alone >= self.terms.entries_max {
            return self.dropped(state);
        }
        state.alone += 1;
        self.spawn(|queue| async move {
            queue.deliver(&[entry]).await;
            lock(&queue.state).alone -= 1;
        });
    }

    /// The operator hears of the first one, and of all when records are sent again.
    fn dropped(&self, state: &mut State) {
        state.dropped += 1;
        if state.dropped == 1 {
            let server = self.server();
            tracing::error!(%server, "log queue full, dropping old entries until they are sent");
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
            if batch.is_empty() {
                return;
            }
            self.deliver(&batch).await;
        }
    }

    /// Whether there are records, but less than a batch.
    fn waits_for_more(&self) -> bool {
        (1..self.terms.batch_max).contains(&lock(&self.state).entries.len())
    }

    /// The next records; with none, nobody serves the queue any more.
    fn batch(&self) -> Vec<Bytes> {
        let mut state = lock(&self.state);
        let length = state.entries.len().min(self.terms.batch_max);
        let batch: Vec<Bytes> = state.entries.drain(..length).collect();
        state.bytes -= batch.iter().map(Bytes::len).sum::<usize>();
        state.is_served = !batch.is_empty();
        if std::mem::take(&mut state.dropped) > 0 {
            tracing::warn!(server = %self.server(), "log queue resumed processing");
        }
        batch
    }

    /// Sends a batch, again and again until its time is over.
    async fn deliver(&self, batch: &[Bytes]) {
        let mut closing = self.common.closing.subscribe();
        let (started, body) = (Instant::now(), self.body(batch));
        let mut pause = self.terms.retry_delay;
        loop {
            let Err(error) = self.send(body.clone()).await else { return };
            let (server, lost) = (self.server(), batch.len());
            tracing::warn!(%server, "log records could not be sent: {error}");
            if started.elapsed() > self.terms.retry_time || *closing.borrow() {
                tracing::error!(%server, lost, "log records were lost after max_retry_time");
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause.min(self.terms.retry_delay_max)) => {}
                _ = closing.changed() => {}
            }
            pause = pause.saturating_mul(2);
        }
    }

    fn body(&self, batch: &[Bytes]) -> Bytes {
        if self.terms.batch_max == 1 || self.terms.unlimited {
            return batch.first().cloned().unwrap_or_default();
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
mod tests {
    use std::collections::HashMap;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::settings::Settings;
    use crate::tls::{UpstreamTls, install_provider};

    fn deliveries() -> Deliveries {
        install_provider();
        let settings = Settings::defaults();
        let tls = UpstreamTls::new(&settings).unwrap().config(true);
        let dns = Dns::table(&settings.dns, Handle::current(), HashMap::new());
        Deliveries::new(Handle::current(), tls, Arc::new(dns))
    }

    fn destination(address: SocketAddr) -> Destination {
        Destination {
            url: Url::parse(&format!("http://{address}/")).unwrap(),
            method: Method::POST,
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(60),
            keepalive: Duration::from_secs(60),
        }
    }

    const TERMS: Terms = Terms {
        batch_max: 2,
        delay: Duration::ZERO,
        entries_max: 2,
        bytes_max: Some(3),
        retry_time: Duration::ZERO,
        retry_delay: Duration::ZERO,
        retry_delay_max: Duration::ZERO,
        unlimited: false,
    };

    #[tokio::test]
    async fn a_full_queue_loses_its_oldest_and_refuses_what_never_fits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deliveries = deliveries();
        let queue = deliveries.queue(destination(listener.local_addr().unwrap()), TERMS).unwrap();
        // Nobody empties the queue before this test waits.
        for entry in ["1", "2", "33", "4444"] {
            queue.push(Bytes::from_static(entry.as_bytes()));
        }
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"]") {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
        }
        assert!(seen.ends_with(b"\r\n\r\n[2,33]"), "{}", String::from_utf8_lossy(&seen));
    }

    #[tokio::test]
    async fn plugins_that_agree_share_a_queue() {
        let deliveries = deliveries();
        let to = destination("127.0.0.1:9".parse().unwrap());
        let one = deliveries.queue(to.clone(), TERMS).unwrap();
        assert!(Arc::ptr_eq(&one, &deliveries.queue(to.clone(), TERMS).unwrap()));
        let other = Terms { batch_max: 1, ..TERMS };
        assert!(!Arc::ptr_eq(&one, &deliveries.queue(to, other).unwrap()));
    }
}
