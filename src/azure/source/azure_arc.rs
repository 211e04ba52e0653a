//! Managed identity through Azure Arc, on machines outside Azure.
//!
//! The agent answers the first request with 401 and the name of a file that only it and the group
//! `himds` can read; the content of that file is the proof that the caller may have a token. What
//! the 401 names is checked before it is read: somebody else on this port must not learn the
//! content of any other file.

use std::io;
use std::path::{Path, PathBuf};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use url::Url;

use super::{About, Calling, METADATA, Selector, Source};
use crate::azure::clients::{Clients, Reply};
use crate::azure::diagnosis::{Heard, Silence};
use crate::azure::exchange::{self, Asked, Grant};
use crate::azure::failure::{Cause, Class};
use crate::azure::identity::Given;
use crate::azure::{files, scope};
use crate::entity::Secret;

#[derive(Debug)]
pub(in crate::azure) struct AzureArc {
    pub(in crate::azure) endpoint: Given<Url>,
    pub(in crate::azure) selector: Selector,
    /// The only folder that a key is read from: [`KEYS`], except in tests.
    pub(in crate::azure) keys: PathBuf,
}

/// Where the agent puts its keys on Linux.
pub(in crate::azure) const KEYS: &str = "/var/opt/azcmagent/tokens";

/// Microsoft's libraries refuse a larger one.
const KEY_MAX: u64 = 4096;

impl Source for AzureArc {
    fn about(&self) -> About<'_> {
        About::machine("managed identity (Azure Arc)", &self.endpoint, &self.selector)
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        Box::pin(self.ask(clients, scope))
    }

    fn explain(&self, heard: &Heard<'_>) -> Option<Cause> {
        Some(match heard.status {
            400 if heard.says("identity not found") => Cause::new(
                Class::NotAssigned,
                format!("this machine does not have the identity {}", self.selector),
                "assign it to the Arc server, or correct the id (auth.azure_client_id)",
            ),
            401 | 403 => Cause::new(
                Class::Config,
                "the Arc agent does not take the key that it asked for",
                "see that the agent is connected: azcmagent show",
            ),
            404 => Cause::new(Class::Transient, "the Arc agent is not ready to give tokens", ""),
            _ => return None,
        })
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        let is_absent = matches!(silence, Silence::NoConnection | Silence::Timeout);
        is_absent.then(|| {
            let remedy = "see that its service runs: systemctl status himdsd";
            Cause::new(Class::Transient, "the Azure Arc agent does not answer", remedy)
        })
    }
}

impl AzureArc {
    async fn ask(&self, clients: &Clients, scope: &str) -> Result<Grant, Cause> {
        let mut url = self.endpoint.value.clone();
        url.query_pairs_mut()
            .append_pair("api-version", "2020-06-01")
            .append_pair("resource", scope::resource(scope))
            .extend_pairs(self.selector.argument("msi_res_id"));
        let mut headers = HeaderMap::new();
        headers.insert(METADATA.0, METADATA.1);

        let asked = Asked::now();
        let first = match clients.metadata(url.clone(), headers.clone()).await {
            Ok(reply) if reply.status == 401 => reply,
            Ok(reply) if reply.status == 200 => return Err(no_challenge("it did not ask for one")),
            other => return exchange::read(self, &asked, other, &[]),
        };
        let key = self.key(&first).await?;
        headers.insert(AUTHORIZATION, basic(&key)?);

        let asked = Asked::now();
        let reply = clients.metadata(url, headers).await;
        if let Ok(reply) = &reply {
            self.check_echo(reply)?;
        }
        exchange::read(self, &asked, reply, &[key.expose()])
    }

    /// The key that a challenge names, if it may be read.
    async fn key(&self, challenge: &Reply) -> Result<Secret, Cause> {
        let header = challenge.challenge.as_deref().unwrap_or_default();
        let path = realm(header).ok_or_else(|| no_challenge("it named no file"))?;
        let is_ours = path.parent() == Some(&self.keys)
            && path.extension().is_some_and(|extension| extension == "key");
        if !is_ours {
            return Err(self.foreign(path));
        }
        let unreadable = |error: &io::Error| unreadable(path, error);
        let folder = tokio::fs::canonicalize(&self.keys).await.map_err(|e| unreadable(&e))?;
        let real = tokio::fs::canonicalize(path).await.map_err(|e| unreadable(&e))?;
        if real.parent() != Some(&folder) || real.file_name() != path.file_name() {
            return Err(self.foreign(path)); // a link that leads elsewhere
        }
        let text = files::read_text(&real, KEY_MAX).await.map_err(|e| unreadable(&e))?;
        Ok(Secret::new(text.trim_ascii()))
    }

    /// An old agent ignores the name of a user-assigned identity and gives the token of the
    /// machine's own; one that understands it repeats it in the reply.
    fn check_echo(&self, reply: &Reply) -> Result<(), Cause> {
        let (names, wanted): (&[_], _) = match &self.selector {
            Selector::System => return Ok(()),
            _ if reply.status != 200 => return Ok(()),
            Selector::ClientId(id) => (&["client_id"], id),
            Selector::ObjectId(id) => (&["object_id"], id),
            Selector::ResourceId(id) => (&["msi_res_id", "mi_res_id"], id),
        };
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let is_echo = |name: &&str| {
            let echo = body[*name].as_str();
            echo.is_some_and(|echo| echo.to_lowercase() == wanted.value.to_lowercase())
        };
        if names.iter().any(is_echo) {
            return Ok(());
        }
        Err(Cause::new(
            Class::NotAssigned,
            format!("the Arc agent gave a token of another identity than {}", self.selector),
            "update the agent, old ones know the system-assigned identity only; or remove the id \
             (auth.azure_client_id)",
        ))
    }

    fn foreign(&self, path: &Path) -> Cause {
        let shown: String = path.to_string_lossy().chars().filter(|c| !c.is_control()).collect();
        let meaning = format!(
            "the Arc agent asked for a file that is no key in {}: {}",
            self.keys.display(),
            shown.chars().take(200).collect::<String>()
        );
        Cause::new(Class::Protocol, meaning, "see what listens at the address of the agent")
    }
}

/// The file of `Basic realm=<file>`.
fn realm(challenge: &str) -> Option<&Path> {
    let (scheme, parameter) = challenge.trim().split_once(' ')?;
    let (name, value) = parameter.trim().split_once('=')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic") && name.eq_ignore_ascii_case("realm");
    let file = value.trim().trim_matches('"');
    (is_basic && !file.is_empty()).then(|| Path::new(file))
}

fn basic(key: &Secret) -> Result<HeaderValue, Cause> {
    let mut value = HeaderValue::try_from(format!("Basic {}", key.expose()))
        .map_err(|_| no_challenge("the file cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn no_challenge(problem: &str) -> Cause {
    let meaning = format!("the Azure Arc agent should ask for a key file, but {problem}");
    Cause::new(Class::Protocol, meaning, "see what listens at the address of the agent")
}

fn unreadable(path: &Path, error: &io::Error) -> Cause {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "add the user that runs the gateway to the group himds (usermod -aG himds), and \
             restart it"
        }
        io::ErrorKind::NotFound => {
            "see that the agent runs on this machine, and that a container mounts its folder"
        }
        _ => "see that the agent is connected: azcmagent show",
    };
    let meaning = format!("the Arc key file {} cannot be read", path.display());
    Cause::new(Class::Config, meaning, remedy).saying(error.to_string())
}

#[cfg(test)]
mod tests;
