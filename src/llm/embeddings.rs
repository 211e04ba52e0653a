//! The model that turns texts into vectors: Kong's `embeddings` record, and what such a model says.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::llm::config::{Auth, Model, Options, Target};
use crate::llm::{Provider, RouteType, providers};

/// The record `embeddings`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Embeddings {
    pub auth: Option<Auth>,
    pub model: EmbeddingModel,
}

/// Which model it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct EmbeddingModel {
    pub provider: Provider,
    pub name: String,
    pub options: Option<EmbeddingOptions>,
}

/// Where it is. What targets keep flat is nested here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct EmbeddingOptions {
    pub upstream_url: Option<String>,
    pub azure: Option<EmbeddingAzure>,
    pub bedrock: Option<Value>,
    pub gemini: Option<Value>,
    pub huggingface: Option<Value>,
}

/// A deployment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct EmbeddingAzure {
    pub instance: Option<String>,
    pub deployment_id: Option<String>,
    pub api_version: Option<String>,
}

impl Embeddings {
    /// Whether models of the provider turn texts into vectors, if it is built at all.
    pub fn can_be_asked(&self) -> bool {
        let provider = self.model.provider;
        providers::takes(provider, RouteType::Embeddings) || !providers::is_built(provider)
    }

    /// The model as a target that is asked for vectors of so many dimensions.
    pub fn target(self, dimensions: usize) -> Target {
        let EmbeddingModel { provider, name, options } = self.model;
        let options = options.unwrap_or_default();
        let azure = options.azure.filter(|_| provider == Provider::Azure);
        let (instance, deployment, version) = match azure {
            Some(azure) => (azure.instance, azure.deployment_id, azure.api_version),
            None => (None, None, None),
        };
        let options = Options {
            upstream_url: options.upstream_url,
            azure_instance: instance,
            azure_deployment_id: deployment,
            azure_api_version: version,
            embeddings_dimensions: has_choice(&name, dimensions).then(|| dimensions.into()),
            bedrock: options.bedrock,
            gemini: options.gemini,
            huggingface: options.huggingface,
            ..Options::default()
        };
        Target {
            route_type: RouteType::Embeddings,
            auth: self.auth,
            model: Model { provider, name: Some(name), model_alias: None, options: Some(options) },
            logging: None,
            weight: None,
            description: None,
            metadata: None,
        }
    }
}

/// Whether a model has to be told how many dimensions are wanted. OpenAI's third generation can do
/// with fewer than it has; other models refuse to be told, and so do older versions of Azure's API.
fn has_choice(name: &str, dimensions: usize) -> bool {
    let own = match name {
        name if name.contains("text-embedding-3-small") => 1536,
        name if name.contains("text-embedding-3-large") => 3072,
        _ => return false,
    };
    own != dimensions
}

/// Why a reply is no vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoVector {
    /// It is of another kind.
    Strange,
    /// It has so many dimensions, and others are wanted.
    Dimensions(usize, usize),
}

impl fmt::Display for NoVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strange => f.write_str("the reply holds no vector"),
            Self::Dimensions(has, wanted) => write!(
                f,
                "the model's vectors have {has} dimensions, and vectordb.dimensions says {wanted}; \
                 set it to {has}"
            ),
        }
    }
}

/// The vector in a reply.
///
/// # Errors
/// There is none, or one of another length.
pub fn vector(reply: &[u8], dimensions: usize) -> Result<Vec<f32>, NoVector> {
    #[derive(Deserialize)]
    struct Reply {
        data: Vec<Datum>,
    }
    #[derive(Deserialize)]
    struct Datum {
        embedding: Vec<f32>,
    }
    let reply: Reply = serde_json::from_slice(reply).map_err(|_| NoVector::Strange)?;
    let datum = reply.data.into_iter().next().ok_or(NoVector::Strange)?;
    let vector = datum.embedding;
    if vector.len() != dimensions {
        return Err(NoVector::Dimensions(vector.len(), dimensions));
    }
    if vector.iter().all(|number| number.is_finite()) { Ok(vector) } else { Err(NoVector::Strange) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::Plan;
    use crate::llm::config::ResponseStreaming;

    fn record(model: Value) -> Embeddings {
        serde_json::from_value(json!({"auth": null, "model": model})).unwrap()
    }

    fn asked(model: Value, dimensions: usize) -> (String, Value) {
        let target = record(model).target(dimensions);
        let plan = Plan::new(&target, ResponseStreaming::Allow).unwrap();
        let url = target.model.options.as_ref().and_then(|options| options.upstream_url.clone());
        let place = plan.place(url.as_deref()).ok().unwrap();
        let body = serde_json::from_slice(&plan.asks_for_vector("t")).unwrap();
        (format!("{}{}", place.endpoint.host, place.target), body)
    }

    #[test]
    fn a_deployment_is_asked_as_azure_wants_it() {
        let azure = json!({"instance": "i", "deployment_id": "d", "api_version": "2024-10-21"});
        let options = json!({"upstream_url": null, "azure": azure, "bedrock": null,
            "gemini": null, "huggingface": null});
        let model = |name: &str| json!({"provider": "azure", "name": name, "options": options});
        let (place, body) = asked(model("text-embedding-3-small"), 1536);
        let path = "/openai/deployments/d/embeddings?api-version=2024-10-21";
        assert_eq!(place, format!("i.openai.azure.com{path}"));
        assert_eq!(body, json!({"input": "t", "model": "text-embedding-3-small"}));
        let (_, body) = asked(model("text-embedding-3-large"), 1024);
        assert_eq!(body["dimensions"], 1024);
        let (_, body) = asked(model("text-embedding-ada-002"), 5);
        assert_eq!(body["dimensions"], Value::Null, "it cannot choose");
    }

    #[test]
    fn others_are_asked_where_they_are() {
        let model = json!({"provider": "openai", "name": "m", "options": null});
        assert_eq!(asked(model, 3).0, "api.openai.com/v1/embeddings");
        let options = json!({"upstream_url": "http://h.test:1/e?a=b", "azure": null,
            "bedrock": null, "gemini": null, "huggingface": null});
        let model = json!({"provider": "ollama", "name": "m", "options": options});
        assert_eq!(asked(model, 3).0, "h.test/e?a=b");
    }

    #[test]
    fn a_vector_has_the_length_that_is_wanted() {
        let reply = br#"{"data":[{"embedding":[0.5,-1]}]}"#;
        assert_eq!(vector(reply, 2), Ok(vec![0.5, -1.0]));
        assert_eq!(vector(reply, 3), Err(NoVector::Dimensions(2, 3)));
        for strange in ["{}", r#"{"data":[]}"#, "", r#"{"data":[{"embedding":"AAAA"}]}"#] {
            assert_eq!(vector(strange.as_bytes(), 2), Err(NoVector::Strange), "{strange}");
        }
    }

    #[test]
    fn some_providers_have_no_embeddings() {
        let of = |provider| record(json!({"provider": provider, "name": "m", "options": null}));
        for (provider, can_be_asked) in [("azure", true), ("mistral", true), ("vllm", false)] {
            assert_eq!(of(provider).can_be_asked(), can_be_asked, "{provider}");
        }
        assert!(of("gemini").can_be_asked(), "`unsupported` has a line on those without a driver");
    }
}
