//! Why a target cannot be used.

use std::fmt;

use crate::llm::address::BadUrl;
use crate::llm::{Provider, RouteType};

/// Why a target cannot be used; found when the configuration loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// A provider or route type without a driver; `unsupported` has said so before.
    NotBuilt(Provider, RouteType),
    /// The schema asks for it, too.
    Missing(&'static str),
    /// A provider that everybody runs for themselves, or a workspace of one's own.
    NoUrl(Provider),
    /// A URL, or a part of one.
    Url {
        /// The option.
        field: &'static str,
        /// What is wrong with it.
        error: BadUrl,
    },
    /// `auth.header_name` or another field is no HTTP header. The value is not shown.
    Header(&'static str),
    /// `auth.header_name` or `auth.param_name` is a part that the gateway sets or reads.
    Reserved {
        /// The field.
        field: &'static str,
        /// What it says.
        name: String,
    },
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field(), self.problem())
    }
}

impl Invalid {
    pub(in crate::llm) fn url(field: &'static str) -> impl Fn(BadUrl) -> Self {
        move |error| Self::Url { field, error }
    }

    /// The field that it is about: its path in a target.
    pub fn field(&self) -> String {
        match self {
            Self::NotBuilt(..) => "model.provider".to_owned(),
            Self::Missing(field) | Self::Url { field, .. } => format!("model.options.{field}"),
            Self::NoUrl(_) => "model.options.upstream_url".to_owned(),
            Self::Header(field) => (*field).to_owned(),
            Self::Reserved { field, .. } => format!("auth.{field}"),
        }
    }

    /// What is wrong with it.
    pub fn problem(&self) -> String {
        match self {
            Self::NotBuilt(provider, route) => {
                format!("'{provider}' with route_type '{route}' is not built yet")
            }
            Self::Missing(_) => "must be set for provider azure, unless upstream_url is".to_owned(),
            Self::NoUrl(provider) => format!("must be set for provider {provider}"),
            Self::Url { error, .. } => error.to_string(),
            Self::Header(_) => "not valid in an HTTP header".to_owned(),
            Self::Reserved { name, .. } => {
                format!("'{name}' is a part of the request itself; choose another name")
            }
        }
    }
}
