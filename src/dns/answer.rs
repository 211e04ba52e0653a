//! What a name stands for, and for how long.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::TTL_MIN;
use crate::settings::{DnsSettings, RecordKind};

/// A name could not be resolved.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("name '{name}' could not be resolved: {reason}")]
pub struct Unresolved {
    /// The name.
    pub name: String,
    /// What the resolver said.
    pub reason: String,
}

/// What a name stands for; never nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// Addresses, of one kind.
    Addresses(Arc<[IpAddr]>),
    /// The services of SRV records that have the best priority among them.
    Services(Arc<[Service]>),
}

/// Another name, or an address, with a port of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Host name or address.
    pub target: Arc<str>,
    /// Its port; 0 for whichever was asked for (Kong).
    pub port: u16,
    /// Its share; `None` for that of whoever asks.
    pub weight: Option<u32>,
}

/// Why there are no records.
#[derive(Debug)]
pub(super) enum Fault {
    /// The name does not exist, or has no such records.
    Missing(String),
    /// Nobody could say.
    Failed(String),
}

/// What is remembered of a name.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) result: Result<Records, Unresolved>,
    /// A failure that is final: the name is not there.
    pub(super) is_missing: bool,
    /// Its time is over, and nobody could be asked for a newer one.
    pub(super) is_prolonged: bool,
    /// When it was given, or found to be the newest that is to be had.
    pub(super) since: Instant,
    pub(super) until: Instant,
    stale_until: Instant,
}

impl Answer {
    pub(super) fn found(records: Records, ttl: Duration, stale: Duration) -> Self {
        let (result, since) = (Ok(records), Instant::now());
        let until = since + ttl;
        let stale_until = until + stale;
        Self { result, is_missing: false, is_prolonged: false, since, until, stale_until }
    }

    pub(super) fn failed(name: &str, fault: Fault, options: &DnsSettings) -> Self {
        let (reason, ttl, is_missing) = match fault {
            Fault::Missing(reason) => (reason, options.not_found_ttl, true),
            Fault::Failed(reason) => (reason, options.error_ttl, false),
        };
        let since = Instant::now();
        let until = since + ttl;
        let result = Err(Unresolved { name: name.to_owned(), reason });
        Self { result, is_missing, is_prolonged: false, since, until, stale_until: until }
    }

    /// What holds after an old answer. A failure does not take the place of one that may still
    /// serve, unless it says that the name is gone (Kong).
    pub(super) fn following(self, old: Option<&Self>, options: &DnsSettings) -> Self {
        match old {
            Some(old) if self.result.is_err() && !self.is_missing && old.may_serve() => {
                old.clone().prolonged(options.error_ttl)
            }
            _ => self,
        }
    }

    /// The same for a while longer, but not for ever.
    fn prolonged(self, by: Duration) -> Self {
        let since = Instant::now();
        let until = (since + by.max(TTL_MIN)).min(self.stale_until);
        Self { is_prolonged: true, since, until, ..self }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.until > Instant::now()
    }

    /// Whether it leads somewhere, and may serve even if its time is over.
    pub(super) fn may_serve(&self) -> bool {
        self.result.is_ok() && self.stale_until > Instant::now()
    }

    /// The kind to ask for first when it is renewed (Kong's `LAST`).
    pub(super) fn kind(&self) -> Option<RecordKind> {
        match self.result.as_ref().ok()? {
            Records::Services(_) => Some(RecordKind::Srv),
            Records::Addresses(addresses) if addresses.first()?.is_ipv4() => Some(RecordKind::A),
            Records::Addresses(_) => Some(RecordKind::Aaaa),
        }
    }
}
