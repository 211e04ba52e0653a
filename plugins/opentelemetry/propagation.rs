//! Traces from the client's headers to the upstream's (Kong's `propagation`).

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::extract::{Found, extract};
use super::inject::{Told, header, inject};
use crate::pdk::Exchange;

/// A format of trace headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    W3c,
    B3,
    B3Single,
    Jaeger,
    Ot,
    Datadog,
    Aws,
    Gcp,
    Instana,
}

/// A format to write: one of them, or that of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Preserve,
    As(Format),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        if name == "preserve" {
            return Ok(Self::Preserve);
        }
        Format::deserialize(serde::de::value::StringDeserializer::new(name)).map(Self::As)
    }
}

/// The `propagation` record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    extract: Option<Vec<Format>>,
    clear: Option<Vec<String>>,
    inject: Option<Vec<Written>>,
    default_format: Format,
}

/// What is read, taken off and written.
pub(super) struct Propagation {
    extract: Vec<Format>,
    clear: Vec<HeaderName>,
    inject: Vec<Written>,
    default: Format,
}

/// The order of before there was a choice (Kong).
const ALL: [Format; 8] = [
    Format::B3,
    Format::W3c,
    Format::Jaeger,
    Format::Ot,
    Format::Datadog,
    Format::Aws,
    Format::Gcp,
    Format::Instana,
];

impl Propagation {
    /// `header_type`, the field of before Kong 3.7, counts where `config` has nothing but its
    /// default.
    pub(super) fn new(config: Config, header_type: Option<&str>) -> Self {
        let default = config.default_format;
        let is_new = config.extract.is_some() || config.clear.is_some() || config.inject.is_some();
        let (extract, inject) = match header_type {
            _ if is_new => (config.extract.unwrap_or_default(), config.inject.unwrap_or_default()),
            None => (Vec::new(), Vec::new()),
            Some("ignore") => (Vec::new(), vec![Written::As(default)]),
            Some("preserve") => (ALL.to_vec(), vec![Written::Preserve]),
            Some(other) => {
                let format = serde_json::from_value(other.into()).map(Written::As).ok();
                (ALL.to_vec(), [Written::Preserve].into_iter().chain(format).collect())
            }
        };
        let clear = config.clear.into_iter().flatten();
        let clear = clear.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
        Self { extract, clear, inject, default }
    }

    /// What the first format finds that finds anything.
    pub(super) fn extract(&self, ex: &Exchange) -> (Option<Format>, Found) {
        let headers = ex.request.headers();
        let mut told = |what: &str| {
            let plugin = "opentelemetry";
            tracing::warn!(request_id = %ex.id, fault = "client", plugin, "{what}");
        };
        for format in &self.extract {
            if let Some(found) = extract(*format, &headers, &mut told) {
                return (Some(*format), found);
            }
        }
        (None, Found::default())
    }

    /// Takes headers off and writes others. The id of the trace goes into the log record, in each
    /// format that was written.
    pub(super) fn write(&self, ex: &Exchange, from: (Option<Format>, bool), told: &Told<'_>) {
        self.clear.iter().for_each(|name| ex.request.clear_header(name));
        let mut shown = Map::new();
        for written in &self.inject {
            let format = match (written, from) {
                (Written::As(format), _) => *format,
                (Written::Preserve, (Some(Format::B3), true)) => Format::B3Single,
                (Written::Preserve, (from, _)) => from.unwrap_or(self.default),
            };
            let (name, id) = inject(format, told, |name, value| {
                if let Some((name, value)) = header(name, &value) {
                    ex.request.set_header(name, value);
                }
            });
            shown.insert(name.to_owned(), id.into());
        }
        if !shown.is_empty() {
            ex.log.set("trace_id", Value::Object(shown));
        }
    }
}

/// The id of a trace, as `http_response_header_for_traceid` shows it.
pub(super) fn id_text(trace: u128) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{trace:032x}")).ok()
}
