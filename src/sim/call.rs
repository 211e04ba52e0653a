//! One request, read in full, and what its path asks for.

use bytes::Bytes;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::llm::form::{self, Form};

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
    /// Responses and what belongs to them.
    Responses,
    /// Uploads.
    Files,
    /// Batches.
    Batches,
    /// Assistants, threads, vector stores.
    Assistants,
    /// Text to speech.
    Speech,
    /// Speech to text.
    Transcriptions,
    /// Speech to English text.
    Translations,
    /// Images, made or edited.
    Images,
    /// Jobs that make videos.
    Videos,
    /// Sessions over WebSocket.
    Realtime,
    /// The list of models.
    Models,
    /// Azure AI Content Safety.
    ContentSafety,
    /// Anthropic's messages on Foundry, and how long they are.
    Messages,
    /// In rules: all of the above and every other path under `/openai/`.
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
        matches!(self, Self::Openai | Self::ContentSafety)
            || OPERATIONS.iter().any(|(_, kind, _)| *kind == self)
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

/// The operations: a name, what it is, and whether the deployment stands in front of it under a
/// date. A name whose deployment does not is a tree: ids may follow.
const OPERATIONS: [(&str, Kind, bool); 20] = [
    ("chat/completions", Kind::Chat, true),
    ("completions", Kind::Completions, true),
    ("embeddings", Kind::Embeddings, true),
    ("audio/speech", Kind::Speech, true),
    ("audio/transcriptions", Kind::Transcriptions, true),
    ("audio/translations", Kind::Translations, true),
    ("images/generations", Kind::Images, true),
    ("images/edits", Kind::Images, true),
    ("messages", Kind::Messages, false),
    ("responses", Kind::Responses, false),
    ("files", Kind::Files, false),
    ("batches", Kind::Batches, false),
    ("assistants", Kind::Assistants, false),
    ("threads", Kind::Assistants, false),
    ("vector_stores", Kind::Assistants, false),
    ("realtime", Kind::Realtime, false),
    ("models", Kind::Models, false),
    ("videos", Kind::Videos, false),
    ("video/generations/jobs", Kind::Videos, false),
    ("video/generations", Kind::Videos, false),
];

/// The forms of Azure's data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// Deployment in the path, `api-version` required.
    Dated,
    /// Deployment in `model`, no date.
    V1,
    /// `/models` of Foundry: model in the body, and a date.
    Inference,
    /// Anthropic's API on Foundry: model in the body, and the version in a header.
    Anthropic,
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
    /// The name of the operation, and what follows it.
    operation: (&'static str, Vec<String>),
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
            operation: ("", Vec::new()),
            tenant: None,
            json: None,
        };
        call.read_path();
        if call.kind.is_data_plane() {
            call.json = serde_json::from_slice(&call.body).ok();
        }
        if call.kind.is_data_plane() && call.deployment.is_none() {
            call.deployment = call.named_model();
        }
        call
    }

    /// The model that the body names, or the query of a session.
    fn named_model(&self) -> Option<String> {
        if self.kind == Kind::Realtime {
            let name = if self.surface == Surface::Dated { "deployment" } else { "model" };
            return self.argument(name);
        }
        if let Some(model) = self.member("model").and_then(Value::as_str) {
            return Some(model.to_owned());
        }
        let kind = self.head.headers.get(http::header::CONTENT_TYPE)?;
        let form = Form::read(self.body.clone(), form::boundary(kind.as_bytes())?)?;
        form.get("model").map(str::to_owned)
    }

    /// The name of the operation, `files`.
    pub(super) fn collection(&self) -> &'static str {
        self.operation.0
    }

    /// The segments behind it, decoded.
    pub(super) fn rest(&self) -> &[String] {
        &self.operation.1
    }

    /// Whether it came by Foundry's model inference.
    pub(super) fn is_inference(&self) -> bool {
        self.surface == Surface::Inference
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
        let path = self.head.uri.path().to_owned();
        // A project of Foundry has the same below it.
        let below = path.strip_prefix("/api/projects/").and_then(|rest| rest.split_once('/'));
        let plain = below.map_or(path.as_str(), |(project, _)| &path[14 + project.len()..]);
        if let Some(rest) = path.strip_prefix("/openai/deployments/") {
            let (deployment, operation) = rest.split_once('/').unwrap_or((rest, ""));
            self.deployment = Some(percent_decode_str(deployment).decode_utf8_lossy().into());
            self.operate(operation, |in_path| in_path);
        } else if let Some(operation) = plain.strip_prefix("/openai/v1/") {
            self.surface = Surface::V1;
            self.operate(operation, |_| true);
        } else if let Some(operation) = path.strip_prefix("/openai/") {
            self.operate(operation, |in_path| !in_path);
        } else if let Some(operation) = path.strip_prefix("/models/") {
            self.surface = Surface::Inference;
            match operation {
                "info" => self.operate("models/info", |_| true),
                _ => self.operate(operation, |in_path| in_path),
            }
        } else if let Some(operation) = path.strip_prefix("/anthropic/v1/") {
            self.surface = Surface::Anthropic;
            self.operate(operation, |_| true);
        } else if path == "/contentsafety/text:analyze" {
            self.kind = Kind::ContentSafety;
        } else if let Some((_, kind)) = TOKEN_PATHS.iter().find(|(known, _)| *known == path) {
            self.kind = *kind;
        } else if let Some(tenant) = path.strip_suffix("/oauth2/v2.0/token") {
            (self.kind, self.tenant) = (Kind::Entra, Some(tenant_name(tenant)));
        } else if let Some(tenant) = path.strip_suffix("/v2.0/.well-known/openid-configuration") {
            (self.kind, self.tenant) = (Kind::Discovery, Some(tenant_name(tenant)));
        }
    }
}

impl Call {
    /// Finds the operation among those whose place is right.
    fn operate(&mut self, path: &str, is_here: impl Fn(bool) -> bool) {
        let found = OPERATIONS.iter().find_map(|(name, kind, in_path)| {
            let rest = path.strip_prefix(name)?;
            let is_whole = rest.is_empty() || rest.starts_with('/') && !in_path;
            (is_whole && is_here(*in_path)).then_some((*name, *kind, rest))
        });
        self.kind = Kind::Openai;
        let Some((name, kind, rest)) = found else { return };
        // Messages are on a surface of their own, with nothing beside them.
        if (kind == Kind::Messages) != (self.surface == Surface::Anthropic) {
            return;
        }
        self.kind = kind;
        let segments = rest.split('/').filter(|segment| !segment.is_empty());
        let decoded = segments.map(|s| percent_decode_str(s).decode_utf8_lossy().into_owned());
        self.operation = (name, decoded.collect());
    }
}

fn tenant_name(path: &str) -> String {
    percent_decode_str(path.strip_prefix('/').unwrap_or(path)).decode_utf8_lossy().into()
}
