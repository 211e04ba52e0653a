//! Changes of response headers.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, TRANSFER_ENCODING};
use smallvec::SmallVec;

use super::{Config, pair};

/// What happens to the headers, names and values checked and ready.
pub(super) struct HeaderChanges {
    remove: Vec<HeaderName>,
    rename: Vec<(HeaderName, HeaderName)>,
    replace: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    append: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderChanges {
    /// Reads the configuration, or says everything in it that cannot be a header.
    pub(super) fn new(config: &Config) -> Result<Self, Vec<String>> {
        let mut reader = Reader::default();
        let remove = config.remove.headers.iter();
        let changes = Self {
            remove: remove.filter_map(|text| reader.name("remove", pair(text).0)).collect(),
            rename: reader.renames(&config.rename.headers),
            replace: reader.values("replace", &config.replace.headers),
            add: reader.values("add", &config.add.headers),
            append: reader.values("append", &config.append.headers),
        };
        if reader.errors.is_empty() { Ok(changes) } else { Err(reader.errors) }
    }

    /// Makes the changes. What is there is asked of the head as it came (Kong reads it once): a
    /// header that `remove` takes away still counts as present for `replace` and `add`.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        let present = |values: &[(HeaderName, HeaderValue)]| -> SmallVec<[bool; 8]> {
            values.iter().map(|(name, _)| headers.contains_key(name)).collect()
        };
        let (replace, add) = (present(&self.replace), present(&self.add));
        let renamed: Vec<Vec<HeaderValue>> = self
            .rename
            .iter()
            .map(|(old, _)| headers.get_all(old).iter().cloned().collect())
            .collect();
        for name in &self.remove {
            headers.remove(name);
        }
        for ((old, new), values) in self.rename.iter().zip(renamed) {
            if !values.is_empty() {
                headers.remove(new);
                for value in values {
                    headers.append(new, value);
                }
                headers.remove(old);
            }
        }
        let replace = self.replace.iter().zip(&replace).filter(|(_, present)| **present);
        let add = self.add.iter().zip(&add).filter(|(_, present)| !**present);
        for ((name, value), _) in replace.chain(add) {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.append {
            headers.append(name, value.clone());
        }
    }
}

/// Reads names and values, and collects what is wrong with them.
#[derive(Default)]
struct Reader {
    errors: Vec<String>,
}

impl Reader {
    fn name(&mut self, part: &str, name: &str) -> Option<HeaderName> {
        match HeaderName::from_bytes(name.trim().as_bytes()) {
            // Kong ignores it, too: the framing is the server's.
            Ok(TRANSFER_ENCODING) => None,
            Ok(name) => Some(name),
            Err(_) => {
                self.errors.push(format!("config.{part}.headers: '{name}' is no header name"));
                None
            }
        }
    }

    fn renames(&mut self, texts: &[String]) -> Vec<(HeaderName, HeaderName)> {
        let pairs = texts.iter().map(|text| pair(text)).filter(|(_, new)| !new.is_empty());
        pairs
            .filter_map(|(old, new)| Some((self.name("rename", old)?, self.name("rename", new)?)))
            .collect()
    }

    /// Names with values; an entry without a value does nothing.
    fn values(&mut self, part: &str, texts: &[String]) -> Vec<(HeaderName, HeaderValue)> {
        let mut values = Vec::new();
        for (name, value) in texts.iter().map(|text| pair(text)) {
            let Some(name) = self.name(part, name) else { continue };
            // Blanks around a value are not part of it (RFC 9110, section 5.5).
            match HeaderValue::from_bytes(value.trim().as_bytes()) {
                Ok(_) if value.is_empty() => {}
                Ok(value) => values.push((name, value)),
                Err(_) => self.errors.push(format!(
                    "config.{part}.headers: the value of '{name}' is no header text"
                )),
            }
        }
        values
    }
}
