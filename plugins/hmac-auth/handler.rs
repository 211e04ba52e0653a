//! Names the consumer by a signature over headers of its request (draft-cavage HTTP signatures).
//!
//! The client lists the headers that it signed. A date among the request's headers bounds how long
//! somebody else could send the request again; whether it is signed, `enforce_headers` says.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderName;
use http::header::{AUTHORIZATION, DATE, HeaderValue, PROXY_AUTHORIZATION};
use regex::Regex;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Context;
use super::authentication::{Authentication, Challenge, decode_base64};
use crate::pdk::{Credential, Exchange, ReadError};
use crate::plugin::{Outcome, Phases, Plugin, Step, Stop};
use crate::respond::{self, Failure};
use crate::snapshot::Snapshot;
use signature::{Algorithm, Signature};

mod signature;

const X_DATE: HeaderName = HeaderName::from_static("x-date");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    hide_credentials: bool,
    clock_skew: Option<f64>,
    anonymous: Option<String>,
    validate_request_body: bool,
    enforce_headers: Option<Vec<String>>,
    algorithms: Option<Vec<Algorithm>>,
    realm: Option<String>,
}

struct HmacAuth {
    hide_credentials: bool,
    /// Seconds.
    clock_skew: f64,
    validate_request_body: bool,
    enforce_headers: Vec<String>,
    algorithms: Vec<Algorithm>,
    /// What a header looks like.
    form: Regex,
    authentication: Authentication,
    challenge: Challenge,
    snapshot: Arc<Snapshot>,
    /// Largest body that is read, bytes.
    body_limit: usize,
}

/// Why a request is refused, in Kong's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    NoDate,
    NotValid,
    NotSame,
}

impl Refusal {
    fn message(self) -> &'static str {
        match self {
            Self::Missing => "Unauthorized",
            Self::NoDate => {
                "HMAC signature cannot be verified, a valid date or x-date header is required for \
                 HMAC Authentication"
            }
            Self::NotValid => "HMAC signature cannot be verified",
            Self::NotSame => "HMAC signature does not match",
        }
    }
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let limit = context.shared.settings.body_limit();
    Ok(Box::new(HmacAuth::new(context.config()?, context.snapshot, limit)?))
}

impl Plugin for HmacAuth {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        if self.authentication.is_settled(ex) {
            return Step::DONE;
        }
        match self.identify(ex) {
            Ok(credential) if self.validate_request_body => {
                Step::wait(self.access_with_body(ex, credential))
            }
            identified => Step::Done(self.settle(ex, identified)),
        }
    }
}

impl HmacAuth {
    fn new(
        config: Config,
        snapshot: &Arc<Snapshot>,
        body_limit: usize,
    ) -> Result<Self, Vec<String>> {
        Ok(Self {
            hide_credentials: config.hide_credentials,
            clock_skew: config.clock_skew.unwrap_or(300.0),
            validate_request_body: config.validate_request_body,
            enforce_headers: config.enforce_headers.unwrap_or_default(),
            algorithms: config.algorithms.unwrap_or_default(),
            form: signature::form().map_err(|error| vec![error])?,
            challenge: Challenge::new("hmac", config.realm.as_deref())?,
            authentication: Authentication::new("hmac-auth", config.anonymous, snapshot),
            snapshot: snapshot.clone(),
            body_limit,
        })
    }

    fn settle(&self, ex: &Exchange, identified: Result<Credential, Refusal>) -> Outcome {
        let refuse = |refusal: Refusal| self.challenge.refuse(ex, refusal.message());
        self.authentication.settle(ex, identified, refuse)
    }

    fn identify(&self, ex: &Exchange) -> Result<Credential, Refusal> {
        let has = |name| ex.request.headers().contains_key(name);
        if !has(PROXY_AUTHORIZATION) && !has(AUTHORIZATION) {
            return Err(Refusal::Missing);
        }
        // Whole seconds, as Kong's clock has them; so has a date.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if ![X_DATE, DATE].iter().any(|name| self.is_recent(ex.request.header(name), now)) {
            return Err(Refusal::NoDate);
        }
        let signature = self.signature(ex).ok_or(Refusal::NotValid)?;
        let algorithm = self.acceptable(&signature).ok_or(Refusal::NotValid)?;
        let username = &*signature.username;
        let credential = self.snapshot.hmacauth_credentials.get(username);
        let credential = credential.ok_or(Refusal::NotValid)?;
        let secret = credential.secret.as_ref().ok_or(Refusal::NotSame)?;
        let given = decode_base64(signature.signature.as_bytes()).ok_or(Refusal::NotSame)?;
        if !signature.is_made_with(algorithm.key(secret.expose()), ex, &given) {
            return Err(Refusal::NotSame);
        }
        let username = Some(credential.username.clone());
        Ok(Credential::new(credential.id, username, credential.consumer.id))
    }

    /// What one of the two headers says; the one that was read is hidden.
    fn signature(&self, ex: &Exchange) -> Option<Signature> {
        let read = |name: &HeaderName| {
            let value = ex.request.header(name)?;
            Signature::read(&self.form, std::str::from_utf8(value.as_bytes()).ok()?)
        };
        let (signature, header) = match read(&PROXY_AUTHORIZATION) {
            Some(signature) => (Some(signature), PROXY_AUTHORIZATION),
            None => (read(&AUTHORIZATION), AUTHORIZATION),
        };
        if self.hide_credentials {
            ex.request.clear_header(header);
        }
        signature
    }

    /// The algorithm of a signature that covers what it must cover.
    fn acceptable(&self, signature: &Signature) -> Option<Algorithm> {
        let covers = |name: &String| signature.headers().any(|signed| signed == name);
        let algorithm = Algorithm::of(&signature.algorithm)?;
        let is_complete = self.enforce_headers.iter().all(covers);
        (is_complete && self.algorithms.contains(&algorithm)).then_some(algorithm)
    }

    fn is_recent(&self, date: Option<HeaderValue>, now: u64) -> bool {
        let date = date.as_ref().and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return false;
        };
        let date = date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        now.abs_diff(date) as f64 <= self.clock_skew
    }

    async fn access_with_body(&self, ex: &Exchange, credential: Credential) -> Outcome {
        match self.is_digest_right(ex).await {
            Ok(true) => self.settle(ex, Ok(credential)),
            Ok(false) => self.settle(ex, Err(Refusal::NotSame)),
            Err(error) => {
                respond::fail(ex, Failure::from(&error));
                Err(Stop::Exit)
            }
        }
    }

    /// Whether `Digest` is the body's; without one there must be no body.
    async fn is_digest_right(&self, ex: &Exchange) -> Result<bool, ReadError> {
        let body = ex.request.body(self.body_limit).await?;
        let Some(given) = ex.request.header("digest") else { return Ok(body.is_empty()) };
        let digest = Sha256::digest(&body);
        let digest =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_slice());
        Ok(given.as_bytes() == format!("SHA-256={digest}").as_bytes())
    }
}

#[cfg(test)]
mod tests;
