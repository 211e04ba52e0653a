//! Where a target is: the options that say so, and what they come to.
//!
//! Without templates that is worked out once. With templates it is tried at load with a stand-in
//! for the client's values, so that a mistake in the configuration does not wait for a request.

use std::borrow::Cow;
use std::sync::Arc;

use http::uri::PathAndQuery;
use serde_json::Value;

use crate::llm::address::{self, Arguments, BadUrl, Endpoint};
use crate::llm::config::Options;
use crate::llm::error::Error;
use crate::llm::plan::{Invalid, path_and_query};
use crate::llm::template::{Client, Place, Text, first_template};
use crate::llm::{Provider, RouteType, Wire, azure, openai, providers};

/// The options that say where a target is, templates filled in.
#[derive(Default)]
pub(super) struct Site<'a> {
    pub(super) azure_instance: Option<&'a str>,
    pub(super) azure_deployment_id: Option<&'a str>,
    pub(super) azure_api_version: Option<&'a str>,
    pub(super) foundry_resource: Option<&'a str>,
    pub(super) upstream_url: Option<&'a str>,
    pub(super) upstream_path: Option<&'a str>,
    /// What no client fills in.
    pub(super) fixed: Fixed<'a>,
}

/// Options that say where a target is and can hold no template.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fixed<'a> {
    /// `azure_domain`.
    pub(super) azure_domain: Option<&'a str>,
    /// `azure_service` is `azure-foundry`.
    pub(super) is_foundry: bool,
    /// What is spoken for chats at the Foundry.
    pub(super) wire: Wire,
    /// `azure_foundry_domain`.
    pub(super) foundry_domain: Option<&'a str>,
    /// `azure_foundry_path_prefix`.
    pub(super) foundry_prefix: Option<&'a str>,
    /// Options of other providers.
    pub(super) variant: providers::Variant<'a>,
}

impl<'a> Fixed<'a> {
    fn new(options: &'a Options) -> Self {
        let of = |value: &'a Option<Value>, name| value.as_ref().and_then(|v| v.get(name));
        let international = of(&options.dashscope, "international").and_then(Value::as_bool);
        Self {
            azure_domain: options.azure_domain.as_deref(),
            is_foundry: options.azure_service.as_deref() == Some(azure::FOUNDRY),
            wire: azure::wire(options),
            foundry_domain: options.azure_foundry_domain.as_deref(),
            foundry_prefix: options.azure_foundry_path_prefix.as_deref(),
            variant: providers::Variant {
                is_mainland: international == Some(false),
                workspace: of(&options.databricks, "workspace_instance_id").and_then(Value::as_str),
            },
        }
    }
}

impl Site<'_> {
    fn locate(&self, provider: Provider, route: RouteType) -> Result<Located, Invalid> {
        match provider {
            Provider::Azure => azure::locate(self, route),
            _ => openai::locate(self, provider, route),
        }
    }
}

/// What a [`Site`] comes to.
pub(super) struct Located {
    pub(super) endpoint: Endpoint,
    /// What stands in front of the paths of all operations, `/v1`, when that is known.
    pub(super) prefix: Option<String>,
    /// The path of the operation; `None`: the client's own.
    pub(super) path: Option<String>,
    /// Encoded; sent unless the client has its own.
    pub(super) api_version: Option<String>,
    /// A dated `api-version` has no place there, a client's neither.
    pub(super) undated: bool,
    /// It is known to be Azure under a date; an address of the operator's own may be anything.
    pub(super) is_dated: bool,
    /// What the request names as its model in place of `model.name`: the deployment.
    pub(super) model: Option<Arc<str>>,
    /// The whole request target for a client without a query.
    pub(super) target: Option<PathAndQuery>,
    pub(super) names: Option<Arc<azure::Names>>,
}

impl Located {
    /// A place without any of Azure's.
    pub(super) fn new(endpoint: Endpoint, prefix: Option<String>, path: Option<String>) -> Self {
        Self {
            endpoint,
            prefix,
            path,
            api_version: None,
            undated: false,
            is_dated: false,
            model: None,
            target: None,
            names: None,
        }
    }

