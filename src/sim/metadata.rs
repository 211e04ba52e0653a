//! Managed identities: what all their endpoints have in common, and those that take a query: the
//! machine's metadata service (IMDS), App Service and Azure ML.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::{Call, Kind};
use super::rule::Rule;
use super::state::State;
use super::tokens::Identity;
use super::wire::{Refusal, Reply};
use super::{arc, clock, cloud_shell, errors, service_fabric};

/// Issues a token for the machine's identity, or refuses in the words of the endpoint.
pub(super) fn reply(state: &State, call: &Call, rule: &Rule) -> (Reply, String) {
    if call.kind == Kind::Arc
        && let Some(reply) = arc::challenge(state, call)
    {
        return (reply, "nobody".into());
    }
    let checked = match call.kind {
        Kind::AppService => app_service(state, call, APP_SERVICE),
        Kind::AzureMl => app_service(state, call, AZURE_ML),
        Kind::Arc => arc::check(state, call),
        Kind::CloudShell => cloud_shell::check(state, call),
        Kind::ServiceFabric => service_fabric::check(state, call),
        _ => imds(state, call, MANAGED, false),
    };
    let request = match checked {
        Ok(request) => request,
        Err(refusal) => return (refusal.into(), "nobody".into()),
    };
    let life_secs =
        rule.token_lifetime_secs.or(state.options.token_lifetime_secs).unwrap_or(86_399);
    let name = request.identity.to_string();
    let mut body = request.issue(state, call, life_secs);
    if let Some(form) = rule.expiry {
        form.rewrite(&mut body, life_secs);
    }
    (Reply::json(StatusCode::OK, &body), name)
}

/// A request that has passed its endpoint's checks.
pub(super) struct TokenRequest {
    pub(super) identity: Identity,
    pub(super) resource: String,
}

impl TokenRequest {
    fn issue(self, state: &State, call: &Call, life_secs: u64) -> Value {
        let now = clock::now_secs();
        let expires_on = now.saturating_add(life_secs);
        let named = match &self.identity {
            Identity::Managed { named, .. } => named.clone(),
            Identity::Application { .. } => None,
        };
        let token = state.tokens().issue(self.identity, &self.resource, life_secs);
        let mut body = json!({ "access_token": token });
        if matches!(call.kind, Kind::Imds | Kind::CloudShell) {
            body["refresh_token"] = "".into();
            body["not_before"] = now.saturating_sub(300).to_string().into();
        }
        if matches!(call.kind, Kind::Imds | Kind::CloudShell | Kind::Arc) {
            body["expires_in"] = life_secs.to_string().into();
        }
        body["expires_on"] = match call.argument("api-version").as_deref() {
            Some(OLD_APP_SERVICE) => clock::app_service_2017(expires_on).into(),
            _ if call.kind == Kind::ServiceFabric => expires_on.into(),
            _ => expires_on.to_string().into(),
        };
        body["resource"] = self.resource.into();
        body["token_type"] = "Bearer".into();
        match (named, call.kind) {
            // App Service has been seen to echo the id in upper case.
            (Some(("client id", id)), Kind::AppService) => {
                body["client_id"] = id.to_uppercase().into();
            }
            (Some(("client id", id)), _) => body["client_id"] = id.into(),
            (Some(("object id", id)), Kind::Arc) => body["object_id"] = id.into(),
            (Some((_, id)), Kind::Arc) => body["msi_res_id"] = id.into(),
            _ => {}
        }
        body
    }
}

/// How a caller may name a user-assigned identity: argument, and what the record calls it.
type Selectors = [(&'static str, &'static str)];

const IMDS_SELECTORS: &Selectors =
    &[("client_id", "client id"), ("object_id", "object id"), ("msi_res_id", "resource id")];
/// Note `mi_res_id`: App Service does not know IMDS's `msi_res_id` and ignores it.
const APP_SERVICE_SELECTORS: &Selectors = &[
    ("client_id", "client id"),
    ("object_id", "object id"),
    ("principal_id", "object id"),
    ("mi_res_id", "resource id"),
];
const OLD_SELECTORS: &Selectors = &[("clientid", "client id")];

const OLD_APP_SERVICE: &str = "2017-09-01";

