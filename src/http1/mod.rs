//! What both ends of HTTP/1 have in common: where a body ends, how bytes get onto the wire, and
//! what is left of a connection that changes to another protocol.

mod decode;
mod output;
mod raw;

use http::{HeaderName, HeaderValue};

pub(crate) use decode::{Broken, Decoder};
pub(crate) use output::{Output, WrongLength};
pub use raw::Raw;

/// The number that a `Content-Length` is; `None` if it is none (RFC 9110, section 8.6: one, and
/// digits alone).
pub(crate) fn length(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

/// The comma-separated words of a header's value.
pub(crate) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Writes a line of a head.
pub(crate) fn header(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
