//! `stream_options.include_usage`: whether a stream says at its end how many tokens it took.
//!
//! A model that is not asked says nothing, so a gateway that counts has to ask in place of its
//! client, who then does not get the event with the tokens. Azure's api-versions before
//! 2024-09-01-preview refuse the member; there tokens are estimated.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use serde::Deserialize;

use crate::llm::openai::Body;
use crate::llm::plan::Plan;
use crate::llm::site::Located;
use crate::llm::splice::{Edit, Key, Object};
use crate::llm::template::Client;
use crate::llm::{Provider, address, providers};

pub(super) static STREAM_OPTIONS: LazyLock<Key> = LazyLock::new(|| Key::new("stream_options"));
static INCLUDE_USAGE: LazyLock<Key> = LazyLock::new(|| Key::new("include_usage"));

/// Azure's first api-version that knows `stream_options`.
const SINCE: &str = "2024-09-01";

/// `model.options.include_usage`, ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncludeUsage {
    /// Where the upstream is known to understand it.
    #[default]
    Auto,
    /// Whatever the upstream is.
    Always,
    /// Only clients ask.
    Never,
}

/// How Azure versions the place that a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version<'a> {
    /// It has no dates.
    None,
    /// This api-version; empty where nobody has named one.
    Dated(&'a str),
}

impl IncludeUsage {
    /// Whether a stream of this provider can be asked.
    fn suits(self, provider: Provider, version: Version<'_>) -> bool {
        match (self, version) {
            (Self::Always, _) => true,
            (Self::Never, _) => false,
            (Self::Auto, Version::Dated(date)) if provider == Provider::Azure => date >= SINCE,
            (Self::Auto, _) => providers::counts_streams(provider),
        }
    }
}

impl Plan {
    /// What the gateway makes of `stream_options` so that the stream counts; `None` where it cannot
    /// or need not ask.
    pub(super) fn usage_options(
        &self,
        located: &Located,
        client: &Client<'_>,
        body: &Body,
    ) -> Option<Cow<'static, [u8]>> {
        let theirs = address::argument(client.query, "api-version");
        let version = theirs.as_deref().or(located.api_version.as_deref());
        let version = match located.undated {
            true => Version::None,
            false => Version::Dated(version.unwrap_or_default()),
        };
        let can_ask = self.converts() && self.include_usage.suits(self.provider(), version);
        body.object().filter(|_| can_ask).and_then(wanted)
    }
}

/// What `stream_options` of a request has to be so that its stream counts; `None` where the client
/// has asked by itself, or has written something there that is not ours to mend.
fn wanted(request: &Object<Bytes>) -> Option<Cow<'static, [u8]>> {
    let Some(own) = request.get("stream_options").filter(|own| *own != b"null") else {
        return Some(Cow::Borrowed(br#"{"include_usage":true}"#));
    };
    let own = Object::read(own).ok()?;
    match own.get("include_usage") {
        Some(b"true") => None,
        _ => Some(Cow::Owned(own.splice(&[Edit::set(&INCLUDE_USAGE, b"true")]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_asked_where_it_is_understood() {
        let auto = |provider, version| IncludeUsage::Auto.suits(provider, version);
        let azure = |version| auto(Provider::Azure, Version::Dated(version));
        for version in ["2024-09-01-preview", "2024-10-21", "2025-04-01-preview", "preview"] {
            assert!(azure(version), "{version}");
        }
        for version in ["2023-05-15", "2024-06-01", "2024-08-01-preview", ""] {
            assert!(!azure(version), "{version}");
        }
        assert!(auto(Provider::Azure, Version::None));
        assert!(auto(Provider::Openai, Version::Dated("")));
        assert!(auto(Provider::Vllm, Version::None));
        assert!(!auto(Provider::Mistral, Version::None), "it refuses members it does not know");
        let dated = Version::Dated("2023-05-15");
        assert!(IncludeUsage::Always.suits(Provider::Azure, dated));
        assert!(!IncludeUsage::Never.suits(Provider::Openai, Version::None));
    }

    #[test]
    fn what_the_client_has_written_there_stays() {
        let of = |body: &'static str| {
            let wanted = wanted(&Object::read(Bytes::from_static(body.as_bytes())).unwrap());
            wanted.map(|wanted| String::from_utf8(wanted.into_owned()).unwrap())
        };
        let plain = Some(r#"{"include_usage":true}"#.to_owned());
        assert_eq!(of("{}"), plain);
        assert_eq!(of(r#"{"stream_options":null}"#), plain);
        assert_eq!(of(r#"{"stream_options":{}}"#), plain);
        assert_eq!(of(r#"{"stream_options":{"include_usage":false}}"#), plain);
        assert_eq!(of(r#"{"stream_options":{"include_usage" : true}}"#), None);
        assert_eq!(of(r#"{"stream_options":5}"#), None);
        let other = r#"{"stream_options":{ "include_obfuscation": false }}"#;
        let both = r#"{ "include_obfuscation": false,"include_usage":true }"#;
        assert_eq!(of(other).as_deref(), Some(both));
    }
}
