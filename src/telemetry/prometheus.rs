//! What `/metrics` shows while some configuration has Kong's plugin prometheus.
//!
//! Then every name that begins with `kong_` is the plugin's, with its labels, and is only there
//! where the plugin's configuration asks for it. Our own names stay.

use std::fmt::Write as _;

use crate::metrics::label_text;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// What the configured instances ask for together.
pub(super) struct Wanted {
    /// The health of targets.
    pub(super) upstream_health: bool,
}

impl Wanted {
    /// `None` when the plugin is not configured.
    pub(super) fn of(snapshot: &Snapshot) -> Option<Self> {
        let plugins = snapshot.plugins.iter();
        let mut ours = plugins.filter(|plugin| plugin.enabled && plugin.name == "prometheus");
        let asks = |config: &serde_json::Value| config["upstream_health_metrics"] == true;
        let first = asks(&ours.next()?.config);
        Some(Self { upstream_health: first || ours.any(|plugin| asks(&plugin.config)) })
    }
}

/// Whether a name is Kong's.
pub(super) fn is_kongs(name: &str) -> bool {
    name.starts_with("kong_")
}

/// What Kong tells of the node itself.
pub(super) fn node(shared: &Shared) -> String {
    let count = |name| shared.metrics.total(name);
    let requests = count("kong_nginx_requests_total");
    let (accepted, closed) = (
        count("silverback_connections_accepted_total"),
        count("silverback_connections_closed_total"),
    );
    let id = shared.node_id.to_string();
    let node = ("node_id", id.as_str());
    let subsystem = ("subsystem", "http");
    let mut text = String::new();
    let mut family = |name: &str, kind, help, series: &[(String, u64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in series {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let labels = |labels: &[(&str, &str)]| format!("{{{}}}", label_text(labels));
    family(
        "kong_datastore_reachable",
        "gauge",
        "Datastore reachable from Kong, 0 is unreachable",
        &[(String::new(), 1)],
    );
    let states = [
        ("accepted", accepted),
        ("active", accepted.saturating_sub(closed)),
        ("handled", accepted),
        ("total", requests),
    ];
    let states = states.map(|(state, value)| (labels(&[node, subsystem, ("state", state)]), value));
    let help = "Number of connections by subsystem";
    family("kong_nginx_connections_total", "gauge", help, &states);
    let help = "Number of nginx-lua-prometheus errors";
    family("kong_nginx_metric_errors_total", "counter", help, &[(String::new(), 0)]);
    let series = [(labels(&[node, subsystem]), requests)];
    family("kong_nginx_requests_total", "gauge", "Number of requests total", &series);
    let series = [(labels(&[node, ("version", env!("CARGO_PKG_VERSION"))]), 1)];
    family("kong_node_info", "gauge", "Kong Node metadata information", &series);
    text
}
