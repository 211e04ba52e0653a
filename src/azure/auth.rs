//! The identity fields of a plugin's `auth` record, and what can be wrong with them.

use super::identity::{Given, Origin};
use super::incomplete::Incomplete;
use crate::entity::Secret;
use crate::settings::Env;

/// The identity fields of a plugin's `auth` record, named without their `azure_` prefix.
///
/// The first four are Kong's. The others are ours; being explicit, they win over the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Auth {
    /// The switch: without it no other field has an effect.
    pub use_managed_identity: bool,
    /// Application (client) id of an app registration or a user-assigned identity.
    pub client_id: Option<String>,
    /// Secret of an app registration.
    pub client_secret: Option<Secret>,
    /// Tenant: a GUID or a verified domain.
    pub tenant_id: Option<String>,
    /// Entra's origin; else `AZURE_AUTHORITY_HOST`, else by the target's cloud.
    pub authority_host: Option<String>,
    /// What the token is for, `<resource>/.default`; else by the target's host.
    pub scope: Option<String>,
    /// Origin of the metadata service; among managed identity hosts it chooses IMDS.
    pub imds_endpoint: Option<String>,
    /// A file with a Kubernetes service account token; else `AZURE_FEDERATED_TOKEN_FILE`.
    pub federated_token_file: Option<String>,
    /// A file with the certificate and private key of an app registration, PEM or PKCS#12; else
    /// `AZURE_CLIENT_CERTIFICATE_PATH`.
    pub client_certificate_path: Option<String>,
    /// The same as text: PEM, or PKCS#12 in base64.
    pub client_certificate: Option<Secret>,
    /// What opens the certificate's key; else `AZURE_CLIENT_CERTIFICATE_PASSWORD`.
    pub client_certificate_password: Option<Secret>,
    /// Whether the certificates are sent along; else `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN`.
    pub client_send_certificate_chain: Option<bool>,
    /// Object (principal) id of a user-assigned identity.
    pub managed_identity_object_id: Option<String>,
    /// ARM resource id of a user-assigned identity.
    pub managed_identity_resource_id: Option<String>,
}

impl Auth {
    /// The identity fields that are set although the switch is off: worth one warning.
    pub fn unused(&self) -> Vec<&'static str> {
        let texts = self.texts().into_iter();
        let set = texts.filter(|(_, value)| !self.use_managed_identity && value.is_some());
        set.map(|(name, _)| name).collect()
    }

    /// Fields that each name an identity exclude one another, and none may be empty: a reference
    /// that could not be resolved must not become "not set".
    pub(super) fn check(&self) -> Result<(), Incomplete> {
        let texts = self.texts();
        let is_set = |name: &str| texts.iter().any(|(n, value)| *n == name && value.is_some());
        if let Some((name, _)) = texts.iter().find(|(_, v)| v.is_some_and(|v| v.trim().is_empty()))
        {
            let problem = "the value is empty (a reference that could not be resolved?)";
            return Err(Incomplete::invalid(Origin::Field(name), problem));
        }
        for group in APART {
            let mut set = group.iter().filter(|name| is_set(name));
            if let (Some(first), Some(second)) = (set.next(), set.next()) {
                return Err(match [OBJECT_ID, RESOURCE_ID].contains(first) {
                    true => Incomplete::Conflict { first, second },
                    false => Incomplete::TwoProofs { first, second },
                });
            }
        }
        Ok(())
    }

    fn texts(&self) -> [(&'static str, Option<&str>); 13] {
        let sends_chain = self.client_send_certificate_chain;
        [
            ("azure_client_id", self.client_id.as_deref()),
            ("azure_client_secret", self.client_secret.as_ref().map(Secret::expose)),
            ("azure_tenant_id", self.tenant_id.as_deref()),
            ("azure_authority_host", self.authority_host.as_deref()),
            ("azure_scope", self.scope.as_deref()),
            ("azure_imds_endpoint", self.imds_endpoint.as_deref()),
            (TOKEN_FILE, self.federated_token_file.as_deref()),
            (CERTIFICATE_PATH, self.client_certificate_path.as_deref()),
            (CERTIFICATE, self.client_certificate.as_ref().map(Secret::expose)),
            (PASSWORD, self.client_certificate_password.as_ref().map(Secret::expose)),
            (SEND_CHAIN, sends_chain.map(|sends| if sends { "true" } else { "false" })),
            (OBJECT_ID, self.managed_identity_object_id.as_deref()),
            (RESOURCE_ID, self.managed_identity_resource_id.as_deref()),
        ]
    }
}

/// Of each group at most one field can be meant: proofs of an application beside ids that only a
/// managed identity has, and the three ids.
const APART: [&[&str]; 2] = [
    &[OBJECT_ID, RESOURCE_ID, "azure_client_secret", TOKEN_FILE, CERTIFICATE_PATH, CERTIFICATE],
    &[OBJECT_ID, RESOURCE_ID, "azure_client_id"],
];

pub(super) const OBJECT_ID: &str = "azure_managed_identity_object_id";
pub(super) const RESOURCE_ID: &str = "azure_managed_identity_resource_id";
pub(super) const TOKEN_FILE: &str = "azure_federated_token_file";
pub(super) const CERTIFICATE_PATH: &str = "azure_client_certificate_path";
pub(super) const CERTIFICATE: &str = "azure_client_certificate";
pub(super) const PASSWORD: &str = "azure_client_certificate_password";
pub(super) const SEND_CHAIN: &str = "azure_client_send_certificate_chain";

/// Fields first, then the environment, one value at a time.
pub(super) struct Inputs<'a> {
    auth: &'a Auth,
    pub(super) env: &'a Env,
}

impl<'a> Inputs<'a> {
    pub(super) fn new(auth: &'a Auth, env: &'a Env) -> Self {
        Self { auth, env }
    }

    /// A value of the configuration.
    pub(super) fn field(&self, name: &'static str) -> Option<Given<String>> {
        let (_, value) = self.auth.texts().into_iter().find(|(n, _)| *n == name)?;
        Some(Given { value: value?.to_owned(), from: Origin::Field(name) })
    }

    /// A value of the environment; an empty one is not set.
    pub(super) fn variable(&self, name: &'static str) -> Option<Given<String>> {
        Some(Given { value: self.env.get(name)?.to_owned(), from: Origin::Variable(name) })
    }

    /// A value of the configuration, else of the environment.
    pub(super) fn either(
        &self,
        field: &'static str,
        variable: &'static str,
    ) -> Option<Given<String>> {
        self.field(field).or_else(|| self.variable(variable))
    }

    pub(super) fn client_id(&self) -> Option<Given<String>> {
        self.either("azure_client_id", "AZURE_CLIENT_ID")
    }

    pub(super) fn tenant(&self) -> Option<Given<String>> {
        self.either("azure_tenant_id", "AZURE_TENANT_ID")
    }

    pub(super) fn authority(&self) -> Option<Given<String>> {
        self.either("azure_authority_host", "AZURE_AUTHORITY_HOST")
    }
}
