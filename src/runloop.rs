//! A Snapshot compiled for one worker: router, plugin instances, balancers.
//!
//! It is made off the request path; a request clones the worker's `Rc` once and keeps that
//! configuration to its end.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::balancer::Balancer;
use crate::chain::{Instance, Instances, Plan};
use crate::entity::PluginEntity;
use crate::metrics::Counter;
use crate::plugins::{self, Context};
use crate::router::{Hit, Router};
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// A plugin that cannot be made from its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The plugin entity, to find its place in the file; `None` for other things.
    pub plugin: Option<uuid::Uuid>,
    /// What stands against it.
    pub message: String,
}

/// One configuration, ready to serve on this thread.
pub struct Runloop {
    /// The data it was made from.
    pub snapshot: Arc<Snapshot>,
    /// Finds the Route.
    pub router: Router,
    /// Finds the Target.
    pub balancer: Balancer,
    /// What runs before there is a Route.
    pub globals: Plan,
    instances: Instances,
    plans: Vec<OnceCell<Rc<Plan>>>,
    answers: Vec<RefCell<SmallVec<[(u16, Counter); 2]>>>,
}

impl Runloop {
    /// Compiles a Snapshot. `old` lends what outlives a reload.
    ///
    /// # Errors
    /// Everything that cannot be compiled, at once.
    pub fn new(
        snapshot: &Arc<Snapshot>,
        shared: &Arc<Shared>,
        old: Option<&Self>,
    ) -> Result<Self, Vec<Refusal>> {
        let mut refusals = Vec::new();
        let mut instances = Vec::new();
        for entity in snapshot.plugins.iter().filter(|entity| entity.enabled) {
            match make(&Context { shared, snapshot, entity }, entity) {
                Ok(instance) => instances.push(Rc::new(instance)),
                Err(messages) => refusals.extend(messages.into_iter().map(|message| Refusal {
                    plugin: Some(entity.id),
                    message: format!("plugin '{}': {message}", entity.name),
                })),
            }
        }
        let router = Router::new(snapshot);
        if let Err(message) = &router {
            refusals.push(Refusal { plugin: None, message: message.clone() });
        }
        let (Ok(router), true) = (router, refusals.is_empty()) else { return Err(refusals) };
        let instances = Instances::new(instances);
        let none = Balancer::default();
        let routes = snapshot.routes.len();
        Ok(Self {
            router,
            balancer: Balancer::new(snapshot, old.map_or(&none, |old| &old.balancer)),
            globals: instances.globals(),
            instances,
            plans: std::iter::repeat_with(OnceCell::new).take(routes).collect(),
            // One more for requests without a Route.
            answers: std::iter::repeat_with(RefCell::default).take(routes + 1).collect(),
            snapshot: snapshot.clone(),
        })
    }

    /// The plugins that may run on a Route; worked out when it is first asked for.
    pub fn plan(&self, hit: &Hit<'_>) -> Rc<Plan> {
        let service = hit.route.service.map(|service| service.id);
        let plan = || Rc::new(self.instances.plan(Some(hit.route.id), service));
        match self.plans.get(hit.index) {
            Some(cell) => cell.get_or_init(plan).clone(),
            None => plan(),
        }
    }

    /// Counts an answer under its Route and status.
    pub fn count(&self, shared: &Shared, route: Option<usize>, status: u16) {
        let index = route.unwrap_or(self.answers.len().saturating_sub(1));
        let Some(answers) = self.answers.get(index) else { return };
        let mut answers = answers.borrow_mut();
        if let Some((_, counter)) = answers.iter().find(|(known, _)| *known == status) {
            counter.add(1);
            return;
        }
        let counter = self.answer_counter(shared, route, status);
        counter.add(1);
        answers.push((status, counter));
    }

    /// Kong's `kong_http_requests_total` with the labels of its Prometheus plugin that apply.
    fn answer_counter(&self, shared: &Shared, route: Option<usize>, status: u16) -> Counter {
        let route = route.and_then(|index| self.snapshot.routes.get(index));
        let service = route.and_then(|r| self.snapshot.services.get(&r.service?.id));
        let name = |name: Option<&String>, id: Option<uuid::Uuid>| {
            name.cloned().or(id.map(|id| id.to_string())).unwrap_or_default()
        };
        let labels = [
            ("service", name(service.and_then(|s| s.name.as_ref()), service.map(|s| s.id))),
            ("route", name(route.and_then(|r| r.name.as_ref()), route.map(|r| r.id))),
            ("code", status.to_string()),
        ];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        let help = "HTTP status codes per service/route in Kong";
        shared.metrics.counter("kong_http_requests_total", help, &labels)
    }
}

fn make(context: &Context<'_>, entity: &Arc<PluginEntity>) -> Result<Instance, Vec<String>> {
    let Some(native) = plugins::native(&entity.name) else {
        return Err(vec!["there is a schema but no handler for it".to_owned()]);
    };
    let plugin = (native.make)(context)?;
    let phases = plugin.phases();
    Ok(Instance { entity: entity.clone(), priority: native.priority, plugin, phases })
}
