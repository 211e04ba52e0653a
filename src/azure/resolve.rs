//! The choice of an identity, once per target, when a configuration loads.
//!
//! Kong's order with Microsoft's between its steps: client secret, client certificate, workload
//! identity, managed identity. Fields of the plugin come first and the environment fills in what
//! is missing, one value at a time. What looks like an unfinished credential is an error: falling
//! through would call Azure as somebody else.

use std::sync::Arc;

use url::Url;

use super::auth::{
    Auth, CERTIFICATE, CERTIFICATE_PATH, Inputs, OBJECT_ID, PASSWORD, RESOURCE_ID, SEND_CHAIN,
    TOKEN_FILE,
};
use super::endpoint;
use super::identity::{Given, Identity, Origin};
use super::incomplete::{Incomplete, Prose};
use super::machine::{self, Machine};
use super::scope::{self, Cloud};
use super::source::{
    App, Certificate, ClientCertificate, ClientSecret, Selector, Source, Who, WorkloadIdentity,
};
use crate::entity::Secret;
use crate::settings::Env;

/// The identity of a target, or `None` when the switch is off and the key of the auth record is
/// all there is.
///
/// The target is a host, followed by its path where that is the same for all requests. Nothing but
/// the arguments is read, and the files that a machine or a certificate is known by.
pub fn resolve(auth: &Auth, env: &Env, target: &str) -> Result<Option<Identity>, Incomplete> {
    if !auth.use_managed_identity {
        return Ok(None);
    }
    auth.check()?;
    Choice::new(auth, env, target)?.identity().map(Some)
}

struct Choice<'a> {
    inputs: Inputs<'a>,
    authority: Given<Url>,
    is_scheme_assumed: bool,
    scope: Given<String>,
    notes: Vec<String>,
}

/// A source, and why it is this one.
type Chosen = (Arc<dyn Source>, String);

