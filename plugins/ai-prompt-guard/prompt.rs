//! The text of a request that the expressions are held against, put together as Kong does.

use std::borrow::Cow;

use crate::llm::json;
use crate::llm::splice::{Object, Twice};

/// What a prompt is made of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scope {
    /// The last message alone (`allow_all_conversation_history`).
    pub(super) last_only: bool,
    /// Messages of every role, and not only of `user`.
    pub(super) all_roles: bool,
    /// Clients speak Anthropic's format.
    pub(super) anthropic: bool,
}

/// The request is no prompt, or one that can be read in two ways.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadFormat;

impl Scope {
    /// The text: contents from the newest message to the oldest, each with a blank behind it, or
    /// the prompt of a completion.
    pub(super) fn text<B: AsRef<[u8]>>(self, request: &Object<B>) -> Result<String, BadFormat> {
        match request.only("messages")?.filter(|messages| is_table(messages)) {
            Some(messages) => self.of_messages(messages, request),
            None => {
                let prompt = request.only("prompt")?.and_then(json::text);
                prompt.map(Cow::into_owned).ok_or(BadFormat)
            }
        }
    }

    fn of_messages<B: AsRef<[u8]>>(
        self,
        messages: &[u8],
        request: &Object<B>,
    ) -> Result<String, BadFormat> {
        let messages: Vec<&[u8]> = json::items(messages).collect();
        let mut text = String::new();
        for message in messages.into_iter().rev() {
            let message = Object::read(message).map_err(|_| BadFormat)?;
            let role = message.only("role")?.and_then(json::text).ok_or(BadFormat)?;
            if role != "user" && !self.all_roles {
                continue;
            }
            let content = message.only("content")?.ok_or(BadFormat)?;
            self.put(content, &mut text)?;
            if self.last_only {
                return Ok(text);
            }
            text.push(' ');
        }
        // Anthropic's clients say beside the messages what a system message would.
        if self.anthropic
            && self.all_roles
            && let Some(system) = request.only("system")?
        {
            self.put(system, &mut text)?;
            text.push(' ');
        }
        Ok(text)
    }

    fn put(self, content: &[u8], text: &mut String) -> Result<(), BadFormat> {
        if let Some(content) = json::text(content) {
            text.push_str(&content);
            return Ok(());
        }
        match self.anthropic && content.starts_with(b"[") {
            true => blocks(content, text, 0),
            false => Err(BadFormat),
        }
    }
}

/// Blocks of Anthropic's format: texts, and those in results of tools; pictures have none.
fn blocks(content: &[u8], text: &mut String, depth: u8) -> Result<(), BadFormat> {
    for block in json::items(content) {
        let block = Object::read(block).map_err(|_| BadFormat)?;
        let inner = match block.only("text")? {
            Some(inner) => Some(inner),
            None => block.only("content")?,
        };
        match inner {
            Some(inner) if inner.starts_with(b"[") && depth == 0 => blocks(inner, text, 1)?,
            Some(inner) if inner.starts_with(b"\"") => {
                text.push_str(&json::text(inner).ok_or(BadFormat)?);
                text.push(' ');
            }
            _ => {}
        }
    }
    Ok(())
}

impl From<Twice> for BadFormat {
    fn from(_: Twice) -> Self {
        Self
    }
}

/// What is a table in Lua: a list or an object.
fn is_table(value: &[u8]) -> bool {
    value.starts_with(b"[") || value.starts_with(b"{")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(scope: Scope, request: &str) -> Result<String, BadFormat> {
        scope.text(&Object::read(request.as_bytes()).unwrap())
    }

    const TALK: &str = r#"{"messages":[{"role":"system","content":"s"},
        {"role":"user","content":"one"},{"role":"assistant","content":"a"},
        {"role":"user","content":"tw\u006f"}]}"#;

    #[test]
    fn the_newest_message_comes_first_and_each_has_a_blank_behind_it() {
        let of = |scope| text(scope, TALK).unwrap();
        assert_eq!(of(Scope::default()), "two one ");
        assert_eq!(of(Scope { all_roles: true, ..Scope::default() }), "two a one s ");
        assert_eq!(of(Scope { last_only: true, ..Scope::default() }), "two");
        assert_eq!(text(Scope::default(), r#"{"prompt":"p"}"#).as_deref(), Ok("p"));
        assert_eq!(text(Scope::default(), r#"{"messages":{},"prompt":"p"}"#).as_deref(), Ok(""));
    }

    #[test]
    fn what_is_no_prompt_is_refused() {
        for request in [
            "{}",
            r#"{"messages":"x"}"#,
            r#"{"messages":null}"#,
            r#"{"prompt":5}"#,
            r#"{"prompt":"\ud800"}"#,
            r#"{"messages":[5]}"#,
            r#"{"messages":[{"content":"x"}]}"#,
            r#"{"messages":[{"role":"user"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#,
        ] {
            assert_eq!(text(Scope::default(), request), Err(BadFormat), "{request}");
        }
        let image = r#"{"messages":[{"role":"assistant","content":null},
            {"role":"user","content":"x"}]}"#;
        assert_eq!(text(Scope::default(), image).as_deref(), Ok("x "));
        let all = Scope { all_roles: true, ..Scope::default() };
        assert_eq!(text(all, image), Err(BadFormat));
    }

    #[test]
    fn a_second_copy_of_a_member_cannot_hide_from_the_guard() {
        for request in [
            r#"{"messages":[{"role":"user","content":"bad","content":"good"}]}"#,
            r#"{"messages":[{"role":"user","c\u006fntent":"bad","content":"good"}]}"#,
            r#"{"messages":[],"messages":[{"role":"user","content":"good"}]}"#,
            r#"{"prompt":"bad","prompt":"good"}"#,
        ] {
            assert_eq!(text(Scope::default(), request), Err(BadFormat), "{request}");
        }
    }

    #[test]
    fn blocks_of_anthropics_format_are_read() {
        let scope = Scope { anthropic: true, all_roles: true, ..Scope::default() };
        let request = r#"{"system":"sys","messages":[{"role":"user","content":[
            {"type":"text","text":"a"},{"type":"image","source":{}},
            {"type":"tool_result","content":[{"type":"text","text":"b"}]},
            {"type":"tool_result","content":"c"}]}]}"#;
        assert_eq!(text(scope, request).as_deref(), Ok("a b c  sys "));
    }
}
