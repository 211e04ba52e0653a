//! What becomes of a request: routed by the server's own code, told step by step.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use crate::chain::Plan;
use crate::chain::explain::Choice;
use crate::entity::{PluginEntity, Route, Service, Target};
use crate::loader::Compiled;
use crate::pdk::{Exchange, Matched};
use crate::plugins::{Credential, ModelTarget, Turn};
use crate::router::explain::Look;
use crate::router::{Router, path};
use crate::server::route;
use crate::settings::RouterFlavor;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

use super::ask::Asked;

/// So many other Routes are told.
const NEAR_MAX: usize = 5;

/// What was found.
pub(super) struct Story {
    /// The request, its Route and its call.
    pub(super) ex: Exchange,
    /// The path as it is matched; nothing for one that no Route can match.
    pub(super) path: Option<String>,
    /// The Route that matches.
    pub(super) won: Option<Look>,
    /// The Routes that come nearest: those that agree as well, then those that miss least.
    pub(super) near: Vec<Look>,
    /// How many Routes there are beside these.
    pub(super) more: usize,
    /// How many there are to look at; one with several kinds of paths counts for each.
    pub(super) parts: usize,
    /// Routes that would match if their Service were not disabled.
    pub(super) disabled: Disabled,
    /// What the gateway answers before any plugin does.
    pub(super) answer: Option<(u16, &'static str)>,
    /// Where the request goes.
    pub(super) call: Option<Call>,
    /// The plugins, in the order in which they run.
    pub(super) plugins: Vec<Choice>,
    /// Plugins on the way that are switched off.
    pub(super) off: Vec<Arc<PluginEntity>>,
    /// The models that AI plugins which run would call.
    pub(super) models: Vec<Model>,
}

type Disabled = Vec<(Arc<Route>, Arc<Service>)>;

/// The call to the Service.
pub(super) struct Call {
    pub(super) service: Arc<Service>,
    pub(super) url: String,
    /// The `Host` that is sent; `None` follows the target.
    pub(super) host: Option<String>,
    /// The targets of the Upstream that the Service names; `None` without one.
    pub(super) targets: Option<Vec<Arc<Target>>>,
}

/// One model that may be called.
pub(super) struct Model {
    pub(super) plugin: Arc<PluginEntity>,
    /// Where it stands in its plugin: `config.targets[0]`.
    pub(super) path: String,
    pub(super) name: String,
    /// Its address, or why it has none of its own.
    pub(super) url: Result<String, String>,
    pub(super) weight: Option<u64>,
    pub(super) turn: Turn,
    pub(super) signs_in: SignsIn,
}

/// As whom the gateway calls a model.
pub(super) enum SignsIn {
    /// With a token: the kind of identity, whose it is, and why this one.
    Identity { kind: &'static str, subject: String, why: String },
    /// With a key: its field and its place in the request.
    Key { field: &'static str, place: String },
    /// Not at all, and why.
    Not(String),
}

impl Story {
    /// Routes the request; an error is about `--consumer`.
    pub(super) fn new(compiled: &Compiled, shared: &Shared, asked: Asked) -> Result<Self, String> {
        let snapshot = &compiled.snapshot;
        let consumer = match &asked.consumer {
            None => None,
            Some(name) => Some(snapshot.consumer(name).cloned().ok_or_else(|| {
                format!("--consumer: there is no consumer with the username or id '{name}'")
            })?),
        };
        let ex = asked.into_exchange(shared);
        let decoded = path::decoded(ex.request.raw_path()).into_owned();
        let router = &compiled.runloop.router;
        let looks = route::with_query(&ex, &decoded, |query| router.explain(query));
        let disabled = disabled(snapshot, &ex, &decoded, shared.settings.router_flavor);
        let path = looks.is_some().then_some(decoded);
        let plan = route::route(&compiled.runloop, &ex).map(|routed| {
            ex.set_matched(routed.matched);
            routed.plan
        });
        if consumer.is_some() {
            ex.authenticate(consumer, None);
        }
        let plugins = match &plan {
            Some(plan) => plan.explain(&ex),
            None => Plan::explain(&compiled.runloop.globals, &ex),
        };
        let looks = looks.unwrap_or_default();
        let parts = looks.len();
        let (won, near, more) = sorted(looks, path.as_deref().unwrap_or_default());
        let mut story = Self {
            path,
            won,
            near,
            more,
            parts,
            disabled,
            answer: answer(&ex),
            call: ex.matched().and_then(|matched| Call::new(snapshot, &ex, matched)),
            plugins,
            off: off(snapshot, ex.matched()),
            models: Vec::new(),
            ex,
        };
        let models = compiled.targets.iter().filter(|target| story.runs(&target.plugin));
        story.models = models.map(Model::new).collect();
        Ok(story)
    }

    fn runs(&self, plugin: &PluginEntity) -> bool {
        let mut running = self.plugins.iter().filter_map(Choice::runs);
        running.any(|instance| instance.entity.id == plugin.id)
    }
}

/// The Route that matches, the nearest others, and how many more there are.
fn sorted(looks: Vec<Look>, path: &str) -> (Option<Look>, Vec<Look>, usize) {
    let won = looks.iter().position(|look| look.agrees);
    let mut others = looks;
    let won = won.map(|at| others.remove(at));
    // Another part of the Route that matches is no other Route.
    let is_other = |look: &Look| won.as_ref().is_none_or(|won| won.index != look.index);
    others.retain(is_other);
    let common = |look: &Look| {
        let length =
            |other: &String| path.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        look.paths.iter().map(length).max().unwrap_or_default()
    };
    others.sort_by_key(|look| (look.misses(), Reverse(common(look)), look.rank));
    let mut seen = HashSet::new();
    others.retain(|look| seen.insert(look.index));
    let more = others.len().saturating_sub(NEAR_MAX);
    others.truncate(NEAR_MAX);
    (won, others, more)
}

/// The Routes that would match if their Service were not disabled.
fn disabled(snapshot: &Snapshot, ex: &Exchange, path: &str, flavor: RouterFlavor) -> Disabled {
    let mut enabled = Snapshot::default();
    for route in &snapshot.routes {
        let service = route.service.and_then(|service| snapshot.services.get(&service.id));
        if let Some(service) = service.filter(|service| !service.enabled) {
            let service = Service { enabled: true, ..Service::clone(service) };
            enabled.services.insert(service.id, Arc::new(service));
            enabled.routes.push(route.clone());
        }
    }
    let Ok(router) = Router::new(&enabled, flavor) else { return Vec::new() };
    let looks = route::with_query(ex, path, |query| router.explain(query)).unwrap_or_default();
    let with_service = |look: Look| {
        let service = enabled.services.get(&look.route.service?.id)?.clone();
        look.agrees.then_some((look.route, service))
    };
    looks.into_iter().filter_map(with_service).collect()
}

/// Kong's answers that no plugin gives.
fn answer(ex: &Exchange) -> Option<(u16, &'static str)> {
    match ex.matched() {
        None => Some((404, "no Route matched with those values")),
        Some(_) if ex.response.exited() => {
            Some((ex.response.status().as_u16(), "the Route is not for this protocol"))
        }
        Some(matched) if matched.service.is_none() => {
            Some((503, "no Service found with those values, unless a plugin answers"))
        }
        Some(_) => None,
    }
}

/// Plugins that are for this Route and Service and switched off.
fn off(snapshot: &Snapshot, matched: Option<&Matched>) -> Vec<Arc<PluginEntity>> {
    let route = matched.map(|matched| matched.route.id);
    let service = matched.and_then(|matched| Some(matched.service.as_ref()?.id));
    let applies = |plugin: &&Arc<PluginEntity>| {
        !plugin.enabled
            && plugin.route.is_none_or(|of| Some(of.id) == route)
            && plugin.service.is_none_or(|of| Some(of.id) == service)
    };
    snapshot.plugins.iter().filter(applies).cloned().collect()
}

impl Call {
    fn new(snapshot: &Snapshot, ex: &Exchange, matched: &Matched) -> Option<Self> {
        let service = matched.service.clone()?;
        let call = &ex.service;
        let (scheme, host, port) = (call.scheme(), call.host(), call.port());
        let port = match port == scheme.default_port() {
            true => String::new(),
            false => format!(":{port}"),
        };
        let url = format!("{}://{host}{port}{}", scheme.name(), call.path_and_query());
        let upstream = snapshot.upstreams.get(&*host).filter(|_| call.balanced.get());
        let targets = upstream
            .map(|upstream| snapshot.targets.get(&upstream.id).cloned().unwrap_or_default());
        let named = call.host_header().and_then(|host| Some(host.to_str().ok()?.to_owned()));
        let host = named.or_else(|| upstream?.host_header.clone());
        Some(Self { service, url, host, targets })
    }
}

impl Model {
    fn new(target: &ModelTarget) -> Self {
        let deployment = target.names.as_ref().map(|names| names.azure_deployment_id.as_str());
        let deployment = deployment.filter(|name| !name.is_empty());
        let name = target.model.as_deref().or(deployment).unwrap_or("any model");
        let index = target
            .path
            .strip_prefix("config.targets[")
            .and_then(|rest| rest.strip_suffix(']')?.parse::<usize>().ok());
        let weight = index.and_then(|at| target.plugin.config["targets"][at]["weight"].as_u64());
        let signs_in = match &target.credential {
            Credential::Identity(handle) => {
                let identity = handle.identity();
                let (subject, why) = (identity.subject(), identity.why().to_owned());
                SignsIn::Identity { kind: identity.kind(), subject, why }
            }
            Credential::Key { field, place } => SignsIn::Key { field, place: place.clone() },
            Credential::Unresolved(field) => {
                SignsIn::Not(format!("the vault reference in {field} was not resolved"))
            }
            Credential::None => SignsIn::Not("it has no credential of its own".to_owned()),
        };
        let url = match &target.question {
            Ok(question) => Ok(question.url.clone()),
            Err(reason) => Err(format!("at {}; {reason}", target.host)),
        };
        let (plugin, path) = (target.plugin.clone(), target.path.clone());
        let turn = target.turn;
        Self { plugin, path, name: name.to_owned(), url, weight, turn, signs_in }
    }
}