    /// With the target for clients without a query.
    pub(super) fn finished(mut self) -> Self {
        let arguments =
            Arguments { api_version: self.api_version.as_deref(), ..Arguments::default() };
        let query = address::query("", arguments);
        self.target = self.path.as_deref().and_then(|path| path_and_query(path, &query));
        self
    }
}

/// A place that is the same for all clients, or one that depends on them.
pub(super) enum Where {
    Fixed(Arc<Located>),
    PerClient(Box<Texts>),
}

/// A [`Site`] before its templates are filled in.
pub(super) struct Texts {
    azure_instance: Option<Text>,
    azure_deployment_id: Option<Text>,
    azure_api_version: Option<Text>,
    foundry_resource: Option<Text>,
    upstream_url: Option<Text>,
    upstream_path: Option<Text>,
    options: Options,
    /// Where it is with a stand-in for what the client says.
    sample: Option<Located>,
    /// A part of the host is the client's.
    is_host_theirs: bool,
}

impl Where {
    pub(super) fn new(
        provider: Provider,
        route: RouteType,
        options: &Options,
    ) -> Result<Self, Invalid> {
        let mut texts = Texts::new(options)?;
        let located = texts.locate(provider, route, |text| Ok(text.sample()))?;
        if texts.are_fixed() {
            return Ok(Self::Fixed(Arc::new(located)));
        }
        texts.sample = Some(located);
        texts.is_host_theirs = texts.has_template_in_host(provider, options)?;
        Ok(Self::PerClient(Box::new(texts)))
    }

    /// The place for this client.
    pub(super) fn of(
        &self,
        provider: Provider,
        route: RouteType,
        client: &Client<'_>,
    ) -> Result<Arc<Located>, Error> {
        match self {
            Self::Fixed(located) => Ok(located.clone()),
            Self::PerClient(texts) => {
                texts.locate(provider, route, |text| text.render(client)).map(Arc::new)
            }
        }
    }

    /// The host, with a stand-in for what the client says in it.
    pub(super) fn sample(&self) -> Option<&Endpoint> {
        self.sample_place().map(|located| &located.endpoint)
    }

    /// The path, likewise.
    pub(super) fn sample_path(&self) -> Option<&str> {
        self.sample_place()?.path.as_deref()
    }

    pub(super) fn sample_place(&self) -> Option<&Located> {
        match self {
            Self::Fixed(located) => Some(located),
            Self::PerClient(texts) => texts.sample.as_ref(),
        }
    }

    /// Whether the client says a part of the host's name.
    pub(super) fn is_host_theirs(&self) -> bool {
        matches!(self, Self::PerClient(texts) if texts.is_host_theirs)
    }

    /// The place, when it is the same for all.
    pub(super) fn fixed(&self) -> Option<&Located> {
        match self {
            Self::Fixed(located) => Some(located),
            Self::PerClient(_) => None,
        }
    }
}

impl Texts {
    fn new(options: &Options) -> Result<Self, Invalid> {
        let text = |field, value: &Option<String>, place| {
            value.as_deref().map(|value| Text::new(field, value, place))
        };
        let in_url = options.upstream_url.as_deref().map_or(Ok(Place::Path), place_in_url);
        let in_url = in_url.map_err(Invalid::url("upstream_url"))?;
        let deployment = &options.azure_deployment_id;
        Ok(Self {
            azure_instance: text("azure_instance", &options.azure_instance, Place::Label),
            azure_deployment_id: text("azure_deployment_id", deployment, Place::Segment),
            azure_api_version: text("azure_api_version", &options.azure_api_version, Place::Free),
            foundry_resource: text(
                "azure_foundry_resource",
                &options.azure_foundry_resource,
                Place::Label,
            ),
            upstream_url: text("upstream_url", &options.upstream_url, in_url),
            upstream_path: text("upstream_path", &options.upstream_path, Place::Path),
            options: options.clone(),
            sample: None,
            is_host_theirs: false,
        })
    }

