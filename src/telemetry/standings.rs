//! The targets of AI plugins on `/status` and `/metrics`: who is there, and who is not and why.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::metrics::label_text;
use crate::standings::{OPERATIONS, Standing};

/// The targets for `/status`.
pub(super) fn describe(targets: &[Arc<Standing>]) -> Value {
    let one = |standing: &Arc<Standing>| {
        let label = standing.label();
        let cools = OPERATIONS.iter().filter_map(|operation| {
            let left = standing.cools(*operation)?;
            Some((operation.as_str().to_owned(), left.as_secs_f64().into()))
        });
        let now = standing.now();
        json!({
            "plugin": label.plugin,
            "target": label.target,
            "in_flight": standing.open.value(),
            "failures": standing.fails(),
            "rests_secs": standing.rests().map(|left| left.as_secs_f64()),
            "cools_secs": Value::Object(cools.collect::<Map<_, _>>()),
            "latency_ms": standing.latency.get(),
            "used_in_last_minute": standing.used.sliding(now),
        })
    };
    targets.iter().map(one).collect()
}

/// The same as gauges. Those of one target in `/status` are called alike.
pub(super) fn render(targets: &[Arc<Standing>]) -> String {
    let mut text = String::new();
    if targets.is_empty() {
        return text;
    }
    let mut family = |name: &str, help: &str, value: &dyn Fn(&Standing) -> f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        let mut last = None;
        for standing in targets {
            // Two configurations that are in force for a moment may have a target each.
            let label = Some(standing.label());
            if label != last
                && let Some(label) = &label
            {
                let labels = label_text(&[("plugin", &label.plugin), ("target", &label.target)]);
                let _ = writeln!(text, "{name}{{{labels}}} {}", value(standing));
            }
            last = label;
        }
    };
    family("silverback_ai_target_in_flight", "Requests under way", &|one| one.open.value() as f64);
    family("silverback_ai_target_failures", "Failures that count (max_fails)", &|one| {
        f64::from(one.fails())
    });
    family("silverback_ai_target_rests_seconds", "Left of fail_timeout", &|one| {
        one.rests().map_or(0.0, |left| left.as_secs_f64())
    });
    family("silverback_ai_target_cools_seconds", "Left of what the target asked for", &|one| {
        let left = OPERATIONS.iter().filter_map(|operation| one.cools(*operation));
        left.max().map_or(0.0, |left| left.as_secs_f64())
    });
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::llm::RouteType;
    use crate::standings::{Label, Standings};

    #[tokio::test(start_paused = true)]
    async fn who_rests_and_who_cools_is_seen() {
        let standings = Standings::default();
        let label = |target: &str| Label { plugin: "p".to_owned(), target: target.to_owned() };
        let ptu = standings.of("id", "a", &label("ptu/gpt"));
        let other = standings.of("id", "b", &label("payg/gpt"));
        ptu.cool(RouteType::Chat, Duration::from_millis(2500));
        ptu.open.enter();
        other.fail(1, Duration::from_secs(10));
        let list = standings.list();
        let seen = describe(&list);
        assert_eq!(seen[0]["target"], "payg/gpt");
        assert_eq!((&seen[0]["rests_secs"], &seen[0]["failures"]), (&json!(10.0), &json!(1)));
        assert_eq!(seen[1]["cools_secs"], json!({"llm/v1/chat": 2.5}));
        assert_eq!((&seen[1]["in_flight"], &seen[1]["latency_ms"]), (&json!(1), &Value::Null));
        let text = render(&list);
        for line in [
            "silverback_ai_target_in_flight{plugin=\"p\",target=\"ptu/gpt\"} 1\n",
            "silverback_ai_target_rests_seconds{plugin=\"p\",target=\"payg/gpt\"} 10\n",
            "silverback_ai_target_cools_seconds{plugin=\"p\",target=\"ptu/gpt\"} 2.5\n",
            "silverback_ai_target_failures{plugin=\"p\",target=\"ptu/gpt\"} 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert_eq!(render(&[]), "");
    }
}
