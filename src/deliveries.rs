//! Log records on their way to a log server: queues that the control thread empties.
//!
//! The rules are those of Kong's queues: records are sent in batches, a batch that fails is tried
//! again for some time, and a queue that is full loses its oldest records. A worker only puts a
//! record there. A queue has as many senders as Kong has, one for each worker; which of them sends a
//! record, chance says. When the gateway drains, what is left is sent once more, for some seconds.

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
            tracing::error!("a log record is longer ({length} bytes) than max_bytes ({bytes_max})");
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
            tracing::warn!(server = %self.server(), "log queue resumed processing");
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

    /// One record by itself, or a JSON array where a batch may have several, also of one.
    fn body(&self, mut batch: Vec<Bytes>) -> Bytes {
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
mod tests {
    use std::collections::HashMap;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::settings::Settings;
    use crate::tls::{UpstreamTls, install_provider};

    fn deliveries() -> Deliveries {
        install_provider();
        let settings = Settings::defaults();
        let tls = UpstreamTls::new(&settings).unwrap().config(true);
        let dns = Dns::table(&settings.dns, Handle::current(), HashMap::new());
        Deliveries::new(Handle::current(), tls, Arc::new(dns), 1)
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
        assert_eq!(body(&mut stream, "[2,33]".len()).await, "[2,33]");
    }

    /// The body of a request, which has this length.
    async fn body(stream: &mut TcpStream, length: usize) -> String {
        let mut seen = Vec::new();
        let end = |seen: &[u8]| seen.windows(4).position(|four| four == b"\r\n\r\n");
        while end(&seen).is_none_or(|head| seen.len() < head + 4 + length) {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
        }
        String::from_utf8(seen.split_off(end(&seen).unwrap() + 4)).unwrap()
    }

    async fn answer(mut stream: TcpStream, status: u16) {
        let answer = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn bytes_on_their_way_do_not_make_a_queue_grow_beyond_its_bound() {
        for unlimited in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let deliveries = deliveries();
            let terms = Terms {
                batch_max: 1,
                entries_max: 9,
                retry_time: Duration::from_secs(60),
                unlimited,
                ..TERMS
            };
            let to = destination(listener.local_addr().unwrap());
            let queue = deliveries.queue(to, terms).unwrap();
            queue.push(Bytes::from_static(b"22"));
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(body(&mut stream, 2).await, "22");
            queue.push(Bytes::from_static(b"33"));
            answer(stream, 500).await;
            let (mut stream, _) = listener.accept().await.unwrap();
            // It is tried again, and still counts.
            assert_eq!(body(&mut stream, 2).await, "22");
            queue.push(Bytes::from_static(b"44"));
            assert!(lock(&queue.state).entries.is_empty());
            answer(stream, 200).await;
            while lock(&queue.state).sending > 0 {
                tokio::task::yield_now().await;
            }
            queue.push(Bytes::from_static(b"55"));
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(body(&mut stream, 2).await, "55");
        }
    }

    #[tokio::test]
    async fn a_queue_without_a_limit_for_senders_does_not_open_any_number_of_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deliveries = deliveries();
        let terms = Terms { unlimited: true, entries_max: 400, bytes_max: None, ..TERMS };
        let queue = deliveries.queue(destination(listener.local_addr().unwrap()), terms).unwrap();
        for _ in 0..300 {
            queue.push(Bytes::from_static(b"1"));
        }
        // Nobody answers.
        while lock(&queue.state).is_gathering {
            tokio::task::yield_now().await;
        }
        let state = lock(&queue.state);
        assert_eq!((state.senders, state.sending, state.entries.len()), (256, 256, 44));
    }

    #[tokio::test]
    async fn a_record_that_is_sent_at_once_is_an_array_where_batches_may_have_several() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deliveries = deliveries();
        let terms = Terms { unlimited: true, ..TERMS };
        let queue = deliveries.queue(destination(listener.local_addr().unwrap()), terms).unwrap();
        queue.push(Bytes::from_static(b"{}"));
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(body(&mut stream, 4).await, "[{}]");
    }

    #[tokio::test]
    async fn a_slow_log_server_holds_up_one_sender_and_not_those_of_other_workers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deliveries = Deliveries { workers: 2, ..deliveries() };
        let terms = Terms { batch_max: 1, entries_max: 9, bytes_max: None, ..TERMS };
        let queue = deliveries.queue(destination(listener.local_addr().unwrap()), terms).unwrap();
        for entry in ["1", "2", "3"] {
            queue.push(Bytes::from_static(entry.as_bytes()));
        }
        let (mut one, _) = listener.accept().await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let mut seen = [body(&mut one, 1).await, body(&mut other, 1).await];
        seen.sort();
        assert_eq!(seen, ["1", "2"]);
        assert_eq!(lock(&queue.state).entries.len(), 1, "two workers have two senders");
        answer(other, 200).await;
        let (mut other, _) = listener.accept().await.unwrap();
        assert_eq!(body(&mut other, 1).await, "3");
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
