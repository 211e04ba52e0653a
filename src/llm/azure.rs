//! Azure OpenAI's addressing: instance, deployment, api-version, and the surface they belong to.
//!
//! - **dated**: `https://<instance>.openai.azure.com:443/openai/deployments/<deployment>/chat/
//!   completions?api-version=<date>`. Kong leaves `model` in the body although the deployment says
//!   it already, and Azure does not mind.
//! - **v1**: `/openai/v1/chat/completions`, without a date; `model` is the deployment.
//! - **Foundry**: the same behind `<resource>.services.ai.azure.com`, or model inference under
//!   `/models`, which has dates again, or Anthropic's Messages API under `/anthropic/v1`.
//!
//! The surface follows from `azure_service`, `azure_api_version` and the route type, and from
//! nothing else; there is one test for each URL.

use std::sync::Arc;

use crate::llm::address::{self, BadUrl, Endpoint};
use crate::llm::config::Options;
use crate::llm::openai::prefix;
use crate::llm::operation::{Dated, Operation};
use crate::llm::plan::Invalid;
use crate::llm::site::{Located, Site};
use crate::llm::{RouteType, Wire};

/// The value of `azure_service` for Foundry.
pub(super) const FOUNDRY: &str = "azure-foundry";

/// The api-version of model inference where the configuration has Kong's default, which is none.
const INFERENCE_VERSION: &str = "2024-05-01-preview";
const KONGS_DEFAULT_VERSION: &str = "2023-05-15";

/// What Kong logs about an Azure target (`ai.proxy.meta`), templates filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Names {
    pub azure_instance_id: String,
    pub azure_deployment_id: String,
    pub azure_api_version: String,
}

/// A form of Azure's data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface<'a> {
    /// `/openai/deployments/<deployment>` or `/openai`.
    Dated,
    /// `/openai/v1`, or what Foundry has in its place.
    V1(&'a str),
    /// `/models` of Foundry.
    Inference,
    /// Claude's own API on Foundry, behind this prefix.
    Messages(&'a str),
}

/// What is spoken for chats where these options of provider azure point to: Anthropic's API behind
/// a prefix of Foundry that begins with `/anthropic` (of Kong's next versions).
pub(super) fn wire(options: &Options) -> Wire {
    let is_foundry = options.azure_service.as_deref() == Some(FOUNDRY);
    let prefix = options.azure_foundry_path_prefix.as_deref().filter(|_| is_foundry);
    let first = prefix.and_then(|prefix| prefix.trim_start_matches('/').split('/').next());
    if first == Some("anthropic") { Wire::Messages } else { Wire::Openai }
}

/// Where a target of provider `azure` is.
///
/// `upstream_url` replaces all but the api-version, which is appended even there; `upstream_path`
/// replaces the operation behind the deployment; `preserve` without it takes the client's path
/// (all three as in Kong).
pub(super) fn locate(site: &Site<'_>, route: RouteType) -> Result<Located, Invalid> {
    let operation = Operation::on(site.fixed.wire, route);
    let from_url = site.upstream_url.map(address::upstream_url).transpose();
    let from_url = from_url.map_err(Invalid::url("upstream_url"))?;
    let surface = surface(site, operation, route);
    let is_preserve = route == RouteType::Preserve;
    let (endpoint, url_path) = match from_url {
        Some((endpoint, path)) => (endpoint, Some(path)),
        None => (own_endpoint(site)?, None),
    };
    let has_url = url_path.is_some();
    let path = match (url_path, site.upstream_path) {
        (_, None) if is_preserve => None,
        (Some(_), Some(path)) if is_preserve => Some(configured(path)?),
        (Some(path), _) => Some(path),
        (None, _) => Some(own_path(site, operation, surface)?),
    };
    let in_v1 = path.as_deref().is_some_and(is_v1);
    let (undated, api_version) = version(site, operation, surface, in_v1, has_url);
    let prefix = match (surface, &path) {
        // There is no list of models beside messages.
        (Surface::Inference | Surface::Messages(_), _) | (_, None) => None,
        (_, Some(path)) => prefix(path, operation),
    };
    let names_deployment = match has_url {
        _ if operation.wire == Wire::Messages => true,
        // Kong: the deployment is only a name for logs then.
        true => matches!(site.azure_api_version, Some("v1" | "preview")),
        false => surface != Surface::Dated || operation.dated != Dated::Deployment,
    };
    let model = site.azure_deployment_id.filter(|_| names_deployment && !is_preserve);
    let located = Located {
        api_version,
        undated,
        is_dated: surface == Surface::Dated && !has_url,
        model: model.map(Arc::from),
        names: Some(Arc::new(names(site))),
        ..Located::new(endpoint, prefix, path)
    };
    Ok(located.finished())
}

/// Which surface a target is for.
fn surface<'a>(site: &Site<'a>, operation: &Operation, route: RouteType) -> Surface<'a> {
    const V1: Surface<'_> = Surface::V1("/openai/v1");
    let version = site.azure_api_version.unwrap_or_default();
    if site.fixed.is_foundry {
        let prefix = site.fixed.foundry_prefix.map(|prefix| prefix.trim_end_matches('/'));
        return match prefix {
            Some("/models" | "models") => Surface::Inference,
            Some(prefix) if operation.wire == Wire::Messages => Surface::Messages(prefix),
            Some(prefix) if !prefix.is_empty() => Surface::V1(prefix),
            _ => V1,
        };
    }
    match operation.dated {
        _ if route == RouteType::Preserve => Surface::Dated,
        _ if matches!(version, "v1" | "preview") => V1,
        Dated::Deployment => Surface::Dated,
        Dated::Resource(since) if since.is_empty() || version >= since => Surface::Dated,
        Dated::Resource(_) | Dated::Never => V1,
    }
}

