//! A request for a message becomes a request for a chat.
//!
//! What has no counterpart and changes nothing of what is asked (`thinking`, `top_k`, marks for
//! the cache) is left out. What the model would have to know and cannot be told is refused.

use bytes::Bytes;

use super::blocks::{self, refused};
use super::{inside, put, tools};
use crate::llm::error::Error;
use crate::llm::json;
use crate::llm::splice::{Object, quote};

/// The longest name of a user that OpenAI takes, in characters.
const USER_MAX: usize = 64;

/// Members that are the same.
const COPIED: [&str; 4] = ["max_tokens", "temperature", "top_p", "stream"];

/// The chat that a request asks for.
pub fn chat(request: &Object<Bytes>) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(request.bytes().len() + 256);
    out.push(b'{');
    let of = |name: &str| request.get(name).filter(|value| *value != b"null");
    if let Some(model) = of("model") {
        put(&mut out, "model", model);
    }
    put(&mut out, "messages", b"[");
    if let Some(system) = of("system") {
        blocks::system(&mut out, system)?;
    }
    let messages = of("messages").filter(|messages| json::items(messages).next().is_some());
    let messages = messages.ok_or(Error::NoPrompts)?;
    for (at, message) in json::items(messages).enumerate() {
        blocks::message(&mut out, at, message)?;
    }
    out.push(b']');
    for name in COPIED {
        if let Some(value) = of(name) {
            put(&mut out, name, value);
        }
    }
    if let Some(stop) = of("stop_sequences").filter(|stop| json::items(stop).next().is_some()) {
        put(&mut out, "stop", stop);
    }
    if let Some(user) = of("metadata").and_then(user) {
        put(&mut out, "user", &user);
    }
    if let Some(tools) = of("tools").filter(|tools| json::items(tools).next().is_some()) {
        tools::tools(&mut out, tools)?;
        if let Some(choice) = of("tool_choice") {
            tools::choice(&mut out, choice)?;
        }
    }
    response_format(&mut out, &of)?;
    out.push(b'}');
    Ok(out.into())
}

/// Who asks; agents give names that are longer than what OpenAI takes.
fn user(metadata: &[u8]) -> Option<Vec<u8>> {
    let metadata = Object::read(metadata).ok()?;
    let name = json::text(metadata.get("user_id")?)?;
    let short: String = name.chars().take(USER_MAX).collect();
    Some(quote(&short))
}

/// The schema that a reply is to have.
fn response_format<'a>(
    out: &mut Vec<u8>,
    of: &impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<(), Error> {
    let config = of("output_config").and_then(|config| Object::read(config).ok());
    let format = config.as_ref().and_then(|config| config.get("format"));
    let Some(format) = format.or_else(|| of("output_format")).filter(|f| *f != b"null") else {
        return Ok(());
    };
    let format = Object::read(format).ok();
    let is_schema = |format: &Object<_>| {
        format.get("type").and_then(inside).is_some_and(|kind| kind == b"json_schema")
    };
    let schema = format.as_ref().filter(|format| is_schema(format)).and_then(|f| f.get("schema"));
    let schema = schema.ok_or_else(|| refused("output format: must be a json_schema"))?;
    put(out, "response_format", br#"{"type":"json_schema","json_schema":{"name":"output""#);
    put(out, "strict", b"true");
    put(out, "schema", schema);
    out.extend_from_slice(b"}}");
    Ok(())
}
