//! What the authentication plugins have in common: who a client is, once one of them has looked.
//!
//! Kong's rules. Without `anonymous` each plugin must know the client, so several are a logical
//! AND, and the last one says who it is. With `anonymous` they are alternatives: one that knows the
//! client is enough, and where none does the anonymous consumer stands in.

use std::sync::Arc;

use anyhow::anyhow;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use http::StatusCode;
use http::header::{HeaderValue, WWW_AUTHENTICATE};

use crate::entity::Consumer;
use crate::pdk::client::Id;
use crate::pdk::{Credential, Exchange};
use crate::plugin::Outcome;
use crate::respond;
use crate::snapshot::Snapshot;

/// How one configured plugin settles who a client is.
pub(super) struct Authentication {
    plugin: &'static str,
    anonymous: Option<String>,
    stand_in: Option<Arc<Consumer>>,
    snapshot: Arc<Snapshot>,
}

impl Authentication {
    /// For a plugin with this value of `anonymous`: the id or user name of a consumer.
    pub(super) fn new(
        plugin: &'static str,
        anonymous: Option<String>,
        snapshot: &Arc<Snapshot>,
    ) -> Self {
        let stand_in = anonymous.as_deref().and_then(|name| snapshot.consumer(name)).cloned();
        Self { plugin, anonymous, stand_in, snapshot: snapshot.clone() }
    }

    /// Whether another plugin knows the client, and that is enough.
    pub(super) fn is_settled(&self, ex: &Exchange) -> bool {
        self.anonymous.is_some() && ex.client.has_credential()
    }

    /// Names the consumer, lets the anonymous one stand in, or refuses.
    pub(super) fn settle<R>(
        &self,
        ex: &Exchange,
        identified: Result<Credential, R>,
        refuse: impl FnOnce(R) -> Outcome,
    ) -> Outcome {
        match (identified, &self.anonymous) {
            (Ok(credential), _) => {
                let consumer = match &credential.consumer_id {
                    Some(Id::Known(owner)) => self.snapshot.consumers.get(owner),
                    _ => None,
                };
                let consumer =
                    consumer.ok_or_else(|| anyhow!("{credential:?} is of no consumer"))?;
                ex.authenticate(Some(consumer.clone()), Some(credential));
                Ok(())
            }
            (Err(_), Some(name)) => self.stand_in(ex, name),
            (Err(refusal), None) => refuse(refusal),
        }
    }

    fn stand_in(&self, ex: &Exchange, name: &str) -> Outcome {
        if let Some(consumer) = &self.stand_in {
            ex.authenticate(Some(consumer.clone()), None);
            return Ok(());
        }
        let message = format!("anonymous consumer {name} is configured but doesn't exist");
        tracing::error!(request_id = %ex.id, plugin = self.plugin, "{message}");
        respond::error(ex, StatusCode::INTERNAL_SERVER_ERROR, &message)
    }
}

/// What `WWW-Authenticate` says on a refusal.
pub(super) struct Challenge(HeaderValue);

impl Challenge {
    /// A scheme, with the realm in quotes if there is one.
    ///
    /// # Errors
    /// The realm cannot stand in a header.
    pub(super) fn new(scheme: &str, realm: Option<&str>) -> Result<Self, Vec<String>> {
        Self::with(scheme, realm, "")
    }

    /// The same with more behind it, such as ` error="invalid_token"`.
    pub(super) fn with(scheme: &str, realm: Option<&str>, rest: &str) -> Result<Self, Vec<String>> {
        let realm = realm.map(|realm| format!(" realm=\"{realm}\"")).unwrap_or_default();
        HeaderValue::from_bytes(format!("{scheme}{realm}{rest}").as_bytes())
            .map(Self)
            .map_err(|_| vec!["config.realm: not the text of a header".to_owned()])
    }

    /// Answers 401 with this message, in the format that the client accepts.
    pub(super) fn refuse(&self, ex: &Exchange, message: &str) -> Outcome {
        self.show(ex);
        respond::error(ex, StatusCode::UNAUTHORIZED, message)
    }

    /// Sets the header; for a plugin that answers itself.
    pub(super) fn show(&self, ex: &Exchange) {
        ex.response.set_header(WWW_AUTHENTICATE, self.0.clone());
    }
}

/// What stands behind a scheme, wherever that is in a header; its first letter may be either.
pub(super) fn behind<'v>(
    value: &'v [u8],
    scheme: &'static [u8],
) -> impl Iterator<Item = &'v [u8]> + use<'v> {
    let names =
        move |text: &[u8]| text[..1].eq_ignore_ascii_case(&scheme[..1]) && text[1..] == scheme[1..];
    let windows = value.windows(scheme.len()).enumerate();
    windows.filter(move |(_, text)| names(text)).map(move |(at, _)| &value[at + scheme.len()..])
}

/// nginx's `ngx.decode_base64`: everything behind the first `=` is ignored, and padding may lack.
pub(super) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));
    let text = text.split(|byte| *byte == b'=').next()?;
    LENIENT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_nginx_reads_it() {
        for (text, expected) in [
            ("YTpi", Some("a:b")),
            ("YTpiYw==", Some("a:bc")),
            ("YTpiYw", Some("a:bc")),
            ("YTpiYw= and more", Some("a:bc")),
            ("YTpiYx", Some("a:bc")),
            ("YTpi Yw", None),
            ("A", None),
            ("", Some("")),
        ] {
            let decoded = decode_base64(text.as_bytes());
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }
}
