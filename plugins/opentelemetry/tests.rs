//! What is read of the client's headers, and what the upstream gets.

use serde_json::{Value, json};

use super::extract::{Found, extract};
use super::inject::{Told, inject};
use super::is_taken;
use super::propagation::{Config, Format, Propagation};
use crate::pdk::Exchange;

const LONG: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const SPAN: u64 = 0xb7ad_6b71_6920_3331;
const PARENT: u64 = 0x05e3_ac9a_4f6e_3b90;

fn format(name: &str) -> Format {
    serde_json::from_value(name.into()).unwrap()
}

fn request(headers: &[(&str, &str)]) -> Exchange {
    Exchange::for_test("GET", "/", headers)
}

/// What a format finds, and what it says.
fn found(name: &str, headers: &[(&str, &str)]) -> (Option<Found>, Vec<String>) {
    let (ex, mut said) = (request(headers), Vec::new());
    let found =
        extract(format(name), &ex.request.headers(), &mut |what| said.push(what.to_owned()));
    (found, said)
}

/// What was found, in short: trace and its bytes, span, parent, sampled, flags, single, baggage.
fn short(found: &Found) -> String {
    let hex = |id: Option<u64>| id.map_or("-".to_owned(), |id| format!("{id:x}"));
    let mut text = found.trace.map_or("-".to_owned(), |id| format!("{id:x}/{}", found.size));
    text += &format!(" {} {}", hex(found.span), hex(found.parent));
    text += &format!(" {}", found.sampled.map_or("-", |yes| if yes { "yes" } else { "no" }));
    text += &found.flags.as_ref().map(|flags| format!(" flags={flags}")).unwrap_or_default();
    text += if found.is_single { " single" } else { "" };
    for (name, value) in &found.baggage {
        text += &format!(" {name}={value}");
    }
    text
}

type Headers = &'static [(&'static str, &'static str)];

