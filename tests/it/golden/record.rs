//! What counts as the same in two log records: the same fields, and the same values where time and
//! chance have no part in them.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::compare::{Difference, Differences, comparable, is_volatile, same_text};

/// Fields of which only the kind of value counts.
const VOLATILE: &[&str] = &[
    "balancer_latency",
    "balancer_latency_ns",
    "balancer_start",
    "balancer_start_ns",
    "created_at",
    "kong",
    "llm_latency",
    "proxy",
    "receive",
    "request",
    "size",
    "started_at",
    "time_per_token",
    "updated_at",
];

/// Compares the lines of a case, step by step.
pub fn lines(want: &[Vec<Value>], got: &[Value]) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut got = got.iter();
    for (step, want) in want.iter().enumerate() {
        let mut differences = Differences::new(step);
        for want in want {
            match got.next() {
                Some(got) => value(&mut differences, "log", want, got),
                None => differences.push("log", &want.to_string(), "nothing"),
            }
        }
        found.extend(differences.into_vec());
    }
    let mut differences = Differences::new(want.len().saturating_sub(1));
    got.for_each(|line| differences.push("log", "nothing", &line.to_string()));
    found.extend(differences.into_vec());
    found
}

fn value(differences: &mut Differences, path: &str, want: &Value, got: &Value) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => record(differences, path, want, got),
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            want.iter().zip(got).for_each(|(want, got)| value(differences, path, want, got));
        }
        _ if is_same(path, want, got) => {}
        _ => differences.push(path, &want.to_string(), &got.to_string()),
    }
}

fn record(
    differences: &mut Differences,
    path: &str,
    want: &Map<String, Value>,
    got: &Map<String, Value>,
) {
    let names: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
    for name in names {
        let is_header = path.ends_with(".headers");
        if is_header && is_volatile(name) {
            continue;
        }
        let path = format!("{path}.{name}");
        match (want.get(name), got.get(name)) {
            (Some(want), Some(got)) => value(differences, &path, want, got),
            (Some(want), None) => differences.push(&path, &want.to_string(), "nothing"),
            (None, Some(got)) => differences.push(&path, "nothing", &got.to_string()),
            (None, None) => {}
        }
    }
}

fn is_same(path: &str, want: &Value, got: &Value) -> bool {
    let name = path.rsplit('.').next().unwrap_or_default();
    if VOLATILE.contains(&name) {
        return std::mem::discriminant(want) == std::mem::discriminant(got);
    }
    match (want, got) {
        (Value::String(want), Value::String(got)) => same_text(want, got),
        // Kong logs the status of a streamed answer as text.
        (Value::String(want), Value::Number(got)) if name == "upstream_status" => {
            *want == got.to_string()
        }
        _ => comparable(want.clone()) == comparable(got.clone()),
    }
}
