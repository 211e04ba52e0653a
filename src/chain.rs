//! Which plugins run, in which order, through the phases.
//!
//! Kong's rules: one instance of each plugin name runs, the most specific configuration wins, and
//! it is looked up at the plugin's turn, because an authentication plugin before it may have just
//! named the consumer. After an exit the remaining plugins are still collected: their filters and
//! logs run on the short answer.

pub mod explain;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::entity::PluginEntity;
use crate::pdk::{Chunk, Exchange, Handshake, Phase};
use crate::plugin::{Outcome, Phases, Plugin, Stop};
use crate::respond::{self, Failure};

/// A configured plugin, ready to run on this worker.
pub struct Instance {
    /// The configuration it was made from.
    pub entity: Arc<PluginEntity>,
    /// Greater runs earlier.
    pub priority: i64,
    /// The plugin itself.
    pub plugin: Box<dyn Plugin>,
    /// What it wants, asked once.
    pub phases: Phases,
}

impl Instance {
    /// A plugin made from a configuration.
    pub fn new(entity: Arc<PluginEntity>, priority: i64, plugin: Box<dyn Plugin>) -> Self {
        let phases = plugin.phases();
        Self { entity, priority, plugin, phases }
    }
}

/// What a configuration is scoped to, as a set.
type Scope = u8;
const CONSUMER: Scope = 1;
const GROUP: Scope = 2;
const ROUTE: Scope = 4;
const SERVICE: Scope = 8;

/// Kong's precedence, most specific first.
const PRECEDENCE: [Scope; 12] = [
    CONSUMER | ROUTE | SERVICE,
    GROUP | SERVICE | ROUTE,
    CONSUMER | ROUTE,
    CONSUMER | SERVICE,
    GROUP | ROUTE,
    GROUP | SERVICE,
    ROUTE | SERVICE,
    CONSUMER,
    GROUP,
    ROUTE,
    SERVICE,
    0,
];

/// Every instance of a configuration, by priority and name.
#[derive(Default)]
pub struct Instances {
    by_name: Vec<Vec<Rc<Instance>>>,
}

impl Instances {
    /// Puts instances in the order in which they run: priority, then name, both descending.
    pub fn new(instances: Vec<Rc<Instance>>) -> Self {
        let mut by_name: BTreeMap<(i64, String), Vec<Rc<Instance>>> = BTreeMap::new();
        for instance in instances {
            let key = (instance.priority, instance.entity.name.clone());
            by_name.entry(key).or_default().push(instance);
        }
        Self { by_name: by_name.into_values().rev().collect() }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Instance>> {
        self.by_name.iter().flatten()
    }

    /// The plan for one Route and its Service, or for a request without a Route.
    pub fn plan(&self, route: Option<Uuid>, service: Option<Uuid>) -> Plan {
        let applies = |instance: &&Rc<Instance>| {
            let entity = &instance.entity;
            // Kong asks no more of the protocols than this: a plugin for `https` alone also runs on
            // plain requests, and one for `tcp` alone does not exist here.
            entity.protocols.iter().any(|protocol| protocol.is_http())
                && entity.route.is_none_or(|r| Some(r.id) == route)
                && entity.service.is_none_or(|s| Some(s.id) == service)
        };
        let slot = |instances: &Vec<Rc<Instance>>| {
            let mut candidates: SmallVec<[Candidate; 1]> =
                instances.iter().filter(applies).filter_map(Candidate::new).collect();
            candidates.sort_by_key(|candidate| candidate.rank);
            (!candidates.is_empty()).then_some(Slot { candidates })
        };
        let slots: Vec<Slot> = self.by_name.iter().filter_map(slot).collect();
        let has_ahead = slots.iter().any(Slot::has_ahead);
        Plan { slots, has_ahead }
    }

    /// Global instances: what runs before there is a Route.
    pub fn globals(&self) -> Plan {
        let mut plan = self.plan(None, None);
        for slot in &mut plan.slots {
            slot.candidates.retain(|candidate| candidate.is_global());
        }
        plan.slots.retain(|slot| !slot.candidates.is_empty());
        plan
    }
}

/// The plugins that may run on a Route, in order.
#[derive(Default)]
pub struct Plan {
    slots: Vec<Slot>,
    /// One of them wants to be asked ahead of a model.
    has_ahead: bool,
}

impl Plan {
    /// Whether a global plugin looks at handshakes.
    pub fn has(&self, phase: Phases) -> bool {
        self.globals().any(|instance| instance.phases.has(phase))
    }

