//! What both ends of HTTP/1 have in common: the lines of a head, where a body ends, how bytes get
//! onto the wire, and what is left of a connection that changes to another protocol.

mod decode;
mod field;
mod output;
mod raw;

pub(crate) use decode::{Broken, Decoder};
pub(crate) use field::{field_of, has_word, length, lines, value, whole_field, words, write_field};
pub(crate) use output::{Output, WrongLength};
pub use raw::Raw;
