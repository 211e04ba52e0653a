//! What crosses threads besides the Snapshot: plain maps and counters, and the way to the control
//! thread. Behaviour lives where the nouns are: `azure`, `dns`, `metrics`.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::azure::Tokens;
use crate::dns::Dns;
use crate::metrics::Metrics;
use crate::pdk::Budget;
use crate::settings::Settings;
use crate::tls::UpstreamTls;

/// One for the process.
pub struct Shared {
    /// What was decided before the first request.
    pub settings: Settings,
    /// The control thread: errands that no worker may delay.
    pub control: Handle,
    /// Names.
    pub dns: Arc<Dns>,
    /// Body bytes in memory.
    pub budget: Arc<Budget>,
    /// Counters.
    pub metrics: Metrics,
    /// How connections to upstreams are encrypted.
    pub tls: UpstreamTls,
    /// Azure access tokens.
    pub tokens: Tokens,
}
