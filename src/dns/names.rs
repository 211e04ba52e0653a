//! A worker's copy of what it uses: known names take no lock.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use super::answer::{Answer, Records, Service, Unresolved};
use super::{Dns, Source, room};
use crate::settings::DnsSettings;

/// How often a name may stand for another name.
const DEPTH_MAX: usize = 5;

/// The names one worker uses.
pub struct Names {
    dns: Arc<Dns>,
    known: Rc<RefCell<Copies>>,
}

/// Answers by name.
#[derive(Default)]
struct Copies {
    names: HashMap<Box<str>, Known>,
    /// Counts uses, so that it is known which name was used last.
    uses: Cell<u64>,
}

/// An answer, and whose turn it is.
struct Known {
    answer: Answer,
    /// Number of its last use.
    used: Cell<u64>,
    turn: Cell<usize>,
    /// What each service has saved up since its last turn.
    saved: RefCell<Vec<i64>>,
    is_being_renewed: Cell<bool>,
}

/// One step on the way to an address.
enum Step {
    Address(IpAddr),
    Service(Arc<str>, u16),
}

impl Names {
    /// An empty copy.
    pub fn new(dns: Arc<Dns>) -> Self {
        Self { dns, known: Rc::default() }
    }

    /// An address for a name and a port. A name with several has them in turn, the one that DNS
    /// names first to begin with; an SRV record brings a port of its own (Kong).
    ///
    /// # Errors
    /// The name has no address, or DNS does not answer.
    pub async fn address(&self, host: &str, port: u16) -> Result<SocketAddr, Unresolved> {
        let (mut name, mut port) = (Cow::Borrowed(host), port);
        for _ in 0..DEPTH_MAX {
            if let Some(ip) = literal(&name) {
                return Ok(SocketAddr::new(ip, port));
            }
            if let Source::Table(table) = &self.dns.source {
                let reason = "no such name";
                let known = table.get(&format!("{name}:{port}")).copied();
                return known.ok_or_else(|| unresolved(&name, reason));
            }
            match self.step(&name).await? {
                Step::Address(ip) => return Ok(SocketAddr::new(ip, port)),
                Step::Service(target, its_port) => {
                    port = if its_port == 0 { port } else { its_port };
                    name = Cow::Owned(target.to_string());
                }
            }
        }
        Err(unresolved(host, "recursion detected"))
    }

    async fn step(&self, name: &str) -> Result<Step, Unresolved> {
        if let Some(step) = self.known_step(name) {
            return step;
        }
        let answer = self.dns.ask(name).await;
        self.known.borrow_mut().keep(name, answer.clone(), &self.dns.options);
        let kept = self.known.borrow().names.get(name).map(Known::step);
        kept.unwrap_or_else(|| Known::new(answer, 0).step())
    }

    /// The step that is known. One whose time is over serves while it is renewed.
    fn known_step(&self, name: &str) -> Option<Result<Step, Unresolved>> {
        let copies = self.known.borrow();
        let known = copies.names.get(name)?;
        known.used.set(copies.next_use());
        if !known.answer.is_fresh() {
            if !known.answer.may_serve() {
                return None;
            }
            if !known.is_being_renewed.replace(true) {
                self.renew(name);
            }
        }
        Some(known.step())
    }

    /// Lets the time of an answer be over.
    #[cfg(test)]
    pub(super) fn expire(&self, name: &str) {
        if let Some(known) = self.known.borrow_mut().names.get_mut(name) {
            known.answer.until = tokio::time::Instant::now();
        }
    }

    #[cfg(test)]
    pub(super) fn is_being_renewed(&self, name: &str) -> bool {
        self.known.borrow().names.get(name).is_some_and(|known| known.is_being_renewed.get())
    }

    /// Names that are known.
    #[cfg(test)]
    pub(super) fn names(&self) -> Vec<String> {
        self.known.borrow().names.keys().map(|name| name.to_string()).collect()
    }

    /// Asks again in the background. The old answer serves meanwhile.
    fn renew(&self, name: &str) {
        let (dns, known, name) = (self.dns.clone(), self.known.clone(), Box::<str>::from(name));
        tokio::task::spawn_local(async move {
            let answer = dns.ask(&name).await;
            known.borrow_mut().keep(&name, answer, &dns.options);
        });
    }
}

impl Copies {
    fn next_use(&self) -> u64 {
        let next = self.uses.get() + 1;
        self.uses.set(next);
        next
    }

    fn keep(&mut self, name: &str, answer: Answer, options: &DnsSettings) {
        if let Some(old) = self.names.get_mut(name) {
            let answer = answer.following(Some(&old.answer), options);
            // Whose turn it is outlives a renewal.
            if old.answer.result != answer.result {
                old.saved.borrow_mut().clear();
            }
            old.answer = answer;
            old.is_being_renewed.set(false);
            return;
        }
        if self.names.len() >= options.cache_size {
            self.make_room();
        }
        if options.cache_size > 0 {
            let known = Known::new(answer, self.next_use());
            self.names.insert(name.into(), known);
        }
    }

    /// Forgets a quarter: first what cannot serve, then what was not used for the longest time.
    fn make_room(&mut self) {
        let rank = |known: &Known| (known.answer.may_serve(), known.used.get());
        let mut goes = room::eviction(self.names.values().map(rank).collect());
        self.names.retain(|_, known| !goes(rank(known)));
    }
}

impl Known {
    fn new(answer: Answer, used: u64) -> Self {
        let (used, turn, is_being_renewed) = (Cell::new(used), Cell::new(0), Cell::new(false));
        Self { answer, used, turn, saved: RefCell::default(), is_being_renewed }
    }

    fn step(&self) -> Result<Step, Unresolved> {
        match &self.answer.result {
            Ok(Records::Addresses(addresses)) => {
                let turn = self.turn.get().checked_rem(addresses.len()).unwrap_or_default();
                self.turn.set(turn + 1);
                let address = addresses.get(turn).copied();
                address.map(Step::Address).ok_or_else(|| unresolved("", "no address"))
            }
            Ok(Records::Services(services)) => {
                let chosen = self.next_service(services);
                let chosen = chosen.map(|one| Step::Service(one.target.clone(), one.port));
                chosen.ok_or_else(|| unresolved("", "no service"))
            }
            Err(error) => Err(error.clone()),
        }
    }

    /// Turns by weight, spread evenly.
    fn next_service<'a>(&self, services: &'a [Service]) -> Option<&'a Service> {
        let mut saved = self.saved.borrow_mut();
        saved.resize(services.len(), 0);
        let weight = |service: &Service| i64::from(service.weight.unwrap_or(1));
        for (saved, service) in saved.iter_mut().zip(services) {
            *saved += weight(service);
        }
        let total: i64 = services.iter().map(weight).sum();
        // The first of equals, so that the order of DNS counts.
        let richest = (0..services.len()).rev().max_by_key(|n| saved[*n])?;
        saved[richest] -= total;
        services.get(richest)
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // Most hosts are names, and most names end with a letter that no address ends with.
    let last = *bare.as_bytes().last()?;
    if !last.is_ascii_hexdigit() && last != b':' { None } else { bare.parse().ok() }
}

fn unresolved(name: &str, reason: &str) -> Unresolved {
    Unresolved { name: name.to_owned(), reason: reason.to_owned() }
}
