//! What tokens cost: `input_cost`, `output_cost` and their relatives in `model.options`, with the
//! fields of Kong 3.15.
//!
//! Prices are for a million tokens. What a field leaves open is ours to say: tokens that were read
//! from the upstream's cache, or put there, are a part of the prompt and cost what the prompt does
//! unless they have a price of their own; a factor for long prompts goes for all of the prompt.

use crate::llm::config::Options;
use crate::llm::usage::{Part, Usage};

const MILLION: f64 = 1_000_000.0;

/// The prices of one target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prices {
    /// Of the prompt and of the completion; both or none, as in Kong.
    both: Option<(f64, f64)>,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
    /// By their thresholds, the highest first.
    windows: Vec<Window>,
    /// In lower case, the longest first.
    tiers: Vec<(String, f64)>,
}

/// What prices are multiplied with above a number of prompt tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    above: u64,
    input: f64,
    output: f64,
}

impl Prices {
    /// Those of a target; or each field that says nothing, with the reason.
    ///
    /// # Errors
    /// A threshold that is no number of tokens, a time to live that no upstream tells.
    pub fn new(options: &Options) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut prices = Self {
            both: options.input_cost.zip(options.output_cost),
            cache_read: options.cache_read_cost,
            cache_write: options.cache_write_cost,
            ..Self::default()
        };
        for (at, one) in options.cache_write_cost_list.iter().flatten().enumerate() {
            match one.ttl.trim() {
                "5m" => prices.cache_write_5m = Some(one.cost),
                "1h" | "60m" => prices.cache_write_1h = Some(one.cost),
                _ => errors.push(format!(
                    "cache_write_cost_list[{at}].ttl: must be 5m or 1h, which upstreams tell apart"
                )),
            }
        }
        for (at, one) in options.context_window_factor.iter().flatten().enumerate() {
            let Some(above) = tokens(&one.above) else {
                errors.push(format!(
                    "context_window_factor[{at}].above: must be a number of tokens, such as 200000 \
                     or 200k"
                ));
                continue;
            };
            let window = Window { above, input: one.input_factor, output: one.output_factor };
            prices.windows.push(window);
        }
        prices.windows.sort_by_key(|window| std::cmp::Reverse(window.above));
        let tiers = options.service_tier_factor.iter().flatten();
        prices.tiers = tiers.map(|one| (one.tier.to_ascii_lowercase(), one.factor)).collect();
        prices.tiers.sort_by_key(|(tier, _)| std::cmp::Reverse(tier.len()));
        if errors.is_empty() { Ok(prices) } else { Err(errors) }
    }

    /// Whether anything costs: `input_cost` and `output_cost` are both set (Kong).
    pub fn are_set(&self) -> bool {
        self.both.is_some()
    }

    /// What a reply cost that was served in this tier, in the currency of the prices.
    pub fn cost(&self, usage: &Usage, tier: Option<&str>) -> f64 {
        let Some((input, output)) = self.both else { return 0.0 };
        let window = self.windows.iter().find(|window| usage.prompt_tokens > window.above);
        let (input_factor, output_factor) = window.map_or((1.0, 1.0), |w| (w.input, w.output));
        let part = |part| usage.parts.get(part).unwrap_or(0);
        let cached = part(Part::Cached).min(usage.prompt_tokens);
        let written = part(Part::Written).min(usage.prompt_tokens - cached);
        let hour = part(Part::Written1h).min(written);
        let minutes = part(Part::Written5m).min(written - hour);
        let write = self.cache_write.unwrap_or(input);
        let prompt = [
            (usage.prompt_tokens - cached - written, input),
            (cached, self.cache_read.unwrap_or(input)),
            (hour, self.cache_write_1h.unwrap_or(write)),
            (minutes, self.cache_write_5m.unwrap_or(write)),
            (written - hour - minutes, write),
        ];
        let prompt: f64 = prompt.iter().map(|(tokens, price)| *tokens as f64 * price).sum();
        let completion = usage.completion_tokens as f64 * output;
        let cost = prompt * input_factor + completion * output_factor;
        cost * tier.map_or(1.0, |tier| self.tier_factor(tier)) / MILLION
    }

    /// Kong: a tier is named by a part of it in any case, the longest name counts, and `fast` is
    /// another word for `priority`.
    fn tier_factor(&self, tier: &str) -> f64 {
        let tier = tier.to_ascii_lowercase();
        let mut words = tier.split(|c: char| !c.is_ascii_alphanumeric());
        let is_fast = words.any(|word| word == "fast");
        let is_theirs = |name: &str| tier.contains(name) || (name == "priority" && is_fast);
        self.tiers.iter().find(|(name, _)| is_theirs(name)).map_or(1.0, |(_, factor)| *factor)
    }
}

