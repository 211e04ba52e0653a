//! Tells browsers which pages may read a reply (CORS).
//!
//! A preflight is answered here, unless the upstream is to do so; every other reply gets its
//! headers on the way back. One origin that is written out is named to everybody, as in Kong: it is
//! the browser that compares.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN,
    VARY,
};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Number;

use super::Context;
use crate::pdk::Exchange;
use crate::plugin::{Outcome, Phases, Plugin, Step};
use origins::{Allowed, Origins};

mod origins;

const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALL_METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    origins: Option<Vec<String>>,
    headers: Option<Vec<String>>,
    exposed_headers: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    max_age: Option<Number>,
    credentials: bool,
    private_network: bool,
    preflight_continue: bool,
    allow_origin_absent: bool,
}

struct Cors {
    origins: Origins,
    headers: Option<HeaderValue>,
    exposed_headers: Option<HeaderValue>,
    methods: HeaderValue,
    max_age: Option<HeaderValue>,
    credentials: bool,
    private_network: bool,
    preflight_continue: bool,
    allow_origin_absent: bool,
}

/// The exchange is a preflight: its reply is as it is to be.
struct Preflight;

/// What becomes of a `Vary` that is there already.
#[derive(Clone, Copy)]
enum Vary {
    /// A preflight has it once, whoever else has set it (Kong).
    Replaces,
    /// A reply keeps the upstream's.
    Joins,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(Cors::new(context.config()?)?))
}

impl Plugin for Cors {
    fn phases(&self) -> Phases {
        Phases::ACCESS.and(Phases::HEADER_FILTER)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        let has = |name| ex.request.headers().contains_key(name);
        let is_preflight = ex.request.method == Method::OPTIONS
            && origin(ex).is_some()
            && has(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return Step::DONE;
        }
        ex.own.keep(Rc::new(Preflight));
        Step::Done(if self.preflight_continue { Ok(()) } else { self.answer(ex) })
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        if ex.own.find::<Preflight>().is_some() {
            return Ok(());
        }
        let origin = origin(ex);
        if origin.is_some() || self.allow_origin_absent {
            self.allow(ex, origin.as_ref(), Vary::Joins);
            if let Some(names) = &self.exposed_headers {
                ex.response.set_header(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
            }
        }
        Ok(())
    }
}

impl Cors {
    fn new(config: Config) -> Result<Self, Vec<String>> {
        let methods = match config.methods {
            Some(methods) => joined("methods", &methods)?,
            None => HeaderValue::from_static(ALL_METHODS),
        };
        let some = |field: &str, names: Option<Vec<String>>| {
            let names = names.filter(|names| !names.is_empty());
            names.map(|names| joined(field, &names)).transpose()
        };
        let max_age = config.max_age.map(|seconds| joined("max_age", &[seconds.to_string()]));
        Ok(Self {
            origins: Origins::new(&config.origins.unwrap_or_default())?,
            headers: some("headers", config.headers)?,
            exposed_headers: some("exposed_headers", config.exposed_headers)?,
            methods,
            max_age: max_age.transpose()?,
            credentials: config.credentials,
            private_network: config.private_network,
            preflight_continue: config.preflight_continue,
            allow_origin_absent: config.allow_origin_absent,
        })
    }

    fn answer(&self, ex: &Exchange) -> Outcome {
        self.allow(ex, origin(ex).as_ref(), Vary::Replaces);
        let asked = || ex.request.header(ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(headers) = self.headers.clone().or_else(asked) {
            ex.response.set_header(ACCESS_CONTROL_ALLOW_HEADERS, headers);
        } else {
            ex.response.clear_header(ACCESS_CONTROL_ALLOW_HEADERS);
        }
        ex.response.set_header(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        if let Some(max_age) = &self.max_age {
            ex.response.set_header(ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        let is_private = |value: HeaderValue| value == "true";
        if self.private_network
            && ex.request.header(REQUEST_PRIVATE_NETWORK).is_some_and(is_private)
        {
            ex.response.set_header(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        ex.response.exit(StatusCode::OK, None, Bytes::new())
    }

    /// Says who may read the reply, and whether credentials may come along.
    fn allow(&self, ex: &Exchange, origin: Option<&HeaderValue>, vary: Vary) {
        let response = &ex.response;
        let say_vary = || match vary {
            Vary::Replaces => response.set_header(VARY, HeaderValue::from_static("Origin")),
            Vary::Joins => response.add_header(VARY, HeaderValue::from_static("Origin")),
        };
        let allowed = self.origins.allowed(origin);
        if self.origins.depend_on_the_client() {
            say_vary();
        }
        match &allowed {
            Allowed::All => {
                response.set_header(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Allowed::One(one) => response.set_header(ACCESS_CONTROL_ALLOW_ORIGIN, one.clone()),
            Allowed::Nobody => response.clear_header(ACCESS_CONTROL_ALLOW_ORIGIN),
        }
        if !self.credentials {
            return;
        }
        // Browsers take no `*` together with credentials.
        match (allowed, origin) {
            (Allowed::All, None) => return,
            (Allowed::All, Some(origin)) => {
                say_vary();
                response.set_header(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
            _ => {}
        }
        response.set_header(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// The origin that the client names, if it names one.
fn origin(ex: &Exchange) -> Option<HeaderValue> {
    ex.request.header(ORIGIN).filter(|origin| !origin.is_empty())
}

fn joined(field: &str, values: &[String]) -> Result<HeaderValue, Vec<String>> {
    HeaderValue::from_bytes(values.join(",").as_bytes())
        .map_err(|_| vec![format!("config.{field}: not the text of a header")])
}

#[cfg(test)]
mod tests;
