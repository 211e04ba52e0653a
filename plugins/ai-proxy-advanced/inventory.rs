//! The targets of one instance, described for people.

use std::sync::Arc;

use super::setup::Setup;
use super::targets::Target;
use crate::entity::PluginEntity;
use crate::plugins::{Credential, ModelTarget, Turn};

/// Every target, in the order of the configuration.
/// `place` is where they are: a list in ai-proxy-advanced, one record elsewhere.
pub(in crate::plugins) fn describe(
    plugin: &Arc<PluginEntity>,
    setup: &Setup,
    place: &str,
) -> Vec<ModelTarget> {
    let (algorithm, ranks, groups) = setup.targets.order();
    let turn = |index: usize| Turn {
        algorithm,
        targets: ranks.len(),
        group: ranks.get(index).copied().unwrap_or(1),
        groups,
    };
    let at = |index: usize, target: &Target| ModelTarget {
        plugin: plugin.clone(),
        path: match setup.is_advanced {
            true => format!("{place}[{index}]"),
            false => place.to_owned(),
        },
        model: target.plan.name().cloned(),
        alias: target.plan.alias().map(str::to_owned),
        names: target.plan.names().cloned(),
        host: target.plan.sample_endpoint().map_or("", |endpoint| &endpoint.host).to_owned(),
        credential: credential(target),
        question: target.plan.question(),
        turn: turn(index),
        limits: setup.limits,
    };
    setup.targets.all().iter().enumerate().map(|(index, target)| at(index, target)).collect()
}

fn credential(target: &Target) -> Credential {
    if let Some(field) = target.unresolved {
        return Credential::Unresolved(field);
    }
    match (&target.identity, target.plan.key_place()) {
        (Some(identity), _) => Credential::Identity(identity.clone()),
        (None, Some((field, place))) => Credential::Key { field, place },
        (None, None) => Credential::None,
    }
}
