//! Names the consumer by a user name and a password (RFC 7617).
//!
//! `Proxy-Authorization` is looked at first, then `Authorization`. Kong reads both loosely: the
//! scheme may stand anywhere in the value, and what follows it is decoded as nginx decodes base64.

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName, PROXY_AUTHORIZATION};
use serde::Deserialize;
use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;

use super::Context;
use super::authentication::{Authentication, Challenge, behind, decode_base64};
use crate::entity::BasicAuthCredential;
use crate::pdk::{Credential, Exchange};
use crate::plugin::{Phases, Plugin, Step};
use crate::snapshot::Snapshot;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    anonymous: Option<String>,
    hide_credentials: bool,
    realm: String,
}

struct BasicAuth {
    hide_credentials: bool,
    authentication: Authentication,
    challenge: Challenge,
    snapshot: Arc<Snapshot>,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(BasicAuth::new(context.config()?, context.snapshot)?))
}

impl Plugin for BasicAuth {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        if self.authentication.is_settled(ex) {
            return Step::DONE;
        }
        let identified = self.identify(ex).ok_or(());
        let refuse = |()| self.challenge.refuse(ex, "Unauthorized");
        Step::Done(self.authentication.settle(ex, identified, refuse))
    }
}

impl BasicAuth {
    fn new(config: Config, snapshot: &Arc<Snapshot>) -> Result<Self, Vec<String>> {
        Ok(Self {
            hide_credentials: config.hide_credentials,
            challenge: Challenge::new("Basic", Some(&config.realm))?,
            authentication: Authentication::new("basic-auth", config.anonymous, snapshot),
            snapshot: snapshot.clone(),
        })
    }

    fn identify(&self, ex: &Exchange) -> Option<Credential> {
        let (credential, password) = self
            .known_user(ex, &PROXY_AUTHORIZATION)
            .or_else(|| self.known_user(ex, &AUTHORIZATION))?;
        is_password_of(credential, &password).then(|| {
            let username = Some(credential.username.clone());
            Credential::new(credential.id, username, credential.consumer.id)
        })
    }

    /// The user that a header names, with the password beside it. The header is hidden once it has
    /// been looked at, whatever it says.
    fn known_user(
        &self,
        ex: &Exchange,
        header: &HeaderName,
    ) -> Option<(&Arc<BasicAuthCredential>, Vec<u8>)> {
        let value = ex.request.header(header)?;
        if self.hide_credentials {
            ex.request.clear_header(header);
        }
        let encoded = behind(value.as_bytes(), b"basic").next()?.trim_ascii_start();
        let decoded = decode_base64(encoded)?;
        let (username, password) = user_and_password(&decoded)?;
        let username = std::str::from_utf8(username).ok()?;
        Some((self.snapshot.basicauth_credentials.get(username)?, password.to_vec()))
    }
}

/// Colons in front of the name are not part of it, and the password ends with its line (Kong).
fn user_and_password(decoded: &[u8]) -> Option<(&[u8], &[u8])> {
    let begin = decoded.iter().position(|byte| *byte != b':')?;
    let text = &decoded[begin..];
    let colon = text.iter().position(|byte| *byte == b':')?;
    let password = text[colon + 1..].split(|byte| *byte == b'\n').next()?;
    Some((&text[..colon], password))
}

/// Compares digests, and takes as long for a wrong password as for the right one.
fn is_password_of(credential: &BasicAuthCredential, password: &[u8]) -> bool {
    let salt = credential.consumer.id.to_string();
    let digest = Sha1::new().chain_update(password).chain_update(salt).finalize();
    let digest = digest.iter().fold(String::with_capacity(40), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    digest.as_bytes().ct_eq(credential.password.expose().as_bytes()).into()
}

#[cfg(test)]
mod tests;
