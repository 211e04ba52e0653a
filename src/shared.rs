//! What crosses threads besides the Snapshot: plain maps and counters, and the way to the control
//! thread. Behaviour lives where the nouns are: `azure`, `dns`, `metrics`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use tokio::runtime::Handle;
use uuid::Uuid;

use crate::azure::{Clients, Tokens};
use crate::balancer::health::Healths;
use crate::cache::Cache;
use crate::code::Code;
use crate::deliveries::Deliveries;
use crate::dicts::Dicts;
use crate::dns::Dns;
use crate::metrics::Metrics;
use crate::otlp::Meters;
use crate::pdk::Budget;
use crate::quota::Quotas;
use crate::quota::amounts::Amounts;
use crate::respond::{Format, Pages};
use crate::settings::Settings;
use crate::standings::Standings;
use crate::systemd::Systemd;
use crate::tls::{Certificates, UpstreamTls};
use crate::vectors::Slots;
use crate::vms::Vms;

/// One for the process.
pub struct Shared {
    /// The process ends: answers say so. It is set before anybody is told, since news reach one
    /// connection after the other.
    pub ending: AtomicBool,
    /// What was decided before the first request.
    pub settings: Settings,
    /// The control thread: errands that no worker may delay.
    pub control: Handle,
    /// Names.
    pub dns: Arc<Dns>,
    /// Which targets of Upstreams take requests.
    pub healths: Healths,
    /// How the targets of AI plugins are doing.
    pub standings: Standings,
    /// What clients have used of their limits.
    pub quotas: Quotas,
    /// What models have cost clients.
    pub amounts: Amounts,
    /// This process among others, in metrics.
    pub node_id: Uuid,
    /// Body bytes in memory.
    pub budget: Arc<Budget>,
    /// Log records on their way to log servers.
    pub deliveries: Deliveries,
    /// What OpenTelemetry's collectors get at intervals.
    pub meters: Meters,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the plugin prometheus counts.
    pub kong_metrics: Metrics,
    /// Replies that the plugin proxy-cache keeps.
    pub cache: Cache,
    /// The vectors of texts in the configuration.
    pub vectors: Slots,
    /// How connections to upstreams are encrypted.
    pub tls: UpstreamTls,
    /// What TLS listeners show.
    pub certificates: Arc<Certificates>,
    /// How errors are told.
    pub pages: Arc<Pages>,
    /// Azure access tokens.
    pub tokens: Tokens,
    /// Memory that the Lua code of all workers has in common.
    pub dicts: Arc<Dicts>,
    /// Workers that have a Lua VM.
    pub workers_with_lua: AtomicUsize,
    /// Kong's own prometheus plugin runs as Lua: what it has counted is asked of a worker.
    pub metrics_of_lua: AtomicBool,
    /// Which Lua code is in use.
    pub code: Code,
    /// What these VMs are at.
    pub vms: Arc<Vms>,
    /// Who started the process, and wants to know how it is.
    pub systemd: Systemd,
}

impl Shared {
    /// Makes what the threads share. `names` stands in for DNS in tests.
    ///
    /// # Errors
    /// Trusted certificates, error templates, or a proxy of the environment, that cannot be used.
    pub fn new(
        settings: Settings,
        control: Handle,
        names: Option<HashMap<String, SocketAddr>>,
    ) -> Result<Self, Vec<String>> {
        let tls = UpstreamTls::new(&settings).map_err(|error| vec![error])?;
        let template = |format: Format| settings.error_templates.get(format.name());
        let default_type = Format::of_type(&settings.error_default_type).unwrap_or_default();
        let pages = Pages::read(default_type, |format| template(format).map(PathBuf::as_path))?;
        let clients = Clients::new(&tls.config(true), &settings.env)
            .map_err(|error| vec![error.to_string()])?;
        let dns = match names {
            Some(table) => Dns::table(&settings.dns, control.clone(), table),
            None => Dns::new(&settings.dns, control.clone()),
        };
        let dns = Arc::new(dns);
        Ok(Self {
            ending: AtomicBool::new(false),
            deliveries: Deliveries::new(
                control.clone(),
                tls.config(true),
                dns.clone(),
                settings.workers,
            ),
            dns,
            node_id: Uuid::new_v4(),
            pages: Arc::new(pages),
            budget: Budget::new(settings.buffer_budget),
            healths: Healths::default(),
            standings: Standings::default(),
            quotas: Quotas::default(),
            amounts: Amounts::default(),
            meters: Meters::default(),
            metrics: Arc::default(),
            kong_metrics: Metrics::default(),
            cache: Cache::default(),
            vectors: Slots::default(),
            tokens: Tokens::new(control.clone(), clients),
            systemd: Systemd::of(&settings.env),
            certificates: Arc::default(),
            dicts: Arc::new(Dicts::with(&settings.shared_dicts)),
            workers_with_lua: AtomicUsize::new(0),
            metrics_of_lua: AtomicBool::new(false),
            code: Code::default(),
            vms: Arc::default(),
            tls,
            control,
            settings,
        })
    }
}
