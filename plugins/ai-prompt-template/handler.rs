//! Replaces a request that calls a template by the template, filled in.
//!
//! A client says `{"messages": "{template://name}", "properties": {...}}`, or `prompt` in place of
//! `messages`, and what the model gets is the operator's text.

use bytes::Bytes;
use serde::Deserialize;

use super::Context;
use super::prompts::{self, Bodies};
use crate::llm::json;
use crate::llm::splice::Object;
use crate::pdk::Exchange;
use crate::plugin::{Outcome, Phases, Plugin, Step};

mod template;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    templates: Vec<Template>,
    allow_untemplated_requests: bool,
    log_original_request: bool,
    max_request_body_size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Template {
    name: String,
    template: String,
}

struct Templates {
    config: Config,
    bodies: Bodies,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    let bodies = Bodies::new(&context.shared.settings, config.max_request_body_size);
    Ok(Box::new(Templates { config, bodies }))
}

impl Plugin for Templates {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(async move {
            let body = self.bodies.take(ex).await?;
            if self.config.log_original_request {
                let text = String::from_utf8_lossy(&body).into_owned();
                ex.log.set("ai.payload.original_request", text.into());
            }
            self.replace(ex, body)
        })
    }
}

impl Templates {
    fn replace(&self, ex: &Exchange, body: Bytes) -> Outcome {
        match self.filled(&body) {
            Ok(None) => Ok(()),
            Ok(Some(filled)) => {
                prompts::replace(ex, filled.into());
                Ok(())
            }
            Err(message) => {
                tracing::debug!(request_id = %ex.id, plugin = "ai-prompt-template", "{message}");
                prompts::refuse(ex, &message)
            }
        }
    }

    /// The body in place of this one; nothing when it may pass, or else Kong's refusal. The type
    /// of the body does not matter.
    fn filled(&self, body: &[u8]) -> Result<Option<String>, String> {
        const NO_FORMAT: &str =
            "only 'llm/v1/chat' and 'llm/v1/completions' formats are supported for templating";
        let request = match Object::read(body) {
            Ok(request) => request,
            // To Lua a list is as good, and has none of the members.
            Err(json::Fault::NotAnObject) if body.trim_ascii_start().starts_with(b"[") => {
                return Err(NO_FORMAT.to_owned());
            }
            Err(_) => return Err("this LLM route only supports application/json requests".into()),
        };
        let said = |name| request.get(name).filter(|value| *value != b"false");
        let reference = match (said("messages"), said("prompt")) {
            (Some(_), Some(_)) => {
                return Err("cannot run 'messages' and 'prompt' templates at the same time".into());
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return Err(NO_FORMAT.to_owned()),
        };
        let reference = json::text(reference);
        let name = reference
            .as_deref()
            .and_then(|text| text.strip_prefix("{template://")?.strip_suffix('}'));
        let Some(name) = name else {
            return match self.config.allow_untemplated_requests {
                true => Ok(None),
                false => Err("this LLM route only supports templated requests".into()),
            };
        };
        let known = self.config.templates.iter().find(|template| template.name == name);
        let known = known.ok_or_else(|| format!("could not find template name [{name}]"))?;
        let filled = template::render(&known.template, request.get("properties"));
        filled.map(Some).map_err(|unfit| unfit.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn filled(allow: bool, body: &str) -> Result<Option<String>, String> {
        let template = Template { name: "t".to_owned(), template: r#"{"p":"{{a}}"}"#.to_owned() };
        let config = Config {
            templates: vec![template],
            allow_untemplated_requests: allow,
            log_original_request: false,
            max_request_body_size: None,
        };
        Templates { config, bodies: Bodies::new(&Settings::defaults(), None) }
            .filled(body.as_bytes())
    }

    #[test]
    fn a_reference_is_replaced() {
        for member in ["messages", "prompt"] {
            let body = format!(r#"{{"{member}":"{{template://t}}","properties":{{"a":"x"}}}}"#);
            assert_eq!(filled(false, &body), Ok(Some(r#"{"p":"x"}"#.to_owned())));
        }
    }

    #[test]
    fn refusals_have_the_texts_of_kong() {
        let json = "this LLM route only supports application/json requests";
        let format =
            "only 'llm/v1/chat' and 'llm/v1/completions' formats are supported for templating";
        let templated = "this LLM route only supports templated requests";
        for (body, text) in [
            ("", json),
            ("5", json),
            ("{", json),
            ("[]", format),
            ("{}", format),
            (r#"{"messages":false}"#, format),
            (
                r#"{"messages":[],"prompt":""}"#,
                "cannot run 'messages' and 'prompt' templates at the same time",
            ),
            (r#"{"messages":null}"#, templated),
            (r#"{"messages":[{"role":"user","content":"{template://t}"}]}"#, templated),
            (r#"{"prompt":"{template://t"}"#, templated),
            (r#"{"prompt":"{template://}"}"#, "could not find template name []"),
            (r#"{"prompt":"{template://x}"}"#, "could not find template name [x]"),
            (r#"{"prompt":"{template://t}"}"#, "missing template parameters: [a]"),
        ] {
            assert_eq!(filled(false, body).unwrap_err(), text, "{body}");
        }
        assert_eq!(filled(true, r#"{"prompt":"x"}"#), Ok(None));
    }
}