/// A format, the client's headers, and what is found.
#[rustfmt::skip]
const READ: &[(&str, Headers, &str)] = &[
    ("w3c", &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
        "af7651916cd43dd8448eb211c80319c/16 b7ad6b7169203331 - yes"),
    ("w3c", &[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02")],
        "af7651916cd43dd8448eb211c80319c/16 b7ad6b7169203331 - no"),
    ("b3", &[("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1")],
        "af7651916cd43dd8448eb211c80319c/16 b7ad6b7169203331 - yes single"),
    ("b3", &[("tracestate", "b3=0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0")],
        "af7651916cd43dd8448eb211c80319c/16 b7ad6b7169203331 - no single"),
    ("b3", &[("b3", "8448eb211c80319c-b7ad6b7169203331-d-05e3ac9a4f6e3b90")],
        "8448eb211c80319c/8 b7ad6b7169203331 5e3ac9a4f6e3b90 yes flags=1 single"),
    ("b3", &[("b3", "0")], "- - - no single"),
    ("b3", &[("x-b3-traceid", "8448eb211c80319c"), ("x-b3-spanid", "b7ad6b7169203331"),
            ("x-b3-parentspanid", "05e3ac9a4f6e3b90"), ("x-b3-sampled", "true")],
        "8448eb211c80319c/8 b7ad6b7169203331 5e3ac9a4f6e3b90 yes"),
    ("jaeger", &[("uberctx-user", "a%20b"),
            ("uber-trace-id", "8448eb211c80319c:b7ad6b7169203331:05e3ac9a4f6e3b90:1")],
        "8448eb211c80319c/8 b7ad6b7169203331 5e3ac9a4f6e3b90 yes user=a b"),
    ("ot", &[("ot-tracer-traceid", "8448eb211c80319c"), ("ot-tracer-spanid", "b7ad6b7169203331"),
            ("ot-tracer-sampled", "0"), ("ot-baggage-user", "a+b")],
        "8448eb211c80319c/8 b7ad6b7169203331 - no user=a b"),
    ("datadog", &[("x-datadog-trace-id", "9532127138774266268"),
            ("x-datadog-parent-id", "13235353014750950193"), ("x-datadog-sampling-priority", "2")],
        "8448eb211c80319c/8 b7ad6b7169203331 - yes"),
    ("aws", &[("x-amzn-trace-id",
            "Root=1-0af76519-16cd43dd8448eb211c80319c; Parent=b7ad6b7169203331;Sampled=1;L=x")],
        "af7651916cd43dd8448eb211c80319c/16 b7ad6b7169203331 - yes"),
    ("gcp", &[("x-cloud-trace-context",
            "0af7651916cd43dd8448eb211c80319c/13235353014750950193;o=1")],
        "af7651916cd43dd8448eb211c80319c/16 b7ad6b7169203331 - yes"),
    ("gcp", &[("x-cloud-trace-context", "0af7651916cd43dd8448eb211c80319c/13235353014750950193")],
        "af7651916cd43dd8448eb211c80319c/16 b7ad6b7169203331 - no"),
    ("instana", &[("x-instana-t", "0af7651916cd43dd8448eb211c80319c"),
            ("x-instana-s", "b7ad6b7169203331"), ("x-instana-l", "1,correlationType=web")],
        "af7651916cd43dd8448eb211c80319c/16 b7ad6b7169203331 - yes"),
];

#[test]
fn every_format_is_read() {
    for (name, headers, expected) in READ {
        let (found, said) = found(name, headers);
        assert_eq!(found.as_ref().map(short).as_deref(), Some(*expected), "{name} {headers:?}");
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn what_cannot_be_read_is_told_of_and_passed_over() {
    let long = "0af7651916cd43dd8448eb211c80319c";
    let cases = [
        ("w3c", "traceparent", "nonsense", "invalid W3C traceparent header"),
        (
            "w3c",
            "traceparent",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "invalid W3C Trace Context version",
        ),
        (
            "w3c",
            "traceparent",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "invalid W3C trace context trace ID",
        ),
        (
            "w3c",
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "invalid W3C trace context parent ID",
        ),
        ("b3", "b3", "+af7651916cd43dd-b7ad6b7169203331-1", "b3 single header invalid"),
        ("b3", "x-b3-sampled", "maybe", "x-b3-sampled header invalid"),
        ("jaeger", "uber-trace-id", "1:2:3", "invalid jaeger uber-trace-id header"),
        ("jaeger", "uber-trace-id", "0:2:0:1", "invalid jaeger trace ID"),
        ("datadog", "x-datadog-trace-id", "-5", "x-datadog-trace-id header invalid"),
        ("aws", "x-amzn-trace-id", "Root=1-2-3", "invalid aws header trace id"),
        ("gcp", "x-cloud-trace-context", long, "invalid GCP header"),
    ];
    for (name, header, value, why) in cases {
        let (nothing, said) = found(name, &[(header, value)]);
        assert_eq!((nothing, said), (None, vec![format!("{why}; ignoring.")]), "{name} {value}");
    }
    for name in ["w3c", "b3", "jaeger", "ot", "datadog", "aws", "gcp", "instana"] {
        assert_eq!(found(name, &[("ot-baggage-a", "b")]), (None, vec![]), "{name}");
        let many = [("traceparent", ""), ("b3", "é"), ("uber-trace-id", ""), ("x-instana-t", "é")];
        assert_eq!(found(name, &many).0, None, "{name}");
    }
}

/// A format, whether the trace came with an id of eight bytes that is not recorded, the upstream's
/// headers, and what log records say.
#[rustfmt::skip]
const WRITTEN: &[(&str, bool, &str, &str)] = &[
    ("w3c", false, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "w3c=0af7651916cd43dd8448eb211c80319c"),
    ("b3", false, "x-b3-traceid: 0af7651916cd43dd8448eb211c80319c, x-b3-spanid: b7ad6b7169203331, \
        x-b3-parentspanid: 05e3ac9a4f6e3b90, x-b3-sampled: 1",
        "b3=0af7651916cd43dd8448eb211c80319c"),
    ("b3", true, "x-b3-traceid: 8448eb211c80319c, x-b3-spanid: b7ad6b7169203331, x-b3-flags: 1",
        "b3=8448eb211c80319c"),
    ("b3-single", false,
        "b3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1-05e3ac9a4f6e3b90",
        "b3=0af7651916cd43dd8448eb211c80319c"),
    ("b3-single", true, "b3: 8448eb211c80319c-b7ad6b7169203331-d", "b3=8448eb211c80319c"),
    ("jaeger", false, "uber-trace-id: 0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:\
        05e3ac9a4f6e3b90:01, uberctx-user: a%20b%2F%C3%BC",
        "jaeger=0af7651916cd43dd8448eb211c80319c"),
    ("ot", false, "ot-tracer-traceid: 8448eb211c80319c, ot-tracer-spanid: b7ad6b7169203331, \
        ot-tracer-sampled: 1, ot-baggage-user: a%20b%2F%C3%BC", "ot=8448eb211c80319c"),
    ("datadog", false, "x-datadog-trace-id: 9532127138774266268, \
        x-datadog-parent-id: 13235353014750950193, x-datadog-sampling-priority: 1",
        "datadog=9532127138774266268"),
    ("aws", false, "x-amzn-trace-id: Root=1-0af76519-16cd43dd8448eb211c80319c;\
        Parent=b7ad6b7169203331;Sampled=1", "aws=0af7651916cd43dd8448eb211c80319c"),
    ("gcp", false, "x-cloud-trace-context: \
        0af7651916cd43dd8448eb211c80319c/13235353014750950193;o=1",
        "gcp=0af7651916cd43dd8448eb211c80319c"),
    ("instana", true, "x-instana-t: 8448eb211c80319c, x-instana-s: b7ad6b7169203331, \
        x-instana-l: 0", "instana=8448eb211c80319c"),
];

#[test]
fn every_format_is_written() {
    for (name, is_short, headers, shown) in WRITTEN {
        let told = Told {
            trace: LONG,
            size: if *is_short { 8 } else { 0 },
            span: SPAN,
            parent: (!is_short).then_some(PARENT),
            sampled: !is_short,
            flags: is_short.then_some("1"),
            baggage: &[("user".to_owned(), "a b/ü".to_owned())],
        };
        let mut written = Vec::new();
        let (format, id) =
            inject(format(name), &told, |name, value| written.push(format!("{name}: {value}")));
        assert_eq!(
            (written.join(", ").as_str(), format!("{format}={id}").as_str()),
            (*headers, *shown)
        );
    }
}

fn propagation(config: Value, header_type: Option<&str>) -> Propagation {
    let mut whole = json!({
        "extract": null, "clear": null, "inject": null, "default_format": "w3c",
    });
    for (name, value) in config.as_object().unwrap() {
        whole[name] = value.clone();
    }
    Propagation::new(serde_json::from_value::<Config>(whole).unwrap(), header_type)
}

/// The trace headers that an upstream gets of a request with these.
fn passed(propagation: &Propagation, headers: &[(&str, &str)]) -> Vec<String> {
    let ex = request(headers);
    let (format, found) = propagation.extract(&ex);
    let told = Told {
        trace: found.trace.unwrap_or(LONG),
        size: found.size,
        span: SPAN,
        parent: found.span,
        sampled: true,
        flags: found.flags.as_deref(),
        baggage: &found.baggage,
    };
    propagation.write(&ex, (format, found.is_single), &told);
    let headers = ex.request.headers();
    let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_clients_format_is_kept_and_others_are_added() {
    let parent = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let single = ("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1");
    let preserve = propagation(json!({}), Some("preserve"));
    assert_eq!(passed(&preserve, &[]), ["traceparent"]);
    assert_eq!(passed(&preserve, &[single]), ["b3"]);
    // Kong takes any tracestate for B3, and loses the trace.
    assert_eq!(passed(&preserve, &[("tracestate", "v=1"), parent]), ["traceparent", "tracestate"]);
    let gcp = propagation(json!({}), Some("gcp"));
    assert_eq!(passed(&gcp, &[parent]), ["traceparent", "x-cloud-trace-context"]);
    let ignore = propagation(json!({"default_format": "datadog"}), Some("ignore"));
    assert!(passed(&ignore, &[]).contains(&"x-datadog-trace-id".to_owned()));
    let chosen = json!({"extract": ["w3c"], "clear": ["Traceparent"], "inject": ["aws"]});
    let chosen = propagation(chosen, Some("preserve"));
    assert_eq!(passed(&chosen, &[parent]), ["x-amzn-trace-id"]);
    let silent = propagation(json!({"extract": ["w3c"]}), Some("preserve"));
    assert_eq!(passed(&silent, &[parent]), ["traceparent"]);
}

#[test]
fn a_trace_is_judged_by_the_first_bytes_of_its_id() {
    // Kong reads eight bytes as a number of a little-endian machine.
    let early = u128::from_be_bytes([0, 0, 0, 0, 0, 0, 0, 0x10, 255, 255, 255, 255, 0, 0, 0, 0]);
    assert!(is_taken(early, 0.07) && !is_taken(early, 0.06));
    assert!(is_taken(u128::MAX, 1.0) && !is_taken(1, 0.0));
}
