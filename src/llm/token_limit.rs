//! `max_tokens` or `max_completion_tokens`: which of the two a model takes.
//!
//! Reasoning models (the o series, gpt-5 and later) refuse `max_tokens`; Azure's api-versions
//! before 2024-09-01-preview know no `max_completion_tokens`. A client cannot know what is behind
//! the gateway, so the member gets the other name here, with the value as the client wrote it.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::llm::splice::{Edit, Key, Object};

static MAX_TOKENS: LazyLock<Key> = LazyLock::new(|| Key::new("max_tokens"));
static MAX_COMPLETION: LazyLock<Key> = LazyLock::new(|| Key::new("max_completion_tokens"));

/// The first api-version that knows `max_completion_tokens`.
const SINCE: &str = "2024-09-01";

/// `model.options.max_tokens_field`, ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokensField {
    /// By the name of the model and by the api-version.
    #[default]
    Auto,
    /// Always the older one.
    MaxTokens,
    /// Always the newer one.
    MaxCompletionTokens,
}

/// The name that goes upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Older,
    Newer,
    AsItCame,
}

impl TokensField {
    fn name(self, model: &str, api_version: Option<&str>) -> Name {
        match self {
            Self::MaxTokens => Name::Older,
            Self::MaxCompletionTokens => Name::Newer,
            Self::Auto if reasons(model) => Name::Newer,
            Self::Auto if api_version.is_some_and(|version| version < SINCE) => Name::Older,
            Self::Auto => Name::AsItCame,
        }
    }

    /// The edits of a chat; `configured` is `model.options.max_tokens`, which wins. `api_version`
    /// is the dated one of Azure.
    pub(super) fn edits<'a>(
        self,
        model: &str,
        api_version: Option<&str>,
        configured: Option<&'a [u8]>,
        object: &'a Object<impl AsRef<[u8]>>,
    ) -> Option<[Edit<'a>; 2]> {
        let name = self.name(model, api_version);
        let (key, other): (&Key, &Key) = match name {
            Name::Newer => (&MAX_COMPLETION, &MAX_TOKENS),
            Name::Older | Name::AsItCame => (&MAX_TOKENS, &MAX_COMPLETION),
        };
        let value = match (configured, name) {
            (Some(configured), _) => configured,
            (None, Name::AsItCame) => return None,
            // Who sends both has meant it so, as far as anybody can tell; Kong sends both, too.
            (None, Name::Older) if self == Self::Auto && object.get(key.name()).is_some() => {
                return None;
            }
            (None, _) => object.get(key.name()).or_else(|| object.get(other.name()))?,
        };
        // Both at once are refused everywhere.
        Some([Edit::set(key, value), Edit::drop(other)])
    }
}

/// Whether a model of this name is one that reasons: `o1`, `o3-mini`, `gpt-5`, `gpt-5.1-codex`.
fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let series = |rest: &str| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let is_whole = rest[digits..].is_empty() || rest[digits..].starts_with(['-', '.']);
        rest[..digits].parse::<u32>().ok().filter(|_| is_whole)
    };
    let of_o = name.strip_prefix('o').and_then(series);
    let of_gpt = name.strip_prefix("gpt-").and_then(series);
    // Azure writes gpt-3.5 without its point.
    of_o.is_some() || of_gpt.is_some_and(|number| (5..30).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_by_name() {
        for name in ["o1", "o3-mini", "O4-mini", "gpt-5", "gpt-5-mini", "gpt-5.1", "openai/o1"] {
            assert!(reasons(name), "{name}");
        }
        for name in ["gpt-4o", "gpt-4.1", "gpt-35-turbo", "o", "omni-1", "o1x", "gpt-oss-120b", ""]
        {
            assert!(!reasons(name), "{name}");
        }
    }

    fn sent(
        field: TokensField,
        model: &str,
        version: Option<&str>,
        set: bool,
        body: &str,
    ) -> String {
        let object = Object::read(body.as_bytes().to_vec()).unwrap();
        let configured = set.then_some(&b"9"[..]);
        let edits = field.edits(model, version, configured, &object);
        String::from_utf8(object.splice(edits.as_ref().map_or(&[], |edits| &edits[..]))).unwrap()
    }

    #[test]
    fn the_member_gets_the_name_that_the_model_takes() {
        let auto = |model, version, body| sent(TokensField::Auto, model, version, false, body);
        let (older, newer) = (r#"{"max_tokens":1.0}"#, r#"{"max_completion_tokens":1.0}"#);
        assert_eq!(auto("o3-mini", None, older), newer);
        assert_eq!(auto("o3-mini", Some("2023-05-15"), newer), newer);
        assert_eq!(auto("gpt-4o", Some("2024-06-01"), newer), older);
        assert_eq!(auto("gpt-4o", Some("2024-10-21"), newer), newer);
        assert_eq!(auto("gpt-4o", None, older), older);
        assert_eq!(auto("o1", None, "{}"), "{}");
        let both = r#"{"max_tokens":1,"x":0,"max_completion_tokens":2}"#;
        assert_eq!(auto("o1", None, both), r#"{"x":0,"max_completion_tokens":2}"#);
        assert_eq!(auto("gpt-4o", None, both), both);
        assert_eq!(auto("gpt-4o", Some("2023-05-15"), both), both);
        let fixed = sent(TokensField::MaxCompletionTokens, "my-model", None, false, older);
        assert_eq!(fixed, newer);
        assert_eq!(sent(TokensField::MaxTokens, "o1", None, false, newer), older);
    }

    #[test]
    fn what_the_configuration_says_wins_under_the_right_name() {
        let auto = |model, body| sent(TokensField::Auto, model, None, true, body);
        let newer = r#"{"max_completion_tokens":9}"#;
        assert_eq!(auto("gpt-5", r#"{"max_tokens":1}"#), newer);
        assert_eq!(auto("gpt-5", "{}"), newer);
        assert_eq!(auto("gpt-4o", r#"{"max_completion_tokens":1}"#), r#"{"max_tokens":9}"#);
    }
}
