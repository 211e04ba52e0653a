//! Answers every request, or those with a trigger, with a fixed response or a copy of the request.

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use crate::pdk::log::{header_map, query_args};
use crate::pdk::{Exchange, Matched};
use crate::plugin::{Outcome, Phases, Plugin, Step, Stop};
use crate::respond::{self, Failure};
use crate::router::path;

/// What Kong's `kong.response.exit` says of a table.
const JSON: &str = "application/json; charset=utf-8";

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
    /// Largest body that is echoed, bytes.
    body_limit: usize,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let limit = context.shared.settings.body_limit();
    Ok(Box::new(RequestTermination::new(context.config()?, limit)?))
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
    fn new(config: Config, body_limit: usize) -> Result<Self, Vec<String>> {
        let status = StatusCode::from_u16(config.status_code).map_err(|_| {
            vec![format!("config.status_code: {} is no status", config.status_code)]
        })?;
        Ok(Self { config, status, body_limit })
    }

    fn answer(&self, ex: &Exchange) -> Outcome {
        if let Some(body) = &self.config.body {
            // Kong says nothing of a body that nobody has said anything of.
            let kind = self.config.content_type.as_deref();
            return ex.response.exit(self.status, kind, Bytes::from(body.clone()));
        }
        match self.message() {
            Some(message) => respond::exit_message(ex, self.status, message),
            None => ex.response.exit(self.status, None, Bytes::new()),
        }
    }

    /// The message, or Kong's for the status; most statuses have none and so no body.
    fn message(&self) -> Option<&str> {
        let default = match self.status.as_u16() {
            401 => Some("Unauthorized"),
            404 => Some("Not found"),
            405 => Some("Method not allowed"),
            500 => Some("An unexpected error occurred"),
            502 => Some("Bad Gateway"),
            503 => Some("Service unavailable"),
            _ => None,
        };
        self.config.message.as_deref().or(default)
    }

    /// Tells the client what the gateway received, for debugging.
    async fn echo(&self, ex: &Exchange) -> Outcome {
        let body = match ex.request.body(self.body_limit).await {
            Ok(body) => body,
            Err(error) => {
                respond::fail(ex, Failure::from(&error));
                return Err(Stop::Exit);
            }
        };
        let mut echo = Map::new();
        if let Some(message) = self.message() {
            echo.insert("message".into(), message.into());
        }
        echo.insert("kong".into(), json!({"worker_pid": std::process::id()}));
        echo.insert("request".into(), request(ex, &body));
        if let Some(matched) = ex.matched() {
            echo.insert("matched_route".into(), (*matched.route.json).clone());
            if let Some(service) = &matched.service {
                echo.insert("matched_service".into(), (*service.json).clone());
            }
        }
        ex.response.exit(self.status, Some(JSON), Value::from(echo).to_string().into())
    }
}

/// The request as Kong's PDK shows it. Credentials stay masked: a plugin may have added them.
fn request(ex: &Exchange, body: &[u8]) -> Value {
    let request = &ex.request;
    let path = path::decoded(request.raw_path());
    let query = ex.service.query().unwrap_or_default();
    let mut shown = json!({
        "scheme": request.scheme(),
        "host": &*request.host(),
        "port": request.connection.port,
        "headers": header_map(&request.headers()),
        "query": query_args(&query),
        "raw_body": String::from_utf8_lossy(body),
        "method": request.method.as_str(),
        "path": path,
        "uri_captures": captures(ex.matched()),
    });
    if let Some(fields) = body_fields(ex, body) {
        shown["body"] = fields;
    }
    shown
}

/// A body that Kong can read: a JSON object or list, or a form.
fn body_fields(ex: &Exchange, body: &[u8]) -> Option<Value> {
    let kind = ex.request.header(CONTENT_TYPE)?;
    let kind = kind.to_str().ok()?.to_ascii_lowercase();
    if kind.starts_with("application/json") {
        let value: Value = serde_json::from_slice(body).ok()?;
        return (value.is_object() || value.is_array()).then_some(value);
    }
    let form = kind.starts_with("application/x-www-form-urlencoded");
    form.then(|| query_args(&String::from_utf8_lossy(body)))
}

/// Groups of the Route's regular expression. A named one is in both lists.
fn captures(matched: Option<&Matched>) -> Value {
    let all = matched.map_or(&[][..], |matched| &matched.captures);
    let is_number = |(name, _): &&(String, String)| name.bytes().all(|b| b.is_ascii_digit());
    let (unnamed, named): (Vec<_>, Vec<_>) = all.iter().partition(is_number);
    // The whole match, which is number 0, is in no list that begins with 1.
    let unnamed = unnamed.into_iter().filter(|(name, _)| name != "0");
    let unnamed: Vec<&str> = unnamed.map(|(_, text)| text.as_str()).collect();
    let named: Map<String, Value> =
        named.into_iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect();
    json!({"unnamed": unnamed, "named": named})
}

