//! The ways to a token, one file each, behind the trait [`Source`].
//!
//! A source says what it is in plain data ([`About`]), makes one call, knows how long to wait
//! before the next one, and knows the words of its endpoint. Everything else (who holds the token,
//! when it is renewed, what is logged) is the same for all of them and stands elsewhere.

mod app_service;
mod azure_arc;
mod azure_ml;
mod certificate;
mod cloud_shell;
mod entra;
mod imds;
mod keystore;
mod secret;
mod service_fabric;
mod workload;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use http::HeaderValue;
use url::Url;

pub(super) use app_service::AppService;
pub(super) use azure_arc::{AzureArc, KEYS as ARC_KEYS};
pub(super) use azure_ml::AzureMl;
pub(super) use certificate::{Certificate, ClientCertificate};
pub(super) use cloud_shell::CloudShell;
pub(super) use entra::App;
pub(super) use imds::Imds;
pub(super) use secret::ClientSecret;
pub(super) use service_fabric::ServiceFabric;
pub(super) use workload::WorkloadIdentity;

use super::clients::Clients;
use super::diagnosis::{Heard, Silence};
use super::exchange::Grant;
use super::failure::{Cause, Class};
use super::identity::{Fact, Given, Origin};
use crate::settings::Env;

/// One way to a token.
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// What was decided when it was chosen.
    fn about(&self) -> About<'_>;

    /// One call to the endpoint.
    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a>;

    /// The wait before another call, or `None` when it would be no use. Microsoft's libraries make
    /// three more, a second apart, to endpoints that document nothing else.
    fn pause(&self, cause: &Cause, attempts: u32) -> Option<Duration> {
        let again = cause.class == Class::Transient && attempts <= 3;
        again.then_some(Duration::from_secs(1))
    }

    /// What this endpoint means by an answer, beyond `AADSTS` numbers and the status itself.
    fn explain(&self, _heard: &Heard<'_>) -> Option<Cause> {
        None
    }

    /// What it means when there is no answer from this endpoint.
    fn explain_silence(&self, _silence: Silence) -> Option<Cause> {
        None
    }
}

/// A call under way.
pub(super) type Calling<'a> = Pin<Box<dyn Future<Output = Result<Grant, Cause>> + Send + 'a>>;

/// A source in plain data.
pub(super) struct About<'a> {
    /// The kind of identity, as documentation names it.
    pub(super) kind: &'static str,
    pub(super) who: Who<'a>,
    pub(super) endpoint: &'a Given<Url>,
    /// How an application proves itself; a secret is `***`.
    pub(super) proof: Vec<Fact>,
    /// Where the proof is, if it is in a file.
    pub(super) file: Option<ProofFile<'a>>,
    /// What `proof` hides: it tells two identities apart and is printed nowhere.
    pub(super) hidden: Vec<&'a str>,
}

/// A file with a proof, which is read at each call.
#[derive(Debug, Clone, Copy)]
pub(super) enum ProofFile<'a> {
    /// It changes when somebody changes the proof.
    Rotated(&'a Path),
    /// It is rewritten all the time, and says the same.
    Renewed(&'a Path),
}

impl<'a> ProofFile<'a> {
    pub(super) fn path(self) -> &'a Path {
        match self {
            Self::Rotated(path) | Self::Renewed(path) => path,
        }
    }
}

/// Whose token it is.
pub(super) enum Who<'a> {
    App(&'a App),
    Machine(&'a Selector),
}

impl<'a> About<'a> {
    /// A managed identity: it needs no proof.
    fn machine(kind: &'static str, endpoint: &'a Given<Url>, selector: &'a Selector) -> Self {
        let who = Who::Machine(selector);
        Self { kind, who, endpoint, proof: Vec::new(), file: None, hidden: Vec::new() }
    }

    /// An application at Entra.
    fn app(kind: &'static str, app: &'a App) -> Self {
        let (who, endpoint) = (Who::App(app), &app.authority);
        Self { kind, who, endpoint, proof: Vec::new(), file: None, hidden: Vec::new() }
    }

    /// Who it is and how that is proved, each value with its origin.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut facts = self.who_facts();
        facts.extend_from_slice(&self.proof);
        facts
    }

    /// The same without the proof.
    pub(super) fn who_facts(&self) -> Vec<Fact> {
        match self.who {
            Who::App(app) => app.facts(),
            Who::Machine(selector) => {
                let endpoint = self.endpoint;
                vec![selector.fact(), Fact::new("endpoint", &endpoint.value, endpoint.from)]
            }
        }
    }
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(app) => {
                write!(f, "client id {}, tenant {}", app.client_id.value, app.tenant.value)
            }
            Self::Machine(selector) => selector.fmt(f),
        }
    }
}

/// Which of a machine's managed identities.
#[derive(Debug, Clone)]
pub(super) enum Selector {
    System,
    ClientId(Given<String>),
    ObjectId(Given<String>),
    ResourceId(Given<String>),
}

impl Selector {
    fn fact(&self) -> Fact {
        match self {
            Self::System => Fact::new("identity", "system-assigned", Origin::Default),
            Self::ClientId(id) => Fact::new("client id", &id.value, id.from),
            Self::ObjectId(id) => Fact::new("object id", &id.value, id.from),
            Self::ResourceId(id) => Fact::new("resource id", &id.value, id.from),
        }
    }

    /// Who named it, if anybody did.
    pub(super) fn from(&self) -> Option<Origin> {
        match self {
            Self::System => None,
            Self::ClientId(id) | Self::ObjectId(id) | Self::ResourceId(id) => Some(id.from),
        }
    }

    /// The argument that names it. All endpoints agree but for the resource id.
    fn argument(&self, resource_id: &'static str) -> Option<(&'static str, &str)> {
        match self {
            Self::System => None,
            Self::ClientId(id) => Some(("client_id", &id.value)),
            Self::ObjectId(id) => Some(("object_id", &id.value)),
            Self::ResourceId(id) => Some((resource_id, &id.value)),
        }
    }
}

impl fmt::Display for Selector {
    /// `client id 1234` or `system-assigned`, for failure lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fact { name, value, .. } = self.fact();
        match self {
            Self::System => f.write_str(&value),
            _ => write!(f, "{name} {value}"),
        }
    }
}

/// The secret header of a platform, from its variable.
///
/// The platform may rotate it, so it is taken at each call from the environment of the
/// configuration's last load: a new value arrives with a restart (how the platforms do it) or with
/// a reload that has a fresh copy.
fn platform_secret(env: &Env, variable: &'static str) -> Result<HeaderValue, Cause> {
    let secret = env.get(variable).unwrap_or_default();
    let mut value = HeaderValue::from_str(secret).map_err(|_| {
        let meaning = format!("{variable} cannot be sent in a header");
        Cause::new(Class::Config, meaning, "it is the platform's; see who else sets it")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The header that tells metadata endpoints that this is no forwarded request.
const METADATA: (&str, HeaderValue) = ("metadata", HeaderValue::from_static("true"));
