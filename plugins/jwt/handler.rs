//! Names the consumer by a JSON Web Token (RFC 7519).
//!
//! A claim names the secret of a consumer, and that secret says which algorithm its tokens have:
//! what the token itself says of its algorithm must be the same. Without that a client could have
//! a public key taken for the secret of an HMAC.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::Method;
use http::header::{COOKIE, HeaderName};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::authentication::{self, Authentication, Challenge};
use crate::entity::JwtSecret;
use crate::pdk::{Credential, Exchange};
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::respond;
use crate::snapshot::Snapshot;
use places::{Found, Places};
use token::Token;

mod places;
mod signature;
mod token;

/// The name under which Lua plugins find the token of this request.
const ACCEPTED: &str = "authenticated_jwt_token";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    uri_param_names: Option<Vec<String>>,
    cookie_names: Option<Vec<String>>,
    key_claim_name: Option<String>,
    secret_is_base64: bool,
    claims_to_verify: Option<Vec<Claim>>,
    anonymous: Option<String>,
    run_on_preflight: bool,
    maximum_expiration: Option<f64>,
    header_names: Option<Vec<String>>,
    realm: Option<String>,
}

/// A claim about time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Claim {
    /// When the token ends.
    Exp,
    /// When it begins.
    Nbf,
}

struct Jwt {
    places: Places,
    key_claim_name: String,
    secret_is_base64: bool,
    claims_to_verify: Vec<Claim>,
    run_on_preflight: bool,
    /// Seconds; 0 is any.
    maximum_expiration: f64,
    authentication: Authentication,
    /// For a request without a token, and for one with a bad token.
    challenges: [Challenge; 2],
    snapshot: Arc<Snapshot>,
    /// Public keys of the credentials that were used, by what tokens name them.
    keys: RefCell<HashMap<Arc<str>, Option<Rc<signature::Key>>>>,
}

/// Why a request is refused.
enum Refusal {
    /// There is no token.
    Missing,
    /// It is no good, and why.
    Bad(Cow<'static, str>),
    /// Some claims are not as they must be.
    Claims(Map<String, Value>),
}

impl From<&'static str> for Refusal {
    fn from(message: &'static str) -> Self {
        Self::Bad(message.into())
    }
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(Jwt::new(context.config()?, context.snapshot)?))
}

impl Plugin for Jwt {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        self.places.keep_from_logs(ex);
        let is_preflight = ex.request.method == Method::OPTIONS;
        if is_preflight && !self.run_on_preflight || self.authentication.is_settled(ex) {
            return Step::DONE;
        }
        let identified = self.identify(ex);
        let refuse = |refusal| self.refuse(ex, refusal);
        Step::Done(self.authentication.settle(ex, identified, refuse))
    }
}

impl Jwt {
    fn new(config: Config, snapshot: &Arc<Snapshot>) -> Result<Self, Vec<String>> {
        let realm = config.realm.as_deref();
        let comma = if realm.is_some() { "," } else { "" };
        let error = format!("{comma} error=\"invalid_token\"");
        Ok(Self {
            challenges: [
                Challenge::new("Bearer", realm)?,
                Challenge::with("Bearer", realm, &error)?,
            ],
            places: Places::new(
                config.uri_param_names.unwrap_or_default(),
                config.cookie_names.unwrap_or_default(),
                &config.header_names.unwrap_or_default(),
            )?,
            key_claim_name: config.key_claim_name.unwrap_or_else(|| "iss".to_owned()),
            secret_is_base64: config.secret_is_base64,
            claims_to_verify: config.claims_to_verify.unwrap_or_default(),
            run_on_preflight: config.run_on_preflight,
            maximum_expiration: config.maximum_expiration.unwrap_or_default(),
            authentication: Authentication::new("jwt", config.anonymous, snapshot),
            snapshot: snapshot.clone(),
            keys: RefCell::default(),
        })
    }

    fn identify(&self, ex: &Exchange) -> Result<Credential, Refusal> {
        let text = match self.places.look(ex) {
            Found::Nothing => return Err(Refusal::Missing),
            Found::Several => return Err("Multiple tokens provided".into()),
            Found::Nameless => return Err("Unrecognizable token".into()),
            Found::Token(text) => text,
        };
        let token = Token::parse(&text).map_err(|why| Refusal::Bad(why.into()))?;
        let secret = self.secret(&token)?;
        self.verify(&token, secret)?;
        self.check_claims(&token, unix_now())?;
        ex.shared.set(ACCEPTED, text.as_ref().into());
        Ok(Credential::new(secret.id, Some(secret.key.clone()), secret.consumer.id))
    }

