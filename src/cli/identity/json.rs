//! The outcome for scripts. docs/azure.md documents the shape: members are added, never renamed.

use serde_json::{Value, json};

use super::ask::{Answer, Exchanged, Results, State};
use super::survey::{Survey, Where, Who};
use super::trouble::Trouble;
use crate::plugins::Credential;

/// A configuration that cannot be loaded, or a name that nobody has.
pub(super) fn refused(errors: &[String], warnings: &[String]) -> Value {
    json!({
        "ok": false, "errors": errors, "warnings": warnings, "identities": [], "targets": [],
    })
}

/// Everything that was found.
pub(super) fn report(survey: &Survey, results: &Results, ok: bool, warnings: &[String]) -> Value {
    let identities = survey.identities.iter().zip(&results.tokens).enumerate();
    let identities = identities.map(|(n, (who, token))| identity(survey, n, who, token.as_deref()));
    let targets = survey.targets.iter().zip(&results.answers);
    json!({
        "ok": ok,
        "errors": [],
        "warnings": warnings,
        "identities": identities.collect::<Vec<_>>(),
        "targets": targets.map(|(at, answer)| target(at, answer)).collect::<Vec<_>>(),
    })
}

fn identity(survey: &Survey, index: usize, who: &Who, exchanged: Option<&Exchanged>) -> Value {
    let identity = &who.identity;
    let facts = identity
        .facts()
        .into_iter()
        .map(|fact| json!({"name": fact.name, "value": fact.value, "from": fact.from.to_string()}));
    let positions = survey.targets.iter().enumerate();
    let used_by = positions.filter(|(_, at)| at.who == Some(index)).map(|(n, _)| n);
    let mut value = json!({
        "kind": identity.kind(),
        "subject": identity.subject(),
        "why": identity.why(),
        "facts": facts.collect::<Vec<_>>(),
        "notes": identity.notes(),
        "endpoint": identity.endpoint(),
        "scope": identity.scope(),
        "used_by": used_by.collect::<Vec<_>>(),
        "token": null,
        "failure": null,
    });
    match exchanged.map(|exchanged| (&exchanged.outcome, exchanged.elapsed)) {
        None => {}
        Some((Ok(token), elapsed)) => {
            value["token"] = json!({
                "expires_in_secs": token.left().as_secs(),
                "elapsed_ms": ms(elapsed),
            });
        }
        Some((Err(failure), elapsed)) => {
            value["failure"] = trouble(&Trouble::new(failure, elapsed));
        }
    }
    value
}

fn trouble(trouble: &Trouble) -> Value {
    json!({
        "class": trouble.class,
        "meaning": trouble.meaning,
        "remedy": trouble.remedy,
        "said": trouble.said,
        "status": trouble.status,
        "aadsts": trouble.aadsts,
        "correlation_id": trouble.correlation_id,
        "attempts": trouble.attempts,
        "elapsed_ms": ms(trouble.elapsed),
    })
}

fn target(at: &Where, answer: &Answer) -> Value {
    let names = at.target.names.as_ref();
    let deployment = names.map(|names| &*names.azure_deployment_id).filter(|n| !n.is_empty());
    let credential = match &at.target.credential {
        Credential::Identity(_) => json!({"kind": "identity", "identity": at.who}),
        Credential::Key { place, field } => json!({"kind": "key", "in": place, "from": field}),
        Credential::Unresolved(field) => json!({"kind": "unresolved", "from": field}),
        Credential::None => json!({"kind": "none"}),
    };
    json!({
        "place": at.place,
        "path": at.path,
        "plugin": at.target.plugin.name,
        "instance_name": at.target.plugin.instance_name,
        "scope": at.scope,
        "name": at.name(),
        "model": at.target.model,
        "deployment": deployment,
        "host": at.target.host,
        "url": at.target.question.as_ref().ok().map(|question| &question.url),
        "credential": credential,
        "answer": {
            "ok": answer.state != State::Failed,
            "state": state(answer.state),
            "status": answer.status,
            "verdict": answer.meaning,
            "remedy": answer.remedy,
            "said": answer.said,
            "request_id": answer.request_id,
            "elapsed_ms": answer.elapsed.map(ms),
        },
    })
}

fn state(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Skipped => "skipped",
        State::Failed => "failed",
    }
}

fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
