//! The control endpoints under `/sim`: for scripts that cannot call Rust.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::Call;
use super::named;
use super::rule::Rule;
use super::state::State;
use super::wire::Reply;

/// The longest `wait` for requests.
const WAIT_MAX_MS: u64 = 60_000;

pub(super) fn owns(call: &Call) -> bool {
    call.path() == "/sim" || call.path().starts_with("/sim/")
}

pub(super) async fn reply(state: &State, call: &Call) -> Reply {
    match (&call.head.method, call.path()) {
        (&Method::GET, "/sim" | "/sim/") => Reply::text(StatusCode::OK, help()),
        (&Method::GET, "/sim/requests") => requests(state, call).await,
        (&Method::DELETE, "/sim/requests") => {
            state.records().take();
            done()
        }
        (&Method::GET, "/sim/faults") => Reply::json(StatusCode::OK, &state.faults().to_json()),
        (&Method::POST, "/sim/faults") => add_rules(state, &call.body),
        (&Method::DELETE, "/sim/faults") => {
            state.faults().clear();
            done()
        }
        (&Method::DELETE, "/sim/tokens") => {
            state.tokens().revoke_all();
            done()
        }
        (_, "/sim" | "/sim/" | "/sim/requests" | "/sim/faults" | "/sim/tokens") => {
            failure(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path: GET /sim")
        }
        _ => failure(StatusCode::NOT_FOUND, "no such control endpoint: GET /sim lists them"),
    }
}

fn done() -> Reply {
    Reply::text(StatusCode::NO_CONTENT, "")
}

fn failure(status: StatusCode, text: &str) -> Reply {
    Reply::json(status, &json!({ "error": text }))
}

/// The kept requests; with `wait=n`, as soon as n have arrived or `timeout_ms` is over.
async fn requests(state: &State, call: &Call) -> Reply {
    let number = |name| call.argument(name).map(|text| text.parse::<u64>());
    let (wait, timeout_ms) = match (number("wait").transpose(), number("timeout_ms").transpose()) {
        (Ok(wait), Ok(timeout_ms)) => (wait.unwrap_or(0), timeout_ms.unwrap_or(5000)),
        _ => return failure(StatusCode::BAD_REQUEST, "wait and timeout_ms are whole numbers"),
    };
    let enough = state.wait_until(|records| records.received() as u64 >= wait);
    let limit = Duration::from_millis(timeout_ms.min(WAIT_MAX_MS));
    let arrived = tokio::time::timeout(limit, enough).await.is_ok();
    let raw = state.options.raw_secrets;
    let list: Value = state.records().all().iter().map(|record| record.to_json(raw)).collect();
    let status = if arrived { StatusCode::OK } else { StatusCode::REQUEST_TIMEOUT };
    Reply::json(status, &list)
}

/// One rule or a list of rules; if one is wrong, none is added.
fn add_rules(state: &State, body: &[u8]) -> Reply {
    let bad = |text: String| failure(StatusCode::BAD_REQUEST, &text);
    let rules = match serde_json::from_slice::<Value>(body) {
        Ok(list @ Value::Array(_)) => serde_json::from_value(list),
        Ok(one) => serde_json::from_value(one).map(|rule| vec![rule]),
        Err(error) => Err(error),
    };
    let rules: Vec<Rule> = match rules {
        Ok(rules) => rules,
        Err(error) => return bad(format!("the rule cannot be read: {error}")),
    };
    if let Some(error) = rules.iter().find_map(|rule| rule.clone().resolved().err()) {
        return bad(error.to_string());
    }
    let mut faults = state.faults();
    let ids: Result<Vec<u64>, _> = rules.into_iter().map(|rule| faults.add(rule)).collect();
    match ids {
        Ok(ids) => Reply::json(StatusCode::CREATED, &json!({ "ids": ids })),
        Err(error) => bad(error.to_string()),
    }
}

fn help() -> String {
    format!("{ENDPOINTS}\n{}\n{RULES}", named::help())
}

const ENDPOINTS: &str = "\
The Azure simulator of silverback

Data plane
  POST /openai/deployments/{deployment}/chat/completions?api-version=2024-10-21
  POST /openai/deployments/{deployment}/completions?api-version=...
  POST /openai/deployments/{deployment}/embeddings?api-version=...
  POST .../audio/{speech,transcriptions,translations}, .../images/{generations,edits}
  /openai/{responses,files,batches,assistants,threads,vector_stores,models}   (api-version)
  GET  /openai/realtime?api-version=...&deployment=...   (WebSocket)
  all of these under /openai/v1 without a date: deployment in \"model\"; videos only there
  POST /models/{chat/completions,embeddings}?api-version=2024-05-01-preview   (Foundry)
  POST /anthropic/v1/messages, /anthropic/v1/messages/count_tokens   (Claude on Foundry)
       with x-api-key: sim-key and anthropic-version: 2023-06-01
  with api-key: sim-key, or Authorization: Bearer and a token from below

Tokens
  POST /{tenant}/oauth2/v2.0/token         Entra, client secret or client assertion
  GET  /metadata/identity/oauth2/token     IMDS
  GET  /msi/token                          App Service (IDENTITY_HEADER=sim-identity-header)
  GET  /arc/metadata/identity/oauth2/token Azure Arc (needs a folder for its key files)
  GET  /azureml/msi/token                  Azure ML (MSI_SECRET=sim-identity-header)
  POST /cloudshell/oauth2/token            Cloud Shell

Control
  GET    /sim                              this page
  GET    /sim/requests[?wait=n&timeout_ms=5000]
  DELETE /sim/requests
  GET    /sim/faults
  POST   /sim/faults                       one rule or a list, see below
  DELETE /sim/faults
  DELETE /sim/tokens                       revokes every token issued so far

Named faults: as deployment name, as [[fault-...]] in the prompt, or as \"fault\" of a rule.
With -once at the end only the first call fails; DELETE /sim/faults starts over.";

const RULES: &str = r#"Rules: {"kind": "chat", "times": 1, "status": 429, "headers": {"x": "y"}}
  choosing   kind (chat completions embeddings responses files batches assistants speech
             transcriptions translations images videos realtime models openai entra discovery imds
             app_service arc azure_ml cloud_shell service_fabric identity other),
             path (a * at the end stands for any rest), deployment, skip, times
  replying   fault, status, headers, body, chunks_b64, drop
  changing   delay_ms, chunk_delay_ms, cut, cut_after_bytes, cut_after_events, content, usage,
             quirk, token_lifetime_secs, expiry

Made to fail: client_secret wrong-secret or expired-secret, client_assertion wrong-assertion or
expired-assertion, client_id unknown-client, tenant unknown-tenant, a managed identity whose id
begins with unknown-, a resource with "unknown" in it.
"#;