impl<'a> Choice<'a> {
    fn new(auth: &'a Auth, env: &'a Env, target: &str) -> Result<Self, Incomplete> {
        let inputs = Inputs::new(auth, env);
        let given = inputs.authority();
        let is_scheme_assumed = given.as_ref().is_some_and(|given| !given.value.contains("://"));
        let authority = given.map(|given| endpoint::authority(&given)).transpose()?;
        let cloud = Cloud::of_target(target);
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
            None if scope::is_without_audience(&authority.value) => {
                let problem = Prose::from("Microsoft publishes no audience for this cloud; set ")
                    .field("azure_scope")
                    .words(", ending in /.default");
                return Err(Incomplete::invalid(authority.from, problem));
            }
            None => Given { value: cloud.scope(target).into(), from },
        };
        if scope.value.contains(char::is_whitespace) {
            return Err(Incomplete::invalid(scope.from, "one scope is expected, without blanks"));
        }
        Ok(Self { inputs, authority, is_scheme_assumed, scope, notes: Vec::new() })
    }

    fn identity(mut self) -> Result<Identity, Incomplete> {
        let (source, why) = self.source()?;
        let is_app = matches!(source.about().who, Who::App(_));
        if is_app && !self.scope.value.ends_with("/.default") {
            let problem = "Entra takes an application's scope only if it ends in /.default";
            return Err(Incomplete::invalid(self.scope.from, problem));
        }
        let (field, kind) = match is_app {
            true => ("azure_imds_endpoint", "an application"),
            false => ("azure_tenant_id", "a managed identity"),
        };
        if let Some(given) = self.inputs.field(field) {
            self.notes.push(format!("{} is not used by {kind}", given.from));
        }
        Ok(Identity { source, scope: self.scope, why, notes: self.notes })
    }

    /// Object and resource ids exist for managed identities only, so naming one leaves no choice.
    fn source(&mut self) -> Result<Chosen, Incomplete> {
        let object_id = self.inputs.field(OBJECT_ID).map(Selector::ObjectId);
        let resource_id = || self.inputs.field(RESOURCE_ID).map(Selector::ResourceId);
        if let Some(selector) = object_id.or_else(resource_id) {
            return self.managed_identity(selector);
        }
        if let Some(chosen) = self.client_secret()? {
            return Ok(chosen);
        }
        if let Some(chosen) = self.client_certificate()? {
            return Ok(chosen);
        }
        if let Some(chosen) = self.workload_identity()? {
            return Ok(chosen);
        }
        self.refuse_unfinished()?;
        let client_id = self.inputs.client_id();
        self.managed_identity(client_id.map_or(Selector::System, Selector::ClientId))
    }

    /// A proof of the configuration is meant; one of the environment beside it may be a relic.
    fn proof(
        &self,
        field: &'static str,
        variable: &'static str,
        others: &[&'static str],
    ) -> Option<Given<String>> {
        let is_relic = || others.iter().any(|other| self.inputs.field(other).is_some());
        let variable = || self.inputs.variable(variable).filter(|_| !is_relic());
        self.inputs.field(field).or_else(variable)
    }

    fn client_secret(&mut self) -> Result<Option<Chosen>, Incomplete> {
        let others = [TOKEN_FILE, CERTIFICATE_PATH, CERTIFICATE];
        let secret = self.proof("azure_client_secret", "AZURE_CLIENT_SECRET", &others);
        let Some(secret) = secret else { return Ok(None) };
        let why = format!("{} gives a client secret", secret.from);
        let app = self.app(secret.from, " gives a client secret")?;
        self.note_idle(&why);
        self.note_takeover(&app, &secret.from);
        let secret = Given { value: Secret::new(&secret.value), from: secret.from };
        Ok(Some((Arc::new(ClientSecret { app, secret }), why)))
    }

    fn client_certificate(&mut self) -> Result<Option<Chosen>, Incomplete> {
        let path = || {
            let others = [TOKEN_FILE];
            self.proof(CERTIFICATE_PATH, "AZURE_CLIENT_CERTIFICATE_PATH", &others)
        };
        let secret = |given: Given<String>| given.map(|text| Secret::new(&text));
        let certificate = match self.inputs.field(CERTIFICATE) {
            Some(text) => Certificate::Inline(secret(text)),
            None => match path() {
                Some(path) => Certificate::File(path.map(Into::into)),
                None => {
                    self.note_idle("no certificate");
                    return Ok(None);
                }
            },
        };
        let from = certificate.from();
        let why = format!("{from} gives a client certificate");
        let app = self.app(from, " gives a client certificate")?;
        let password = self.inputs.either(PASSWORD, "AZURE_CLIENT_CERTIFICATE_PASSWORD");
        let password = password.map(secret);
        if let Err(cause) = certificate.check(password.as_ref().map(|given| &given.value)) {
            match &certificate {
                Certificate::Inline(_) => return Err(Incomplete::invalid(from, cause.to_string())),
                Certificate::File(_) => self.notes.push(format!("until it can be used: {cause}")),
            }
        }
        self.note_takeover(&app, &from);
        let sends_chain = self.inputs.either(SEND_CHAIN, "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN");
        let is_yes = |text: String| matches!(&*text.to_ascii_lowercase(), "true" | "1");
        let sends_chain = sends_chain.map(|given| given.map(is_yes));
        Ok(Some((Arc::new(ClientCertificate { app, certificate, password, sends_chain }), why)))
    }

    /// What belongs to a certificate, and there is none.
    fn note_idle(&mut self, why: &str) {
        for field in [PASSWORD, SEND_CHAIN].into_iter().filter_map(|name| self.inputs.field(name)) {
            self.notes.push(format!("{} is not used: {why}", field.from));
        }
    }

    /// An id in the configuration alone would be a managed identity; the environment has made an
    /// application of it.
    fn note_takeover(&mut self, app: &App, proof: &Origin) {
        let is_mixed = matches!(
            (&app.client_id.from, &app.tenant.from, proof),
            (Origin::Field(_), Origin::Variable(_), Origin::Variable(_))
        );
        if is_mixed {
            self.notes.push(format!(
                "{proof} makes {} an application; if it is a managed identity, unset the variable",
                app.client_id.from
            ));
        }
    }

    /// The webhook of AKS sets its variables together; a lone file variable is not an order.
    fn workload_identity(&mut self) -> Result<Option<Chosen>, Incomplete> {
        let file = self.inputs.either(TOKEN_FILE, "AZURE_FEDERATED_TOKEN_FILE");
        let Some(file) = file else { return Ok(None) };
        let app = match self.app(file.from, " gives a token file") {
            Err(Incomplete::Missing { field, variable, .. })
                if matches!(file.from, Origin::Variable(_)) =>
            {
                self.notes.push(format!(
                    "{} is set, but workload identity needs auth.{field} or {variable} too",
                    file.from
                ));
                return Ok(None);
            }
            app => app?,
        };
        self.refuse_binding()?;
        let why = format!(
            "{} names a token file, {} and {} the application (workload identity)",
            file.from, app.client_id.from, app.tenant.from
        );
        let token_file = file.map(Into::into);
        Ok(Some((Arc::new(WorkloadIdentity { app, token_file }), why)))
    }

    /// Identity binding (AKS, 2026) exchanges the token at a proxy in the cluster; Entra would
    /// refuse it.
    fn refuse_binding(&self) -> Result<(), Incomplete> {
        let has = |name| self.inputs.env.get(name).is_some();
        if has("AZURE_KUBERNETES_TOKEN_PROXY") {
            return Err(Incomplete::Unsupported {
                sign: "AZURE_KUBERNETES_TOKEN_PROXY",
                what: "identity binding of AKS",
                remedy: Prose::from(
                    "give the identity a federated credential for this service account and unset \
                     the variable, or set ",
                )
                .field("azure_client_secret"),
            });
        }
        let parts =
            ["AZURE_KUBERNETES_SNI_NAME", "AZURE_KUBERNETES_CA_FILE", "AZURE_KUBERNETES_CA_DATA"];
        match parts.into_iter().find(|name| has(name)) {
            None => Ok(()),
            Some(part) => Err(Incomplete::invalid(
                Origin::Variable(part),
                "it belongs to AZURE_KUBERNETES_TOKEN_PROXY, which is not set; unset it",
            )),
        }
    }

    /// The application of a proof that somebody has given.
    fn app(&self, from: Origin, gives: &'static str) -> Result<App, Incomplete> {
        let because = || Prose::of(from).words(gives);
        let missing = |field, variable| Incomplete::Missing { field, variable, because: because() };
        let client_id = self.inputs.client_id();
        let tenant = self.inputs.tenant();
        Ok(App {
            authority: self.authority.clone(),
            is_scheme_assumed: self.is_scheme_assumed,
            client_id: client_id.ok_or_else(|| missing("azure_client_id", "AZURE_CLIENT_ID"))?,
            tenant: endpoint::tenant(
                tenant.ok_or_else(|| missing("azure_tenant_id", "AZURE_TENANT_ID"))?,
            )?,
        })
    }

    /// An application without a proof: a managed identity would be somebody else.
    fn refuse_unfinished(&self) -> Result<(), Incomplete> {
        let from = |given: Option<Given<String>>| given.map(|given| given.from);
        match (from(self.inputs.client_id()), from(self.inputs.tenant())) {
            (Some(Origin::Field(_)), Some(Origin::Field(_))) => Err(Incomplete::Missing {
                field: "azure_client_secret",
                variable: "AZURE_CLIENT_SECRET",
                because: Prose::from(
                    "an application needs a secret, a certificate or AZURE_FEDERATED_TOKEN_FILE; \
                     for a managed identity remove ",
                )
                .field("azure_tenant_id"),
            }),
            _ => Ok(()),
        }
    }

    fn managed_identity(&self, selector: Selector) -> Result<Chosen, Incomplete> {
        let who = match selector.from() {
            None => "nothing names an application: the machine's own identity".to_owned(),
            Some(from @ Origin::Field(OBJECT_ID | RESOURCE_ID)) => {
                format!("{from} names a managed identity")
            }
            Some(from) => format!("{from} stands without a proof: a managed identity"),
        };
        if self.inputs.field("azure_imds_endpoint").is_some() {
            let why = format!("{who}; auth.azure_imds_endpoint says that IMDS serves it");
            return Ok((machine::imds(&self.inputs, selector)?, why));
        }
        let machine = Machine::of(self.inputs.env);
        let why = format!("{who}; {}", machine.sign());
        Ok((machine.source(&self.inputs, selector)?, why))
    }
}

#[cfg(test)]
mod tests;
