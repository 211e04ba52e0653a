//! The parts of a form, whole: the simulator keeps what is uploaded.

use bytes::Bytes;
use memchr::memmem::Finder;

use super::super::call::Call;
use crate::llm::form::boundary;

/// One part.
pub(super) struct Part {
    name: String,
    /// Set for files.
    pub(super) file: Option<String>,
    pub(super) data: Bytes,
}

/// Every part of the body; none if it is no form.
pub(super) fn parts(call: &Call) -> Vec<Part> {
    let kind = call.head.headers.get(http::header::CONTENT_TYPE);
    let Some(boundary) = kind.and_then(|kind| boundary(kind.as_bytes())) else {
        return Vec::new();
    };
    let delimiter = format!("--{boundary}");
    let ends: Vec<usize> = Finder::new(&delimiter).find_iter(&call.body).collect();
    let bodies = ends.windows(2).map(|two| call.body.slice(two[0] + delimiter.len()..two[1]));
    bodies.filter_map(part).collect()
}

/// A text field.
pub(super) fn text(parts: &[Part], name: &str) -> Option<String> {
    let part = parts.iter().find(|part| part.name == name && part.file.is_none())?;
    Some(String::from_utf8_lossy(&part.data).into_owned())
}

/// The first file of this name, or of a list of it.
pub(super) fn file<'p>(parts: &'p [Part], name: &str) -> Option<&'p Part> {
    parts.iter().find(|part| part.file.is_some() && part.name.trim_end_matches("[]") == name)
}

fn part(bytes: Bytes) -> Option<Part> {
    let head_end = Finder::new("\r\n\r\n").find(&bytes)?;
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let quoted = |key: &str| {
        let from = head.find(&format!(" {key}=\""))? + key.len() + 3;
        head[from..].split('"').next().map(str::to_owned)
    };
    let data = bytes.slice(head_end + 4..bytes.len().saturating_sub(2).max(head_end + 4));
    Some(Part { name: quoted("name")?, file: quoted("filename"), data })
}
