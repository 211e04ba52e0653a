//! Texts: base 64, escapes, query arguments, digests, checksums, times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, NO_PAD, PAD};
use mlua::{Lua, LuaString, MultiValue, Table, Value};
use ring::hmac;
use sha1::Digest as _;

use super::{number, one};
use crate::lua::bind::{self, Answer, Fault};
use crate::lua::cjson;
use crate::lua::kong::value::{kind as kind_of, shown};

/// OpenResty takes base 64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
const PADDED: GeneralPurpose = GeneralPurpose::new(&STANDARD, PAD);
const BARE: GeneralPurpose = GeneralPurpose::new(&STANDARD, NO_PAD);

/// A text for a text.
type Change = fn(&[u8]) -> Vec<u8>;

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let changes: [(&str, Change); 3] = [
        ("md5", |text| hex(&md5::Md5::digest(text))),
        ("md5_bin", |text| md5::Md5::digest(text).to_vec()),
        ("sha1_bin", |text| sha1::Sha1::digest(text).to_vec()),
    ];
    for (name, change) in changes {
        let call = move |lua: &Lua, mut args: MultiValue| {
            one(lua, lua.create_string(change(&text(&mut args)?))?)
        };
        ngx.set(name, bind::function(lua, call)?)?;
    }
    ngx.set(
        "quote_sql_str",
        bind::function(lua, |lua, mut args| {
            counted(&args, 1..=1, "expecting one argument")?;
            one(lua, lua.create_string(quote_sql(&string(&mut args, 1, "quote_sql_str")?))?)
        })?,
    )?;
    ngx.set("encode_base64", bind::function(lua, encode_base64)?)?;
    ngx.set("decode_base64", bind::function(lua, decode_base64)?)?;
    ngx.set("escape_uri", bind::function(lua, escape_uri)?)?;
    ngx.set(
        "unescape_uri",
        bind::function(lua, |lua, mut args| {
            one(lua, lua.create_string(unescape(&text(&mut args)?))?)
        })?,
    )?;
    ngx.set("encode_args", bind::function(lua, encode_args)?)?;
    ngx.set("decode_args", bind::function(lua, decode_args)?)?;
    ngx.set("hmac_sha1", bind::function(lua, hmac_sha1)?)?;
    for name in ["crc32_short", "crc32_long"] {
        let call = move |lua: &Lua, mut args: MultiValue| {
            let mut crc = flate2::Crc::new();
            crc.update(&text(&mut args)?);
            one(lua, f64::from(crc.sum()))
        };
        ngx.set(name, bind::function(lua, call)?)?;
    }
    times(lua, ngx)
}

fn encode_args(lua: &Lua, mut args: MultiValue) -> Answer {
    counted(&args, 1..=1, "expecting 1 argument but seen")?;
    match args.pop_front() {
        Some(Value::Table(table)) => one(lua, lua.create_string(encoded_args(&table)?)?),
        other => Err(wrong(1, "encode_args", "table", other.as_ref())),
    }
}

fn decode_args(lua: &Lua, mut args: MultiValue) -> Answer {
    counted(&args, 1..=2, "expecting 1 or 2 arguments but seen")?;
    let query = string(&mut args, 1, "decode_args")?;
    let limit = match args.pop_front() {
        None => 100.0,
        Some(value) => {
            number(&value).ok_or_else(|| wrong(2, "decode_args", "number", Some(&value)))?
        }
    };
    decoded_args(lua, &query, limit.max(0.0) as usize)
}

fn hmac_sha1(lua: &Lua, mut args: MultiValue) -> Answer {
    counted(&args, 2..=2, "expecting 2 arguments, but got")?;
    let secret = string(&mut args, 1, "hmac_sha1")?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret);
    let tag = hmac::sign(&key, &string(&mut args, 2, "hmac_sha1")?);
    one(lua, lua.create_string(tag.as_ref())?)
}

/// The next argument as bytes, by `tostring` if need be; nil and false are nothing (OpenResty).
pub(super) fn text(args: &mut MultiValue) -> Result<Vec<u8>, Fault> {
    Ok(match args.pop_front() {
        Some(Value::String(text)) => text.as_bytes().to_vec(),
        None | Some(Value::Nil | Value::Boolean(false)) => Vec::new(),
        Some(other) => shown(&other)?.into_bytes(),
    })
}

/// The next argument as bytes where OpenResty's C asks for a text: a number is one, too.
pub(super) fn string(args: &mut MultiValue, at: usize, name: &str) -> Result<Vec<u8>, Fault> {
    match args.pop_front() {
        Some(Value::String(text)) => Ok(text.as_bytes().to_vec()),
        Some(value @ (Value::Integer(_) | Value::Number(_))) => Ok(shown(&value)?.into_bytes()),
        other => Err(wrong(at, name, "string", other.as_ref())),
    }
}

