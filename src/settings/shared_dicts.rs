//! Shared dictionaries of the operator (`nginx_http_lua_shared_dict`), and the size of Kong's
//! caches (`mem_cache_size`).

use super::layers::Layers;
use super::text::size;

const NAME: &str = "nginx_http_lua_shared_dict";

/// nginx' smallest dictionary is of two pages.
const LEAST: u64 = 8192;

impl Layers {
    /// Names and sizes in bytes. Kong puts the value behind nginx' directive, so that several
    /// dictionaries are told as `a 1m; lua_shared_dict b 1m`.
    pub(super) fn shared_dicts(&mut self) -> Vec<(String, usize)> {
        let mut dicts: Vec<(String, usize)> = Vec::new();
        if self.has("mem_cache_size") {
            let bytes = self.size("mem_cache_size", "128m") as usize;
            dicts.extend(["kong_core_db_cache", "kong_db_cache"].map(|name| (name.into(), bytes)));
        }
        let text = self.text(NAME, "");
        for directive in text.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let words = directive.strip_prefix("lua_shared_dict ").unwrap_or(directive);
            match read(words) {
                Ok((name, _)) if dicts.iter().any(|(known, _)| *known == name) => {
                    let told =
                        format!("lua_shared_dict \"{name}\" is already defined as \"{name}\"");
                    self.refuse(NAME, &told);
                }
                Ok(dict) => dicts.push(dict),
                Err(told) => self.refuse(NAME, &told),
            }
        }
        dicts
    }
}

/// A name and a size; what is wrong with them is told in nginx' words.
fn read(words: &str) -> Result<(String, usize), String> {
    let mut words = words.split_whitespace();
    let (Some(name), Some(bytes), None) = (words.next(), words.next(), words.next()) else {
        return Err("invalid number of arguments in \"lua_shared_dict\" directive".to_owned());
    };
    let [name, bytes] = [name, bytes].map(|word| word.trim_matches(['"', '\'']));
    if name.is_empty() {
        return Err(format!("invalid lua shared dict name \"{name}\""));
    }
    if crate::dicts::is_kongs(name) {
        return Err(format!("lua_shared_dict \"{name}\" is already defined as \"{name}\""));
    }
    let read = size(bytes).filter(|bytes| *bytes >= LEAST).and_then(|b| usize::try_from(b).ok());
    let read = read.ok_or_else(|| format!("invalid lua shared dict size \"{bytes}\""))?;
    Ok((name.to_owned(), read))
}

#[cfg(test)]
mod tests {
    use crate::settings::{Env, Flags, Settings};

    fn dicts(value: &str) -> Result<Vec<(String, usize)>, Vec<String>> {
        let flags = Flags::from([(super::NAME.to_owned(), value.to_owned())]);
        Settings::read(&flags, Env::default(), None).map(|read| read.settings.shared_dicts)
    }

    #[test]
    fn dictionaries_are_named_as_nginx_names_them() {
        assert_eq!(dicts("mine 1m").unwrap(), [("mine".to_owned(), 1 << 20)]);
        let both = dicts("'a' 12k; lua_shared_dict b 2M;").unwrap();
        assert_eq!(both, [("a".to_owned(), 12 << 10), ("b".to_owned(), 2 << 20)]);
    }

    #[test]
    fn a_dictionary_that_cannot_be_is_refused_in_nginx_words() {
        for (value, told) in [
            ("mine", "invalid number of arguments in \"lua_shared_dict\" directive"),
            ("mine 8191", "invalid lua shared dict size \"8191\""),
            ("mine x", "invalid lua shared dict size \"x\""),
            ("kong 1m", "lua_shared_dict \"kong\" is already defined as \"kong\""),
            ("a 1m; lua_shared_dict a 1m", "lua_shared_dict \"a\" is already defined as \"a\""),
        ] {
            let errors = dicts(value).unwrap_err();
            assert!(errors.len() == 1 && errors[0].contains(told), "{value}: {errors:?}");
        }
    }
}
