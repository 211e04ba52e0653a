//! What a configuration calls and as whom, before anybody is called.

use std::sync::Arc;

use uuid::Uuid;

use crate::azure::{Identity, TokenHandle};
use crate::distance::distance;
use crate::entity::{PluginEntity, Ref, Route, Service};
use crate::loader::Compiled;
use crate::pdk::service::Limits;
use crate::plugins::{Credential, ModelTarget};
use crate::snapshot::Snapshot;

/// Every identity and every model endpoint of a configuration.
pub(super) struct Survey {
    /// Each once, in the order of their first use.
    pub(super) identities: Vec<Who>,
    /// In the order of the file.
    pub(super) targets: Vec<Where>,
    /// The configuration.
    pub(super) snapshot: Arc<Snapshot>,
}

/// One identity.
pub(super) struct Who {
    /// The way to its token.
    pub(super) handle: TokenHandle,
    /// What was decided about it.
    pub(super) identity: Arc<Identity>,
}

/// One model endpoint, and where it stands in the configuration.
pub(super) struct Where {
    /// File and line of its plugin.
    pub(super) place: String,
    /// The path in the file.
    pub(super) path: String,
    /// What its plugin is attached to: `route chat`.
    pub(super) scope: String,
    /// The position of its identity.
    pub(super) who: Option<usize>,
    /// Timeouts.
    pub(super) limits: Limits,
    /// The Service that says how the connection is encrypted.
    pub(super) service: Option<Uuid>,
    /// What the plugin says of it.
    pub(super) target: ModelTarget,
    /// What `--target` may call it, each with its kind.
    labels: Vec<(&'static str, String)>,
}

impl Survey {
    /// Sorts what the trial of a configuration found.
    pub(super) fn new(compiled: Compiled) -> Self {
        let snapshot = compiled.snapshot;
        let mut survey = Self { identities: Vec::new(), targets: Vec::new(), snapshot };
        for target in compiled.targets {
            let who = match &target.credential {
                Credential::Identity(handle) => Some(survey.position(handle)),
                _ => None,
            };
            let identity = who.map(|who| &*survey.identities[who].identity);
            let found = Where::new(&survey.snapshot, target, who, identity);
            survey.targets.push(found);
        }
        survey
    }

    fn position(&mut self, handle: &TokenHandle) -> usize {
        let identity = handle.identity();
        let key = identity.key();
        let known = self.identities.iter().position(|who| who.identity.key() == key);
        known.unwrap_or_else(|| {
            self.identities.push(Who { handle: handle.clone(), identity });
            self.identities.len() - 1
        })
    }

    /// Keeps the targets that are called so, and their identities.
    ///
    /// # Errors
    /// Nothing is called so; what there is.
    pub(super) fn keep(self, name: &str) -> Result<Self, Vec<String>> {
        let is_meant = |at: &Where| at.labels.iter().any(|(_, label)| label == name);
        if !self.targets.iter().any(is_meant) {
            return Err(self.unknown(name));
        }
        let snapshot = self.snapshot.clone();
        let mut kept = Self { identities: Vec::new(), targets: Vec::new(), snapshot };
        for mut at in self.targets.into_iter().filter(is_meant) {
            if let Some(who) = at.who {
                at.who = Some(kept.position(&self.identities[who].handle));
            }
            kept.targets.push(at);
        }
        Ok(kept)
    }

    fn unknown(&self, name: &str) -> Vec<String> {
        const SHOWN_MAX: usize = 20;
        let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
        for (kind, label) in self.targets.iter().flat_map(|at| &at.labels) {
            let index = kinds.iter().position(|(known, _)| known == kind).unwrap_or_else(|| {
                kinds.push((kind, Vec::new()));
                kinds.len() - 1
            });
            if !kinds[index].1.contains(&label.as_str()) {
                kinds[index].1.push(label);
            }
        }
        let all = || kinds.iter().flat_map(|(_, labels)| labels.iter());
        let near = all().map(|label| (distance(name, label), label)).min();
        let hint = near.filter(|(far, _)| *far <= 2).map(|(_, label)| label);
        let hint = hint.map_or_else(String::new, |label| format!(" (did you mean '{label}'?)"));
        let mut lines = vec![format!("--target: nothing is called '{name}'{hint}")];
        for (kind, labels) in &kinds {
            let more = labels.len().saturating_sub(SHOWN_MAX);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            let shown: Vec<_> = labels.iter().take(SHOWN_MAX).copied().collect();
            lines.push(format!("--target: {kind}: {}{more}", shown.join(", ")));
        }
        if self.targets.is_empty() {
            lines.push("--target: the configuration has no AI target at all".to_owned());
        }
        lines
    }

