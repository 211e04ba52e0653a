//! Answers every request, or those with a trigger, with a fixed response.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use crate::pdk::Exchange;
use crate::pdk::log::header_map;
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::respond;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    status_code: u16,
    message: Option<String>,
    content_type: Option<String>,
    body: Option<String>,
    echo: bool,
    trigger: Option<String>,
}

struct RequestTermination {
    config: Config,
    status: StatusCode,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    let status = StatusCode::from_u16(config.status_code)
        .map_err(|_| vec![format!("config.status_code: {} is no status", config.status_code)])?;
    Ok(Box::new(RequestTermination { config, status }))
}

impl Plugin for RequestTermination {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        if self.config.trigger.as_deref().is_some_and(|trigger| !triggered(ex, trigger)) {
            return Step::DONE;
        }
        if self.config.echo {
            return Step::wait(self.echo(ex));
        }
        Step::Done(self.answer(ex))
    }
}

impl RequestTermination {
    fn answer(&self, ex: &Exchange) -> Outcome {
        let Some(body) = &self.config.body else {
            let message = self.config.message.as_deref().unwrap_or_else(|| self.default_message());
            return respond::exit_message(ex, self.status, message);
        };
        let kind = self.config.content_type.as_deref();
        let kind = kind.unwrap_or("application/json; charset=utf-8");
        ex.response.exit(self.status, Some(kind), Bytes::from(body.clone()))
    }

    /// Kong's text for a status nobody gave a message for.
    fn default_message(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "Unauthorized",
            404 => "Not found",
            405 => "Method not allowed",
            500 => "An unexpected error occurred",
            502 => "Bad gateway",
            503 => "Service unavailable",
            _ => "Terminated",
        }
    }

    /// Tells the client what the gateway received, for debugging.
    async fn echo(&self, ex: &Exchange) -> Outcome {
        const LIMIT: usize = 1 << 20;
        let body = ex.request.body(LIMIT).await.unwrap_or_default();
        let request = &ex.request;
        let query: serde_json::Map<_, _> =
            url::form_urlencoded::parse(request.raw_query().unwrap_or_default().as_bytes())
                .map(|(name, value)| (name.into_owned(), value.into()))
                .collect();
        let mut echo = json!({
            "request": {
                "scheme": request.scheme(),
                "host": request.host,
                "port": request.connection.port,
                "headers": header_map(&request.headers()),
                "query": query,
                "body": String::from_utf8_lossy(&body),
                "raw_body": String::from_utf8_lossy(&body),
                "method": request.method.as_str(),
                "path": request.raw_path(),
                "uri_captures": {},
            },
        });
        if let Some(matched) = ex.matched() {
            echo["matched_route"] = (*matched.route.json).clone();
        }
        if let Some(message) = &self.config.message {
            echo["message"] = message.clone().into();
        }
        ex.response.exit(
            self.status,
            Some("application/json; charset=utf-8"),
            echo.to_string().into(),
        )
    }
}

/// The trigger is a header or a query argument, whatever its value.
fn triggered(ex: &Exchange, trigger: &str) -> bool {
    ex.request.headers().contains_key(trigger) || ex.request.query_arg(trigger).is_some()
}