pub(super) fn wrong(at: usize, name: &str, expected: &str, value: Option<&Value>) -> Fault {
    let kind = value.map_or("no value", kind_of);
    format!("bad argument #{at} to '{name}' ({expected} expected, got {kind})").into()
}

/// Refuses another number of arguments; a text that ends in a word is followed by it.
pub(super) fn counted(
    args: &MultiValue,
    wanted: std::ops::RangeInclusive<usize>,
    told: &str,
) -> Result<(), Fault> {
    if wanted.contains(&args.len()) {
        return Ok(());
    }
    let is_counted = told.ends_with("seen") || told.ends_with("got");
    Err(if is_counted { format!("{told} {}", args.len()) } else { told.to_owned() }.into())
}

pub(super) fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    bytes.iter().flat_map(digits).collect()
}

fn quote_sql(text: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in text {
        let letter = match byte {
            0 => b'0',
            b'\n' => b'n',
            b'\r' => b'r',
            8 => b'b',
            b'\t' => b't',
            26 => b'Z',
            b'\\' | b'\'' | b'"' => byte,
            _ => {
                quoted.push(byte);
                continue;
            }
        };
        quoted.extend([b'\\', letter]);
    }
    quoted.push(b'\'');
    quoted
}

fn encode_base64(lua: &Lua, mut args: MultiValue) -> Answer {
    let text = text(&mut args)?;
    let bare = match args.pop_front() {
        None | Some(Value::Nil) => false,
        Some(Value::Boolean(bare)) => bare,
        Some(other) => {
            let kind = kind_of(&other);
            return Err(format!("bad no_padding: boolean expected, got {kind}").into());
        }
    };
    one(lua, if bare { BARE.encode(text) } else { PADDED.encode(text) })
}

fn decode_base64(lua: &Lua, mut args: MultiValue) -> Answer {
    let Some(Value::String(text)) = args.pop_front() else {
        return Err("string argument only".into());
    };
    // nginx reads as far as the padding.
    let text = text.as_bytes();
    let length = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    match LENIENT.decode(&text[..length]) {
        Ok(bytes) => one(lua, lua.create_string(bytes)?),
        Err(_) => one(lua, ()),
    }
}

/// nginx' kinds of escapes; a part of a URI, which is 2, is the usual one.
fn escape_uri(lua: &Lua, mut args: MultiValue) -> Answer {
    let text = text(&mut args)?;
    let kind = match args.pop_front() {
        None | Some(Value::Nil) => COMPONENT,
        Some(kind) => match number(&kind) {
            Some(known) if (0.0..=6.0).contains(&known) => known as u8,
            Some(_) => {
                let shown = shown(&kind)?;
                return Err(format!("\"type\" {shown} out of range").into());
            }
            None => return Err("\"type\" is not a number".into()),
        },
    };
    one(lua, lua.create_string(escaped(&text, kind))?)
}

const COMPONENT: u8 = 2;

/// A text with escapes of one of nginx' kinds.
fn escaped(text: &[u8], kind: u8) -> Vec<u8> {
    let special: &[u8] = match kind {
        0 => b" #%?",
        1 => b" #%?+",
        3 => b" \"#%'",
        4 => b" \"'",
        5 | 6 => b" %",
        _ => b"",
    };
    let stays = |byte: u8| match kind {
        COMPONENT => byte.is_ascii_alphanumeric() || b"-._~!'()*".contains(&byte),
        5 | 6 => byte >= b' ' && byte != 0x7F && !special.contains(&byte),
        _ => (b' '..0x7F).contains(&byte) && !special.contains(&byte),
    };
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if stays(byte) {
            out.push(byte);
        } else {
            out.extend(format!("%{byte:02X}").into_bytes());
        }
    }
    out
}

/// Escapes resolved, `+` as a blank; what is no escape stays.
pub(in crate::lua) fn unescape(text: &[u8]) -> Vec<u8> {
    let plus: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    percent_encoding::percent_decode(&plus).collect()
}