    /// Runs `certificate` of global plugins; false when one failed or said so, which ends the
    /// handshake.
    pub async fn certificate(&self, handshake: &Rc<Handshake>) -> bool {
        for instance in self.globals().filter(|one| one.phases.has(Phases::CERTIFICATE)) {
            let outcome = instance.plugin.certificate(handshake).outcome().await;
            let Err(stop) = outcome else { continue };
            if let Stop::Fault(fault) = stop {
                let plugin = &instance.entity.name;
                let fault_of = format!("plugin:{plugin}");
                tracing::error!(plugin, phase = "certificate", fault = fault_of, "{fault:#}");
            }
            return false;
        }
        true
    }

    /// Asks those behind a plugin what they will want to know of a model.
    fn ahead(&self, ex: &Exchange, from: usize) {
        let behind = self.slots.iter().skip(from).filter_map(|slot| slot.choose(ex));
        behind
            .filter(|instance| instance.phases.has(Phases::AHEAD))
            .for_each(|instance| instance.plugin.ahead(ex));
    }

    /// The instances by their addresses: plans that have the same are the same.
    pub fn instances(&self) -> Vec<*const Instance> {
        let all = self.slots.iter().flat_map(|slot| &slot.candidates);
        all.map(|candidate| Rc::as_ptr(&candidate.instance)).collect()
    }

    fn globals(&self) -> impl Iterator<Item = &Rc<Instance>> {
        let all = self.slots.iter().flat_map(|slot| &slot.candidates);
        all.filter(|candidate| candidate.is_global()).map(|candidate| &candidate.instance)
    }
}

/// One plugin name with its possible configurations, most specific first.
struct Slot {
    candidates: SmallVec<[Candidate; 1]>,
}

struct Candidate {
    rank: usize,
    consumer: Option<Uuid>,
    group: Option<Uuid>,
    instance: Rc<Instance>,
}

impl Candidate {
    fn new(instance: &Rc<Instance>) -> Option<Self> {
        let entity = &instance.entity;
        let bit = |set: bool, bit: Scope| if set { bit } else { 0 };
        let scope = bit(entity.consumer.is_some(), CONSUMER)
            | bit(entity.consumer_group.is_some(), GROUP)
            | bit(entity.route.is_some(), ROUTE)
            | bit(entity.service.is_some(), SERVICE);
        Some(Self {
            rank: PRECEDENCE.iter().position(|precedence| *precedence == scope)?,
            consumer: entity.consumer.map(|c| c.id),
            group: entity.consumer_group.map(|g| g.id),
            instance: instance.clone(),
        })
    }

    fn is_global(&self) -> bool {
        PRECEDENCE.get(self.rank) == Some(&0)
    }

    /// How well it fits the client: the position of its group, 0 without one; `None` not at all.
    fn fit(&self, ex: &Exchange) -> Option<usize> {
        if let Some(consumer) = self.consumer {
            return (ex.client.consumer_id() == Some(consumer)).then_some(0);
        }
        let Some(group) = self.group else { return Some(0) };
        ex.client.with_groups(|groups| groups.iter().position(|g| g.id == group))
    }
}

impl Slot {
    fn has_ahead(&self) -> bool {
        self.candidates.iter().any(|one| one.instance.phases.has(Phases::AHEAD))
    }

    /// The configuration for this client.
    fn choose(&self, ex: &Exchange) -> Option<&Rc<Instance>> {
        self.best(ex).map(|best| &best.instance)
    }

    /// The configuration for this client: the best rank, then the first group by name.
    fn best(&self, ex: &Exchange) -> Option<&Candidate> {
        let mut best: Option<(usize, usize, &Candidate)> = None;
        for candidate in &self.candidates {
            if best.is_some_and(|(rank, ..)| candidate.rank > rank) {
                break;
            }
            let Some(fit) = candidate.fit(ex) else { continue };
            if best.is_none_or(|(_, best_fit, _)| fit < best_fit) {
                best = Some((candidate.rank, fit, candidate));
            }
        }
        best.map(|(.., candidate)| candidate)
    }
}

/// The plugins of one exchange on their way through the phases.
#[derive(Default)]
pub struct Chain {
    active: SmallVec<[Rc<Instance>; 6]>,
    phases: Phases,
}

impl Chain {
    /// Runs `rewrite` of global plugins.
    pub async fn rewrite(&mut self, globals: &Plan, ex: &Exchange) {
        ex.enter(Phase::Rewrite);
        for slot in &globals.slots {
            let Some(instance) = slot.choose(ex) else { continue };
            if instance.phases.has(Phases::REWRITE) && !ex.response.exited() {
                settle(ex, instance, instance.plugin.rewrite(ex).outcome().await);
            }
        }
    }

