//! A Snapshot compiled for one worker: router, plugin instances, balancers.
//!
//! It is made off the request path; a request clones the worker's `Rc` once and keeps that
//! configuration to its end.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::balancer::Balancer;
use crate::balancer::health::Healths;
use crate::chain::{Instance, Instances, Plan};
use crate::entity::{Consumer, PluginEntity};
use crate::guard::Guard;
use crate::lua::plugin::counting::CountingCode;
use crate::lua::plugin::fields::{self, CustomFields};
use crate::lua::plugin::{Handler, LuaPlugin};
use crate::lua::{self, Vm};
use crate::metrics::Counter;
use crate::pdk::Entities;
use crate::plugin::Counting;
use crate::plugins::{self, Context, Findings};
use crate::router::{Hit, Router};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tls::Policies;
use crate::vms::Place;

/// The Lua side of a thread: its VM and the handlers loaded into it.
///
/// The VM is made when the first Lua plugin is configured: a gateway without any pays nothing.
#[derive(Default)]
pub struct Scripts {
    vm: OnceCell<Vm>,
    handlers: RefCell<HashMap<String, Rc<Handler>>>,
    /// The worker's number among those with a VM, and where it says what it is at.
    seat: OnceCell<(usize, Arc<Place>)>,
    /// The configuration in use, or about to be.
    snapshot: RefCell<Arc<Snapshot>>,
    /// A trial compiles everything, runs nothing, and collects what is to be told.
    trial: Option<Findings>,
}

impl Scripts {
    /// For the loader: `init_worker` and `configure` do not run.
    pub fn for_trial(vm: Vm) -> Self {
        Self { vm: OnceCell::from(vm), trial: Some(Findings::default()), ..Self::default() }
    }

    /// For the same worker with other code: a VM of its own, in the same place.
    pub fn successor(&self) -> Self {
        Self { seat: self.seat.clone(), ..Self::default() }
    }

    /// What the plugins of a trial had to say about their configurations.
    pub fn into_findings(self) -> Findings {
        self.trial.unwrap_or_default()
    }

    /// The handler of a plugin, loaded once for each VM.
    fn handler(&self, shared: &Shared, name: &str) -> Result<Rc<Handler>, String> {
        if let Some(handler) = self.handlers.borrow().get(name) {
            return Ok(handler.clone());
        }
        let handler = Handler::load(self.vm(shared)?, name)?;
        if let Some(trial) = &self.trial {
            trial.warnings.borrow_mut().extend(handler.notes.iter().cloned());
        }
        self.handlers.borrow_mut().insert(name.to_owned(), handler.clone());
        Ok(handler)
    }

    /// Loads every handler that a configuration may use, and lets those that are new begin, in
    /// Kong's order. What cannot be loaded is told where it is used.
    fn begin(&self, snapshot: &Snapshot, shared: &Shared) {
        let is_known = |name: &String| self.handlers.borrow().contains_key(name);
        let new: Vec<_> = snapshot.scripts.keys().filter(|name| !is_known(name)).collect();
        let mut new: Vec<_> = new
            .into_iter()
            .filter_map(|name| Some((self.handler(shared, name).ok()?, name)))
            .collect();
        new.sort_by(|(a, a_name), (b, b_name)| (b.priority, b_name).cmp(&(a.priority, a_name)));
        for (handler, name) in new.into_iter().filter(|_| self.trial.is_none()) {
            if let Err(error) = handler.init_worker() {
                tracing::error!(
                    plugin = name,
                    phase = "init_worker",
                    "worker initialization error: failed to execute the \"init_worker\" handler \
                     for plugin \"{name}\": {error}; this node must be restarted; \
                     correct it and send HUP"
                );
            }
        }
        if self.trial.is_none() {
            self.count(snapshot, shared);
        }
    }

    /// Lets Kong's own prometheus plugin, where it runs as Lua, say what it has counted.
    fn count(&self, snapshot: &Snapshot, shared: &Shared) {
        const NAME: &str = "prometheus";
        if !snapshot.scripts.contains_key(NAME) {
            // Nobody would answer any more.
            return shared.metrics_of_lua.store(false, Ordering::Relaxed);
        }
        if self.handlers.borrow().contains_key(NAME)
            && let Err(error) =
                self.vm(shared).and_then(|vm| vm.answer_metrics(&shared.metrics_of_lua))
        {
            tracing::error!(plugin = NAME, "{error}");
        }
    }

    /// What Lua code that no exchange runs is to see from here on.
    fn use_snapshot(&self, snapshot: &Arc<Snapshot>) {
        *self.snapshot.borrow_mut() = snapshot.clone();
        if let Some(vm) = self.vm.get() {
            vm.use_snapshot(snapshot);
        }
    }