/// A table as a query string: `true` is a bare name, `false` and nil are left out, the values of a
/// table within, whatever their keys, are values of its name (OpenResty).
pub(in crate::lua) fn encoded_args(table: &Table) -> Result<Vec<u8>, Fault> {
    let mut query = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Value::String(key) = key else {
            return Err("attempt to use a non-string key in the \"args\" option table".into());
        };
        let values = match value {
            Value::Table(list) => {
                let values = list.pairs::<Value, Value>().map(|pair| Ok(pair?.1));
                values.collect::<mlua::Result<Vec<Value>>>()?
            }
            value => vec![value],
        };
        for value in values {
            let text = match value {
                Value::Boolean(true) => None,
                Value::Boolean(false) | Value::Nil => continue,
                value => match scalar(&value)? {
                    Some(text) => Some(text),
                    None => {
                        let kind = kind_of(&value);
                        return Err(format!("attempt to use {kind} as query arg value").into());
                    }
                },
            };
            if !query.is_empty() {
                query.push(b'&');
            }
            query.extend(escaped(&key.as_bytes(), COMPONENT));
            if let Some(text) = text {
                query.push(b'=');
                query.extend(escaped(&text, COMPONENT));
            }
        }
    }
    Ok(query)
}

fn scalar(value: &Value) -> Result<Option<Vec<u8>>, Fault> {
    Ok(match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(cjson::general(*number, 14).into_bytes()),
        _ => None,
    })
}

/// A query string as a table of its arguments; what comes more than once is a list. The second
/// value says `truncated` when there are more than `limit`; 0 is no limit.
pub(in crate::lua) fn decoded_args(lua: &Lua, query: &[u8], limit: usize) -> Answer {
    let table = lua.create_table()?;
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut parts = query.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    for part in parts.by_ref().take(limit) {
        // An argument without a name counts and is left out.
        if part.first() == Some(&b'=') {
            continue;
        }
        let equals = part.iter().position(|byte| *byte == b'=');
        let (name, value) = part.split_at(equals.unwrap_or(part.len()));
        let value = match equals {
            Some(_) => Value::String(lua.create_string(unescape(&value[1..]))?),
            None => Value::Boolean(true),
        };
        let name = lua.create_string(unescape(name))?;
        add(lua, &table, &name, value)?;
    }
    one(lua, (table, parts.next().map(|_| "truncated")))
}

fn add(lua: &Lua, table: &Table, name: &LuaString, value: Value) -> mlua::Result<()> {
    match table.raw_get::<Value>(name)? {
        Value::Nil => table.raw_set(name, value),
        Value::Table(list) => list.raw_push(value),
        first => table.raw_set(name, lua.create_sequence_from([first, value])?),
    }
}

fn times(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let at = |args: &mut MultiValue| -> Result<SystemTime, Fault> {
        let seconds = args.pop_front().as_ref().and_then(number);
        let seconds = seconds.ok_or("number argument only")?.max(0.0);
        let after = Duration::from_secs(seconds as u64);
        Ok(UNIX_EPOCH.checked_add(after).unwrap_or(UNIX_EPOCH))
    };
    let http =
        move |lua: &Lua, mut args: MultiValue| one(lua, httpdate::fmt_http_date(at(&mut args)?));
    ngx.set("http_time", bind::function(lua, http)?)?;
    let cookie = move |lua: &Lua, mut args: MultiValue| {
        let date = httpdate::fmt_http_date(at(&mut args)?);
        // Fri, 20 Nov 2026 ... becomes Fri, 20-Nov-26 ...
        let parts: Vec<&str> = date.split(' ').collect();
        let text = match parts.as_slice() {
            [day, date, month, year, time, zone] => {
                let short = year.get(2..).unwrap_or(year);
                format!("{day} {date}-{month}-{short} {time} {zone}")
            }
            _ => date.clone(),
        };
        one(lua, text)
    };
    ngx.set("cookie_time", bind::function(lua, cookie)?)?;
    let parse = |lua: &Lua, mut args: MultiValue| {
        let Some(Value::String(text)) = args.pop_front() else {
            return Err("string argument only".into());
        };
        let parsed = httpdate::parse_http_date(&text.to_string_lossy()).ok();
        let seconds = parsed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        one(lua, seconds.map(|time| time.as_secs()))
    };
    ngx.set("parse_http_time", bind::function(lua, parse)?)?;
    // The gateway runs in UTC: there is no library here that knows other zones.
    for name in ["today", "localtime", "utctime"] {
        let call = move |lua: &Lua, _: MultiValue| {
            let date = humane(SystemTime::now());
            let shown = if name == "today" { date.get(..10).unwrap_or(&date) } else { &date };
            one(lua, shown)
        };
        ngx.set(name, bind::function(lua, call)?)?;
    }
    Ok(())
}

/// `2026-11-20 23:43:15`, in UTC.
pub(super) fn humane(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a date: eras of 400 years that begin in March (H. Hinnant's algorithm).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}
