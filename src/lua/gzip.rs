//! Compressing and decompressing for `kong-compat/`: what `ffi-zlib` and `kong.tools.gzip` stand on.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use mlua::{Lua, LuaString, Table};

/// The longest text that is made of a compressed one, in bytes: a small text may hold a huge one.
const INFLATED: u64 = 256 << 20;

/// Puts `deflate` and `inflate` into the module that `kong-compat/` uses.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let deflate = |lua: &Lua, text: LuaString| {
        let deflated = deflate(&text.as_bytes()).map_err(mlua::Error::external)?;
        lua.create_string(deflated)
    };
    host.set("deflate", lua.create_function(deflate)?)?;
    let inflate = |lua: &Lua, text: LuaString| {
        inflate(&text.as_bytes()).map(|bytes| lua.create_string(bytes)).transpose()
    };
    host.set("inflate", lua.create_function(inflate)?)
}

fn deflate(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}

/// The text of a gzip or zlib stream; `None` if it is neither, is cut off, or holds too much.
fn inflate(text: &[u8]) -> Option<Vec<u8>> {
    let mut inflated = Vec::new();
    let most = INFLATED + 1;
    let read = match text.first() {
        Some(0x1f) => GzDecoder::new(text).take(most).read_to_end(&mut inflated),
        _ => ZlibDecoder::new(text).take(most).read_to_end(&mut inflated),
    };
    read.ok().filter(|&read| (read as u64) < most).map(|_| inflated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_and_a_broken_one_does_not() {
        let deflated = deflate(b"once upon a time").unwrap();
        assert_eq!(inflate(&deflated).as_deref(), Some(&b"once upon a time"[..]));
        assert_eq!(inflate(&deflated[..deflated.len() - 9]), None);
        assert_eq!(inflate(b"plain"), None);
        assert_eq!(inflate(b""), None);
    }
}
