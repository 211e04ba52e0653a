//! Replays a recording against a gateway of its own, and tries a configuration without one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use silverback::config::Source;
use silverback::gateway::Control;
use silverback::loader::{self, Input};
use silverback::settings::{Env, Flags, Settings};
use silverback::shared::Shared;
use tempfile::TempDir;
use tokio::task::LocalSet;

use super::case::{Answers, Case, Got, Seen, Step};
use super::client;
use super::compare::{self, Difference, Differences};
use super::metrics;
use super::mock::{AUTHORITY, Mocks, NAMES};
use super::places::{PROXY, Places};
use super::{probes, record};
use crate::gateway::{Builder, TestGateway};

/// The file that the recordings log to.
const LOG: &str = "/tmp/kong-golden-case.log";

/// Everything in which a case differs from its recording; `lua` is a folder of Lua to run it with.
pub fn case(case: &Case, lua: Option<&Path>) -> Vec<Difference> {
    if case.is_about_loading() {
        return load(case);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, replay(case, lua))
}

async fn replay(case: &Case, lua: Option<&Path>) -> Vec<Difference> {
    let mut places = Places::default();
    let mocks = Mocks::start(&mut places).await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = match start(case, &places, &folder, lua) {
        Ok(gateway) => gateway,
        Err(errors) => return refused(&errors),
    };
    places.add(PROXY, gateway.address);
    let steps = case.steps();
    let (seen, responses) = (case.seen(), case.responses::<Vec<Answers>>());
    let responses: Vec<_> = responses.into_iter().map(Answers::into_vec).collect();
    let replies = case.replies(steps.len());
    let mut differences = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        mocks.answer(replies[n].clone());
        let want = &responses[n];
        if let ([want], true) = (want.as_slice(), is_about_metrics(step, want)) {
            differences.extend(metrics(&gateway, (n, step), want, &places).await);
            continue;
        }
        let sent =
            if step.parallel.is_empty() { std::slice::from_ref(step) } else { &step.parallel };
        let calls = sent.iter().map(|step| client::send(gateway.address, step, &places));
        let got = futures_util::future::join_all(calls).await;
        let mut came: Vec<Seen> = mocks.take().into_iter().map(|one| left(one, &places)).collect();
        if !case.plugins().is_empty() {
            // The requests of a probe may overlap, and are recorded in this order.
            came.sort_by(|a, b| a.target.cmp(&b.target));
        }
        differences.extend(answers(case, n, (want, &seen[n]), (&got, &came)));
    }
    // Every record is written when the last exchange has ended.
    drop(gateway);
    if let Some(want) = case.log() {
        differences.extend(record::lines(&want, &logged(&folder, &places)));
    }
    differences
}

/// Compares the responses of a step; the requests upstream belong to the first of them.
fn answers(
    case: &Case,
    n: usize,
    (want, seen): (&[Got], &[Seen]),
    (got, came): (&[Got], &[Seen]),
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        let fails = got.status.is_some_and(|status| status >= 500);
        if want.closed_without_reply && case.accepts_5xx() && fails {
            continue;
        }
        let (seen, came) = if i == 0 { (seen, came) } else { (&[][..], &[][..]) };
        differences.extend(compare::step(n, (want, seen), (got, came)));
    }
    differences
}

/// Whether a step asked Kong's Admin API for metrics; here the status listener has them.
fn is_about_metrics(step: &Step, responses: &[Got]) -> bool {
    let is_admins = |(name, _): &(String, String)| name == "X-Kong-Admin-Latency";
    step.path == "/metrics" && responses.iter().flat_map(|one| &one.headers).any(is_admins)
}

