//! What a model endpoint's answer says about the gateway: whether it was let in, and what to do.
//!
//! The log line of a refused request and `silverback identity` say the same, from here. Azure's
//! statuses are ambiguous (a missing role is 401, a disabled key 403), so its words decide. They
//! come in three shapes, and codes are often the status in quotes.

use std::fmt;

use serde_json::Value;

use super::diagnosis::clean;
use super::identity::Identity;

/// How the gateway signs in to a target.
#[derive(Debug, Clone, Copy)]
pub enum SignedIn<'a> {
    /// With a token.
    As(&'a Identity),
    /// With a key; the field that holds it.
    WithKey(&'static str),
    /// Not at all.
    Not,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether requests of clients would be let in.
    pub is_well: bool,
    /// What is the case.
    pub meaning: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
}

impl Verdict {
    /// All is well.
    pub fn well(meaning: impl Into<String>) -> Self {
        Self { is_well: true, meaning: meaning.into(), remedy: String::new() }
    }

    /// Something has to be done.
    pub fn bad(meaning: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { is_well: false, meaning: meaning.into(), remedy: remedy.into() }
    }

    /// The verdict on an answer to a request that holds no prompt (`Plan::question`).
    ///
    /// `said` is what [`words`] found. Azure looks at the credential, the api-version and the
    /// deployment before it misses the prompt, so that this complaint is good news.
    pub fn on_question(status: u16, said: &str, signed_in: SignedIn<'_>) -> Self {
        let deployment = || said.contains("DeploymentNotFound") || said.contains("model_not_found");
        match status {
            200..=299 => Self::well("reached, and it answers"),
            300..=399 => Self::bad(
                "a redirect was answered, and a credential follows none",
                "set model.options.upstream_url to the address of the endpoint itself",
            ),
            401 | 403 => Self::on_refusal(said, signed_in),
            404 if deployment() => Self::bad(
                "the resource has no deployment of this name",
                "correct model.options.azure_deployment_id (or the path of upstream_url, or \
                 model.name); a new deployment needs five minutes",
            ),
            404 | 405 => Self::bad(
                "nothing that takes requests is at this path",
                "check model.options: azure_api_version, upstream_url, upstream_path",
            ),
            408 | 500..=599 => Self::bad("the endpoint failed", "try again; see Azure's status"),
            429 => Self::well("reached, and over its rate limit at the moment"),
            _ => Self::on_complaint(said, signed_in),
        }
    }

    /// The verdict on 401 and 403.
    pub fn on_refusal(said: &str, signed_in: SignedIn<'_>) -> Self {
        let has = |sign: &str| said.contains(sign);
        if has("Firewall") || has("Virtual Network") || has("public access is disabled") {
            return Self::bad(
                "the network rules of the resource keep this gateway out",
                "allow its network or address there, or call a private endpoint",
            );
        }
        if has("temporarily blocked") {
            return Self::bad("Azure has blocked the resource", "ask Azure's support");
        }
        match signed_in {
            SignedIn::As(identity) => refused_token(said, identity),
            SignedIn::WithKey(field) => refused_key(said, field),
            SignedIn::Not => Self::bad(
                "the target has no credential of its own",
                "set auth.header_name and auth.header_value, or auth.azure_use_managed_identity",
            ),
        }
    }

    /// 400 and its relatives: is it the prompt that is missed, or something else?
    fn on_complaint(said: &str, signed_in: SignedIn<'_>) -> Self {
        let has = |sign: &str| said.contains(sign);
        if has("enant") && has("does not match") {
            let who = match signed_in {
                SignedIn::As(identity) => identity.subject(),
                _ => "the credential".to_owned(),
            };
            return Self::bad(
                format!("{who} belongs to another tenant than the resource"),
                "use an identity of the resource's tenant (auth.azure_tenant_id)",
            );
        }
        if has("custom subdomain") {
            return Self::bad(
                "the resource takes no tokens: it has no custom subdomain",
                "give it one, and use its own host name",
            );
        }
        if has("OperationNotSupported") || has("does not work with the specified model") {
            return Self::bad(
                "the model of this deployment does not do what route_type asks for",
                "use another deployment, or another route_type",
            );
        }
        if has("API version") || has("api-version") {
            let remedy = "correct model.options.azure_api_version";
            return Self::bad("this api-version is not known there", remedy);
        }
        let missed = ["messages", "prompt", "input", "max_tokens"];
        if missed.into_iter().any(has) {
            return Self::well(match signed_in {
                SignedIn::Not => "reached, and the deployment is there",
                _ => "reached, signed in, and the deployment is there",
            });
        }
        let remedy = "see its words; check model.options";
        Self::bad("the endpoint refuses the request for a reason of its own", remedy)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.meaning)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

fn refused_token(said: &str, identity: &Identity) -> Verdict {
    let (subject, scope) = (identity.subject(), identity.scope());
    if said.contains("audience") {
        return Verdict::bad(
            format!("the token of {subject} was asked for the scope {scope}, and is not taken"),
            other_scope(scope),
        );
    }
    if lacks_role(said) {
        let principal = between_backticks(said, "principal ");
        let principal = principal.map_or_else(String::new, |id| format!(" (principal {id})"));
        return Verdict::bad(
            format!("the token is good, but {subject}{principal} lacks a role on the resource"),
            "assign Cognitive Services OpenAI User and wait five minutes",
        );
    }
    let meaning = format!("the token of {subject} for the scope {scope} is refused");
    Verdict::bad(meaning, "see that identity and resource belong together")
}

/// Microsoft's documents disagree on the audience of the v1 API, so the other one is named.
fn other_scope(scope: &str) -> &'static str {
    if scope.starts_with("https://cognitiveservices.azure.") {
        "set auth.azure_scope to https://ai.azure.com/.default, which Foundry endpoints \
         (*.services.ai.azure.com) and the v1 API take; see that the host is the resource's own"
    } else {
        "set auth.azure_scope to what the resource takes: Azure OpenAI and Cognitive Services \
         https://cognitiveservices.azure.com/.default, Foundry endpoints \
         (*.services.ai.azure.com) https://ai.azure.com/.default"
    }
}

/// Whether Azure's words blame a missing role, and not the token.
pub fn lacks_role(said: &str) -> bool {
    ["PermissionDenied", "lacks the required data action", "does not have access"]
        .iter()
        .any(|sign| said.contains(sign))
}

fn refused_key(said: &str, field: &str) -> Verdict {
    if said.contains("AuthenticationTypeDisabled") || said.contains("authentication is disabled") {
        return Verdict::bad(
            "the resource takes no keys",
            "set auth.azure_use_managed_identity and remove the key",
        );
    }
    if said.contains("Access token is missing") {
        return Verdict::bad(
            "Azure found no key where it looks for one",
            "set auth.header_name to api-key (it takes Authorization for an Entra token)",
        );
    }
    let remedy = format!("check {field}, and that the key belongs to this resource");
    Verdict::bad("the key is wrong, or that of another resource", remedy)
}

/// ``the principal `1234` lacks``: what stands in backticks behind a word.
fn between_backticks<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(word)?;
    let (id, _) = rest.strip_prefix('`')?.split_once('`')?;
    (!id.is_empty()).then_some(id)
}

/// Code and message of an error, in one bounded line without these secrets: `{"error": {...}}`,
/// or the members alone. `None` when it is no such error.
pub fn words(body: &[u8], secrets: &[&str]) -> Option<String> {
    let outer: Value = serde_json::from_slice(body).ok()?;
    let inner = if outer["error"].is_object() { &outer["error"] } else { &outer };
    if !inner.is_object() {
        return None;
    }
    let part = |name: &str| inner[name].as_str().unwrap_or_default();
    let message = match (part("message"), outer["error"].as_str()) {
        ("", Some(text)) => text,
        (message, _) => message,
    };
    Some(clean(&format!("{} {message}", part("code")), secrets))
}

#[cfg(test)]
mod tests;
