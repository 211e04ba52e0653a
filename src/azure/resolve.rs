//! The choice of an identity, once per target, when a configuration loads.
//!
//! Kong's order: client secret, workload identity, managed identity. Fields of the plugin come
//! first and the environment fills in what is missing, one value at a time. What looks like an
//! unfinished credential is an error: falling through would call Azure as somebody else.

use std::path::Path;

use url::Url;

use super::auth::{Auth, Incomplete, Inputs, OBJECT_ID, RESOURCE_ID};
use super::endpoint;
use super::identity::{App, Given, Identity, Origin, Selector, Source};
use super::scope::Cloud;
use crate::entity::Secret;
use crate::settings::Env;

/// The identity of a target at `host`, or `None` when the switch is off and the key of the auth
/// record is all there is.
///
/// Reads nothing but its arguments, and whether the agent of Azure Arc is installed.
pub fn resolve(auth: &Auth, env: &Env, host: &str) -> Result<Option<Identity>, Incomplete> {
    if !auth.use_managed_identity {
        return Ok(None);
    }
    auth.check()?;
    Choice::new(auth, env, host)?.identity().map(Some)
}

struct Choice<'a> {
    inputs: Inputs<'a>,
    authority: Given<Url>,
    scope: Given<String>,
    why: String,
    notes: Vec<String>,
    has_arc_agent: bool,
}

impl<'a> Choice<'a> {
    fn new(auth: &'a Auth, env: &'a Env, host: &str) -> Result<Self, Incomplete> {
        let inputs = Inputs::new(auth, env);
        let authority = inputs.authority().map(|given| endpoint::authority(&given)).transpose()?;
        let cloud = Cloud::of_host(host);
        let from = cloud.map_or(Origin::Default, |_| Origin::Host);
        let cloud = cloud
            .or_else(|| Cloud::of_authority(&authority.as_ref()?.value))
            .unwrap_or(Cloud::Public);
        let authority = match authority {
            Some(authority) => authority,
            None => endpoint::authority(&Given { value: cloud.authority().into(), from })?,
        };
        let scope = match inputs.field("azure_scope") {
            Some(scope) => scope,
            None => Given { value: cloud.scope(host).into(), from },
        };
        if scope.value.contains(char::is_whitespace) {
            return Err(Incomplete::invalid(scope.from, "one scope is expected, without blanks"));
        }
        let has_arc_agent = Path::new(ARC_AGENT).exists();
        let (why, notes) = (String::new(), Vec::new());
        Ok(Self { inputs, authority, scope, why, notes, has_arc_agent })
    }

    fn identity(mut self) -> Result<Identity, Incomplete> {
        let source = self.source()?;
        let of_an_app = !matches!(source, Source::Imds { .. } | Source::AppService { .. });
        if of_an_app && !self.scope.value.ends_with("/.default") {
            let problem = "Entra takes an application's scope only if it ends in /.default";
            return Err(Incomplete::invalid(self.scope.from, problem));
        }
        if let (false, Some(tenant)) = (of_an_app, self.inputs.field("azure_tenant_id")) {
            self.notes.push(format!("{} is not used by a managed identity", tenant.from));
        }
        Ok(Identity { source, scope: self.scope, why: self.why, notes: self.notes })
    }

    /// Kong's order. Object and resource ids exist for managed identities only, so naming one
    /// leaves no choice.
    fn source(&mut self) -> Result<Source, Incomplete> {
        let object_id = self.inputs.field(OBJECT_ID).map(|id| (Selector::ObjectId(id), OBJECT_ID));
        let named = object_id.or_else(|| {
            Some((Selector::ResourceId(self.inputs.field(RESOURCE_ID)?), RESOURCE_ID))
        });
        if let Some((selector, name)) = named {
            self.why = format!("auth.{name} names a managed identity");
            return self.managed_identity(selector);
        }
        if let Some(source) = self.client_secret()? {
            return Ok(source);
        }
        if let Some(source) = self.workload_identity()? {
            return Ok(source);
        }
        self.refuse_unfinished()?;
        let client_id = self.inputs.client_id();
        self.why = match &client_id {
            None => "nothing names an application: the machine's own identity".to_owned(),
            Some(id) => {
                format!("{} stands without a secret or token file: a managed identity", id.from)
            }
        };
        self.managed_identity(client_id.map_or(Selector::System, Selector::ClientId))
    }

    fn client_secret(&mut self) -> Result<Option<Source>, Incomplete> {
        // A token file of the configuration is meant; a secret of the environment may be a relic.
        let has_file = self.inputs.field("azure_federated_token_file").is_some();
        let variable = || self.inputs.variable("AZURE_CLIENT_SECRET").filter(|_| !has_file);
        let Some(secret) = self.inputs.field("azure_client_secret").or_else(variable) else {
            return Ok(None);
        };
        self.why = format!("{} gives a client secret", secret.from);
        let app = self.app(&self.why)?;
        let secret = Given { value: Secret::new(&secret.value), from: secret.from };
        Ok(Some(Source::ClientSecret { app, secret }))
    }

    /// The webhook of AKS sets its variables together; a lone file variable is not an order.
    fn workload_identity(&mut self) -> Result<Option<Source>, Incomplete> {
        let field = self.inputs.field("azure_federated_token_file");
        let is_order = field.is_some();
        let Some(file) = field.or_else(|| self.inputs.variable("AZURE_FEDERATED_TOKEN_FILE"))
        else {
            return Ok(None);
        };
        let app = match self.app(&format!("{} gives a token file", file.from)) {
            Err(Incomplete::Missing { field, variable, .. }) if !is_order => {
                self.notes.push(format!(
                    "{} is set, but workload identity needs auth.{field} or {variable} too",
                    file.from
                ));
                return Ok(None);
            }
            app => app?,
        };
        if self.inputs.env.get("AZURE_KUBERNETES_TOKEN_PROXY").is_some() {
            let text = "AZURE_KUBERNETES_TOKEN_PROXY is set, but identity binding is not supported";
            self.notes.push(text.into());
        }
        self.why = format!(
            "{} names a token file, {} and {} the application (workload identity)",
            file.from, app.client_id.from, app.tenant.from
        );
        let token_file = Given { value: file.value.into(), from: file.from };
        Ok(Some(Source::WorkloadIdentity { app, token_file }))
    }