    fn has_template_in_host(&self, provider: Provider, options: &Options) -> Result<bool, Invalid> {
        let is_filled = |text: &Text| matches!(text, Text::Template(_));
        let Some(url) = &options.upstream_url else {
            let name = match Fixed::new(options).is_foundry {
                true => self.foundry_resource.as_ref().or(self.azure_instance.as_ref()),
                false => self.azure_instance.as_ref(),
            };
            return Ok(provider == Provider::Azure && name.is_some_and(is_filled));
        };
        let place = place_in_url(url).map_err(Invalid::url("upstream_url"))?;
        Ok(place == Place::Label && self.upstream_url.as_ref().is_some_and(is_filled))
    }

    fn are_fixed(&self) -> bool {
        let texts = [
            &self.azure_instance,
            &self.azure_deployment_id,
            &self.azure_api_version,
            &self.foundry_resource,
            &self.upstream_url,
            &self.upstream_path,
        ];
        texts.into_iter().flatten().all(|text| text.fixed().is_some())
    }

    /// Fills every text in and works out the place. At load the fault is a mistake in the
    /// configuration; later it can only be the client's value.
    fn locate<'a, E: From<Invalid>>(
        &'a self,
        provider: Provider,
        route: RouteType,
        fill: impl Fn(&'a Text) -> Result<Cow<'a, str>, E>,
    ) -> Result<Located, E> {
        let fill = |text: &'a Option<Text>| text.as_ref().map(&fill).transpose();
        let instance = fill(&self.azure_instance)?;
        let deployment = fill(&self.azure_deployment_id)?;
        let version = fill(&self.azure_api_version)?;
        let resource = fill(&self.foundry_resource)?;
        let (url, path) = (fill(&self.upstream_url)?, fill(&self.upstream_path)?);
        let site = Site {
            azure_instance: instance.as_deref(),
            azure_deployment_id: deployment.as_deref(),
            azure_api_version: version.as_deref(),
            foundry_resource: resource.as_deref(),
            upstream_url: url.as_deref(),
            upstream_path: path.as_deref(),
            fixed: Fixed::new(&self.options),
        };
        Ok(site.locate(provider, route)?)
    }
}

impl From<Invalid> for Error {
    /// A place that was fine with a stand-in and is not with the client's value.
    fn from(invalid: Invalid) -> Self {
        let field = match invalid {
            Invalid::Missing(field) | Invalid::Url { field, .. } => field,
            _ => "the target",
        };
        Self::UnsafeValue { field }
    }
}

/// What a template in a URL stands for. It may not choose where our credential goes, so in front
/// of the path only a part of a host name is left to it.
fn place_in_url(url: &str) -> Result<Place, BadUrl> {
    let Some((before, _, after)) = first_template(url) else { return Ok(Place::Path) };
    let (_, rest) = before.split_once("://").ok_or(BadUrl::TemplateInHost)?;
    if rest.contains('/') {
        return Ok(Place::Path);
    }
    // The domain stays ours: a last label of the client's could be any host, or a whole address
    // in one number.
    let name = after.split(['/', ':', '?', '#']).next().unwrap_or_default();
    let domain = name.split_once('.').map_or("", |(_, domain)| domain);
    let is_ours = domain.contains(|c: char| c.is_ascii_alphabetic());
    if is_ours { Ok(Place::Label) } else { Err(BadUrl::TemplateInHost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_send_the_credential_to_a_host_of_its_choice() {
        for url in [
            "https://$(headers.x)",
            "https://$(headers.x)/v1",
            "https://$(headers.x):8443/v1",
            "https://eu.$(headers.x)/a.b",
            "https://$(headers.x).1/v1",
            "https://$(headers.x).",
            "$(headers.x)://example.com",
            "$(headers.x)",
        ] {
            assert_eq!(place_in_url(url), Err(BadUrl::TemplateInHost), "{url}");
        }
        for url in ["https://$(headers.x).example.com", "https://a-$(headers.x)-b.corp:8443/v1"] {
            assert_eq!(place_in_url(url), Ok(Place::Label), "{url}");
        }
        assert_eq!(place_in_url("https://example.com/$(headers.x)"), Ok(Place::Path));
    }
}
