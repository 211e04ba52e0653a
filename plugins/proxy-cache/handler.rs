//! Keeps replies and gives them to the next who asks the same.
//!
//! What is the same, Kong's key says (`key`). A reply is kept once its last byte has gone to the
//! client: nothing waits for it, and one that breaks off is not kept. All workers share one store
//! of limited size (`cache`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPIRES,
    HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::Context;
use super::directives::Directives;
use super::keeping::Keeping;
use crate::cache::{Kept, Key, REPLY_MAX};
use crate::pdk::{Chunk, Exchange};
use crate::plugin::{Outcome, Phases, Plugin, Step};
use crate::shared::Shared;
use media::Media;

mod key;
mod media;

const X_CACHE_KEY: HeaderName = HeaderName::from_static("x-cache-key");
const X_CACHE_STATUS: HeaderName = HeaderName::from_static("x-cache-status");

/// What speaks of one connection, or of a reply that is told anew.
const NOT_KEPT: [HeaderName; 12] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    HeaderName::from_static("trailers"),
    TRANSFER_ENCODING,
    UPGRADE,
    CONTENT_LENGTH,
    AGE,
    X_CACHE_KEY,
    X_CACHE_STATUS,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    response_code: Vec<u16>,
    request_method: Vec<String>,
    content_type: Vec<String>,
    cache_ttl: Option<u64>,
    #[allow(dead_code)]
    strategy: Strategy,
    cache_control: bool,
    ignore_uri_case: Option<bool>,
    storage_ttl: Option<i64>,
    #[allow(dead_code)]
    memory: Option<Memory>,
    vary_query_params: Option<Vec<String>>,
    vary_headers: Option<Vec<String>>,
    response_headers: Option<Shown>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    Memory,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    #[allow(dead_code)]
    dictionary_name: String,
}

/// The headers that tell the client about the cache.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    age: Option<bool>,
    #[serde(rename = "X-Cache-Status")]
    status: Option<bool>,
    #[serde(rename = "X-Cache-Key")]
    key: Option<bool>,
}

struct ProxyCache {
    config: Config,
    content_types: Vec<Media>,
    shared: Arc<Shared>,
}

/// The reply of an exchange is to be kept under this key, if it is of a kind that is kept.
struct Wanted(Key);

/// What comes of the reply so far.
struct Pending {
    key: Key,
    headers: HeaderMap,
    /// Seconds.
    ttl: f64,
    body: Keeping,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    let content_types = config.content_type.iter().filter_map(|kind| Media::read(kind)).collect();
    Ok(Box::new(ProxyCache { config, content_types, shared: context.shared.clone() }))
}

impl Plugin for ProxyCache {
    fn phases(&self) -> Phases {
        Phases::ACCESS.and(Phases::HEADER_FILTER).and(Phases::BODY_FILTER)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::Done(self.look(ex))
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        let Some(wanted) = ex.own.find::<Wanted>() else { return Ok(()) };
        let Some(ttl) = self.lifetime(ex) else {
            self.show_status(ex, "Bypass");
            return Ok(());
        };
        let pending = Rc::new(Pending::new(ex, wanted.0, ttl));
        if has_no_body(ex) {
            self.keep(ex, &pending);
        } else {
            ex.own.keep(pending);
        }
        Ok(())
    }

    fn body_filter(&self, ex: &Exchange, chunk: &mut Chunk) -> Outcome {
        let Some(pending) = ex.own.find::<Pending>() else { return Ok(()) };
        if pending.body.is_whole_with(ex, "proxy-cache", chunk) {
            self.keep(ex, &pending);
        }
        Ok(())
    }
}

impl Pending {
    fn new(ex: &Exchange, key: Key, ttl: f64) -> Self {
        let told = ex.response.headers();
        let mut headers = HeaderMap::with_capacity(told.len());
        let is_kept = |name: &HeaderName| {
            !NOT_KEPT.contains(name) && !name.as_str().contains("ratelimit-remaining")
        };
        for (name, value) in told.iter().filter(|(name, _)| is_kept(name)) {
            headers.append(name.clone(), value.clone());
        }
        let body = Keeping::new(ex, REPLY_MAX);
        Self { key, headers, ttl, body }
    }
}

impl ProxyCache {
    /// Answers with what was kept, or notes that the reply is to be.
    fn look(&self, ex: &Exchange) -> Outcome {
        let asked = Directives::of(&ex.request.headers(), &CACHE_CONTROL);
        if !self.may_keep(ex, &asked) {
            self.show_status(ex, "Bypass");
            return Ok(());
        }
        let key = key::of(ex, &self.config);
        if self.shows(ex, |shown| shown.key) {
            ex.response.set_header(X_CACHE_KEY, key::header(&key));
        }
        let now_ms = unix_ms();
        let now = now_ms / 1000;
        let status = match self.shared.cache.find(&key, now_ms) {
            Some(kept) if self.is_good_enough(&kept, &asked, now) => {
                return self.answer(ex, &kept, &key, now);
            }
            Some(_) => "Refresh",
            None if self.config.cache_control && asked.has("only-if-cached") => {
                return ex.response.exit(StatusCode::GATEWAY_TIMEOUT, None, Bytes::new());
            }
            None => "Miss",
        };
        ex.own.keep(Rc::new(Wanted(key)));
        self.show_status(ex, status);
        Ok(())
    }