fn own_endpoint(site: &Site<'_>) -> Result<Endpoint, Invalid> {
    if site.fixed.is_foundry {
        let resource = site.foundry_resource.or(site.azure_instance);
        let resource = resource.ok_or(Invalid::Missing("azure_foundry_resource"))?;
        let domain = site.fixed.foundry_domain.unwrap_or("services.ai.azure.com");
        let host = format!("{resource}.{}", domain.trim_matches('.'));
        return address::https(&host).map_err(Invalid::url("azure_foundry_resource"));
    }
    let instance = site.azure_instance.ok_or(Invalid::Missing("azure_instance"))?;
    let domain = site.fixed.azure_domain.unwrap_or("openai.azure.com");
    let host = format!("{instance}.{}", domain.trim_matches('.'));
    address::https(&host).map_err(Invalid::url("azure_instance"))
}

fn own_path(
    site: &Site<'_>,
    operation: &Operation,
    surface: Surface<'_>,
) -> Result<String, Invalid> {
    let end = match site.upstream_path {
        Some(path) => configured(path)?,
        None => operation.azure_path().to_owned(),
    };
    match surface {
        Surface::Dated if operation.dated == Dated::Deployment => {
            let deployment =
                site.azure_deployment_id.ok_or(Invalid::Missing("azure_deployment_id"))?;
            let deployment =
                address::segment(deployment).map_err(Invalid::url("azure_deployment_id"))?;
            Ok(format!("/openai/deployments/{deployment}{end}"))
        }
        Surface::Dated => Ok(format!("/openai{end}")),
        Surface::V1(prefix) | Surface::Messages(prefix) => {
            let prefix = address::upstream_path(prefix);
            let prefix = prefix.map_err(Invalid::url("azure_foundry_path_prefix"))?;
            Ok(format!("{prefix}{end}"))
        }
        Surface::Inference if matches!(end.as_str(), "/chat/completions" | "/embeddings") => {
            Ok(format!("/models{end}"))
        }
        Surface::Inference => Err(Invalid::Url {
            field: "azure_foundry_path_prefix",
            error: BadUrl::NoOperation("/models".to_owned()),
        }),
    }
}

fn configured(path: &str) -> Result<String, Invalid> {
    address::upstream_path(path).map_err(Invalid::url("upstream_path"))
}

/// Whether a path is one of the v1 API, whatever stands in front of it.
pub(super) fn is_v1(path: &str) -> bool {
    path.contains("/openai/v1/") || path.ends_with("/openai/v1")
}

/// Whether dates have no place there, and the `api-version` to send.
fn version(
    site: &Site<'_>,
    operation: &Operation,
    surface: Surface<'_>,
    in_v1: bool,
    has_url: bool,
) -> (bool, Option<String>) {
    let configured = site.azure_api_version;
    let undated = |is_preview: bool| (true, is_preview.then(|| "preview".to_owned()));
    match surface {
        Surface::Messages(_) => undated(false),
        Surface::Dated if in_v1 => undated(configured == Some("preview")),
        // A URL of the operator's own takes what is configured, as in Kong.
        Surface::V1(_) if has_url && !in_v1 && configured != Some("v1") => {
            (false, configured.map(address::encode))
        }
        Surface::V1(_) => {
            // Azure shows videos to those who ask for the preview.
            let wants_preview = operation.dated == Dated::Never && configured != Some("v1");
            undated(configured == Some("preview") || wants_preview)
        }
        Surface::Inference if configured.is_none_or(|own| own == KONGS_DEFAULT_VERSION) => {
            (false, Some(INFERENCE_VERSION.to_owned()))
        }
        Surface::Dated | Surface::Inference => (false, configured.map(address::encode)),
    }
}

fn names(site: &Site<'_>) -> Names {
    let name = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let resource = site.foundry_resource.filter(|_| site.fixed.is_foundry);
    Names {
        azure_instance_id: name(resource.or(site.azure_instance)),
        azure_deployment_id: name(site.azure_deployment_id),
        azure_api_version: name(site.azure_api_version),
    }
}
