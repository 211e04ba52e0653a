//! A balance from its configuration, and what its targets are called.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::{Algorithm, Balance, Breaker, Cooling, Ring, Semantic, Spill, Turns};
use crate::llm::Plan;
use crate::llm::config::{self, LatencyStrategy, TokensCountStrategy};
use crate::standings::Standings;

/// A target as others know it.
pub(in super::super) struct Named {
    /// What people call it.
    pub(in super::super) label: String,
    /// Where it is: what is known of it belongs to this.
    pub(in super::super) place: String,
    weight: u32,
}

impl Named {
    /// All targets of a plugin. No two have the same label or the same place.
    pub(in super::super) fn all<'a>(targets: impl Iterator<Item = (&'a Plan, u32)>) -> Vec<Self> {
        let (mut labels, mut places) = (HashMap::new(), HashMap::new());
        let named = |(plan, weight)| Self {
            label: unique(&mut labels, label(plan)),
            place: unique(&mut places, place(plan)),
            weight,
        };
        targets.map(named).collect()
    }
}

/// Puts a number behind a name that was there before.
fn unique(seen: &mut HashMap<String, u32>, name: String) -> String {
    let times = seen.entry(name.clone()).or_insert(0);
    *times += 1;
    if *times == 1 { name } else { format!("{name}#{times}") }
}

/// The first part of the host, which is the Azure resource, and the deployment or the model. It
/// may become the value of a header.
fn label(plan: &Plan) -> String {
    let host = plan.sample_endpoint().map_or("", |endpoint| &endpoint.host);
    let first = match host.parse::<IpAddr>() {
        Ok(_) => host,
        Err(_) => host.split('.').next().unwrap_or(host),
    };
    let deployment = plan.names().map(|names| names.azure_deployment_id.as_str());
    let deployment = deployment.filter(|name| !name.is_empty());
    let name = deployment.or(plan.name().map(|name| &**name)).unwrap_or("any");
    let text = format!("{first}/{name}");
    text.replace(|c: char| !c.is_ascii_graphic() || matches!(c, ',' | ';' | '='), "_")
}

fn place(plan: &Plan) -> String {
    let (host, port) =
        plan.sample_endpoint().map_or(("", 0), |endpoint| (&*endpoint.host, endpoint.port));
    let (provider, route_type) = (plan.provider(), plan.route_type());
    let path = plan.sample_path().unwrap_or_default();
    let name = plan.name().map_or("", |name| &**name);
    format!("{provider} {route_type} {name} {path} {host}:{port}")
}

impl Balance {
    /// What a balancer's configuration asks for; without one there is one target.
    pub(in super::super) fn new(
        config: Option<&config::Balancer>,
        standings: &Standings,
        plugin_id: &str,
        targets: &[Named],
        semantic: Option<Semantic>,
    ) -> Self {
        let Some(config) = config else { return Self::default() };
        let spill = config.spill.as_ref();
        Self {
            algorithm: Algorithm::new(config, targets, semantic),
            breaker: Breaker {
                max_fails: config.max_fails.unwrap_or(0),
                fail_timeout: Duration::from_millis(config.fail_timeout.unwrap_or(10_000)),
            },
            cooling: config.cooling.as_ref().and_then(Cooling::new),
            spill: spill.map(|spill| Spill::new(spill, standings, plugin_id)),
            turns: Rc::new(Turns::new(targets.len())),
        }
    }
}

impl Algorithm {
    fn new(config: &config::Balancer, targets: &[Named], semantic: Option<Semantic>) -> Self {
        match config.algorithm.unwrap_or(config::Algorithm::RoundRobin) {
            config::Algorithm::RoundRobin => Self::RoundRobin,
            config::Algorithm::Semantic => semantic.map_or(Self::RoundRobin, Self::Semantic),
            config::Algorithm::LeastConnections => Self::LeastConnections,
            config::Algorithm::ConsistentHashing => {
                let shares = targets.iter().map(|target| (target.place.clone(), target.weight));
                let header = config.hash_on_header.as_deref().unwrap_or("X-Kong-LLM-Request-ID");
                let slots = config.slots.unwrap_or(10_000);
                Self::ConsistentHashing(Ring::new(slots, header, &shares.collect::<Vec<_>>()))
            }
            config::Algorithm::LowestLatency => {
                let strategy = config.latency_strategy.unwrap_or(LatencyStrategy::Tpot);
                Self::LowestLatency(strategy)
            }
            config::Algorithm::LowestUsage => {
                let strategy = config.tokens_count_strategy;
                Self::LowestUsage(strategy.unwrap_or(TokensCountStrategy::TotalTokens))
            }
            config::Algorithm::Priority => Self::Priority,
        }
    }
}
