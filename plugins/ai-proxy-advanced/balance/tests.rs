use std::sync::Arc;

use serde_json::{Value, json};

use super::super::targets::Targets;
use super::super::tests::harness::balancer;
use super::*;
use crate::entity::{Consumer, ConsumerGroup};
use crate::llm::Plan;
use crate::llm::config::tests::target;
use crate::llm::config::{self, ResponseStreaming};
use crate::llm::price::Prices;
use crate::pdk::client::Named as NamedClient;
use crate::standings::{Label, Standings};

/// Targets and a request for them.
pub(in super::super) struct Scene {
    pub(in super::super) targets: Targets,
    ex: Exchange,
    hint: Hint,
}

impl Scene {
    /// The next target of a request that has been to these.
    pub(in super::super) fn next(&self, tried: &[usize]) -> Result<usize, Idle> {
        self.ask(tried, |ask| self.targets.pick(ask))
    }

    fn ask<T>(&self, tried: &[usize], question: impl FnOnce(&Ask<'_>) -> T) -> T {
        let candidates: Indexes = (0..self.targets.all().len()).collect();
        question(&Ask { ex: &self.ex, candidates: &candidates, tried, hint: &self.hint })
    }

    /// The next targets of so many requests.
    fn turns(&self, times: usize) -> Vec<usize> {
        (0..times).filter_map(|_| self.next(&[]).ok()).collect()
    }

    /// A target has answered like this.
    fn answer(&self, index: usize, status: u16, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers.collect());
        self.ask(&[index], |ask| self.targets.cool(index, ask, status, &headers))
    }

    fn standing(&self, index: usize) -> &Standing {
        &self.targets.at(index).unwrap().standing
    }

    fn learn(&self, index: usize, spent: Spent) {
        self.targets.learn(self.targets.at(index).unwrap(), &spent);
    }

    fn groups(&self, names: &[&str]) {
        let group = |name: &&str| {
            let (id, json) = (uuid::Uuid::new_v4(), Arc::default());
            Arc::new(ConsumerGroup { id, name: (*name).to_owned(), tags: None, json })
        };
        let consumer = Consumer {
            id: uuid::Uuid::from_u128(1),
            username: None,
            custom_id: None,
            tags: None,
            groups: names.iter().map(group).collect(),
            json: Arc::default(),
        };
        self.ex.client.set(NamedClient::Consumer(Arc::new(consumer)), None);
    }
}

/// Targets of these weights; `more` goes on top of the balancer.
pub(in super::super) fn targets(weights: &[u32], more: Value) -> Scene {
    let models: Vec<_> = weights.iter().map(|weight| (*weight, json!({}))).collect();
    scene(&models, more, &Standings::default())
}

/// Targets with these members of `model`.
pub(in super::super) fn models(models: &[Value]) -> Targets {
    let models: Vec<_> = models.iter().map(|model| (1, model.clone())).collect();
    scene(&models, json!({}), &Standings::default()).targets
}

fn scene(models: &[(u32, Value)], more: Value, standings: &Standings) -> Scene {
    let mut config = balancer(&["error"])["balancer"].clone();
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config: config::Balancer = serde_json::from_value(config).unwrap();
    let plans = models.iter().map(|(_, model)| {
        Plan::new(&target(json!({}), json!({}), model.clone()), ResponseStreaming::Allow).unwrap()
    });
    let plans: Vec<_> = plans.collect();
    let named = Named::all(plans.iter().zip(models).map(|(plan, (weight, _))| (plan, *weight)));
    let balance = Balance::new(Some(&config), standings, "id", &named, None);
    let all = plans.into_iter().zip(named).zip(models).map(|((plan, named), (weight, _))| {
        let label = Label { plugin: "p".to_owned(), target: named.label };
        Target {
            standing: standings.of("id", &named.place, &label),
            label: label.target,
            resource: None,
            plan,
            identity: None,
            unresolved: None,
            allow_override: false,
            host: None,
            prices: Prices::default(),
            log_statistics: false,
            log_payloads: false,
            weight: *weight,
        }
    });
    let targets = Targets::new(all.collect(), balance);
    let ex = Exchange::for_test("POST", "/ai/chat/completions", &[("x-user", "u1")]);
    let hint = futures_util::FutureExt::now_or_never(targets.hint(&ex, &[], None));
    let hint = hint.unwrap().unwrap();
    Scene { targets, ex, hint }
}

fn latency(latency_ms: u64, completion_tokens: u64) -> Spent {
    Spent { latency_ms: Some(latency_ms), completion_tokens, ..Spent::default() }
}

const COOLING: fn() -> Value =
    || json!({"enabled": true, "statuses": [429, 503], "max_seconds": 60});