    /// The targets of an identity.
    pub(super) fn used_by(&self, who: usize) -> impl Iterator<Item = &Where> {
        self.targets.iter().filter(move |at| at.who == Some(who))
    }
}

impl Where {
    fn new(
        snapshot: &Snapshot,
        target: ModelTarget,
        who: Option<usize>,
        identity: Option<&Identity>,
    ) -> Self {
        let plugin = &*target.plugin;
        let at = snapshot.at_plugin(plugin.id, "");
        let at = at.strip_suffix(": ").unwrap_or(&at);
        let (place, path) = at.rsplit_once(": ").unwrap_or(("", at));
        let attached = attached(snapshot, plugin);
        let service = service(snapshot, plugin);
        let scope = match attached.is_empty() {
            true => "all routes".to_owned(),
            false => {
                let scope = attached.iter().map(|(kind, name)| format!("{kind} {name}"));
                scope.collect::<Vec<_>>().join(", ")
            }
        };
        Self {
            place: place.to_owned(),
            path: format!("{path}.{}", target.path),
            scope,
            who,
            limits: target.limits.or(service.map(limits)).unwrap_or_default(),
            service: service.map(|service| service.id),
            labels: labels(snapshot, &target, &attached, identity),
            target,
        }
    }

    /// What people call it: the model, and the deployment if that has another name.
    pub(super) fn name(&self) -> String {
        let model = self.target.model.as_deref();
        let names = self.target.names.as_ref();
        let deployment = names.map(|names| names.azure_deployment_id.as_str());
        match (model, deployment.filter(|name| !name.is_empty())) {
            (Some(model), Some(name)) if model != name => format!("{model} (deployment {name})"),
            (Some(name), _) | (None, Some(name)) => name.to_owned(),
            (None, None) => "any model".to_owned(),
        }
    }

    /// File, line, scope and path, for one line.
    pub(super) fn described(&self) -> String {
        let plugin = &*self.target.plugin;
        let instance = plugin.instance_name.as_ref();
        let instance = instance.map_or_else(String::new, |name| format!(" '{name}'"));
        format!(
            "{}: {}{instance} for {}, {}",
            self.place, plugin.name, self.scope, self.target.path
        )
    }
}

/// What a plugin is attached to, by kind and name.
pub(in crate::cli) fn attached(
    snapshot: &Snapshot,
    plugin: &PluginEntity,
) -> Vec<(&'static str, String)> {
    let named = |id: Ref, name: Option<String>| name.unwrap_or_else(|| id.id.to_string());
    let mut attached = Vec::new();
    if let Some(id) = plugin.route {
        let route = snapshot.routes.iter().find(|route| route.id == id.id);
        attached.push(("route", named(id, route.and_then(|route| route.name.clone()))));
    }
    if let Some(id) = plugin.service {
        let service = snapshot.services.get(&id.id);
        attached.push(("service", named(id, service.and_then(|service| service.name.clone()))));
    }
    if let Some(id) = plugin.consumer {
        let consumer = snapshot.consumers.get(&id.id);
        attached.push(("consumer", named(id, consumer.and_then(|c| c.username.clone()))));
    }
    if let Some(id) = plugin.consumer_group {
        let group = snapshot.consumer_groups.get(&id.id);
        attached.push(("consumer group", named(id, group.map(|group| group.name.clone()))));
    }
    attached
}

/// The Service of a target: that of its plugin, or of the plugin's Route.
fn service<'a>(snapshot: &'a Snapshot, plugin: &PluginEntity) -> Option<&'a Service> {
    let of_route = || {
        let route = snapshot.routes.iter().find(|route| plugin.route == Some(Ref { id: route.id }));
        route?.service
    };
    let service = plugin.service.or_else(of_route)?;
    snapshot.services.get(&service.id).map(Arc::as_ref)
}

/// The timeouts that a request would have.
fn limits(service: &Service) -> Limits {
    Limits {
        connect_ms: service.connect_timeout,
        write_ms: service.write_timeout,
        read_ms: service.read_timeout,
        retries: service.retries,
    }
}

/// Everything that may name a target; a plugin without a Route counts for all it applies to.
fn labels(
    snapshot: &Snapshot,
    target: &ModelTarget,
    attached: &[(&'static str, String)],
    identity: Option<&Identity>,
) -> Vec<(&'static str, String)> {
    let mut labels = Vec::new();
    let mut add = |kind, label: Option<&str>| {
        if let Some(label) = label.filter(|label| !label.is_empty()) {
            labels.push((kind, label.to_owned()));
        }
    };
    add("models", target.model.as_deref());
    add("models", target.alias.as_deref());
    let names = target.names.as_deref();
    add("deployments", names.map(|names| names.azure_deployment_id.as_str()));
    add("instances", names.map(|names| names.azure_instance_id.as_str()));
    add("hosts", Some(&target.host));
    add("plugin instances", target.plugin.instance_name.as_deref());
    let plugin = &*target.plugin;
    let applies = |route: &&Arc<Route>| match (plugin.route, plugin.service) {
        (Some(id), _) => route.id == id.id,
        (None, Some(id)) => route.service == Some(id),
        (None, None) => true,
    };
    for route in snapshot.routes.iter().filter(applies) {
        add("routes", route.name.as_deref());
    }
    for (kind, name) in attached {
        match *kind {
            "service" => add("services", Some(name)),
            "consumer" => add("consumers", Some(name)),
            "consumer group" => add("consumer groups", Some(name)),
            _ => {}
        }
    }
    for fact in identity.map(Identity::facts).unwrap_or_default() {
        if matches!(fact.name, "client id" | "object id" | "resource id") {
            add("identities", Some(&fact.value));
        }
    }
    labels
}