    /// Collects the plugins of a plan and runs their `access`, until one answers.
    pub async fn access(&mut self, plan: &Plan, ex: &Exchange) {
        ex.enter(Phase::Access);
        for (index, slot) in plan.slots.iter().enumerate() {
            let Some(instance) = slot.choose(ex) else { continue };
            self.phases = self.phases.and(instance.phases);
            self.active.push(instance.clone());
            if instance.phases.has(Phases::ACCESS) && !ex.response.exited() {
                if plan.has_ahead && instance.phases.has(Phases::MODEL) {
                    plan.ahead(ex, index + 1);
                }
                let outcome = instance.plugin.access(ex).outcome().await;
                settle(ex, instance, outcome);
                if ex.response.is_last_word.get() {
                    return;
                }
            }
        }
    }

    /// Whether some plugin wants the whole reply before anything goes to the client.
    pub fn buffers(&self, ex: &Exchange) -> bool {
        ex.service.buffered.get()
            || self.with(Phases::RESPONSE).any(|instance| instance.plugin.buffers(ex))
    }

    /// Runs `response` on the whole reply.
    pub async fn response(&self, ex: &Exchange) {
        ex.enter(Phase::Response);
        for instance in self.with(Phases::RESPONSE) {
            if instance.plugin.buffers(ex) {
                settle(ex, instance, instance.plugin.response(ex).outcome().await);
            }
        }
    }

    /// Runs `header_filter`. Nothing has gone out, so a fault becomes an honest 500.
    pub fn header_filter(&self, ex: &Exchange) {
        ex.enter(Phase::HeaderFilter);
        for instance in self.with(Phases::HEADER_FILTER) {
            settle(ex, instance, instance.plugin.header_filter(ex));
        }
    }

    /// Whether any plugin looks at the body.
    pub fn filters_body(&self) -> bool {
        self.phases.has(Phases::BODY_FILTER)
    }

    /// Whether the head is to wait for what filters make of the first piece.
    pub fn may_fail_on_body(&self) -> bool {
        self.phases.has(Phases::MAY_FAIL)
    }

    /// Runs `body_filter` on a piece. `Err` when a plugin failed: the rest must not go out.
    #[allow(clippy::result_unit_err)] // the operator has been told; nobody else may know
    pub fn body_filter(&self, ex: &Exchange, chunk: &mut Chunk) -> Result<(), ()> {
        ex.enter(Phase::BodyFilter);
        for instance in self.with(Phases::BODY_FILTER) {
            if let Err(Stop::Fault(fault)) = instance.plugin.body_filter(ex, chunk) {
                report(ex, &instance.entity.name, &fault);
                return Err(());
            }
        }
        Ok(())
    }

    /// Whether a plugin may ask for anything that was ever known.
    pub fn asks_all(&self) -> bool {
        self.phases.has(Phases::ASKS_ALL)
    }

    /// Whether a plugin will read the log record.
    pub fn reads_record(&self) -> bool {
        self.phases.has(Phases::RECORD)
    }

    /// Runs `log`. A plugin that panics takes no other plugin's record with it.
    pub fn log(&self, ex: &Exchange) {
        ex.enter(Phase::Log);
        for instance in self.with(Phases::LOG) {
            let log = AssertUnwindSafe(|| instance.plugin.log(ex));
            if catch_unwind(log).is_err() {
                report(ex, &instance.entity.name, &anyhow::anyhow!("the plugin panicked"));
            }
        }
    }

    fn with(&self, phase: Phases) -> impl Iterator<Item = &Rc<Instance>> {
        let wanted = self.phases.has(phase);
        self.active.iter().filter(move |instance| wanted && instance.phases.has(phase))
    }
}

/// Turns a plugin's fault into Kong's 500.
fn settle(ex: &Exchange, instance: &Instance, outcome: Outcome) {
    if let Err(Stop::Fault(fault)) = outcome {
        report(ex, &instance.entity.name, &fault);
        match ex.phase() {
            // Kong catches what fails in `access` alone; the others end in nginx' own page.
            Phase::Rewrite | Phase::Response => {
                respond::nginx_error(ex, StatusCode::INTERNAL_SERVER_ERROR);
            }
            _ => respond::fail(ex, Failure::Unexpected),
        }
    }
}

/// Tells the operator of a plugin's fault.
pub fn report(ex: &Exchange, plugin: &str, fault: &anyhow::Error) {
    tracing::error!(
        request_id = %ex.id,
        plugin,
        phase = ex.phase().name(),
        fault = format!("plugin:{plugin}"),
        "{fault:#}"
    );
}

#[cfg(test)]
mod tests;
