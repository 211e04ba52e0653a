//! URLs as browsers read them, for `kong-compat/resty/ada`: the part of module `silverback.host`
//! that takes them apart and changes them.

use mlua::{Lua, Table};
use url::{Url, quirks};

/// Adds the functions to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    let parse = |_: &Lua, (text, base): (String, Option<String>)| Ok(parse(&text, base.as_deref()));
    host.set("url_parse", lua.create_function(parse)?)?;
    let part = |_: &Lua, (text, part): (String, String)| {
        Ok(Url::parse(&text).ok().and_then(|url| read(&url, &part)))
    };
    host.set("url_part", lua.create_function(part)?)?;
    let change =
        |_: &Lua, (text, part, value): (String, String, String)| Ok(changed(&text, &part, &value));
    host.set("url_changed", lua.create_function(change)?)?;
    let ascii = |_: &Lua, domain: String| Ok(quirks::domain_to_ascii(&domain));
    host.set("domain_to_ascii", lua.create_function(ascii)?)?;
    let unicode = |_: &Lua, domain: String| Ok(quirks::domain_to_unicode(&domain));
    host.set("domain_to_unicode", lua.create_function(unicode)?)
}

/// The URL in its normal form; `None` if it is none.
fn parse(text: &str, base: Option<&str>) -> Option<String> {
    let base = match base {
        Some(base) => Some(Url::parse(base).ok()?),
        None => None,
    };
    let url = Url::options().base_url(base.as_ref()).parse(text).ok()?;
    Some(url.into())
}

fn read(url: &Url, part: &str) -> Option<String> {
    Some(match part {
        "protocol" => quirks::protocol(url).to_owned(),
        "username" => quirks::username(url).to_owned(),
        "password" => quirks::password(url).to_owned(),
        "origin" => quirks::origin(url),
        "host" => quirks::host(url).to_owned(),
        "hostname" => quirks::hostname(url).to_owned(),
        "port" => quirks::port(url).to_owned(),
        "pathname" => quirks::pathname(url).to_owned(),
        "search" => quirks::search(url).to_owned(),
        "hash" => quirks::hash(url).to_owned(),
        _ => return None,
    })
}

/// The URL with another part; `None` if the part cannot be that.
fn changed(text: &str, part: &str, value: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    match part {
        "protocol" => quirks::set_protocol(&mut url, value).ok()?,
        "username" => quirks::set_username(&mut url, value).ok()?,
        "password" => quirks::set_password(&mut url, value).ok()?,
        "host" => quirks::set_host(&mut url, value).ok()?,
        "hostname" => quirks::set_hostname(&mut url, value).ok()?,
        "port" => quirks::set_port(&mut url, value).ok()?,
        "pathname" => quirks::set_pathname(&mut url, value),
        "search" => quirks::set_search(&mut url, value),
        "hash" => quirks::set_hash(&mut url, value),
        _ => return None,
    }
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_changed_as_browsers_do() {
        let url = "https://example.com:443/a?b#c";
        assert_eq!(parse(url, None).unwrap(), "https://example.com/a?b#c");
        assert_eq!(changed(url, "search", "x=1").unwrap(), "https://example.com/a?x=1#c");
        assert_eq!(changed(url, "pathname", "p q").unwrap(), "https://example.com/p%20q?b#c");
        assert_eq!(changed(url, "port", "no"), None);
        assert_eq!(parse("no url", None), None);
    }
}