    fn may_keep(&self, ex: &Exchange, asked: &Directives) -> bool {
        let method = ex.request.method.as_str();
        let is_secret = || {
            asked.has("no-store")
                || asked.has("no-cache")
                || ex.request.headers().contains_key(AUTHORIZATION)
        };
        self.config.request_method.iter().any(|known| known == method)
            && !(self.config.cache_control && is_secret())
    }

    /// Whether a client takes what was kept.
    fn is_good_enough(&self, kept: &Kept, asked: &Directives, now: u64) -> bool {
        let age = now.saturating_sub(kept.stored_at) as f64;
        if !self.config.cache_control {
            return age <= self.fresh_secs();
        }
        let within = |name, amount: f64| asked.seconds(name).is_none_or(|most| amount <= most);
        within("max-age", age)
            && within("max-stale", age - kept.ttl)
            && asked.seconds("min-fresh").is_none_or(|least| kept.ttl - age >= least)
    }

    fn fresh_secs(&self) -> f64 {
        self.config.cache_ttl.unwrap_or(300) as f64
    }

    /// The reply as it was kept; the client is told of the upstream as if it had been asked.
    fn answer(&self, ex: &Exchange, kept: &Kept, key: &Key, now: u64) -> Outcome {
        let outcome = ex.response.exit(kept.status, None, kept.body.clone());
        ex.response.is_replayed.set(true);
        {
            let mut headers = ex.response.headers_mut();
            for name in kept.headers.keys() {
                headers.remove(name);
                for value in kept.headers.get_all(name) {
                    headers.append(name, value.clone());
                }
            }
            headers.remove(X_CACHE_KEY);
            if self.shows(ex, |shown| shown.age) {
                headers.insert(AGE, HeaderValue::from(now.saturating_sub(kept.stored_at)));
            }
            if self.shows(ex, |shown| shown.key) {
                headers.insert(X_CACHE_KEY, key::header(key));
            }
        }
        self.show_status(ex, "Hit");
        outcome
    }

    fn show_status(&self, ex: &Exchange, status: &'static str) {
        if self.shows(ex, |shown| shown.status) {
            ex.response.set_header(X_CACHE_STATUS, HeaderValue::from_static(status));
        }
    }

    fn shows(&self, ex: &Exchange, one: impl Fn(&Shown) -> Option<bool>) -> bool {
        let is_on = |shown: &Shown| one(shown).unwrap_or(false);
        self.config.response_headers.as_ref().is_none_or(is_on)
            || ex.request.headers().contains_key("kong-debug")
    }

    /// How many seconds the reply is good for; `None` if it is not of a kind that is kept.
    fn lifetime(&self, ex: &Exchange) -> Option<f64> {
        let status = ex.response.status().as_u16();
        let headers = ex.response.headers();
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.filter(|kind| !kind.is_empty())?;
        let kind = Media::read(kind);
        let is_kept = self.config.response_code.contains(&status)
            && self.content_types.iter().any(|known| known.covers(kind.as_ref()));
        if !is_kept {
            return None;
        }
        if !self.config.cache_control {
            return Some(self.fresh_secs());
        }
        let said = Directives::of(&headers, &CACHE_CONTROL);
        let ttl = said.lifetime(headers.get_all(EXPIRES).iter().next_back(), SystemTime::now());
        let is_public = !["private", "no-store", "no-cache"].iter().any(|word| said.has(word));
        (is_public && ttl > 0.0).then_some(ttl)
    }

    fn keep(&self, ex: &Exchange, pending: &Pending) {
        let Some(body) = pending.body.take() else { return };
        let storage_ms = match self.config.storage_ttl {
            // nginx' shared memory takes 0 for ever, and no negative time.
            Some(0) => u64::MAX,
            Some(secs) if secs < 0 => return,
            Some(secs) => secs.unsigned_abs().saturating_mul(1000),
            None => (pending.ttl * 1000.0) as u64,
        };
        let now_ms = unix_ms();
        let kept = Kept {
            status: ex.response.status(),
            headers: pending.headers.clone(),
            // A copy: the pieces may be small parts of large buffers.
            body: Bytes::copy_from_slice(&body.bytes),
            stored_at: now_ms / 1000,
            ttl: pending.ttl,
            expires_at_ms: now_ms.saturating_add(storage_ms),
        };
        self.shared.cache.keep(pending.key, kept);
    }
}

/// Whether nobody will ask for the body of a reply, so that no filter sees its end.
fn has_no_body(ex: &Exchange) -> bool {
    let is_empty = |length: HeaderValue| length == "0";
    ex.response.body().is_none()
        && (ex.request.method == Method::HEAD
            || matches!(ex.response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || ex.response.header(CONTENT_LENGTH).is_some_and(is_empty))
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
