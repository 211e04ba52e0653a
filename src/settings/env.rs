//! A copy of the process environment.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A copy of the process environment, taken once at start; tests make their own.
#[derive(Clone, Default)]
pub struct Env(Arc<BTreeMap<String, String>>);

impl Env {
    /// The environment of this process. Values that are not UTF-8 are left out.
    #[allow(clippy::disallowed_methods)] // the one place that may
    pub fn of_process() -> Self {
        let vars = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self(Arc::new(vars.collect()))
    }

    /// The value of a variable; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// This environment with `NAME=value` lines over it; blank lines and `#` lines are skipped.
    ///
    /// # Errors
    /// The number of the first line that is neither.
    pub fn with_lines(&self, text: &str) -> Result<Self, usize> {
        let mut variables = BTreeMap::clone(&self.0);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=').ok_or(number + 1)?;
            let value = value.trim();
            let quoted =
                |quote| value.strip_prefix(quote).and_then(|v: &str| v.strip_suffix(quote));
            let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
            variables.insert(name.trim().to_owned(), value.to_owned());
        }
        Ok(Self(Arc::new(variables)))
    }

    /// This environment with one variable more; an empty value changes nothing.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        if value.is_empty() || self.get(name) == Some(value) {
            return self.clone();
        }
        let mut variables = BTreeMap::clone(&self.0);
        variables.insert(name.to_owned(), value.to_owned());
        Self(Arc::new(variables))
    }

    /// All variables, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self(Arc::new(vars.into_iter().map(|(k, v)| (k.into(), v.into())).collect()))
    }
}

impl std::fmt::Debug for Env {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
