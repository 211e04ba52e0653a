//! Azure OpenAI's addressing: instance, deployment, api-version.
//!
//! `https://<instance>.openai.azure.com:443/openai/deployments/<deployment>/chat/completions`
//! with `api-version` in the query. The body is OpenAI's: Kong leaves `model` in it although the
//! deployment says it already, and Azure does not mind.

use std::sync::Arc;

use crate::llm::RouteType;
use crate::llm::address;
use crate::llm::openai::operation;
use crate::llm::plan::Invalid;
use crate::llm::site::{Located, Site};

/// What Kong logs about an Azure target (`ai.proxy.meta`), templates filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Names {
    pub azure_instance_id: String,
    pub azure_deployment_id: String,
    pub azure_api_version: String,
}

/// Where a target of provider `azure` is.
///
/// `upstream_url` replaces all but the api-version, which is appended even there; `upstream_path`
/// replaces the operation behind the deployment; `preserve` without it takes the client's path
/// (all three as in Kong).
pub(super) fn locate(site: &Site<'_>, route: RouteType) -> Result<Located, Invalid> {
    let from_url = site.upstream_url.map(address::upstream_url).transpose();
    let from_url = from_url.map_err(Invalid::url("upstream_url"))?;
    let clients_path = route == RouteType::Preserve && site.upstream_path.is_none();
    let (endpoint, path) = match from_url {
        Some((endpoint, path)) if route != RouteType::Preserve => (endpoint, Some(path)),
        Some((endpoint, _)) if clients_path => (endpoint, None),
        Some((endpoint, _)) => {
            let path = site.upstream_path.map(address::upstream_path).transpose();
            (endpoint, path.map_err(Invalid::url("upstream_path"))?)
        }
        None => {
            let instance = site.azure_instance.ok_or(Invalid::Missing("azure_instance"))?;
            let endpoint = address::https(&format!("{instance}.openai.azure.com"))
                .map_err(Invalid::url("azure_instance"))?;
            let path = if clients_path { None } else { Some(deployment_path(site, route)?) };
            (endpoint, path)
        }
    };
    let name = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let names = Names {
        azure_instance_id: name(site.azure_instance),
        azure_deployment_id: name(site.azure_deployment_id),
        azure_api_version: name(site.azure_api_version),
    };
    let version = site.azure_api_version.map(address::encode);
    Ok(Located::new(endpoint, path, version, Some(Arc::new(names))))
}

fn deployment_path(site: &Site<'_>, route: RouteType) -> Result<String, Invalid> {
    let deployment = site.azure_deployment_id.ok_or(Invalid::Missing("azure_deployment_id"))?;
    let deployment = address::segment(deployment).map_err(Invalid::url("azure_deployment_id"))?;
    let operation = match site.upstream_path {
        Some(path) => address::upstream_path(path).map_err(Invalid::url("upstream_path"))?,
        None => operation(route).to_owned(),
    };
    Ok(format!("/openai/deployments/{deployment}{operation}"))
}
