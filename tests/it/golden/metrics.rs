//! Metrics in Prometheus' text: the families of Kong, by name, text, kind, labels and counts.
//!
//! Families of our own may stand beside them. Times, sizes and what nginx counts of itself differ
//! on every run; their labels must not.

use std::collections::BTreeMap;

use regex::Regex;

use super::case::Got;
use super::compare::{Difference, Differences, without_ids};

#[derive(Debug, Default, PartialEq)]
struct Family {
    help: String,
    kind: String,
    series: BTreeMap<String, String>,
}

/// The differences of a step that asked for metrics.
pub fn step(step: usize, want: &Got, got: &Got) -> Vec<Difference> {
    let mut differences = Differences::new(step);
    let (want, got) = (families(want), families(got));
    for (name, want) in &want {
        let got = got.get(name);
        if got != Some(want) {
            let what = format!("metric {name}");
            differences.push(&what, &format!("{want:?}"), &format!("{got:?}"));
        }
    }
    differences.into_vec()
}

fn families(got: &Got) -> BTreeMap<String, Family> {
    let body = got.body.clone().unwrap_or_default();
    let version = Regex::new("version=\"[^\"]*\"").unwrap();
    let mut families = BTreeMap::<String, Family>::new();
    let mut name = String::new();
    for line in body.text().unwrap_or_default().lines() {
        let line = version.replace(&without_ids(line), "version=\"<version>\"").into_owned();
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (family, help) = help.split_once(' ').unwrap();
            name = family.to_owned();
            families.entry(name.clone()).or_default().help = help.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            families.entry(name.clone()).or_default().kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let value = if is_volatile(series) { "<value>" } else { value };
            let family = families.entry(name.clone()).or_default();
            family.series.insert(series.to_owned(), value.to_owned());
        }
    }
    families
}

fn is_volatile(series: &str) -> bool {
    let is_time = series.contains("latency_ms_bucket") && !series.contains("le=\"+Inf\"")
        || series.contains("latency_ms_sum");
    is_time || ["kong_bandwidth_bytes", "kong_nginx_"].iter().any(|name| series.starts_with(name))
}
