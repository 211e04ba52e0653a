//! Which platform serves managed identities here, and the source that speaks to it.
//!
//! The order of the signs is that of Microsoft's SDKs: App Service also sets the older `MSI_*`
//! pair, so it is looked for first. A name that the platform does not understand is refused, since
//! the token would be somebody else's.

use std::path::Path;
use std::sync::Arc;

use super::auth::{Inputs, OBJECT_ID};
use super::endpoint;
use super::identity::{Given, Origin};
use super::incomplete::{Incomplete, Prose};
use super::pin::Thumbprint;
use super::source::{
    ARC_KEYS, AppService, AzureArc, AzureMl, CloudShell, Imds, Selector, ServiceFabric, Source,
};
use crate::settings::Env;

/// What kind of Azure machine this is, as far as managed identities are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    ServiceFabric,
    AppService,
    AzureMl,
    CloudShell,
    /// With the variables of its agent.
    Arc,
    /// With nothing but the agent itself.
    ArcAgent,
    Imds,
}

/// Azure Arc's agent, which stands in for IMDS on machines outside Azure.
const ARC_AGENT: &str = "/opt/azcmagent/bin/himds";

/// Where it listens when no variable says so.
const ARC_ENDPOINT: &str = "http://127.0.0.1:40342/metadata/identity/oauth2/token";

impl Machine {
    /// The machine this process runs on.
    pub(super) fn of(env: &Env) -> Self {
        Self::detect(env, || Path::new(ARC_AGENT).exists())
    }

    pub(super) fn detect(env: &Env, has_arc_agent: impl Fn() -> bool) -> Self {
        let has = |name| env.get(name).is_some();
        if has("IDENTITY_ENDPOINT") && has("IDENTITY_HEADER") {
            match has("IDENTITY_SERVER_THUMBPRINT") {
                true => Self::ServiceFabric,
                false => Self::AppService,
            }
        } else if has("MSI_ENDPOINT") && has("MSI_SECRET") {
            Self::AzureMl
        } else if has("MSI_ENDPOINT") {
            Self::CloudShell
        } else if has("IDENTITY_ENDPOINT") && has("IMDS_ENDPOINT") {
            Self::Arc
        } else if has_arc_agent() {
            Self::ArcAgent
        } else {
            Self::Imds
        }
    }

    /// What gave it away.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::ServiceFabric => {
                "IDENTITY_ENDPOINT, IDENTITY_HEADER and IDENTITY_SERVER_THUMBPRINT mean Service \
                 Fabric"
            }
            Self::AppService => {
                "IDENTITY_ENDPOINT and IDENTITY_HEADER mean App Service, Functions or Container \
                 Apps"
            }
            Self::AzureMl => "MSI_ENDPOINT and MSI_SECRET mean Azure ML",
            Self::CloudShell => "MSI_ENDPOINT without MSI_SECRET means Cloud Shell",
            Self::Arc => "IDENTITY_ENDPOINT and IMDS_ENDPOINT mean Azure Arc",
            Self::ArcAgent => "/opt/azcmagent/bin/himds is there: Azure Arc",
            Self::Imds => "no variable of another platform is set, so IMDS serves it",
        }
    }

    /// The source that asks this machine for the selected identity.
    pub(super) fn source(
        self,
        inputs: &Inputs<'_>,
        selector: Selector,
    ) -> Result<Arc<dyn Source>, Incomplete> {
        let given = |name| inputs.variable(name).unwrap_or_else(|| Given::nobodys(""));
        let env = inputs.env.clone();
        Ok(match self {
            Self::ServiceFabric => Arc::new(ServiceFabric {
                endpoint: endpoint::service_fabric(&given("IDENTITY_ENDPOINT"))?,
                selector: by_object_id(selector)?,
                thumbprint: thumbprint(&given("IDENTITY_SERVER_THUMBPRINT"))?,
                env,
            }),
            Self::AppService => {
                let endpoint = endpoint::platform(&given("IDENTITY_ENDPOINT"))?;
                Arc::new(AppService { endpoint, selector, env })
            }
            Self::AzureMl => {
                let endpoint = endpoint::platform(&given("MSI_ENDPOINT"))?;
                Arc::new(AzureMl { endpoint, selector: by_client_id(inputs, selector)?, env })
            }
            Self::CloudShell => {
                let endpoint = endpoint::platform(&given("MSI_ENDPOINT"))?;
                nameless(&selector)?;
                Arc::new(CloudShell { endpoint })
            }
            Self::Arc | Self::ArcAgent => {
                let given = match self {
                    Self::Arc => given("IDENTITY_ENDPOINT"),
                    _ => Given::nobodys(ARC_ENDPOINT),
                };
                let endpoint = endpoint::arc(&given)?;
                Arc::new(AzureArc { endpoint, selector, keys: ARC_KEYS.into() })
            }
            Self::Imds => imds(inputs, selector)?,
        })
    }
}

/// IMDS, because a field or variable names it, or because nothing else is left.
pub(super) fn imds(inputs: &Inputs<'_>, selector: Selector) -> Result<Arc<dyn Source>, Incomplete> {
    let given = inputs
        .either("azure_imds_endpoint", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
        .or_else(|| inputs.variable("AZURE_INSTANCE_METADATA_HOST")); // Kong's library reads it
    let is_assumed = given.is_none() && matches!(selector, Selector::System);
    let given = given.unwrap_or_else(|| Given::nobodys(endpoint::IMDS));
    Ok(Arc::new(Imds { endpoint: endpoint::imds(&given)?, selector, is_assumed }))
}

fn thumbprint(given: &Given<String>) -> Result<Given<Thumbprint>, Incomplete> {
    let invalid = || Incomplete::invalid(given.from, "a SHA-1 thumbprint has 40 hex digits");
    let value = Thumbprint::parse(&given.value).ok_or_else(invalid)?;
    Ok(Given { value, from: given.from })
}

fn by_object_id(selector: Selector) -> Result<Selector, Incomplete> {
    let remedy =
        Prose::from("use the identity of the application's manifest and remove the id, or set ")
            .field(OBJECT_ID);
    match selector {
        Selector::ClientId(Given { from, .. }) | Selector::ResourceId(Given { from, .. }) => {
            Err(Incomplete::Nameless { from, platform: "Service Fabric", remedy })
        }
        other => Ok(other),
    }
}

/// Azure ML names the compute's own identity by its client id, too.
fn by_client_id(inputs: &Inputs<'_>, selector: Selector) -> Result<Selector, Incomplete> {
    let remedy = Prose::from("set ").field("azure_client_id").words(" instead");
    match selector {
        Selector::ObjectId(Given { from, .. }) | Selector::ResourceId(Given { from, .. }) => {
            Err(Incomplete::Nameless { from, platform: "Azure ML", remedy })
        }
        Selector::System => {
            let own = inputs.variable("DEFAULT_IDENTITY_CLIENT_ID");
            Ok(own.map_or(Selector::System, Selector::ClientId))
        }
        named => Ok(named),
    }
}

fn nameless(selector: &Selector) -> Result<(), Incomplete> {
    let Some(from) = selector.from() else { return Ok(()) };
    let remedy = match from {
        Origin::Variable(_) => "there is only the user's own: unset the variable",
        _ => "there is only the user's own: remove the field",
    };
    Err(Incomplete::Nameless { from, platform: "Cloud Shell", remedy: remedy.into() })
}
