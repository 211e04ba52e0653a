//! The faults in force: rules in the order they came, and which `-once` faults have fired.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::call::Call;
use super::named;
use super::rule::{Rule, RuleError};

/// All rules of a simulator.
#[derive(Default)]
pub(super) struct Faults {
    rules: Vec<Active>,
    last_id: u64,
    fired_once: HashSet<String>,
}

struct Active {
    id: u64,
    rule: Arc<Rule>,
    /// What was asked for, as the list shows it.
    given: Rule,
    matched: u32,
    fired: u32,
}

/// The rule for one request, and what the record calls it.
pub(super) struct Chosen {
    pub(super) label: String,
    pub(super) rule: Arc<Rule>,
}

const RULES_MAX: usize = 1000;

impl Faults {
    pub(super) fn add(&mut self, given: Rule) -> Result<u64, RuleError> {
        if self.rules.len() >= RULES_MAX {
            return Err(RuleError::TooMany(RULES_MAX));
        }
        let rule = Arc::new(given.clone().resolved()?);
        self.last_id += 1;
        self.rules.push(Active { id: self.last_id, rule, given, matched: 0, fired: 0 });
        Ok(self.last_id)
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
        self.fired_once.clear();
    }

    /// The first rule that matches and is not used up; every matching rule before it is counted,
    /// so `skip` counts requests and not turns.
    pub(super) fn pick(&mut self, call: &Call) -> Option<Chosen> {
        for active in self.rules.iter_mut().filter(|active| active.rule.matches(call)) {
            active.matched = active.matched.saturating_add(1);
            let used_up = active.rule.times.is_some_and(|times| active.fired >= times);
            if active.matched > active.rule.skip && !used_up {
                active.fired = active.fired.saturating_add(1);
                let label = format!("rule {}", active.id);
                return Some(Chosen { label, rule: Arc::clone(&active.rule) });
            }
        }
        None
    }

    /// The fault that a deployment's name or a prompt's marker asks for.
    pub(super) fn named(&mut self, name: &str) -> Option<Chosen> {
        let rule = named::rule(name)?;
        if rule.times == Some(1) {
            if self.fired_once.len() >= RULES_MAX {
                self.fired_once.clear();
            }
            if !self.fired_once.insert(name.to_owned()) {
                return None;
            }
        }
        Some(Chosen { label: name.to_owned(), rule: Arc::new(rule) })
    }

    /// The rules with what is left of them.
    pub(super) fn to_json(&self) -> Value {
        let one = |active: &Active| {
            let times = active.rule.times;
            json!({
                "id": active.id,
                "fired": active.fired,
                "left": times.map(|times| times.saturating_sub(active.fired)),
                "rule": given_fields(&active.given),
            })
        };
        self.rules.iter().map(one).collect()
    }
}

/// The rule without the fields that say nothing.
fn given_fields(rule: &Rule) -> Value {
    let says_something = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    let mut value = json!(rule);
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| says_something(member));
    }
    value
}