    fn app(&self, because: &str) -> Result<App, Incomplete> {
        let missing =
            |field, variable| Incomplete::Missing { field, variable, because: because.to_owned() };
        let client_id = self.inputs.client_id();
        let tenant = self.inputs.tenant();
        Ok(App {
            authority: self.authority.clone(),
            client_id: client_id.ok_or_else(|| missing("azure_client_id", "AZURE_CLIENT_ID"))?,
            tenant: endpoint::tenant(
                tenant.ok_or_else(|| missing("azure_tenant_id", "AZURE_TENANT_ID"))?,
            )?,
        })
    }

    /// An application without a proof: a managed identity would be somebody else.
    fn refuse_unfinished(&self) -> Result<(), Incomplete> {
        let (Some(client_id), Some(tenant)) = (self.inputs.client_id(), self.inputs.tenant())
        else {
            return Ok(());
        };
        if self.inputs.env.get("AZURE_CLIENT_CERTIFICATE_PATH").is_some() {
            return Err(Incomplete::Unsupported {
                credential: "a client certificate",
                sign: "AZURE_CLIENT_CERTIFICATE_PATH",
                remedy: "set auth.azure_client_secret, or unset the variable",
            });
        }
        match (client_id.from, tenant.from) {
            (Origin::Field(_), Origin::Field(_)) => Err(Incomplete::Missing {
                field: "azure_client_secret",
                variable: "AZURE_CLIENT_SECRET",
                because: "an application needs a secret or AZURE_FEDERATED_TOKEN_FILE; for a \
                          managed identity remove auth.azure_tenant_id"
                    .into(),
            }),
            _ => Ok(()),
        }
    }

    fn managed_identity(&mut self, selector: Selector) -> Result<Source, Incomplete> {
        if let Some(given) = self.inputs.field("azure_imds_endpoint") {
            self.why += "; auth.azure_imds_endpoint says that IMDS serves it";
            return Ok(Source::Imds { endpoint: endpoint::imds(&given)?, selector });
        }
        match Machine::detect(self.inputs.env, self.has_arc_agent)? {
            Machine::AppService => {
                let missing =
                    || Incomplete::invalid(Origin::Variable("IDENTITY_ENDPOINT"), "empty");
                let given = self.inputs.variable("IDENTITY_ENDPOINT").ok_or_else(missing)?;
                let endpoint = endpoint::app_service(&given)?;
                self.why += "; IDENTITY_ENDPOINT and IDENTITY_HEADER mean App Service, Functions \
                             or Container Apps";
                Ok(Source::AppService { endpoint, selector, env: self.inputs.env.clone() })
            }
            Machine::Imds => {
                self.why += "; no variable of another platform is set, so IMDS serves it";
                let variable = |name| self.inputs.variable(name);
                let given = variable("AZURE_POD_IDENTITY_AUTHORITY_HOST")
                    .or_else(|| variable("AZURE_INSTANCE_METADATA_HOST")) // Kong's library reads it
                    .unwrap_or(Given { value: endpoint::IMDS.into(), from: Origin::Default });
                Ok(Source::Imds { endpoint: endpoint::imds(&given)?, selector })
            }
        }
    }
}

/// What kind of Azure machine this is, as far as managed identities are concerned.
#[derive(Debug, PartialEq, Eq)]
enum Machine {
    AppService,
    Imds,
}

/// Azure Arc's agent, which stands in for IMDS on machines outside Azure.
const ARC_AGENT: &str = "/opt/azcmagent/bin/himds";

impl Machine {
    /// The order of Microsoft's SDKs. App Service also sets the older `MSI_*` pair, so it is
    /// looked for first.
    fn detect(env: &Env, has_arc_agent: bool) -> Result<Self, Incomplete> {
        let has = |name| env.get(name).is_some();
        let unsupported = |credential, sign| {
            let remedy = "use a client secret, or set auth.azure_imds_endpoint to insist on IMDS";
            Err(Incomplete::Unsupported { credential, sign, remedy })
        };
        if has("IDENTITY_ENDPOINT") && has("IDENTITY_HEADER") {
            if has("IDENTITY_SERVER_THUMBPRINT") {
                let sign = "IDENTITY_SERVER_THUMBPRINT";
                return unsupported("the managed identity of Service Fabric", sign);
            }
            return Ok(Self::AppService);
        }
        if has("MSI_ENDPOINT") && has("MSI_SECRET") {
            return unsupported("the managed identity of Azure ML", "MSI_ENDPOINT and MSI_SECRET");
        }
        if has("MSI_ENDPOINT") {
            return unsupported("the managed identity of Cloud Shell", "MSI_ENDPOINT");
        }
        if has("IDENTITY_ENDPOINT") && has("IMDS_ENDPOINT") {
            let sign = "IDENTITY_ENDPOINT and IMDS_ENDPOINT";
            return unsupported("the managed identity of Azure Arc", sign);
        }
        if has_arc_agent {
            return unsupported("the managed identity of Azure Arc", ARC_AGENT);
        }
        Ok(Self::Imds)
    }
}

#[cfg(test)]
mod tests;