/// Also for Arc, whose old agents do not look at the arguments that select an identity.
pub(super) fn imds(
    state: &State,
    call: &Call,
    by: &'static str,
    selects_nothing: bool,
) -> Result<TokenRequest, Refusal> {
    let bad = |error: &str, text: &str| {
        let body = json!({ "error": error, "error_description": text });
        Refusal(StatusCode::BAD_REQUEST, body)
    };
    if call.head.method != Method::GET {
        return Err(method_not_allowed());
    }
    if call.header("metadata") != Some("true") {
        return Err(bad("bad_request_102", "Required metadata header not specified"));
    }
    if call.header("x-forwarded-for").is_some() {
        return Err(bad("invalid_request", "X-Forwarded-For header is not allowed"));
    }
    let arguments = call.arguments();
    let mut names: Vec<&str> = arguments.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let text = format!("Query parameter '{}' is specified more than once", pair[0]);
        return Err(bad("invalid_request", &text));
    }
    if !call.argument("api-version").is_some_and(|version| is_version(&version)) {
        return Err(bad("invalid_request", "Required query variable 'api-version' not specified"));
    }
    let Some(resource) = call.argument("resource").filter(|resource| !resource.is_empty()) else {
        return Err(bad("invalid_request", "Required query variable 'resource' is missing"));
    };
    if resource.ends_with("/.default") || resource.contains("unknown") {
        let text = format!("AADSTS500011: The resource principal named {resource} was not found");
        return Err(bad("invalid_resource", &text));
    }
    let selectors = if selects_nothing { &[] } else { IMDS_SELECTORS };
    match select(state, &arguments, selectors) {
        Ok(named) => Ok(TokenRequest { identity: Identity::Managed { by, named }, resource }),
        Err(text) => Err(bad("invalid_request", text)),
    }
}

/// Azure ML speaks App Service's contract of 2017 and no newer one.
fn app_service(state: &State, call: &Call, by: &'static str) -> Result<TokenRequest, Refusal> {
    let failed = |status| Refusal(status, errors::app_service_body(status));
    let version = call.argument("api-version").unwrap_or_default();
    let is_old = version == OLD_APP_SERVICE;
    let (header, selectors) = match is_old || by == AZURE_ML {
        true => ("secret", OLD_SELECTORS),
        false => ("x-identity-header", APP_SERVICE_SELECTORS),
    };
    if call.head.method != Method::GET {
        return Err(method_not_allowed());
    }
    if call.header(header) != Some(state.options.identity_header.as_str()) {
        return Err(failed(StatusCode::UNAUTHORIZED));
    }
    if !is_version(&version) || (by == AZURE_ML && !is_old) {
        return Err(failed(StatusCode::BAD_REQUEST));
    }
    match (resource(call), select(state, &call.arguments(), selectors)) {
        (Some(resource), Ok(named)) => {
            Ok(TokenRequest { identity: Identity::Managed { by, named }, resource })
        }
        _ => Err(failed(StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

/// The argument `resource`, if it can be one.
pub(super) fn resource(call: &Call) -> Option<String> {
    call.argument("resource").filter(|resource| is_resource(resource))
}

/// A scope, which ends in `/.default`, is none.
pub(super) fn is_resource(text: &str) -> bool {
    !text.is_empty() && !text.ends_with("/.default") && !text.contains("unknown")
}

pub(super) fn method_not_allowed() -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, json!({ "error": "method_not_allowed" }))
}

const MANAGED: &str = "managed identity";
const APP_SERVICE: &str = "app service managed identity";
const AZURE_ML: &str = "azure ml managed identity";
pub(super) const ARC: &str = "azure arc managed identity";

/// `2018-02-01` and the like, with any suffix.
pub(super) fn is_version(text: &str) -> bool {
    let shape = b"dddd-dd-dd";
    text.len() >= shape.len()
        && shape.iter().zip(text.bytes()).all(|(want, got)| match want {
            b'd' => got.is_ascii_digit(),
            _ => got == *want,
        })
}

type Named = Option<(&'static str, String)>;

/// Which identity the arguments mean; none is the system-assigned one.
fn select(
    state: &State,
    arguments: &[(String, String)],
    selectors: &Selectors,
) -> Result<Named, &'static str> {
    let known = |id: &str| match state.options.identities.as_slice() {
        [] => !id.starts_with("unknown-"),
        listed => listed.iter().any(|known| known.eq_ignore_ascii_case(id)),
    };
    let kind_of = |name: &str| selectors.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind);
    let mut asked = arguments.iter().filter_map(|(n, v)| Some((kind_of(n)?, v.clone())));
    match (asked.next(), asked.next()) {
        (Some(_), Some(_)) => {
            Err("Only one of client_id, object_id and the resource id may be set")
        }
        (Some((kind, id)), None) if known(&id) => Ok(Some((kind, id))),
        (Some(_), None) => Err("Identity not found"),
        (None, _) => unnamed(state),
    }
}

/// Without a name: the system-assigned identity, else the only one there is.
fn unnamed(state: &State) -> Result<Named, &'static str> {
    if state.options.system_identity {
        return Ok(None);
    }
    match state.options.identities.as_slice() {
        [] => Err("Identity not found"),
        [only] => Ok(Some(("client id", only.clone()))),
        _ => Err(
            "Multiple user assigned identities exist, please specify the clientId / resourceId of \
             the identity in the token request",
        ),
    }
}