    /// The secret that the token names.
    fn secret(&self, token: &Token<'_>) -> Result<&Arc<JwtSecret>, Refusal> {
        let name = &self.key_claim_name;
        let Some(key) = token.claim_or_header(name) else {
            return Err(Refusal::Bad(format!("No mandatory '{name}' in claims").into()));
        };
        if key == "" {
            return Err(Refusal::Bad(format!("Invalid '{name}' in claims").into()));
        }
        let secret = key.as_str().and_then(|key| self.snapshot.jwt_secrets.get(key));
        secret
            .ok_or_else(|| Refusal::Bad(format!("No credentials found for given '{name}'").into()))
    }

    fn verify(&self, token: &Token<'_>, secret: &JwtSecret) -> Result<(), Refusal> {
        if token.algorithm() != secret.algorithm {
            return Err("Invalid algorithm".into());
        }
        let good = if secret.algorithm.starts_with("HS") {
            // A secret that nobody knows has signed nothing.
            let Some(key) = &secret.secret else { return Err("Invalid signature".into()) };
            let key = key.expose();
            if self.secret_is_base64 {
                let key = token::decode_secret(key).ok_or("Invalid key/secret")?;
                signature::is_hmac(&secret.algorithm, &key, token)
            } else {
                signature::is_hmac(&secret.algorithm, key.as_bytes(), token)
            }
        } else {
            let pem = secret.rsa_public_key.as_deref().ok_or("Invalid key/secret")?;
            let key = self.public_key(secret, pem);
            key.is_some_and(|key| key.has_signed(&secret.algorithm, token))
        };
        if good { Ok(()) } else { Err("Invalid signature".into()) }
    }

    /// The key of a credential, which is read once.
    fn public_key(&self, secret: &JwtSecret, pem: &str) -> Option<Rc<signature::Key>> {
        if let Some(known) = self.keys.borrow().get(&secret.key) {
            return known.clone();
        }
        let key = signature::Key::read(pem).map(Rc::new);
        self.keys.borrow_mut().insert(secret.key.clone(), key.clone());
        key
    }

    fn check_claims(&self, token: &Token<'_>, now: f64) -> Result<(), Refusal> {
        let mut errors = Map::new();
        for claim in &self.claims_to_verify {
            if let Some(error) = claim.error(token, now) {
                errors.insert(claim.name().to_owned(), error.into());
            }
        }
        if errors.is_empty() && self.maximum_expiration > 0.0 {
            let ends = token.claim("exp").and_then(Value::as_f64);
            if ends.is_none_or(|ends| ends - now > self.maximum_expiration) {
                errors.insert("exp".to_owned(), json!("exceeds maximum allowed expiration"));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Refusal::Claims(errors)) }
    }

    /// Kong tells these in compact JSON, whatever the client accepts.
    fn refuse(&self, ex: &Exchange, refusal: Refusal) -> Outcome {
        let [missing, bad] = &self.challenges;
        let (challenge, body) = match refusal {
            Refusal::Missing => (missing, json!({ "message": "Unauthorized" })),
            Refusal::Bad(why) => (bad, json!({ "message": why })),
            Refusal::Claims(errors) => (bad, Value::Object(errors)),
        };
        challenge.show(ex);
        respond::exit_json(ex, http::StatusCode::UNAUTHORIZED, &body)
    }
}

impl Claim {
    fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Nbf => "nbf",
        }
    }

    fn error(self, token: &Token<'_>, now: f64) -> Option<&'static str> {
        match (self, token.claim(self.name()).and_then(Value::as_f64)) {
            (_, None) => Some("must be a number"),
            (Self::Exp, Some(ends)) => (ends <= now).then_some("token expired"),
            (Self::Nbf, Some(begins)) => (begins > now).then_some("token not valid yet"),
        }
    }
}

/// Whole seconds, as nginx counts them.
fn unix_now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_secs() as f64)
}

#[cfg(test)]
mod tests;