/// The trigger is a header or a query argument, whatever its value.
fn triggered(ex: &Exchange, trigger: &str) -> bool {
    ex.request.headers().contains_key(trigger) || ex.request.query_arg(trigger).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(changes: Value) -> RequestTermination {
        let mut config = json!({
            "status_code": 503, "message": null, "content_type": null, "body": null,
            "echo": false, "trigger": null,
        });
        for (name, value) in changes.as_object().unwrap() {
            config[name] = value.clone();
        }
        RequestTermination::new(serde_json::from_value(config).unwrap(), 1 << 20).unwrap()
    }

    async fn answers(plugin: &RequestTermination, ex: &Exchange) -> bool {
        matches!(plugin.access(ex).outcome().await, Err(Stop::Exit))
    }

    #[tokio::test]
    async fn a_status_has_a_message_a_body_or_nothing() {
        for (changes, kind, body) in [
            (json!({}), Some(JSON), r#"{"message":"Service unavailable"}"#),
            (json!({"status_code": 418, "message": "x"}), Some(JSON), r#"{"message":"x"}"#),
            (json!({"status_code": 418}), None, ""),
            (json!({"body": "<b>", "content_type": "text/html"}), Some("text/html"), "<b>"),
            (json!({"body": "{}"}), None, "{}"),
        ] {
            let ex = Exchange::for_test("GET", "/", &[]);
            assert!(answers(&plugin(changes), &ex).await);
            let sent = ex.response.header(CONTENT_TYPE);
            assert_eq!(sent.as_ref().and_then(|kind| kind.to_str().ok()), kind);
            assert_eq!(ex.response.body().unwrap(), body);
        }
    }

    #[tokio::test]
    async fn only_the_trigger_stops_a_request() {
        let plugin = plugin(json!({"trigger": "x-stop"}));
        for (target, headers, expected) in [
            ("/", &[("X-Stop", "1")][..], true),
            ("/?x-stop=1", &[], true),
            ("/?x-stop", &[], true),
            ("/?stop=x-stop", &[("x-go", "x-stop")], false),
        ] {
            let ex = Exchange::for_test("GET", target, headers);
            assert_eq!(answers(&plugin, &ex).await, expected, "{target}");
        }
    }

    #[tokio::test]
    async fn an_echo_shows_the_request_and_no_secret() {
        let headers = [
            ("host", "gw.test:8000"),
            ("x-t", "1"),
            ("authorization", "Bearer t"),
            ("content-type", "application/json"),
        ];
        let target = "/e/x%20y?a=1&a=2&b";
        let ex = Exchange::for_test_with_text("POST", target, &headers, r#"{"k": [1, null]}"#);
        assert!(answers(&plugin(json!({"status_code": 200, "echo": true})), &ex).await);
        let mut echo = ex.answer_json();
        assert!(echo["kong"].take().is_object());
        assert_eq!(
            echo,
            json!({"kong": null, "request": {
                "scheme": "http", "host": "gw.test", "port": 8000, "method": "POST",
                "path": "/e/x y", "query": {"a": ["1", "2"], "b": true},
                "headers": {
                    "host": "gw.test:8000", "x-t": "1", "authorization": "REDACTED",
                    "content-type": "application/json",
                },
                "raw_body": r#"{"k": [1, null]}"#, "body": {"k": [1, null]},
                "uri_captures": {"unnamed": [], "named": {}},
            }})
        );
    }

    #[tokio::test]
    async fn a_form_is_shown_by_its_fields_and_text_is_not() {
        for (kind, fields) in [
            ("application/x-www-form-urlencoded", json!({"a": "1", "b": true})),
            ("text/plain", Value::Null),
        ] {
            let ex = Exchange::for_test_with_text("POST", "/", &[("content-type", kind)], "a=1&b");
            assert!(answers(&plugin(json!({"echo": true})), &ex).await);
            assert_eq!(ex.answer_json()["request"]["body"], fields);
        }
    }

    #[test]
    fn captures_are_listed_by_number_and_by_name_without_the_whole_match() {
        let route = json!({
            "id": "6168c5d7-2dcf-58ac-923a-b8ba43aad6d4", "name": null, "protocols": [],
            "methods": null, "hosts": null, "paths": null, "headers": null, "snis": null,
            "https_redirect_status_code": 426, "regex_priority": 0, "strip_path": true,
            "preserve_host": false, "request_buffering": true, "response_buffering": true,
            "service": null, "tags": null,
        });
        let groups = [("0", "/7/x"), ("1", "7"), ("2", "x"), ("id", "x")];
        let matched = Matched {
            route: std::sync::Arc::new(serde_json::from_value(route).unwrap()),
            service: None,
            prefix: None,
            captures: groups.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        };
        let expected = json!({"unnamed": ["7", "x"], "named": {"id": "x"}});
        assert_eq!(captures(Some(&matched)), expected);
    }
}
