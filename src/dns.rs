//! Names to addresses, with the times to live that DNS gives.
//!
//! Queries run on the control thread and their answers are shared. Each worker keeps a copy of
//! what it uses, so a request with a known name takes no lock. An answer whose time is over still
//! serves while it is renewed (Kong: `dns_stale_ttl`): DNS that is down for a minute is not an
//! outage.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use thiserror::Error;
use tokio::runtime::Handle;

/// How long an answer may serve after its time is over.
const STALE_MAX: Duration = Duration::from_secs(3600);
/// How long a failure is remembered.
const NEGATIVE: Duration = Duration::from_secs(1);
/// Names kept; a client that can choose names must not fill the memory.
const NAMES_MAX: usize = 10_000;

/// A name could not be resolved.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("name '{name}' could not be resolved: {reason}")]
pub struct Unresolved {
    /// The name.
    pub name: String,
    /// What the resolver said.
    pub reason: String,
}

/// The process' view of DNS.
pub struct Dns {
    source: Source,
    control: Handle,
    cache: DashMap<Box<str>, Answer>,
}

/// Where answers come from.
enum Source {
    System(Box<TokioResolver>),
    /// Names with ports to addresses, nothing else: tests only.
    Table(HashMap<String, SocketAddr>),
}

#[derive(Clone)]
struct Answer {
    result: Result<Arc<[IpAddr]>, Unresolved>,
    until: Instant,
}

impl Dns {
    /// The resolver of the system: `/etc/resolv.conf` and `/etc/hosts`.
    pub fn system(control: Handle) -> Self {
        let _inside = control.enter();
        let built =
            TokioResolver::builder_tokio().and_then(|builder| builder.build()).or_else(|_| {
                let provider = TokioRuntimeProvider::default();
                TokioResolver::builder_with_config(ResolverConfig::default(), provider).build()
            });
        let source = match built {
            Ok(resolver) => Source::System(Box::new(resolver)),
            Err(error) => {
                tracing::error!("no DNS: {error}; only addresses will work");
                Source::Table(HashMap::new())
            }
        };
        drop(_inside);
        Self { source, control, cache: DashMap::new() }
    }

    /// Fixed answers by `name:port`, for tests that stand in for public hosts.
    pub fn table(control: Handle, table: HashMap<String, SocketAddr>) -> Self {
        Self { source: Source::Table(table), control, cache: DashMap::new() }
    }

    /// Asks; the answer is remembered for everybody.
    async fn ask(self: Arc<Self>, name: Box<str>) -> Answer {
        if let Some(answer) = self.remembered(&name) {
            return answer;
        }
        let this = self.clone();
        let query = name.clone();
        // The control thread asks: a worker that is busy must not delay anybody's answer.
        let task = self.control.spawn(async move { this.query(&query).await });
        let answer = task.await.unwrap_or_else(|error| Answer::failed(&name, error.to_string()));
        if self.cache.len() >= NAMES_MAX {
            self.cache.retain(|_, answer| answer.is_fresh());
        }
        if self.cache.len() < NAMES_MAX || self.cache.contains_key(&name) {
            self.cache.insert(name, answer.clone());
        }
        answer
    }

    fn remembered(&self, name: &str) -> Option<Answer> {
        let answer = self.cache.get(name)?;
        (answer.until > Instant::now()).then(|| answer.clone())
    }

    async fn query(&self, name: &str) -> Answer {
        let Source::System(resolver) = &self.source else {
            return Answer::failed(name, "no such name".to_owned());
        };
        match resolver.lookup_ip(name).await {
            Ok(found) => {
                let addresses: Arc<[IpAddr]> = found.iter().collect();
                if addresses.is_empty() {
                    return Answer::failed(name, "the answer holds no address".to_owned());
                }
                let soonest = Instant::now() + Duration::from_secs(1);
                Answer { result: Ok(addresses), until: found.valid_until().max(soonest) }
            }
            Err(error) => Answer::failed(name, error.to_string()),
        }
    }
}

impl Answer {
    fn failed(name: &str, reason: String) -> Self {
        let error = Unresolved { name: name.to_owned(), reason };
        Self { result: Err(error), until: Instant::now() + NEGATIVE }
    }

    fn is_fresh(&self) -> bool {
        self.until > Instant::now()
    }

    fn may_serve(&self) -> bool {
        self.result.is_ok() && self.until + STALE_MAX > Instant::now()
    }
}

/// The names one worker uses.
pub struct Names {
    dns: Arc<Dns>,
    known: Rc<RefCell<HashMap<Box<str>, Known>>>,
}

