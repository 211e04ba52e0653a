//! Gives every request an id in a header, so that its traces in several systems can be put
//! together. A client that brings an id keeps it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use uuid::Uuid;

use super::Context;
use crate::pdk::Exchange;
use crate::plugin::{Outcome, Phases, Plugin, Step};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    header_name: Option<String>,
    generator: Generator,
    echo_downstream: bool,
}

/// The form of the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Generator {
    #[serde(rename = "uuid")]
    Uuid,
    /// A UUID of the worker and a count of all ids that it made.
    #[serde(rename = "uuid#counter")]
    Counter,
    /// Address, port, process, connection, request and time.
    #[serde(rename = "tracker")]
    Tracker,
}

/// What the echo says.
struct Id(HeaderValue);

struct CorrelationId {
    header: HeaderName,
    generator: Generator,
    echo: bool,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    Ok(Box::new(CorrelationId::new(&context.config()?)?))
}

impl Plugin for CorrelationId {
    fn phases(&self) -> Phases {
        let access = Phases::ACCESS;
        if self.echo { access.and(Phases::HEADER_FILTER) } else { access }
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        let id = self.sent(ex).unwrap_or_else(|| {
            let id = self.made(ex);
            ex.request.set_header(self.header.clone(), id.clone());
            id
        });
        ex.log.set("correlation_id", String::from_utf8_lossy(id.as_bytes()).into());
        if self.echo {
            // A later plugin may change the header of the request.
            ex.own.keep(Rc::new(Id(id)));
        }
        Step::DONE
    }

    /// A request that was answered before `access` (no Route, say) has an id all the same.
    fn header_filter(&self, ex: &Exchange) -> Outcome {
        let known = ex.own.find::<Id>().map(|id| id.0.clone());
        let id = known.or_else(|| self.sent(ex)).unwrap_or_else(|| self.made(ex));
        ex.response.set_header(self.header.clone(), id);
        Ok(())
    }
}

impl CorrelationId {
    fn new(config: &Config) -> Result<Self, Vec<String>> {
        let wrong = |what: String| vec![format!("config.header_name: {what}")];
        let name = config.header_name.as_deref();
        let name = name.ok_or_else(|| wrong("null; leave it out or name a header".to_owned()))?;
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong(format!("'{name}' is no header name")))?;
        Ok(Self { header, generator: config.generator, echo: config.echo_downstream })
    }

    /// The id that came with the request; an empty one is none.
    fn sent(&self, ex: &Exchange) -> Option<HeaderValue> {
        ex.request.header(&self.header).filter(|id| !id.is_empty())
    }

    /// A new id.
    fn made(&self, ex: &Exchange) -> HeaderValue {
        let id = match self.generator {
            Generator::Uuid => random_uuid().to_string(),
            Generator::Counter => WORKER.with(|(worker, count)| {
                count.set(count.get() + 1);
                format!("{worker}#{}", count.get())
            }),
            Generator::Tracker => Self::tracker(ex),
        };
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Kong's form, `ip-port-pid-connection-requests-seconds`. The address is our own on the
    /// connection, which is a number of its own for each id: unique, as in Kong.
    fn tracker(ex: &Exchange) -> String {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let (ip, port) = (ex.request.connection.local, ex.request.connection.port);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed) + 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (pid, secs, millis) = (std::process::id(), now.as_secs(), now.subsec_millis());
        format!("{ip}-{port}-{pid}-{serial}-1-{secs}.{millis:03}")
    }
}

thread_local! {
    /// The UUID of this worker and how many ids it has made, whichever plugin asked.
    static WORKER: (Uuid, Cell<u64>) = (random_uuid(), Cell::new(0));
}

/// Tells requests apart; it is not a secret.
fn random_uuid() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdk::log;

    fn plugin(generator: Generator, echo: bool) -> CorrelationId {
        let config = Config { header_name: Some("X-C".into()), generator, echo_downstream: echo };
        CorrelationId::new(&config).unwrap()
    }

    fn id_of(plugin: &CorrelationId, headers: &[(&str, &str)]) -> String {
        let ex = Exchange::for_test("GET", "/", headers);
        assert!(matches!(plugin.access(&ex), Step::Done(Ok(()))));
        let id = ex.request.header("x-c").unwrap().to_str().unwrap().to_owned();
        assert_eq!(log::serialize(&ex)["correlation_id"], id);
        assert_eq!(ex.own.find::<Id>().is_some(), plugin.echo);
        id
    }

    #[test]
    fn an_id_that_is_there_is_kept_unless_it_is_empty() {
        let plugin = plugin(Generator::Uuid, true);
        assert_eq!(id_of(&plugin, &[("X-C", "mine")]), "mine");
        assert!(Uuid::parse_str(&id_of(&plugin, &[("X-C", "")])).is_ok());
    }

    #[test]
    fn the_counter_is_one_for_all_instances_of_a_worker() {
        let ids = [plugin(Generator::Counter, false), plugin(Generator::Counter, false)]
            .map(|plugin| id_of(&plugin, &[]));
        let [(first, one), (second, two)] = ids.each_ref().map(|id| id.split_once('#').unwrap());
        assert_eq!(first, second);
        assert_eq!(one.parse::<u64>().unwrap() + 1, two.parse::<u64>().unwrap());
        let other = std::thread::spawn(|| id_of(&plugin(Generator::Counter, false), &[]));
        assert_ne!(other.join().unwrap().split_once('#').unwrap().0, first);
    }

    #[test]
    fn a_tracker_has_kongs_form() {
        let id = id_of(&plugin(Generator::Tracker, false), &[]);
        let form = regex::Regex::new(r"^127\.0\.0\.1-8000-\d+-\d+-1-\d+\.\d{3}$").unwrap();
        assert!(form.is_match(&id), "{id}");
    }

    #[test]
    fn the_echo_is_of_the_first_hour_and_never_missing() {
        let plugin = plugin(Generator::Uuid, true);
        let ex = Exchange::for_test("GET", "/", &[("x-c", "mine")]);
        assert!(matches!(plugin.access(&ex), Step::Done(Ok(()))));
        ex.request.clear_header("x-c");
        let mut upstream = http::HeaderMap::new();
        upstream.insert("x-c", HeaderValue::from_static("of the upstream"));
        ex.response.take_head(http::StatusCode::OK, upstream);
        plugin.header_filter(&ex).unwrap();
        assert_eq!(ex.response.headers().get_all("x-c").iter().collect::<Vec<_>>(), ["mine"]);

        let refused = Exchange::for_test("GET", "/", &[]);
        plugin.header_filter(&refused).unwrap();
        assert!(refused.response.header("x-c").is_some());
    }

    #[test]
    fn a_header_that_cannot_be_is_refused_when_it_loads() {
        for (name, expected) in [
            (Some("X C"), "config.header_name: 'X C' is no header name"),
            (None, "config.header_name: null; leave it out or name a header"),
        ] {
            let config = Config {
                header_name: name.map(str::to_owned),
                generator: Generator::Uuid,
                echo_downstream: false,
            };
            assert_eq!(CorrelationId::new(&config).err().unwrap(), [expected]);
        }
    }
}
