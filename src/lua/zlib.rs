//! Streams of zlib for `kong-compat/ffi-zlib.lua`: the part of module `silverback.host` that packs
//! and unpacks a piece at a time.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use mlua::{AnyUserData, Lua, LuaString, Table, UserData};

/// The most bytes that one step gives.
const ROOM: usize = 1 << 20;

enum Stream {
    Pack(Compress),
    Unpack(Decompress),
}

impl UserData for Stream {}

/// Puts the functions into the module's table; all of them begin with `zlib_`.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let packer = |lua: &Lua, (kind, window, level): (String, u8, Option<u32>)| {
        let window = window.clamp(9, 15);
        let level = level.map_or_else(Compression::default, |level| Compression::new(level.min(9)));
        let stream = match kind.as_str() {
            "gzip" => Compress::new_gzip(level, window),
            kind => Compress::new_with_window_bits(level, kind == "zlib", window),
        };
        lua.create_userdata(Stream::Pack(stream))
    };
    host.set("zlib_packer", lua.create_function(packer)?)?;
    let unpacker = |lua: &Lua, (kind, window): (String, u8)| {
        let window = window.clamp(9, 15);
        let stream = match kind.as_str() {
            "gzip" => Decompress::new_gzip(window),
            kind => Decompress::new_with_window_bits(kind == "zlib", window),
        };
        lua.create_userdata(Stream::Unpack(stream))
    };
    host.set("zlib_unpacker", lua.create_function(unpacker)?)?;
    host.set("zlib_step", lua.create_function(step)?)?;
    let adler = |_: &Lua, (text, start): (LuaString, u32)| Ok(adler(&text.as_bytes(), start));
    host.set("zlib_adler", lua.create_function(adler)?)?;
    let crc = |_: &Lua, (text, start): (LuaString, u32)| Ok(crc(&text.as_bytes(), start));
    host.set("zlib_crc", lua.create_function(crc)?)
}

/// One step: the input from a position on, whether it is the last, and how many bytes there is room
/// for. Returns what came out, how many bytes went in, and whether the stream has ended; nil when
/// the data is wrong.
fn step(
    lua: &Lua,
    (stream, input, from, last, room): (AnyUserData, LuaString, usize, bool, usize),
) -> mlua::Result<(Option<LuaString>, usize, bool)> {
    let mut stream = stream.borrow_mut::<Stream>()?;
    let input = input.as_bytes();
    let input = input.get(from..).unwrap_or_default();
    let mut out = vec![0; room.clamp(1, ROOM)];
    let before = stream.totals();
    let status = match &mut *stream {
        Stream::Pack(stream) => {
            let flush = if last { FlushCompress::Finish } else { FlushCompress::None };
            stream.compress(input, &mut out, flush).ok()
        }
        Stream::Unpack(stream) => stream.decompress(input, &mut out, FlushDecompress::None).ok(),
    };
    let Some(status) = status else { return Ok((None, 0, true)) };
    let after = stream.totals();
    let count = |total: fn(&(u64, u64)) -> u64| (total(&after) - total(&before)) as usize;
    out.truncate(count(|totals| totals.1));
    let out = lua.create_string(out)?;
    Ok((Some(out), count(|totals| totals.0), status == Status::StreamEnd))
}

impl Stream {
    /// Bytes that have gone in, and come out.
    fn totals(&self) -> (u64, u64) {
        match self {
            Self::Pack(stream) => (stream.total_in(), stream.total_out()),
            Self::Unpack(stream) => (stream.total_in(), stream.total_out()),
        }
    }
}

/// What each byte does to a CRC-32.
const CRCS: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

/// CRC-32, from an earlier one on.
fn crc(text: &[u8], start: u32) -> u32 {
    let byte = |sum: u32, byte: &u8| sum >> 8 ^ CRCS[(sum as u8 ^ byte) as usize];
    !text.iter().fold(!start, byte)
}

/// Adler-32, from an earlier sum on; zlib's starts at 1.
fn adler(text: &[u8], start: u32) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut low, mut high) = (start & 0xffff, start >> 16);
    // So many bytes fit before the sums would overflow.
    for piece in text.chunks(5552) {
        for byte in piece {
            low += u32::from(*byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crc_can_be_continued() {
        assert_eq!(crc(b"123456789", 0), 0xcbf4_3926);
        assert_eq!(crc(b"", 7), 7);
        assert_eq!(crc(b"6789", crc(b"12345", 0)), 0xcbf4_3926);
    }

    #[test]
    fn the_checksum_can_be_continued() {
        assert_eq!(adler(b"Wikipedia", 1), 0x11e6_0398);
        assert_eq!(adler(b"pedia", adler(b"Wiki", 1)), 0x11e6_0398);
    }
}
