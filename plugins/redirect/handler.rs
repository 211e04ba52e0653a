//! Sends every client to another address.

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use serde::Deserialize;
use url::Url;

use super::Context;
use crate::pdk::Exchange;
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::router::path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    status_code: u16,
    location: String,
    keep_incoming_path: Option<bool>,
}

struct Redirect {
    status: StatusCode,
    location: Location,
}

enum Location {
    /// As it is written.
    Fixed(HeaderValue),
    /// With path and query of the request.
    Followed(Url),
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(Redirect::new(&context.config()?).map_err(|error| vec![error])?))
}

impl Plugin for Redirect {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::Done(self.answer(ex))
    }
}

impl Redirect {
    fn new(config: &Config) -> Result<Self, String> {
        let status = StatusCode::from_u16(config.status_code)
            .map_err(|_| format!("config.status_code: {} is no status", config.status_code))?;
        let text = &config.location;
        let location = if config.keep_incoming_path == Some(true) {
            let url = Url::parse(text).map_err(|error| format!("config.location: {error}"))?;
            Location::Followed(url)
        } else {
            let value = HeaderValue::from_bytes(text.as_bytes());
            Location::Fixed(value.map_err(|_| "config.location: is no header value".to_owned())?)
        };
        Ok(Self { status, location })
    }

    fn answer(&self, ex: &Exchange) -> Outcome {
        let location = match &self.location {
            Location::Fixed(value) => Some(value.clone()),
            Location::Followed(url) => followed(url, ex),
        };
        if let Some(location) = location {
            ex.response.set_header(LOCATION, location);
        }
        ex.response.exit(self.status, None, Bytes::from_static(b"redirecting"))
    }
}

/// As the WHATWG's setters do it, which Kong uses. A fragment stays.
fn followed(url: &Url, ex: &Exchange) -> Option<HeaderValue> {
    let mut url = url.clone();
    url.set_path(&path::decoded(ex.request.raw_path()));
    url.set_query(ex.request.raw_query().filter(|query| !query.is_empty()));
    HeaderValue::from_str(url.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn location(config: serde_json::Value, target: &str) -> (u16, String) {
        let plugin = Redirect::new(&serde_json::from_value(config).unwrap()).unwrap();
        let ex = Exchange::for_test("GET", target, &[]);
        assert!(matches!(plugin.access(&ex), Step::Done(Err(_))));
        assert_eq!(ex.response.body().unwrap(), "redirecting");
        assert!(ex.response.header("content-type").is_none());
        let location = ex.response.header(LOCATION).unwrap();
        (ex.response.status().as_u16(), location.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_location_is_sent_as_it_is_written() {
        let config = json!({
            "status_code": 302, "location": "https://x.test/y?z=1#f", "keep_incoming_path": false,
        });
        assert_eq!(location(config, "/a?q=1"), (302, "https://x.test/y?z=1#f".to_owned()));
    }

    #[test]
    fn path_and_query_of_the_request_take_the_place_of_its_own() {
        let config = json!({
            "status_code": 301, "location": "https://x.test/y?z=1", "keep_incoming_path": true,
        });
        for (target, expected) in [
            ("/a/b?q=1&r=%20", "https://x.test/a/b?q=1&r=%20"),
            ("/a", "https://x.test/a"),
            ("/a?", "https://x.test/a"),
            ("/a%2Fb/%20c", "https://x.test/a%2Fb/%20c"),
        ] {
            assert_eq!(location(config.clone(), target), (301, expected.to_owned()));
        }
    }

    #[test]
    fn a_location_that_cannot_be_followed_is_an_error_at_load() {
        for (location, keep) in [("https://a b/", true), ("https://x.test/\n", false)] {
            let config =
                json!({"status_code": 301, "location": location, "keep_incoming_path": keep});
            let error = Redirect::new(&serde_json::from_value(config).unwrap()).err().unwrap();
            assert!(error.starts_with("config.location: "), "{error}");
        }
    }
}