/// An answer, and when it may be renewed again after its time is over.
#[derive(Clone)]
struct Known {
    answer: Answer,
    renewed: Option<Instant>,
}

impl Known {
    fn is_being_renewed(&self) -> bool {
        self.renewed.is_some_and(|at| at.elapsed() < NEGATIVE)
    }
}

impl Names {
    /// An empty copy.
    pub fn new(dns: Arc<Dns>) -> Self {
        Self { dns, known: Rc::default() }
    }

    /// Addresses for a name and port, in the order to try them.
    ///
    /// # Errors
    /// The name has no address, or DNS does not answer.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Addresses, Unresolved> {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(Addresses::One(SocketAddr::new(ip, port)));
        }
        if let Source::Table(table) = &self.dns.source {
            let known = table.get(&format!("{host}:{port}")).copied();
            let reason = "no such name".to_owned();
            return known
                .map(Addresses::One)
                .ok_or_else(|| Unresolved { name: host.to_owned(), reason });
        }
        let known = self.known.borrow().get(host).cloned();
        let answer = match known {
            Some(known) if known.answer.is_fresh() => known.answer,
            Some(known) if known.answer.may_serve() => {
                if !known.is_being_renewed() {
                    self.renew(host);
                }
                known.answer
            }
            _ => {
                let answer = self.dns.clone().ask(host.into()).await;
                self.keep(host, answer.clone());
                answer
            }
        };
        answer.result.map(|addresses| Addresses::Many(addresses, port))
    }

    fn keep(&self, host: &str, answer: Answer) {
        let mut known = self.known.borrow_mut();
        if known.len() >= NAMES_MAX {
            known.retain(|_, known| known.answer.is_fresh());
        }
        if known.len() < NAMES_MAX || known.contains_key(host) {
            known.insert(host.into(), Known { answer, renewed: None });
        }
    }

    /// Asks again in the background, once in a while. The old answer serves meanwhile.
    fn renew(&self, host: &str) {
        if let Some(known) = self.known.borrow_mut().get_mut(host) {
            known.renewed = Some(Instant::now());
        }
        let (dns, known, host) = (self.dns.clone(), self.known.clone(), Box::<str>::from(host));
        tokio::task::spawn_local(async move {
            let answer = dns.ask(host.clone()).await;
            if answer.result.is_ok() {
                known.borrow_mut().insert(host, Known { answer, renewed: None });
            }
        });
    }
}

/// Where a name points.
pub enum Addresses {
    /// An address that needed no DNS.
    One(SocketAddr),
    /// All addresses of a name.
    Many(Arc<[IpAddr]>, u16),
}

impl Addresses {
    /// The address for attempt `n`, from 0: attempts go round.
    pub fn pick(&self, n: usize) -> Option<SocketAddr> {
        match self {
            Self::One(address) => Some(*address),
            Self::Many(ips, port) => {
                let ip = ips.get(n.checked_rem(ips.len())?)?;
                Some(SocketAddr::new(*ip, *port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_need_no_dns_and_tables_answer_by_port() {
        let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let table = HashMap::from([("azure.test:443".to_owned(), address)]);
        let names = Names::new(Arc::new(Dns::table(Handle::current(), table)));
        let six = names.addresses("[::1]", 80).await.ok().unwrap();
        assert_eq!(six.pick(3), "[::1]:80".parse().ok());
        let found = names.addresses("azure.test", 443).await.ok().unwrap();
        assert_eq!(found.pick(0), Some(address));
        let error = names.addresses("azure.test", 80).await.err().unwrap();
        assert_eq!(error.to_string(), "name 'azure.test' could not be resolved: no such name");
    }

    #[tokio::test]
    async fn asking_makes_an_old_answer_no_younger() {
        let names = Names::new(Arc::new(Dns::system(Handle::current())));
        let (host, until) = ("gone.invalid", Instant::now());
        names.keep(host, Answer { result: Ok([IpAddr::from([127, 0, 0, 1])].into()), until });
        let ask = async {
            for _ in 0..3 {
                assert!(names.addresses(host, 80).await.is_ok());
            }
        };
        tokio::task::LocalSet::new().run_until(ask).await;
        assert_eq!(names.known.borrow()[host].answer.until, until);
    }

    #[tokio::test]
    async fn invalid_is_never_asked_outside() {
        let names = Names::new(Arc::new(Dns::system(Handle::current())));
        assert!(names.addresses("no-such-host.invalid", 80).await.is_err());
        let home = names.addresses("localhost", 80).await.ok().unwrap();
        assert!(home.pick(0).unwrap().ip().is_loopback());
    }
}
