//! The fields of a multipart form (RFC 7578).

use memchr::memmem;
use mlua::{Lua, Table, Value};

/// The most fields that are read.
const FIELDS: usize = 1000;

/// The boundary that a media type names.
pub(super) fn boundary(mime: &str) -> Option<String> {
    let at = mime.to_ascii_lowercase().find("boundary=")? + "boundary=".len();
    let rest = mime.get(at..)?;
    let boundary = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split(';').next()?.trim(),
    };
    (!boundary.is_empty()).then(|| boundary.to_owned())
}

/// Values by name; a name that comes more than once has a list.
pub(super) fn fields(lua: &Lua, body: &[u8], boundary: &str) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let delimiter = format!("--{boundary}");
    let mut starts = memmem::find_iter(body, delimiter.as_bytes()).peekable();
    let mut count = 0;
    while let Some(start) = starts.next() {
        let from = start + delimiter.len();
        let to = starts.peek().copied().unwrap_or(body.len());
        let Some(part) = body.get(from..to) else { break };
        if part.starts_with(b"--") || count == FIELDS {
            break;
        }
        let Some((split, behind)) = end_of_head(part) else { continue };
        let head = String::from_utf8_lossy(&part[..split]).into_owned();
        let content = &part[behind..];
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let Some(name) = name(&head) else { continue };
        count += 1;
        let value = Value::String(lua.create_string(content)?);
        match table.raw_get::<Value>(name.as_str())? {
            Value::Nil => table.raw_set(name, value)?,
            Value::Table(list) => list.raw_push(value)?,
            first => table.raw_set(name, lua.create_sequence_from([first, value])?)?,
        }
    }
    Ok(table)
}

/// Where the head of a part ends and its content begins; lines may end without a carriage return,
/// as Kong's reader takes them.
fn end_of_head(part: &[u8]) -> Option<(usize, usize)> {
    let strict = memmem::find(part, b"\r\n\r\n").map(|at| (at, at + 4));
    strict.or_else(|| memmem::find(part, b"\n\n").map(|at| (at, at + 2)))
}

/// The field's name in the head of its part.
fn name(head: &str) -> Option<String> {
    let line = head.lines().find(|line| {
        line.get(..20).is_some_and(|start| start.eq_ignore_ascii_case("content-disposition:"))
    })?;
    let rest = line.split("; name=").nth(1).or_else(|| line.split(";name=").nth(1))?;
    Some(match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?.to_owned(),
        None => rest.split(';').next()?.trim().to_owned(),
    })
}
