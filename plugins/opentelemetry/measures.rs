//! What is measured for collectors: calls of models, requests, and the gateway's own time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::gen_ai::provider;
use super::spans::path_of;
use crate::metrics::Histogram;
use crate::otlp::{Instrument, Label, Labels, Meter};
use crate::pdk::{Exchange, ModelCall, Times};

static TOKENS: Instrument = Instrument {
    name: "gen_ai.client.token.usage",
    description: "Tokens of calls of models, input and output",
    unit: "{token}",
    per_unit: 1.0,
    bounds: &[
        1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216,
        67_108_864,
    ],
};

/// Times are counted in microseconds and told in seconds.
const SECONDS: Instrument =
    Instrument { name: "", description: "", unit: "s", per_unit: 1e6, bounds: &[] };

static OPERATION: Instrument = Instrument {
    name: "gen_ai.client.operation.duration",
    description: "How long calls of models took",
    bounds: &[
        10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000, 2_560_000, 5_120_000,
        10_240_000, 20_480_000, 40_960_000, 81_920_000,
    ],
    ..SECONDS
};

static FIRST_CHUNK: Instrument = Instrument {
    name: "gen_ai.client.operation.time_to_first_chunk",
    description: "From sending the request to the first event of a stream",
    bounds: &[
        1000, 5000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000, 750_000,
        1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
    ],
    ..SECONDS
};

static REQUEST: Instrument = Instrument {
    name: "http.server.request.duration",
    description: "How long requests took, to the last byte of the response",
    bounds: &[
        5000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
        2_500_000, 5_000_000, 7_500_000, 10_000_000,
    ],
    ..SECONDS
};

static OVERHEAD: Instrument = Instrument {
    name: "silverback.overhead",
    description: "What the gateway itself took of the time of requests",
    bounds: Times::OVERHEAD_BOUNDS_US,
    ..SECONDS
};

/// Series that one worker keeps; further ones are asked for each time.
const KNOWN_MAX: usize = 2000;

/// The series of one worker.
pub(super) struct Measures {
    meter: Arc<Meter>,
    known: RefCell<HashMap<(&'static str, Labels), Histogram>>,
}

impl Measures {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        Self { meter, known: RefCell::default() }
    }

    /// Counts an exchange that is over.
    pub(super) fn count(&self, ex: &Exchange) {
        let calls = ex.own.all::<ModelCall>();
        calls.iter().for_each(|call| self.count_call(call));
        let labels = of_request(ex);
        if let Some(started) = ex.times.started.get() {
            self.time(&REQUEST, &labels, started.elapsed());
        }
        if let Some(overhead) = ex.times.overhead.get() {
            self.time(&OVERHEAD, &labels, overhead);
        }
    }

    fn count_call(&self, call: &ModelCall) {
        let mut labels = of_call(call);
        if let Some(first) = call.first {
            self.time(&FIRST_CHUNK, &labels, first);
        }
        for (kind, tokens) in [("input", call.prompt_tokens), ("output", call.completion_tokens)] {
            let Some(tokens) = tokens else { continue };
            let mut labels = labels.clone();
            labels.push(("gen_ai.token.type", text(kind)));
            self.observe(&TOKENS, &labels, tokens);
        }
        if let Some(error) = &call.error {
            labels.push(("error.type", text(error)));
        }
        self.time(&OPERATION, &labels, call.took);
    }

    fn time(&self, instrument: &'static Instrument, labels: &Labels, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.observe(instrument, labels, micros);
    }

    fn observe(&self, instrument: &'static Instrument, labels: &Labels, value: u64) {
        let key = (instrument.name, labels.clone());
        let mut known = self.known.borrow_mut();
        if let Some(histogram) = known.get(&key) {
            return histogram.observe(value);
        }
        let histogram = self.meter.series(instrument, labels);
        histogram.observe(value);
        if known.len() < KNOWN_MAX {
            known.insert(key, histogram);
        }
    }
}

fn text(text: &str) -> Label {
    Label::Text(text.into())
}

fn of_call(call: &ModelCall) -> Labels {
    let (host, port) = &call.server;
    let mut labels = vec![
        ("gen_ai.operation.name", text(call.operation)),
        ("gen_ai.provider.name", text(provider(call.provider))),
        ("gen_ai.request.model", Label::Text(call.counted_as.clone())),
        ("server.address", text(host)),
        ("server.port", Label::Number((*port).into())),
    ];
    if let Some(model) = &call.answered_by {
        labels.push(("gen_ai.response.model", text(model)));
    }
    labels
}

fn of_request(ex: &Exchange) -> Labels {
    let method = match ex.request.method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::TRACE
        | Method::CONNECT => ex.request.method.as_str(),
        _ => "_OTHER",
    };
    let status = ex.response.status().as_u16();
    let mut labels = vec![
        ("http.request.method", text(method)),
        ("http.response.status_code", Label::Number(status.into())),
        ("url.scheme", text(ex.request.scheme())),
    ];
    if let Some(matched) = ex.matched() {
        let route = &matched.route;
        let name = |name: Option<&String>, id: uuid::Uuid| match name {
            Some(name) => text(name),
            None => text(&id.to_string()),
        };
        labels.push(("kong.route.name", name(route.name.as_ref(), route.id)));
        if let Some(service) = &matched.service {
            labels.push(("kong.service.name", name(service.name.as_ref(), service.id)));
        }
        labels.extend(path_of(ex).map(|path| ("http.route", text(path))));
    }
    if status >= 500 {
        labels.push(("error.type", text(&status.to_string())));
    }
    labels
}
