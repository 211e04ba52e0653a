//! Changes headers of the response and top-level members of a JSON body.
//!
//! Kong's order: remove, rename, replace, add, append. The reply is only held back when there is
//! something to change in its body. An AI reply keeps its body: in Kong the AI plugins write it
//! after this one, which is what `body_is_final` says here.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use serde::Deserialize;

use super::Context;
use crate::pdk::{Exchange, Source};
use crate::plugin::{Outcome, Phases, Plugin};
use headers::HeaderChanges;
use json::JsonChanges;

mod headers;
mod json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    remove: Names,
    rename: Names,
    replace: Values,
    add: Values,
    append: Values,
}

/// `name` to remove, `old:new` to rename.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    json: Vec<String>,
    headers: Vec<String>,
}

/// `name:value`; the n-th type is that of the n-th JSON value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    json: Vec<String>,
    json_types: Vec<Type>,
    headers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    String,
    Number,
    Boolean,
}

struct ResponseTransformer {
    headers: HeaderChanges,
    /// `None` when bodies are not touched.
    json: Option<JsonChanges>,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(ResponseTransformer::new(&context.config()?)?))
}

impl Plugin for ResponseTransformer {
    fn phases(&self) -> Phases {
        // `response` has nothing to do: it is there so that the body is whole in `header_filter`,
        // which also sees what the gateway and other plugins answer by themselves.
        let whole = if self.json.is_some() { Phases::RESPONSE } else { Phases::NONE };
        whole.and(Phases::HEADER_FILTER)
    }

    fn buffers(&self, ex: &Exchange) -> bool {
        self.json.is_some() && is_open_json(ex)
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        let changes = self.json.as_ref().filter(|_| is_open_json(ex));
        self.headers.apply(&mut ex.response.headers_mut());
        if let (Some(changes), Some(body)) = (changes, ex.response.body()) {
            transform(ex, changes, body);
        }
        Ok(())
    }
}

impl ResponseTransformer {
    fn new(config: &Config) -> Result<Self, Vec<String>> {
        let json = JsonChanges::new(config);
        Ok(Self { headers: HeaderChanges::new(config)?, json: (!json.is_empty()).then_some(json) })
    }
}

fn transform(ex: &Exchange, changes: &JsonChanges, body: Bytes) {
    match changes.apply(body) {
        Ok(changed) => ex.response.replace_body(changed),
        Err(fault) => tracing::warn!(
            request_id = %ex.id,
            plugin = "response-transformer",
            "the body stays as it is: {fault}"
        ),
    }
}

/// Whether the body is JSON text that may still be changed.
fn is_open_json(ex: &Exchange) -> bool {
    let headers = ex.response.headers();
    let status = ex.response.status();
    // A failure on the way to the upstream is written by the gateway, not by a later plugin.
    let taken = ex.response.body_is_final.get() && ex.response.source() != Source::Error;
    let bodiless = ex.request.method == Method::HEAD || matches!(status.as_u16(), 204 | 304);
    !taken && !bodiless && !is_encoded(&headers) && is_json(&headers)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity")
}

/// `application/json` or `application/*+json`, any of several types in the header (Kong).
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind: &HeaderValue| kind.to_str().ok());
    kind.unwrap_or_default().split(',').any(|kind| {
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let json = essence.strip_prefix("application/");
        json.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
    })
}

/// Name and value of `name:value`. As in Kong, further colons after the first go with it.
fn pair(text: &str) -> (&str, &str) {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    (name, value.trim_start_matches(':'))
}

#[cfg(test)]
mod tests;
