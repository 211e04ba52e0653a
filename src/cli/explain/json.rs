//! The story for scripts. docs/operations.md documents the shape: members are added, never renamed.

use serde_json::{Value, json};
use uuid::Uuid;

use super::print::{missed, phases, route_name, scope, service_name, wanted};
use super::story::{Call, Model, SignsIn, Story};
use crate::chain::explain::{Choice, Considered, Verdict};
use crate::router::explain::Look;
use crate::snapshot::Snapshot;

/// Everything that was found; what is not known is null.
pub(super) fn report(story: &Story, snapshot: &Snapshot) -> Value {
    let request = &story.ex.request;
    let consumer = story.ex.client.consumer();
    let others = story.near.iter().map(|look| other(look, story));
    let plugins = story.plugins.iter().map(|choice| plugin(choice, story, snapshot));
    let disabled = story.disabled.iter();
    json!({
        "request": {
            "method": request.method.as_str(),
            "scheme": request.scheme(),
            "host": request.header(http::header::HOST).as_ref().and_then(|h| h.to_str().ok()),
            "target": request.uri.to_string(),
            "path": story.path,
            "consumer": consumer.map(|consumer| json!({
                "id": consumer.id,
                "username": consumer.username,
                "groups": consumer.groups.iter().map(|group| &group.name).collect::<Vec<_>>(),
            })),
        },
        "route": story.won.as_ref().map(|won| route(won, story, snapshot)),
        "answer": story.answer.map(|(status, reason)| json!({"status": status, "reason": reason})),
        "others": others.collect::<Vec<_>>(),
        "others_left_out": story.more,
        "routes_in_order": story.parts,
        "disabled": disabled.map(|(route, service)| json!({
            "route": route_name(route),
            "service": service_name(service),
        })).collect::<Vec<_>>(),
        "service": story.call.as_ref().map(|call| service(call, snapshot)),
        "plugins": plugins.collect::<Vec<_>>(),
        "switched_off": story.off.iter().map(|plugin| json!({
            "name": plugin.name,
            "id": plugin.id,
            "scope": scope(snapshot, plugin),
            "place": place(snapshot, plugin.id),
        })).collect::<Vec<_>>(),
    })
}

fn place(snapshot: &Snapshot, id: Uuid) -> Option<String> {
    snapshot.places.get(&id).map(ToString::to_string)
}

fn route(look: &Look, story: &Story, snapshot: &Snapshot) -> Value {
    let matched = story.ex.matched();
    let captures = matched.map(|matched| {
        matched.captures.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
    });
    json!({
        "id": look.route.id,
        "name": look.route.name,
        "place": place(snapshot, look.route.id),
        "position": look.rank + 1,
        "priority": format!("{:#018x}", look.priority),
        "criteria": look.criteria.iter().map(|(criterion, _)| json!({
            "field": criterion.field(),
            "values": wanted(*criterion, look),
        })).collect::<Vec<_>>(),
        "expression": look.route.expression,
        "stripped": matched.and_then(|matched| matched.prefix.as_ref()),
        "captures": captures.map(Value::Object),
    })
}

fn other(look: &Look, story: &Story) -> Value {
    let why = story.won.as_ref().filter(|_| look.agrees).map(|won| won.precedes_by(look));
    json!({
        "id": look.route.id,
        "name": look.route.name,
        "matches": look.agrees,
        "position": look.rank + 1,
        "priority": format!("{:#018x}", look.priority),
        "comes_later_because": why,
        "missed": missed(look).map(|criterion| json!({
            "field": criterion.field(),
            "values": wanted(criterion, look),
        })).collect::<Vec<_>>(),
        "takes_scheme": look.takes_scheme,
    })
}

fn service(call: &Call, snapshot: &Snapshot) -> Value {
    let Call { service, url, host, targets } = call;
    json!({
        "id": service.id,
        "name": service.name,
        "place": place(snapshot, service.id),
        "url": url,
        "host_header": host,
        "targets": targets.as_ref().map(|targets| targets.iter().map(|target| json!({
            "target": target.target,
            "weight": target.weight,
        })).collect::<Vec<_>>()),
    })
}

fn plugin(choice: &Choice, story: &Story, snapshot: &Snapshot) -> Value {
    let runs = choice.runs();
    let first = choice.candidates.first().map(|first| &first.instance);
    let models = story.models.iter();
    let models = models.filter(|m| runs.is_some_and(|runs| runs.entity.id == m.plugin.id));
    json!({
        "name": first.map(|first| &first.entity.name),
        "priority": first.map(|first| first.priority),
        "runs": runs.map(|runs| runs.entity.id),
        "phases": runs.map(|runs| phases(runs.phases)),
        "configurations": choice.candidates.iter().map(|one| considered(one, snapshot))
            .collect::<Vec<_>>(),
        "models": models.map(model).collect::<Vec<_>>(),
    })
}

fn considered(one: &Considered, snapshot: &Snapshot) -> Value {
    let entity = &one.instance.entity;
    json!({
        "id": entity.id,
        "instance_name": entity.instance_name,
        "scope": scope(snapshot, entity),
        "place": place(snapshot, entity.id),
        "verdict": match one.verdict {
            Verdict::Runs => "runs",
            Verdict::LessSpecific => "less_specific",
            Verdict::OtherConsumer => "other_consumer",
            Verdict::OtherGroup => "other_group",
        },
    })
}

fn model(model: &Model) -> Value {
    let signs_in = match &model.signs_in {
        SignsIn::Identity { kind, subject, why } => {
            json!({"kind": "identity", "identity": kind, "subject": subject, "why": why})
        }
        SignsIn::Key { field, place } => json!({"kind": "key", "from": field, "in": place}),
        SignsIn::Not(reason) => json!({"kind": "none", "reason": reason}),
    };
    json!({
        "name": model.name,
        "path": model.path,
        "url": model.url.as_ref().ok(),
        "reason": model.url.as_ref().err(),
        "weight": model.weight,
        "algorithm": model.turn.algorithm,
        "group": model.turn.group,
        "groups": model.turn.groups,
        "signs_in": signs_in,
    })
}
