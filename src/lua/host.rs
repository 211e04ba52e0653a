//! What Kong's own Lua gets from C libraries and ours gets from Rust: module `silverback.host`.
//!
//! Only what `kong-compat/` needs and Lua does badly: regular expressions, certificates, addresses.
//! Plugins have no business here; they have the PDK.

use std::net::IpAddr;

use ipnet::IpNet;
use mlua::{Lua, Table};

use super::ngx::re;
use crate::router::expression;

/// Installs the module under `package.preload`.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let host = lua.create_table()?;
    let regex = lua.create_function(|_, pattern: String| Ok(regex_error(&pattern)))?;
    host.set("regex_error", regex)?;
    let expression = |_: &Lua, text: String| Ok(expression::error(&text));
    host.set("expression_error", lua.create_function(expression)?)?;
    super::pem::install(lua, &host)?;
    super::members::install(lua, &host)?;
    super::cjson::install(lua, &host)?;
    super::crypto::install(lua, &host)?;
    super::files::install(lua, &host)?;
    super::url::install(lua, &host)?;
    super::spans::install(lua, &host)?;
    super::yaml::install(lua, &host)?;
    super::zlib::install(lua, &host)?;
    host.set("is_ip", lua.create_function(|_, text: String| Ok(is_ip(&text)))?)?;
    let range = |_: &Lua, text: String| Ok(is_ip(&text) || text.parse::<IpNet>().is_ok());
    host.set("is_ip_or_cidr", lua.create_function(range)?)?;
    host.set("utf8_error", lua.create_function(|_, text: mlua::LuaString| Ok(utf8_error(&text)))?)?;

    let ip_bytes =
        |lua: &Lua, text: String| ip_bytes(&text).map(|bytes| lua.create_string(bytes)).transpose();
    host.set("ip_bytes", lua.create_function(ip_bytes)?)?;
    let text = |_: &Lua, bytes: mlua::BString| Ok(ip_text(&bytes));
    host.set("ip_text", lua.create_function(text)?)?;
    let file = |path: &str| std::fs::metadata(path).ok();
    let kind = move |_: &Lua, path: String| {
        Ok(file(&path).map(|file| if file.is_dir() { "directory" } else { "file" }))
    };
    host.set("file_kind", lua.create_function(kind)?)?;
    let size = move |_: &Lua, path: String| Ok(file(&path).map(|file| file.len()));
    host.set("file_size", lua.create_function(size)?)?;
    let here =
        |_: &Lua, ()| Ok(std::env::current_dir().ok().map(|folder| folder.display().to_string()));
    host.set("kongs_plugins", super::modules::KONGS.as_slice())?;
    host.set("current_dir", lua.create_function(here)?)?;

    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("silverback.host", lua.create_function(move |_, _: String| Ok(host.clone()))?)
}

/// What is wrong with a pattern, as OpenResty reports it; `None` if it can be used.
///
/// Kong checks patterns with PCRE. They are matched with the `regex` crate, as Routes are in Kong's
/// default router, so what only PCRE knows is an error, too.
fn regex_error(pattern: &str) -> Option<String> {
    if let Some(refused) = re::refused(pattern) {
        return Some(refused);
    }
    let error = regex::Regex::new(pattern).err()?.to_string();
    let reason = last_line(&error);
    Some(format!("pcre2_compile() failed: {reason} in \"{pattern}\""))
}

fn last_line(text: &str) -> String {
    let line = text.lines().next_back().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The four or sixteen bytes of an address.
fn ip_bytes(text: &str) -> Option<Vec<u8>> {
    Some(match text.parse().ok()? {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    })
}

/// The address of four or sixteen bytes.
fn ip_text(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    let ip = four.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())?;
    Some(ip.to_string())
}

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// The position of the first byte that is not UTF-8, counted from 1 as Lua does.
fn utf8_error(text: &mlua::LuaString) -> Option<usize> {
    std::str::from_utf8(&text.as_bytes()).err().map(|error| error.valid_up_to() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_pattern_is_reported_in_the_words_of_pcre() {
        assert_eq!(
            regex_error("/a(").unwrap(),
            r#"pcre2_compile() failed: missing closing parenthesis in "/a(""#
        );
        for (pattern, at) in [("/a**", "*"), ("invalid_**regex", "*regex"), ("*a", "*a")] {
            let told = regex_error(pattern).unwrap();
            assert!(told.contains("quantifier does not follow"), "{told}");
            assert!(told.ends_with(&format!(" at \"{at}\"")), "{told}");
        }
        assert!(regex_error("/(?<a>x)(?=y)").unwrap().contains("look-around"));
        assert_eq!(regex_error(r"/users/(?<id>\d+)$"), None);
    }
}