/// An exchange is counted when its client has had its last byte: ask again until it is.
async fn metrics(
    gateway: &TestGateway,
    (n, step): (usize, &Step),
    want: &Got,
    places: &Places,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for _ in 0..200 {
        let got = client::send(gateway.status, step, places).await;
        differences = metrics::step(n, want, &got);
        let counted = |one: &Difference| {
            let name = one.what.as_str();
            name.ends_with("_total") && !name.contains("nginx") || name.ends_with("_ms")
        };
        if !differences.iter().any(counted) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    differences
}

fn start(
    case: &Case,
    places: &Places,
    folder: &TempDir,
    lua: Option<&Path>,
) -> Result<TestGateway, Vec<String>> {
    let trusted = folder.path().join("ca.pem");
    std::fs::write(&trusted, &AUTHORITY.pem).unwrap();
    let mut builder = Builder::default()
        .set("lua_ssl_trusted_certificate", trusted.to_str().unwrap())
        .set("allow_debug_header", "on")
        .set("silverback_drain_secs", "1");
    for name in NAMES {
        builder = builder.name(&format!("{name}:443"), places.today(443));
        let plain = places.today(19001);
        builder = builder.name(&format!("{name}:{}", plain.port()), plain);
    }
    if let Some(lua) = lua {
        builder =
            builder.set("lua_package_path", &format!("{0}/?.lua;{0}/?/init.lua", lua.display()));
    }
    let names = case.plugins();
    if !names.is_empty() {
        probes::install(&names, places, folder.path());
        let path = format!("{0}/?.lua;{0}/?/init.lua;;", folder.path().display());
        builder = builder.set("lua_package_path", &path).set("untrusted_lua", "on");
        builder = builder.set("plugins", &format!("bundled,{}", names.join(",")));
    }
    for (name, value) in case.env() {
        let name = name.trim_start_matches("KONG_").to_ascii_lowercase();
        builder = builder.set(&name, &value);
    }
    let log = folder.path().join("log");
    builder.try_start(&places.enter(&case.config()).replace(LOG, log.to_str().unwrap()))
}

/// A configuration that Kong loads and we do not.
fn refused(errors: &[String]) -> Vec<Difference> {
    let mut differences = Differences::new(0);
    differences.push("load", "a start", &errors.join("; "));
    differences.into_vec()
}

fn left(seen: Seen, places: &Places) -> Seen {
    let headers = seen.headers.into_iter().map(|(name, value)| (name, places.leave(&value)));
    Seen {
        headers: headers.collect(),
        target: places.leave(&seen.target),
        body: seen.body.map(|body| client::left(body, places)),
        ..seen
    }
}

fn logged(folder: &TempDir, places: &Places) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    let line = |line: &str| {
        let mut line = serde_json::from_str(&places.leave(line)).unwrap();
        ports(&mut line, places);
        line
    };
    text.lines().map(line).collect()
}

/// Puts the recorded ports where a record has a number.
fn ports(value: &mut Value, places: &Places) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| ports(item, places)),
        Value::Object(object) => {
            for (name, value) in object {
                if name == "port" && value.is_u64() {
                    *value = places.leave(&value.to_string()).parse().unwrap();
                }
                ports(value, places);
            }
        }
        _ => {}
    }
}

/// Tries a configuration: Kong's verdict, and every text of Kong's about it.
fn load(case: &Case) -> Vec<Difference> {
    let recorded: Value = case.responses();
    let accepted = recorded["kong_config_parse"]["exit"] == 0;
    let got = compile(case.config());
    let mut differences = Differences::new(0);
    match (accepted, got) {
        (true, Ok(())) => {}
        (true, Err(errors)) => differences.push("load", "a start", &errors.join("; ")),
        (false, Ok(())) => {
            let text = recorded["kong_config_parse"]["output"].as_str().unwrap_or_default();
            differences.push("load", text, "a start");
        }
        (false, Err(errors)) => {
            let mut texts = BTreeSet::new();
            leaves(&recorded["post_config"]["body"]["fields"], &mut texts);
            let all = errors.join("\n");
            for text in texts.iter().filter(|text| !all.contains(**text)) {
                differences.push("missing error", text, &all);
            }
            // Without a text, it was Kong's loader that failed, and there is nothing to compare.
            let known = |error: &&String| texts.iter().any(|text| error.contains(text));
            let unknown = errors.iter().filter(|error| !texts.is_empty() && !known(error));
            unknown.for_each(|error| differences.push("unexpected error", "none", error));
        }
    }
    differences.into_vec()
}

fn compile(config: String) -> Result<(), Vec<String>> {
    silverback::tls::install_provider();
    let control = Control::start().unwrap();
    let settings = Settings::read(&Flags::new(), Env::default(), None).unwrap().settings;
    let shared = Arc::new(Shared::new(settings, control.handle.clone(), None).unwrap());
    let source = Source { name: "kong.yaml".to_owned(), text: config };
    let compiled = loader::compile(&shared, &[Input::Text(source)]);
    control.stop();
    compiled.map(drop).map_err(|refused| refused.lines())
}

fn leaves<'a>(value: &'a Value, texts: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => drop(texts.insert(text)),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, texts)),
        Value::Object(object) => object.values().for_each(|value| leaves(value, texts)),
        _ => {}
    }
}