    /// The VM of this thread.
    fn vm(&self, shared: &Shared) -> Result<&Vm, String> {
        if let Some(vm) = self.vm.get() {
            return Ok(vm);
        }
        let (number, place) = self.seat.get_or_init(|| {
            let number = shared.workers_with_lua.fetch_add(1, Ordering::Relaxed);
            (number, shared.vms.add(number, &shared.control))
        });
        let (worker, place) = (Some(*number), Some(place.clone()));
        let files = shared.code.files(self.snapshot.borrow().code);
        let network = Some(lua::Network::of(shared));
        let common = lua::Options::of(&shared.settings, &shared.dicts);
        let node = Some(lua::Node { id: shared.node_id, metrics: shared.metrics.clone() });
        let options = lua::Options { worker, place, files, network, node, ..common };
        let vm = Vm::new(&options).map_err(|error| error.to_string())?;
        vm.use_snapshot(&self.snapshot.borrow());
        Ok(self.vm.get_or_init(|| vm))
    }

    /// Says that the worker ends.
    pub fn end_timers(&self) {
        self.vm.get().iter().for_each(|vm| vm.end_timers());
    }

    /// Timers of plugins that have not ended.
    pub fn busy_timers(&self) -> usize {
        self.vm.get().map_or(0, Vm::busy_timers)
    }

    /// Runs `configure` of each handler with the configurations in use.
    fn configure(&self, made: &[LuaInstance]) {
        let handlers = self.handlers.borrow().clone();
        let mut handlers: Vec<_> = handlers.into_iter().filter(|_| self.trial.is_none()).collect();
        handlers
            .sort_by(|(a_name, a), (b_name, b)| (b.priority, b_name).cmp(&(a.priority, a_name)));
        for (name, handler) in &handlers {
            let of_name = made.iter().filter(|(entity, _)| entity.name == *name);
            let plugins: Vec<&LuaPlugin> = of_name.map(|(_, plugin)| plugin).collect();
            if let Err(error) = handler.configure(&plugins) {
                tracing::error!(
                    plugin = name,
                    phase = "configure",
                    "failed to execute plugin '{name}:configure ({error})"
                );
            }
        }
    }

    fn priority(&self, name: &str) -> i64 {
        self.handlers.borrow().get(name).map_or(0, |handler| handler.priority)
    }
}

type LuaInstance = (Arc<PluginEntity>, LuaPlugin);

/// One configuration, ready to serve on this thread.
pub struct Runloop {
    /// The data it was made from.
    pub snapshot: Arc<Snapshot>,
    /// Finds the Route.
    pub router: Router,
    /// Finds the Target.
    pub balancer: Balancer,
    /// How upstream connections are encrypted.
    pub policies: Policies,
    /// Where clients and plugins may not send a request.
    pub guard: Guard,
    /// What runs before there is a Route.
    pub globals: Plan,
    instances: Instances,
    routes: Vec<OfRoute>,
    /// Each plan once. Thousands of Routes have few between them, which stay at hand.
    known_plans: RefCell<HashMap<Vec<*const Instance>, Rc<Plan>>>,
    /// Answers to requests without a Route.
    unrouted: RefCell<ByStatus>,
}

/// What there is for each Route, in one place: it is far from the processor where there are many.
#[derive(Default)]
struct OfRoute {
    plan: OnceCell<Rc<Plan>>,
    answers: RefCell<ByStatus>,
}

/// Counters of one Route; most have one status or two.
type ByStatus = SmallVec<[(u16, Counter); 2]>;

impl Runloop {
    /// Compiles a Snapshot. `old` lends what outlives a reload.
    ///
    /// # Errors
    /// Everything that cannot be compiled, at once.
    pub fn new(
        snapshot: &Arc<Snapshot>,
        shared: &Arc<Shared>,
        scripts: &Scripts,
        old: Option<&Self>,
    ) -> Result<Self, Vec<String>> {
        let mut refusals = Vec::new();
        scripts.use_snapshot(snapshot);
        let states = States::of(old);
        let instances = instances(snapshot, shared, scripts, &states, &mut refusals);
        let router = Router::new(snapshot, shared.settings.router_flavor).and_then(|router| {
            // Workers compile expressions as they need them; a bad one is told of in the trial.
            if scripts.trial.is_some() { router.check().map(|()| router) } else { Ok(router) }
        });
        let router = router.map_err(|message| refusals.push(message));
        let policies = Policies::new(&shared.tls, snapshot);
        let policies = policies.map_err(|errors| refusals.extend(errors));
        let (Ok(router), Ok(policies), true) = (router, policies, refusals.is_empty()) else {
            old.iter().for_each(|old| scripts.use_snapshot(&old.snapshot));
            return Err(refusals);
        };
        let instances = Instances::new(instances);
        let guard = Guard::new(shared.settings.metadata_guard, snapshot);
        if let Some(vm) = scripts.vm.get() {
            vm.guard(&guard);
        }
        let none = Balancer::default();
        // A trial may be of a configuration that never serves.
        let untouched = Healths::default();
        let healths = if scripts.trial.is_some() { &untouched } else { &shared.healths };
        let routes = snapshot.routes.len();
        Ok(Self {
            router,
            balancer: Balancer::new(snapshot, healths, old.map_or(&none, |old| &old.balancer)),
            policies,
            guard,
            globals: instances.globals(),
            instances,
            routes: std::iter::repeat_with(OfRoute::default).take(routes).collect(),
            known_plans: RefCell::default(),
            unrouted: RefCell::default(),
            snapshot: snapshot.clone(),
        })
    }

