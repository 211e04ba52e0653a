//! Log lines on their way to collectors: beside stderr, for plugins that want them.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::pdk::Line;

/// Hears every line that is logged.
pub(super) struct Overheard;

impl<S: Subscriber> Layer<S> for Overheard {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !Line::is_wanted() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Line {
            at_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            level: *event.metadata().level(),
            text: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut Parts(&mut line));
        line.keep();
    }
}

struct Parts<'a>(&'a mut Line);

impl Parts<'_> {
    fn put(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.0.text = text,
            "request_id" => self.0.fields.push(("request.id", text)),
            name => self.0.fields.push((name, text)),
        }
    }
}

impl Visit for Parts<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.put(field, text);
    }
}
