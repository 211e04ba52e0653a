//! Azure AI Content Safety: `text:analyze`.
//!
//! A text says itself what is found in it: `severity:Hate=4` is that level of that category, and
//! the name of a blocklist is a hit of it.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Answered;
use crate::sim::call::Call;
use crate::sim::errors;
use crate::sim::wire::{Refusal, Reply};

const CATEGORIES: [&str; 4] = ["Hate", "SelfHarm", "Sexual", "Violence"];

/// The most characters of a text.
const TEXT_MAX: usize = 10_000;

pub(super) fn reply(call: &Call) -> Answered {
    if call.head.method != Method::POST {
        return Err(super::super::openai::not_found());
    }
    let text = call.member("text").and_then(Value::as_str);
    let text = text.ok_or_else(|| invalid("The text field is required."))?;
    if text.chars().count() > TEXT_MAX {
        let told = "The length of the text exceeds the maximum of 10000 characters.";
        return Err(invalid(told));
    }
    let lists = names(call, "blocklistNames");
    let hits: Vec<Value> =
        lists.iter().filter(|name| text.contains(name.as_str())).map(hit).collect();
    let halts = call.member("haltOnBlocklistHit").and_then(Value::as_bool) == Some(true);
    let asked = names(call, "categories");
    if let Some(odd) = asked.iter().find(|name| !CATEGORIES.contains(&name.as_str())) {
        return Err(invalid(&format!("The category {odd} is not supported.")));
    }
    let fine = call.member("outputType").and_then(Value::as_str) == Some("EightSeverityLevels");
    let is_asked = |name: &&str| asked.is_empty() || asked.iter().any(|one| one == name);
    let found = CATEGORIES.iter().copied().filter(is_asked).map(|name| {
        let severity = severity(text, name);
        // Of four levels each is even.
        json!({ "category": name, "severity": if fine { severity } else { severity / 2 * 2 } })
    });
    let found: Vec<Value> = if halts && !hits.is_empty() { Vec::new() } else { found.collect() };
    let body = json!({ "blocklistsMatch": hits, "categoriesAnalysis": found });
    Ok(Reply::json(StatusCode::OK, &body))
}

fn hit(name: &String) -> Value {
    json!({
        "blocklistName": name,
        "blocklistItemId": "00000000-0000-0000-0000-000000000001",
        "blocklistItemText": name,
    })
}

fn severity(text: &str, category: &str) -> u64 {
    let marker = format!("severity:{category}=");
    let level =
        text.split(marker.as_str()).nth(1).and_then(|rest| rest.chars().next()?.to_digit(8));
    level.map_or(0, u64::from)
}

fn names(call: &Call, member: &str) -> Vec<String> {
    let list = call.member(member).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

fn invalid(message: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, errors::error("InvalidRequestBody", message))
}
