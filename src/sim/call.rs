//! One request, read in full, and what its path asks for.

use bytes::Bytes;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a request asks for; in a rule also whole families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Chat completions, dated or v1.
    Chat,
    /// Text completions, dated or v1.
    Completions,
    /// Embeddings, dated or v1.
    Embeddings,
    /// In rules: the three above and every other path under `/openai/`.
    Openai,
    /// The token endpoint of Entra.
    Entra,
    /// Entra's description of a tenant, which Microsoft's libraries read before the first token.
    Discovery,
    /// The token endpoint of the virtual machine metadata service.
    Imds,
    /// The token endpoint of App Service, Functions and Container Apps.
    AppService,
    /// The token endpoint of Azure Arc's agent.
    Arc,
    /// The token endpoint of Azure Machine Learning.
    AzureMl,
    /// The token endpoint of Cloud Shell.
    CloudShell,
    /// The token endpoint of Service Fabric.
    ServiceFabric,
    /// In rules: all token endpoints.
    Identity,
    /// No endpoint of the simulator.
    Other,
}

impl Kind {
    /// Whether a rule for `self` is for a request of kind `call`.
    pub(super) fn covers(self, call: Self) -> bool {
        match self {
            Self::Openai => call.is_data_plane(),
            Self::Identity => call.is_token_endpoint(),
            _ => self == call,
        }
    }

    /// Whether requests of this kind ask for a token.
    pub fn is_token_endpoint(self) -> bool {
        self == Self::Entra || TOKEN_PATHS.iter().any(|(_, kind)| *kind == self)
    }

    pub(super) fn is_data_plane(self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Embeddings | Self::Openai)
    }
}

/// The managed identity endpoints. The last part is that of the real ones.
const TOKEN_PATHS: [(&str, Kind); 6] = [
    ("/metadata/identity/oauth2/token", Kind::Imds),
    ("/msi/token", Kind::AppService),
    ("/arc/metadata/identity/oauth2/token", Kind::Arc),
    ("/azureml/msi/token", Kind::AzureMl),
    ("/cloudshell/oauth2/token", Kind::CloudShell),
    ("/fabric/metadata/identity/oauth2/token", Kind::ServiceFabric),
];

/// The two forms of Azure's data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// Deployment in the path, `api-version` required.
    Dated,
    /// Deployment in `model`, no date.
    V1,
}

/// A request with its body and what follows from both.
pub(super) struct Call {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    pub(super) kind: Kind,
    pub(super) surface: Surface,
    /// It came over TLS.
    pub(super) is_tls: bool,
    pub(super) deployment: Option<String>,
    /// The tenant in the path of Entra's endpoint.
    pub(super) tenant: Option<String>,
    /// The body of a data plane request, where it is JSON.
    pub(super) json: Option<Value>,
}

impl Call {
    pub(super) fn new(head: Parts, body: Bytes, is_tls: bool) -> Self {
        let mut call = Self {
            head,
            body,
            kind: Kind::Other,
            surface: Surface::Dated,
            is_tls,
            deployment: None,
            tenant: None,
            json: None,
        };
        call.read_path();
        if call.kind.is_data_plane() {
            call.json = serde_json::from_slice(&call.body).ok();
        }
        if call.surface == Surface::V1 {
            call.deployment = call.member("model").and_then(Value::as_str).map(str::to_owned);
        }
        call
    }

    /// Scheme and host as the caller wrote them.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.header("host").unwrap_or_default())
    }

    pub(super) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The first value of a query argument, decoded.
    pub(super) fn argument(&self, name: &str) -> Option<String> {
        self.arguments().into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// The query arguments in order, decoded.
    pub(super) fn arguments(&self) -> Vec<(String, String)> {
        let query = self.head.uri.query().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// A member of the JSON body.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        self.json.as_ref()?.get(name)
    }

    fn read_path(&mut self) {
        let path = self.head.uri.path();
        if let Some(rest) = path.strip_prefix("/openai/deployments/") {
            let (deployment, operation) = rest.split_once('/').unwrap_or((rest, ""));
            self.deployment = Some(percent_decode_str(deployment).decode_utf8_lossy().into());
            self.kind = operation_kind(operation);
        } else if let Some(operation) = path.strip_prefix("/openai/v1/") {
            (self.kind, self.surface) = (operation_kind(operation), Surface::V1);
        } else if path.starts_with("/openai/") {
            self.kind = Kind::Openai;
        } else if let Some((_, kind)) = TOKEN_PATHS.iter().find(|(known, _)| *known == path) {
            self.kind = *kind;
        } else if let Some(tenant) = path.strip_suffix("/oauth2/v2.0/token") {
            (self.kind, self.tenant) = (Kind::Entra, Some(tenant_name(tenant)));
        } else if let Some(tenant) = path.strip_suffix("/v2.0/.well-known/openid-configuration") {
            (self.kind, self.tenant) = (Kind::Discovery, Some(tenant_name(tenant)));
        }
    }
}

fn tenant_name(path: &str) -> String {
    percent_decode_str(path.strip_prefix('/').unwrap_or(path)).decode_utf8_lossy().into()
}

fn operation_kind(operation: &str) -> Kind {
    match operation {
        "chat/completions" => Kind::Chat,
        "completions" => Kind::Completions,
        "embeddings" => Kind::Embeddings,
        _ => Kind::Openai,
    }
}
