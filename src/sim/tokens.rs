//! The tokens issued: opaque to clients, but the simulator knows for whom each was made.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Every token that may still be valid.
#[derive(Default)]
pub(super) struct Tokens {
    live: BTreeMap<u64, Issued>,
    issued: u64,
}

/// A token and whose it is.
#[derive(Clone)]
pub(super) struct Issued {
    secret: u128,
    expires: Instant,
    pub(super) identity: Identity,
    /// The resource, without `/.default` and without slashes at the end.
    pub(super) audience: String,
}

/// Older tokens are forgotten beyond this; a client under test holds far fewer.
const LIVE_MAX: usize = 10_000;

const PREFIX: &str = "sim-token-";

impl Tokens {
    /// A new token; the text is the whole secret.
    pub(super) fn issue(&mut self, identity: Identity, resource: &str, life_secs: u64) -> String {
        self.issued += 1;
        let secret = fastrand::u128(..);
        let now = Instant::now();
        let expires = now.checked_add(Duration::from_secs(life_secs)).unwrap_or(now);
        let audience = resource.trim_end_matches('/').to_owned();
        self.live.insert(self.issued, Issued { secret, expires, identity, audience });
        if self.live.len() > LIVE_MAX {
            self.live.pop_first();
        }
        format!("{PREFIX}{}-{secret:032x}", self.issued)
    }

    /// What is known of a token that was issued here and has not expired.
    pub(super) fn look_up(&self, token: &str) -> Option<Issued> {
        let (number, secret) = token.strip_prefix(PREFIX)?.split_once('-')?;
        let issued = self.live.get(&number.parse().ok()?)?;
        let same = secret == format!("{:032x}", issued.secret);
        (same && Instant::now() < issued.expires).then(|| issued.clone())
    }

    pub(super) fn revoke_all(&mut self) {
        self.live.clear();
    }

    /// How many were issued since the start.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }
}

/// Whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// An application with a secret, a certificate or a federated token: which, client, tenant.
    Application { by: &'static str, client_id: String, tenant: String },
    /// A managed identity: the host that vouched for it, and how it was named.
    Managed { by: &'static str, named: Option<(&'static str, String)> },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application { by, client_id, tenant } => {
                write!(f, "{by} (client id {client_id}, tenant {tenant})")
            }
            Self::Managed { by, named: None } => write!(f, "{by} (system-assigned)"),
            Self::Managed { by, named: Some((kind, id)) } => write!(f, "{by} ({kind} {id})"),
        }
    }
}
