//! `{vault://env/NAME}`: a value that stays in the environment.
//!
//! Kong's syntax, for settings and for the referenceable fields of a configuration. The one kind
//! of vault here is the environment; which variable a reference means is decided in this file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::Env;

/// Why a reference has no value. No text holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Neither `env` nor the prefix of a vault entity.
    #[error("there is no vault '{0}' (use env, or declare it under 'vaults')")]
    Vault(String),
    /// Not set, or empty.
    #[error("environment variable '{0}' is not set")]
    Variable(String),
    /// A key is asked for, so the value must be a flat JSON object.
    #[error("environment variable '{variable}' is not a JSON object with a string '{key}'")]
    Key {
        /// Its name.
        variable: String,
        /// What was asked for.
        key: String,
    },
    /// The vault says that its values are in base64.
    #[error("environment variable '{0}' does not hold text in base64")]
    Base64(String),
    /// Kong's syntax: `{vault://<vault>/<resource>[/<key>][?<options>][#<version>]}`.
    #[error("it is not of the form {{vault://<vault>/<name>[/<key>]}}")]
    Malformed,
}

/// Whether a value is a vault reference, `{vault://...}` (Kong: the whole value must be one).
pub fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

/// A vault reference, taken apart.
#[derive(Debug, PartialEq)]
pub struct Reference {
    /// A kind of vault, or the prefix of a vault entity.
    pub vault: String,
    /// The secret's name.
    pub resource: String,
    /// A member of the secret, which is then JSON.
    pub key: Option<String>,
    /// What goes before the name of the variable.
    pub prefix: Option<String>,
    version: Option<u32>,
}

/// A vault entity; its kind is `env`, because its schema knows no other.
#[derive(Debug, Clone)]
pub struct Vault {
    /// What goes before the names of variables.
    prefix: String,
    /// The values are in base64.
    base64: bool,
}

impl Vault {
    /// From a validated entity.
    pub fn of(entity: &Value) -> Self {
        let config = &entity["config"];
        Self {
            prefix: config["prefix"].as_str().unwrap_or_default().to_owned(),
            base64: config["base64_decode"] == true,
        }
    }
}

impl Reference {
    /// Takes a reference apart.
    ///
    /// # Errors
    /// The text is no reference.
    pub fn parse(text: &str) -> Result<Self, Unresolved> {
        Self::read(text).ok_or(Unresolved::Malformed)
    }

    fn read(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("{vault://")?.strip_suffix('}')?;
        let (inner, version) = match inner.split_once('#') {
            Some((inner, version)) => (inner, Some(version.parse().ok()?)),
            None => (inner, None),
        };
        let (inner, query) = inner.split_once('?').unwrap_or((inner, ""));
        let prefix = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "prefix")
            .map(|(_, value)| value.into_owned());
        let (vault, path) = inner.split_once('/')?;
        let decode =
            |part: &str| percent_decode_str(part).decode_utf8().ok().map(|s| s.into_owned());
        // A slash at the end says that the whole path is the resource.
        let (resource, key) = match path.rsplit_once('/') {
            Some((resource, "")) => (resource, None),
            Some((resource, key)) => (resource, Some(decode(key)?)),
            None => (path, None),
        };
        let (vault, resource) = (decode(vault)?, decode(resource)?);
        let complete = !vault.is_empty() && !resource.is_empty();
        complete.then_some(Self { vault, resource, key, prefix, version })
    }

    /// The variable that it means; its own prefix wins over `prefix`.
    pub fn variable(&self, prefix: &str) -> String {
        let prefix = self.prefix.as_deref().unwrap_or(prefix);
        let mut variable = format!("{prefix}{}", self.resource).replace('-', "_");
        variable.make_ascii_uppercase();
        if self.version == Some(2) {
            variable.push_str("_PREVIOUS"); // Kong: the secret before the last rotation
        }
        variable
    }

    /// The secret that it means: of the vault `env`, or of the one that is declared under the name
    /// it has.
    ///
    /// # Errors
    /// There is no such vault, or no such secret in it.
    pub fn secret(
        &self,
        env: &Env,
        declared: impl FnOnce(&str) -> Option<Vault>,
    ) -> Result<String, Unresolved> {
        if self.vault == "env" {
            return self.value(env, env.get("KONG_VAULT_ENV_PREFIX").unwrap_or_default());
        }
        let Some(vault) = declared(&self.vault) else {
            return Err(Unresolved::Vault(self.vault.clone()));
        };
        let value = self.value(env, &vault.prefix)?;
        if !vault.base64 {
            return Ok(value);
        }
        let decoded = STANDARD.decode(value.trim()).ok().and_then(|b| String::from_utf8(b).ok());
        decoded.ok_or_else(|| Unresolved::Base64(self.variable(&vault.prefix)))
    }

    /// The value in an environment.
    ///
    /// # Errors
    /// The variable is not set, or has no such key.
    pub(super) fn value(&self, env: &Env, prefix: &str) -> Result<String, Unresolved> {
        let variable = self.variable(prefix);
        let Some(value) = env.get(&variable) else { return Err(Unresolved::Variable(variable)) };
        let Some(key) = &self.key else { return Ok(value.to_owned()) };
        let object: Option<Value> = serde_json::from_str(value).ok();
        match object.as_ref().and_then(|object| object.get(key)?.as_str()) {
            Some(secret) if !secret.is_empty() => Ok(secret.to_owned()),
            _ => Err(Unresolved::Key { variable, key: key.clone() }),
        }
    }
}