#[test]
fn weights_are_shares_without_bursts() {
    assert_eq!(targets(&[3, 1], json!({})).turns(8), [0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn what_was_tried_comes_again_only_when_all_were() {
    let scene = targets(&[1, 1, 1], json!({}));
    assert_eq!(scene.next(&[0, 2]), Ok(1));
    let ahead = |tried: &[usize]| scene.ask(tried, |ask| scene.targets.look_ahead(ask));
    assert_eq!((ahead(&[0, 2]), ahead(&[0, 1, 2])), (Ok(true), Ok(false)));
    assert!(scene.next(&[0, 1, 2]).is_ok());
    let only = targets(&[1], json!({}));
    assert_eq!((only.next(&[]), only.next(&[0])), (Ok(0), Ok(0)));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_failed_too_often_rests() {
    let scene = targets(&[1, 1], json!({"max_fails": 2}));
    scene.targets.fail(0, 1);
    scene.targets.fail(0, 1);
    assert_eq!(scene.turns(4), [1; 4]);
    scene.targets.fail(1, 1);
    scene.targets.fail(1, 1);
    assert_eq!(scene.next(&[]), Err(Idle::Resting));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(scene.turns(2), [0, 1]);
    let alone = targets(&[1], json!({"max_fails": 1}));
    alone.targets.fail(0, 1);
    assert_eq!(alone.next(&[]), Err(Idle::Resting));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_target_outlives_a_reload_that_leaves_it() {
    let standings = Standings::default();
    let old = [(1, json!({"name": "a"})), (1, json!({"name": "b"}))];
    let old = scene(&old, json!({"max_fails": 1}), &standings);
    old.targets.fail(1, 1);
    let new = [(1, json!({"name": "c"})), (5, json!({"name": "b"}))];
    let new = scene(&new, json!({"max_fails": 1}), &standings);
    assert_eq!(new.turns(3), [0; 3], "b rests still, at another weight");
    old.targets.fail(0, 1);
    assert_eq!(new.turns(1), [0], "a is gone");
}

#[test]
fn requests_go_where_the_fewest_are_under_way_by_weight() {
    let scene = targets(&[20, 10], json!({"algorithm": "least-connections"}));
    let begin = || {
        let index = scene.next(&[]).unwrap();
        scene.standing(index).open.enter();
        index
    };
    let begun: Vec<_> = (0..6).map(|_| begin()).collect();
    assert_eq!(begun.iter().filter(|index| **index == 0).count(), 4, "{begun:?}");
    scene.standing(1).open.leave();
    assert_eq!(begin(), 1);
}

#[test]
fn a_header_leads_to_the_same_target_and_to_the_next_one_after_a_failure() {
    let more = || json!({"algorithm": "consistent-hashing", "hash_on_header": "X-User"});
    let scene = targets(&[1, 1, 1, 1], more());
    let first = scene.next(&[]).unwrap();
    assert_eq!(scene.turns(5), [first; 5]);
    let second = scene.next(&[first]).unwrap();
    assert!(second != first && scene.next(&[first]) == Ok(second));
    let other = targets(&[1, 1, 1, 1], json!({"algorithm": "consistent-hashing"}));
    let keyed = |key: &str| {
        let hint = Hint { key: Some(key.to_owned()), tiers: None };
        let ask = Ask { ex: &other.ex, candidates: &[0, 1, 2, 3], tried: &[], hint: &hint };
        other.targets.pick(&ask).unwrap()
    };
    let met: std::collections::HashSet<_> = (0..64).map(|n| keyed(&n.to_string())).collect();
    assert_eq!(met.len(), 4);
    assert!(other.hint.key.as_ref().is_some_and(|key| !key.is_empty()), "no header: its own id");
}

#[tokio::test(start_paused = true)]
async fn the_fastest_target_gets_all_but_a_few() {
    let scene = targets(&[1, 1], json!({"algorithm": "lowest-latency", "latency_strategy": "e2e"}));
    assert_eq!(scene.turns(4).iter().sum::<usize>(), 2, "who is not known takes turns");
    scene.learn(0, latency(900, 1));
    tokio::time::advance(Duration::from_millis(5)).await;
    scene.learn(1, latency(200, 1));
    let turns = scene.turns(96);
    let probes = turns.iter().filter(|index| **index == 0).count();
    assert_eq!(probes, 2, "one of fifty: {turns:?}");
    tokio::time::advance(Duration::from_secs(30)).await;
    scene.learn(1, latency(1000, 1)); // a peak counts at once
    assert_eq!(scene.turns(3), [0; 3]);
    scene.targets.fail(0, 60_000);
    assert_eq!(scene.turns(3), [1; 3]);
    scene.learn(0, Spent { latency_ms: None, completion_tokens: 1, ..Spent::default() });
    assert_eq!(scene.turns(3), [1; 3], "the client has left early");
}

#[test]
fn the_time_of_a_token_is_that_of_the_reply_by_its_tokens() {
    let scene = targets(&[1, 1], json!({"algorithm": "lowest-latency"}));
    scene.learn(0, latency(3000, 300));
    scene.learn(1, latency(400, 10));
    assert_eq!(scene.turns(3), [0; 3]);
    let heavy = targets(&[1, 10], json!({"algorithm": "lowest-latency"}));
    heavy.learn(0, latency(3000, 300));
    heavy.learn(1, latency(400, 10));
    assert_eq!(heavy.turns(3), [1; 3], "weight counts against time");
}

#[tokio::test(start_paused = true)]
async fn the_least_used_target_of_the_last_minute_is_next() {
    let spent = Spent {
        prompt_tokens: 10,
        completion_tokens: 100,
        total_tokens: 110,
        cost: 0.5,
        latency_ms: Some(1),
    };
    let other = Spent {
        prompt_tokens: 60,
        completion_tokens: 6,
        total_tokens: 66,
        cost: 0.6,
        latency_ms: Some(1),
    };
    for (strategy, next) in
        [("total-tokens", 1), ("prompt-tokens", 0), ("completion-tokens", 1), ("cost", 0)]
    {
        let more = json!({"algorithm": "lowest-usage", "tokens_count_strategy": strategy});
        let scene = targets(&[1, 1], more);
        scene.learn(0, spent);
        scene.learn(1, other);
        assert_eq!(scene.turns(3), [next; 3], "{strategy}");
        tokio::time::advance(Duration::from_secs(180)).await;
        assert_eq!(scene.turns(4).iter().sum::<usize>(), 2, "long ago: {strategy}");
    }
}

#[test]
fn who_always_fails_is_neither_the_fastest_nor_the_least_used() {
    for (algorithm, at_most) in [("lowest-latency", 2), ("lowest-usage", 30)] {
        let scene = targets(&[1, 1], json!({ "algorithm": algorithm }));
        let spent = Spent { total_tokens: 50, ..latency(500, 5) };
        let mut failures = 0;
        for _ in 0..40 {
            match scene.next(&[]).unwrap() {
                0 => {
                    failures += 1;
                    scene.targets.fail(0, 1);
                }
                other => scene.learn(other, spent),
            }
        }
        assert!(failures > 0 && failures <= at_most, "{algorithm}: {failures} of 40");
    }
}

#[test]
fn requests_at_once_do_not_all_go_to_the_least_used_target() {
    let scene = targets(&[1, 1], json!({"algorithm": "lowest-usage"}));
    scene.learn(0, Spent { total_tokens: 100, ..Spent::default() });
    scene.learn(1, Spent { total_tokens: 60, ..Spent::default() });
    let begun: Vec<_> = (0..4)
        .map(|_| {
            let index = scene.next(&[]).unwrap();
            scene.standing(index).open.enter();
            index
        })
        .collect();
    assert_eq!(begun, [1, 0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lower_group_takes_over_only_when_nobody_above_is_there() {
    let more = json!({"algorithm": "priority", "max_fails": 1});
    let scene = targets(&[50, 90, 90, 10], more);
    assert_eq!(scene.turns(4), [1, 2, 1, 2]);
    assert_eq!(scene.next(&[1]), Ok(2));
    assert_eq!(scene.next(&[1, 2]), Ok(0));
    assert_eq!(scene.next(&[0, 1, 2]), Ok(3));
    assert_eq!(scene.next(&[0, 1, 2, 3]), Err(Idle::Tried), "the last one is not asked again");
    scene.targets.fail(1, 1);
    scene.targets.fail(2, 1);
    assert_eq!(scene.turns(2), [0; 2]);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(scene.turns(2), [1, 2]);
    assert_eq!(scene.targets.order(), ("priority", vec![2, 1, 1, 3], 3));
    let from =
        |tried: &[usize], index| scene.ask(tried, |ask| scene.targets.spilled_from(ask, index));
    assert_eq!((from(&[2, 1], 0), from(&[], 3), from(&[1], 2)), (Some(2), Some(1), None));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_asks_for_patience_gets_exactly_that() {
    let more = json!({"algorithm": "priority", "cooling": COOLING()});
    let scene = targets(&[2, 1], more);
    assert!(scene.answer(0, 429, &[("retry-after", "2"), ("retry-after-ms", "1987")]));
    assert_eq!(scene.turns(2), [1; 2]);
    tokio::time::advance(Duration::from_millis(1986)).await;
    assert_eq!(scene.next(&[]), Ok(1));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(scene.next(&[]), Ok(0), "back in time");
    assert!(scene.answer(0, 429, &[("retry-after", "86400")]));
    assert!(scene.answer(1, 503, &[("retry-after", "20")]));
    assert_eq!(scene.next(&[]), Err(Idle::Cooling(Duration::from_secs(20))));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(scene.next(&[]), Ok(0), "a day is a minute at most");
}

#[test]
fn only_what_was_not_processed_asks_for_patience() {
    let scene = targets(&[2, 1], json!({"cooling": COOLING()}));
    assert!(scene.answer(0, 429, &[]), "it may go elsewhere");
    assert_eq!(scene.turns(3), [0, 1, 0], "and nobody is left alone");
    assert!(!scene.answer(0, 503, &[]), "that may have come half way");
    assert!(!scene.answer(0, 500, &[("retry-after", "5")]));
    let off = targets(&[2, 1], json!({}));
    assert!(!off.answer(0, 429, &[("retry-after", "5")]));
    let mut off = COOLING();
    off["enabled"] = false.into();
    assert!(!targets(&[2, 1], json!({"cooling": off})).answer(0, 429, &[("retry-after", "5")]));
}

#[test]
fn the_only_target_is_never_taken_away() {
    let scene = targets(&[1], json!({"cooling": COOLING()}));
    assert!(!scene.answer(0, 429, &[("retry-after", "5")]));
    assert_eq!(scene.next(&[]), Ok(0));
    let two = targets(&[1, 1], json!({"cooling": COOLING()}));
    assert!(two.answer(0, 429, &[("retry-after", "5")]));
    let only = Ask { ex: &two.ex, candidates: &[0], tried: &[], hint: &two.hint };
    assert_eq!(two.targets.pick(&only), Ok(0), "another model may not take this one's place");
}

#[test]
fn cooling_is_for_one_operation() {
    let preserve = || json!({"route_type": "preserve"});
    let models = [(1, preserve()), (1, preserve())];
    let mut scene = scene(&models, json!({"cooling": COOLING()}), &Standings::default());
    assert!(scene.answer(0, 429, &[("retry-after", "5")]));
    assert_eq!(scene.turns(3), [1; 3]);
    scene.ex = Exchange::for_test("POST", "/ai/embeddings", &[]);
    assert_eq!(scene.turns(2).iter().sum::<usize>(), 1);
}

#[tokio::test(start_paused = true)]
async fn batch_jobs_never_spill_over() {
    let more = json!({
        "algorithm": "priority", "cooling": COOLING(),
        "spill": {"deny_consumer_groups": ["batch"]}
    });
    let scene = targets(&[2, 2, 1], more);
    for index in [0, 1] {
        let wait = ["9", "7"][index];
        assert!(scene.answer(index, 429, &[("retry-after", wait)]));
    }
    scene.groups(&["people"]);
    assert_eq!(scene.next(&[]), Ok(2));
    scene.groups(&["batch", "people"]);
    assert_eq!(scene.next(&[]), Err(Idle::Cooling(Duration::from_secs(7))));
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(scene.next(&[]), Ok(1));
    assert_eq!(scene.next(&[1]), Err(Idle::Tried), "one failed, the other cools");
}

#[tokio::test(start_paused = true)]
async fn spilled_tokens_and_money_are_capped_by_the_window() {
    for (cap, is_tokens) in [(json!({"max_tokens": 100}), true), (json!({"max_cost": 0.5}), false)]
    {
        let mut spill = cap;
        spill["window_size"] = 60.into();
        let more = json!({"algorithm": "priority", "cooling": COOLING(), "spill": spill});
        let scene = targets(&[2, 1], more);
        assert!(scene.answer(0, 429, &[("retry-after", "30")]));
        let spill = scene.targets.capped_spill().unwrap();
        let first = spill.reserve(40, 0.1);
        assert_eq!(scene.next(&[]), Ok(1));
        let second = spill.reserve(70, 0.45);
        assert_eq!(scene.next(&[]), Err(Idle::Cooling(Duration::from_secs(30))), "{is_tokens}");
        spill.settle(second, None); // it failed, and costs nothing
        assert_eq!(scene.next(&[]), Ok(1));
        spill.settle(first, Some(&Spent { total_tokens: 100, cost: 0.5, ..Spent::default() }));
        assert_eq!(scene.next(&[]), Err(Idle::Cooling(Duration::from_secs(30))));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(scene.answer(0, 429, &[("retry-after", "60")]));
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(scene.next(&[]), Ok(1), "a new window");
    }
}
