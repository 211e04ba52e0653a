//! Names to addresses, with the times to live that DNS gives.
//!
//! Questions are asked on the control thread, one at a time for each name, and their answers are
//! shared. Each worker keeps a copy of what it uses (`names`), so a request with a known name takes
//! no lock. An answer whose time is over still serves while it is renewed (Kong: `dns_stale_ttl`):
//! DNS that is down for a while is not an outage.

mod answer;
mod hosts;
mod names;
mod resolver;
mod room;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

pub use answer::{Records, Service, Unresolved};
pub use names::Names;

use crate::settings::DnsSettings;
use answer::{Answer, Fault};
use hosts::Hosts;
use resolver::Resolver;

/// How long a name of the hosts file is not looked up in it again.
const HOSTS_TTL: Duration = Duration::from_secs(5);
/// How long it serves after that while the file is looked at, so that nobody waits for the control
/// thread. Short, since the file is the operator's latest word.
const HOSTS_STALE: Duration = Duration::from_secs(60);
/// The shortest time to live: an answer that forbids to keep it would mean a question for each
/// request.
const TTL_MIN: Duration = Duration::from_secs(1);

/// The process' view of DNS.
pub struct Dns {
    source: Source,
    options: DnsSettings,
    control: Handle,
    cache: DashMap<Box<str>, Answer>,
    asking: Mutex<HashMap<Box<str>, Pending>>,
}

/// The answer that somebody already waits for.
type Pending = watch::Receiver<Option<Answer>>;

/// Where answers come from.
enum Source {
    System(Box<Resolver>, Hosts),
    /// Names with ports to addresses, nothing else: tests only.
    Table(HashMap<String, SocketAddr>),
}

impl Dns {
    /// The servers that the settings name, else those of `/etc/resolv.conf`; and the hosts file.
    pub fn new(options: &DnsSettings, control: Handle) -> Self {
        let _inside = control.enter();
        let hosts = Hosts::new(options.hosts_file.clone());
        let source = match Resolver::new(options) {
            Ok(resolver) => Source::System(Box::new(resolver), hosts),
            Err(error) => {
                tracing::error!("no DNS: {error}; only addresses will work");
                Source::Table(HashMap::new())
            }
        };
        drop(_inside);
        Self::with(source, options, control)
    }

    /// Fixed answers by `name:port`, for tests that stand in for public hosts.
    pub fn table(
        options: &DnsSettings,
        control: Handle,
        table: HashMap<String, SocketAddr>,
    ) -> Self {
        Self::with(Source::Table(table), options, control)
    }

    fn with(source: Source, options: &DnsSettings, control: Handle) -> Self {
        let (cache, asking) = (DashMap::new(), Mutex::default());
        Self { source, options: options.clone(), control, cache, asking }
    }

    /// What a name stands for, and when to ask again.
    pub async fn records(self: &Arc<Self>, name: &str) -> (Result<Records, Unresolved>, Instant) {
        let answer = self.ask(name).await;
        (answer.result, answer.until)
    }

    /// Asks, unless the answer is known; it is remembered for everybody.
    async fn ask(self: &Arc<Self>, name: &str) -> Answer {
        let name: Box<str> = name.to_ascii_lowercase().into();
        if let Some(answer) = self.remembered(&name) {
            return answer;
        }
        let mut pending = self.pending(&name);
        let answer = pending.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        answer.unwrap_or_else(|| {
            let fault = Fault::Failed("nobody answers any more".to_owned());
            Answer::failed(&name, fault, &self.options)
        })
    }

    fn remembered(&self, name: &str) -> Option<Answer> {
        let answer = self.cache.get(name)?;
        answer.is_fresh().then(|| answer.clone())
    }

    /// The answer to come. Whoever asks for a name that is being asked for waits for the same one.
    fn pending(self: &Arc<Self>, name: &str) -> Pending {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = self.remembered(name) {
            return watch::channel(Some(answer)).1;
        }
        let is_merged = self.options.is_merged;
        let open = asking.get(name).filter(|pending| is_merged && pending.has_changed().is_ok());
        if let Some(pending) = open {
            return pending.clone();
        }
        let (sender, receiver) = watch::channel(None);
        let (this, name) = (self.clone(), Box::<str>::from(name));
        asking.insert(name.clone(), receiver.clone());
        // The control thread asks: a worker that is busy must not delay anybody's answer.
        self.control.spawn(async move {
            let answer = this.keep(&name, this.query(&name).await);
            this.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            sender.send_replace(Some(answer));
        });
        receiver
    }

    async fn query(&self, name: &str) -> Answer {
        let (resolver, hosts) = match &self.source {
            Source::System(resolver, hosts) => (resolver, hosts),
            Source::Table(table) => return self.tabled(name, table),
        };
        if let Some(addresses) = hosts.find(name, &self.options.order) {
            return Answer::found(Records::Addresses(addresses), HOSTS_TTL, HOSTS_STALE);
        }
        let last = self.cache.get(name).and_then(|answer| answer.kind());
        match resolver.resolve(name, last).await {
            Ok((records, ttl)) => {
                let ttl = self.options.valid_ttl.unwrap_or(ttl).max(TTL_MIN);
                Answer::found(records, ttl, self.options.stale_ttl)
            }
            Err(fault) => Answer::failed(name, fault, &self.options),
        }
    }

    /// A name of the table stands for itself: its address depends on the port.
    fn tabled(&self, name: &str, table: &HashMap<String, SocketAddr>) -> Answer {
        let is_known = |known: &String| {
            known.rsplit_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        if !table.keys().any(is_known) {
            return Answer::failed(name, Fault::Missing("no such name".to_owned()), &self.options);
        }
        let itself = Service { target: name.into(), port: 0, weight: None };
        Answer::found(Records::Services([itself].into()), HOSTS_TTL, Duration::ZERO)
    }

    /// Remembers an answer.
    fn keep(&self, name: &str, answer: Answer) -> Answer {
        let old = self.cache.get(name).map(|old| old.clone());
        let fault = answer.result.clone().err();
        let kept = answer.following(old.as_ref(), &self.options);
        if let Some(error) = fault.filter(|_| kept.is_prolonged)
            && !old.as_ref().is_some_and(|old| old.is_prolonged)
        {
            tracing::warn!(fault = "upstream", "{error}; the last answer serves on");
        }
        if old.is_none() && self.cache.len() >= self.options.cache_size {
            self.make_room();
        }
        if self.options.cache_size > 0 {
            self.cache.insert(name.into(), kept.clone());
        }
        kept
    }

    /// Forgets a quarter: first what cannot serve, so that names that are not there push out their
    /// likes; then what was answered the longest ago. Names in use are answered anew.
    fn make_room(&self) {
        let rank = |answer: &Answer| (answer.may_serve(), answer.since);
        let mut goes = room::eviction(self.cache.iter().map(|entry| rank(&entry)).collect());
        self.cache.retain(|_, answer| !goes(rank(answer)));
    }
}
