//! The tools that a model may call, and whether it must.

use super::blocks::{object, of, refused};
use super::{inside, next, put};
use crate::llm::error::Error;
use crate::llm::json;

/// Functions. Tools that Anthropic runs or describes itself are unknown to other models.
pub(super) fn tools(out: &mut Vec<u8>, tools: &[u8]) -> Result<(), Error> {
    put(out, "tools", b"[");
    for (at, tool) in json::items(tools).enumerate() {
        let place = format!("tools.{at}");
        let tool = object(tool, &place)?;
        let kind = tool.get("type").filter(|kind| *kind != b"null").and_then(inside);
        if let Some(kind) = kind.filter(|kind| *kind != b"custom") {
            let kind = String::from_utf8_lossy(kind);
            return Err(refused(format!(
                "{place}: a tool of type '{kind}' cannot be offered to this model"
            )));
        }
        next(out);
        out.extend_from_slice(br#"{"type":"function","function":{"#);
        put(out, "name", of(&tool, "name", &place)?);
        let copied =
            [("description", "description"), ("input_schema", "parameters"), ("strict", "strict")];
        for (theirs, ours) in copied {
            if let Some(value) = tool.get(theirs).filter(|value| *value != b"null") {
                put(out, ours, value);
            }
        }
        out.extend_from_slice(b"}}");
    }
    out.push(b']');
    Ok(())
}

/// Which of them it may call.
pub(super) fn choice(out: &mut Vec<u8>, choice: &[u8]) -> Result<(), Error> {
    let choice = object(choice, "tool_choice")?;
    match choice.get("type").and_then(inside).unwrap_or_default() {
        b"auto" => put(out, "tool_choice", br#""auto""#),
        b"any" => put(out, "tool_choice", br#""required""#),
        b"none" => put(out, "tool_choice", br#""none""#),
        b"tool" => {
            let name = of(&choice, "name", "tool_choice")?;
            put(out, "tool_choice", br#"{"type":"function","function":{"name":"#);
            out.extend_from_slice(name);
            out.extend_from_slice(b"}}");
        }
        _ => return Err(refused("tool_choice.type: must be auto, any, tool or none")),
    }
    if choice.get("disable_parallel_tool_use") == Some(b"true") {
        put(out, "parallel_tool_calls", b"false");
    }
    Ok(())
}
