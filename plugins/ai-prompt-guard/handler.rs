//! Holds prompts against expressions, and lets only those pass that none denies and one allows.
//!
//! The client learns nothing but `bad request`, and not that there is a guard (Kong).

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::Context;
use super::patterns::{Flags, Pattern};
use super::prompts::{self, Bodies, Unread};
use crate::pdk::Exchange;
use crate::plugin::{Outcome, Phases, Plugin, Step};
use prompt::{BadFormat, Scope};

mod prompt;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    allow_patterns: Option<Vec<String>>,
    deny_patterns: Option<Vec<String>>,
    allow_all_conversation_history: bool,
    match_all_roles: bool,
    max_request_body_size: Option<u64>,
    llm_format: Option<String>,
    /// For analytics of Kong's.
    #[serde(rename = "genai_category")]
    _category: Value,
}

struct Guard {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
    scope: Scope,
    bodies: Bodies,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    let format = config.llm_format.as_deref();
    prompts::other_format(format, &["openai", "anthropic"])?;
    let patterns = |field: &str, texts: Option<Vec<String>>| -> Vec<Pattern> {
        let texts = texts.unwrap_or_default().into_iter().enumerate();
        let pattern = |(index, text): (usize, String)| {
            let pattern = Pattern::new(&text, Flags::None);
            if let Some(fault) = pattern.fault() {
                context.warn(&format!("config.{field}[{index}]: {fault}; requests get a 500"));
            }
            pattern
        };
        texts.map(pattern).collect()
    };
    Ok(Box::new(Guard {
        scope: Scope {
            last_only: config.allow_all_conversation_history,
            all_roles: config.match_all_roles,
            anthropic: format == Some("anthropic"),
        },
        bodies: Bodies::new(&context.shared.settings, config.max_request_body_size),
        allow: patterns("allow_patterns", config.allow_patterns),
        deny: patterns("deny_patterns", config.deny_patterns),
    }))
}

/// Why a request does not pass.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The client's prompt, for a reason that it is not told.
    Refused(&'static str),
    /// An expression that does not work: a mistake of the operator.
    Faulty(String),
}

impl Plugin for Guard {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(async move {
            let body = match self.bodies.read(ex).await {
                Ok(body) => body,
                Err(Unread::TooLarge(_)) => return prompts::refuse(ex, "bad request"),
                Err(unread) => return unread.answer(ex),
            };
            self.judge(ex, body)
        })
    }
}

impl Guard {
    fn judge(&self, ex: &Exchange, body: Bytes) -> Outcome {
        let text = prompts::object(ex, body).ok_or(BadFormat);
        let text = text.and_then(|request| self.scope.text(&request));
        let verdict = match text {
            Ok(text) => self.verdict(text.as_bytes()),
            Err(BadFormat) => Err(Verdict::Refused(
                "ai-prompt-guard only supports llm/v1/chat or llm/v1/completions prompts",
            )),
        };
        match verdict {
            Ok(()) => Ok(()),
            Err(Verdict::Refused(reason)) => {
                tracing::debug!(request_id = %ex.id, plugin = "ai-prompt-guard", "{reason}");
                prompts::refuse(ex, "bad request")
            }
            Err(Verdict::Faulty(fault)) => {
                tracing::error!(request_id = %ex.id, fault = "plugin:ai-prompt-guard", "{fault}");
                ex.response.exit(StatusCode::INTERNAL_SERVER_ERROR, None, Bytes::new())
            }
        }
    }

    fn verdict(&self, text: &[u8]) -> Result<(), Verdict> {
        for pattern in &self.deny {
            if finds(pattern, text)? {
                return Err(Verdict::Refused("prompt pattern is blocked"));
            }
        }
        for pattern in &self.allow {
            if finds(pattern, text)? {
                return Ok(());
            }
        }
        match self.allow.is_empty() {
            true => Ok(()),
            false => Err(Verdict::Refused("prompt doesn't match any allowed pattern")),
        }
    }
}

fn finds(pattern: &Pattern, text: &[u8]) -> Result<bool, Verdict> {
    let fault = |error| {
        let text = &pattern.text;
        Verdict::Faulty(format!("bad regex pattern '{text}', failed to execute: {error}"))
    };
    pattern.find(text).map(|found| found.is_some()).map_err(fault)
}