/// A number of tokens, which Kong's schema has as a text.
fn tokens(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, unit) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1000),
        None => text.strip_suffix('m').map_or((&*text, 1), |digits| (digits, 1_000_000)),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::config::tests::target;
    use crate::llm::usage::Parts;

    fn prices(more: Value) -> Result<Prices, Vec<String>> {
        let mut options = json!({"input_cost": 2.0, "output_cost": 8.0});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Prices::new(&target(json!({}), options, json!({})).model.options.unwrap())
    }

    /// The cost of a million prompt tokens with these parts and half a million of completion.
    fn cost(more: Value, parts: Parts, tier: Option<&str>) -> f64 {
        let usage = Usage {
            prompt_tokens: 1_000_000,
            completion_tokens: 500_000,
            parts,
            ..Usage::default()
        };
        prices(more).unwrap().cost(&usage, tier)
    }

    #[test]
    fn nothing_costs_unless_both_prices_are_set() {
        let none = Parts::default();
        assert_eq!(cost(json!({}), none, None), 6.0);
        assert_eq!(cost(json!({"output_cost": null}), none, None), 0.0);
        assert_eq!(cost(json!({"input_cost": null, "cache_read_cost": 1.0}), none, None), 0.0);
        assert!(!prices(json!({"input_cost": null})).unwrap().are_set());
    }

    #[test]
    fn what_the_cache_gives_and_takes_has_prices_of_its_own() {
        let cached = Parts::default().with(Part::Cached, 500_000);
        assert_eq!(cost(json!({}), cached, None), 6.0, "as the prompt");
        assert_eq!(cost(json!({"cache_read_cost": 0.5}), cached, None), 5.25);
        assert_eq!(cost(json!({"cache_read_cost": 0.0}), cached, None), 5.0, "free");
        let more_than_all = Parts::default().with(Part::Cached, 9_000_000);
        assert_eq!(cost(json!({"cache_read_cost": 1.0}), more_than_all, None), 5.0);
        let written = Parts::default()
            .with(Part::Written, 400_000)
            .with(Part::Written5m, 100_000)
            .with(Part::Written1h, 200_000);
        assert_eq!(cost(json!({}), written, None), 6.0);
        let write = json!({"cache_write_cost": 3.0});
        assert!((cost(write, written, None) - 6.4).abs() < 1e-9);
        let by_ttl = json!({"cache_write_cost": 3.0, "cache_write_cost_list":
            [{"ttl": "1h", "cost": 4.0}, {"ttl": "5m", "cost": 2.5}]});
        // 0.6 at 2, 0.2 at 4, 0.1 at 2.5, 0.1 at 3.
        assert!((cost(by_ttl, written, None) - (1.2 + 0.8 + 0.25 + 0.3 + 4.0)).abs() < 1e-9);
    }

    #[test]
    fn long_prompts_and_tiers_have_factors() {
        let none = Parts::default();
        let window = |above: &str| {
            json!({"context_window_factor": [
                {"above": "128k", "input_factor": 1.5, "output_factor": 1.0},
                {"above": above, "input_factor": 2.0, "output_factor": 1.5},
            ]})
        };
        assert_eq!(cost(window("200000"), none, None), 10.0, "the highest that is passed");
        assert_eq!(cost(window("1m"), none, None), 7.0, "not above");
        let tiers = json!({"service_tier_factor": [
            {"tier": "flex", "factor": 0.5}, {"tier": "priority", "factor": 2.0},
            {"tier": "priority-eu", "factor": 3.0},
        ]});
        for (tier, expected) in [
            (None, 6.0),
            (Some("default"), 6.0),
            (Some("FLEX"), 3.0),
            (Some("on-demand-priority"), 12.0),
            (Some("Priority-EU-1"), 18.0),
            (Some("very fast"), 12.0),
            (Some("breakfast"), 6.0),
        ] {
            assert_eq!(cost(tiers.clone(), none, tier), expected, "{tier:?}");
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let errors = prices(json!({
            "cache_write_cost_list": [{"ttl": "1d", "cost": 1.0}],
            "context_window_factor": [
                {"above": "lots", "input_factor": 1.0, "output_factor": 1.0},
                {"above": "-1", "input_factor": 1.0, "output_factor": 1.0},
            ],
        }));
        let errors = errors.unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].starts_with("cache_write_cost_list[0].ttl: must be 5m or 1h"));
        assert!(errors[1].starts_with("context_window_factor[0].above: must be a number"));
    }
}