    /// The plugins that may run on a Route; worked out when it is first asked for.
    pub fn plan(&self, hit: &Hit<'_>) -> Rc<Plan> {
        let service = hit.route.service.map(|service| service.id);
        let plan = || {
            let plan = self.instances.plan(Some(hit.route.id), service);
            let mut known = self.known_plans.borrow_mut();
            known.entry(plan.instances()).or_insert_with(|| Rc::new(plan)).clone()
        };
        match self.routes.get(hit.index) {
            Some(own) => own.plan.get_or_init(plan).clone(),
            None => plan(),
        }
    }

    /// Counts an answer under its Route and status.
    pub fn count(&self, shared: &Shared, route: Option<usize>, status: u16) {
        let own = route.and_then(|index| self.routes.get(index));
        let mut answers = own.map_or(&self.unrouted, |own| &own.answers).borrow_mut();
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

impl Entities for Runloop {
    fn has_upstream(&self, name: &str) -> bool {
        self.snapshot.upstreams.contains_key(name)
    }

    fn consumer(&self, id_or_username: &str) -> Option<Arc<Consumer>> {
        self.snapshot.consumer(id_or_username).cloned()
    }

    fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        Some(&self.snapshot)
    }
}

/// What the plugins of the configuration before leave to those that stay the same.
struct States<'a>(HashMap<Uuid, (&'a PluginEntity, Rc<dyn Any>)>);

impl<'a> States<'a> {
    fn of(old: Option<&'a Runloop>) -> Self {
        let instances = old.into_iter().flat_map(|old| old.instances.iter());
        let state = |instance: &'a Rc<Instance>| {
            let entity = instance.entity.as_ref();
            Some((entity.id, (entity, instance.plugin.state()?)))
        };
        Self(instances.filter_map(state).collect())
    }

    fn for_plugin(&self, new: &PluginEntity) -> Option<&Rc<dyn Any>> {
        let (old, state) = self.0.get(&new.id)?;
        (old.name == new.name && old.config == new.config).then_some(state)
    }
}

/// Makes every enabled plugin, native or Lua; what cannot be made is refused with its place.
fn instances(
    snapshot: &Arc<Snapshot>,
    shared: &Arc<Shared>,
    scripts: &Scripts,
    states: &States<'_>,
    refusals: &mut Vec<String>,
) -> Vec<Rc<Instance>> {
    scripts.begin(snapshot, shared);
    let mut made = Vec::new();
    let mut in_lua: Vec<LuaInstance> = Vec::new();
    for entity in snapshot.plugins.iter().filter(|entity| entity.enabled) {
        let outcome = if snapshot.scripts.contains_key(&entity.name) {
            let handler = scripts.handler(shared, &entity.name);
            let plugin = handler.and_then(|handler| handler.instance(entity));
            plugin.map(|plugin| in_lua.push((entity.clone(), plugin))).map_err(|one| vec![one])
        } else {
            let findings = scripts.trial.as_ref();
            let state = states.for_plugin(entity);
            let counting = |entity: &PluginEntity, code: &str| {
                let code = CountingCode::new(scripts.vm(shared)?, entity, code)?;
                Ok(Box::new(code) as Box<dyn Counting>)
            };
            let counting = &counting;
            let context = Context { shared, snapshot, entity, findings, state, counting };
            let instance = native(&context, scripts);
            instance.map(|instance| made.push(Rc::new(instance)))
        };
        let refuse = |message: String| {
            snapshot.at_plugin(entity.id, &format!("plugin '{}': {message}", entity.name))
        };
        refusals.extend(outcome.err().into_iter().flatten().map(refuse));
    }
    scripts.configure(&in_lua);
    made.extend(in_lua.into_iter().map(|(entity, plugin)| {
        let priority = scripts.priority(&entity.name);
        Rc::new(Instance::new(entity, priority, Box::new(plugin)))
    }));
    made
}

fn native(context: &Context<'_>, scripts: &Scripts) -> Result<Instance, Vec<String>> {
    let entity = context.entity;
    let Some(native) = plugins::native(&entity.name) else {
        return Err(vec!["there is a schema but no handler for it".to_owned()]);
    };
    let mut plugin = (native.make)(context)?;
    if fields::has_fields(entity) {
        let vm = scripts.vm(context.shared);
        let around = vm.and_then(|vm| CustomFields::around(plugin, vm, entity));
        plugin = Box::new(around.map_err(|message| vec![message])?);
    }
    Ok(Instance::new(entity.clone(), native.priority, plugin))
}
