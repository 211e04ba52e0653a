//! Scope precedence in every combination, order, exits and faults.

use std::cell::RefCell;

use serde_json::json;

use super::explain::Verdict;
use super::*;
use crate::entity::{Consumer, ConsumerGroup, Protocol, Ref};
use crate::plugin::Step;

const IDS: [Uuid; 4] =
    [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3), Uuid::from_u128(4)];

type Journal = Rc<RefCell<Vec<String>>>;

struct Probe {
    name: String,
    journal: Journal,
    act: fn(&Exchange) -> Outcome,
}

impl Plugin for Probe {
    fn phases(&self) -> Phases {
        Phases::ACCESS.and(Phases::HEADER_FILTER).and(Phases::LOG)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        self.journal.borrow_mut().push(format!("access {}", self.name));
        Step::Done((self.act)(ex))
    }

    fn log(&self, _ex: &Exchange) {
        self.journal.borrow_mut().push(format!("log {}", self.name));
    }
}

fn instance(
    journal: &Journal,
    name: &str,
    scope: Scope,
    priority: i64,
    act: fn(&Exchange) -> Outcome,
) -> Rc<Instance> {
    let reference = |bit: Scope, id: usize| (scope & bit != 0).then_some(Ref { id: IDS[id] });
    let entity = PluginEntity {
        id: Uuid::nil(),
        name: name.to_owned(),
        instance_name: None,
        enabled: true,
        config: json!({}),
        consumer: reference(CONSUMER, 0),
        consumer_group: reference(GROUP, 1),
        route: reference(ROUTE, 2),
        service: reference(SERVICE, 3),
        protocols: vec![Protocol::Http],
        tags: None,
        references: Vec::new(),
    };
    let probe = Probe { name: format!("{name}{scope}"), journal: journal.clone(), act };
    let phases = probe.phases();
    Rc::new(Instance { entity: Arc::new(entity), priority, plugin: Box::new(probe), phases })
}

fn exchange() -> Exchange {
    Exchange::for_test("GET", "/", &[])
}

fn consumer() -> Arc<Consumer> {
    let group = ConsumerGroup { id: IDS[1], name: "g".into(), tags: None, json: Arc::default() };
    Arc::new(Consumer {
        id: IDS[0],
        username: Some("c".into()),
        custom_id: None,
        tags: None,
        groups: vec![Arc::new(group)],
        json: Arc::default(),
    })
}

fn ok(_: &Exchange) -> Outcome {
    Ok(())
}

#[tokio::test]
async fn the_most_specific_scope_wins_in_every_subset() {
    for subset in 1u32..1 << PRECEDENCE.len() {
        let journal = Journal::default();
        let chosen: Vec<Scope> = (0..PRECEDENCE.len())
            .filter(|rank| subset & (1 << rank) != 0)
            .map(|rank| PRECEDENCE[rank])
            .collect();
        // Given in reverse, so that the order of the file cannot decide.
        let made = chosen.iter().rev().map(|&scope| instance(&journal, "p", scope, 1, ok));
        let plan = Instances::new(made.collect()).plan(Some(IDS[2]), Some(IDS[3]));
        let ex = exchange();
        ex.authenticate(Some(consumer()), None);
        Chain::default().access(&plan, &ex).await;
        assert_eq!(*journal.borrow(), [format!("access p{}", chosen[0])]);
    }
}

#[tokio::test]
async fn a_scope_of_somebody_else_never_applies() {
    let journal = Journal::default();
    let made = PRECEDENCE.iter().map(|&scope| instance(&journal, "p", scope, 1, ok)).collect();
    let instances = Instances::new(made);
    let stranger = exchange();
    Chain::default().access(&instances.plan(Some(IDS[0]), Some(IDS[0])), &stranger).await;
    assert_eq!(*journal.borrow(), ["access p0"]);
    assert_eq!(instances.globals().slots.len(), 1);
}

#[tokio::test]
async fn a_consumer_named_on_the_way_counts_for_the_plugins_after_it() {
    fn name(ex: &Exchange) -> Outcome {
        ex.authenticate(Some(consumer()), None);
        Ok(())
    }
    let journal = Journal::default();
    let instances = Instances::new(vec![
        instance(&journal, "early", CONSUMER, 9, ok),
        instance(&journal, "auth", ROUTE, 5, name),
        instance(&journal, "late", CONSUMER, 1, ok),
        instance(&journal, "late", 0, 1, ok),
    ]);
    let ex = exchange();
    Chain::default().access(&instances.plan(Some(IDS[2]), None), &ex).await;
    assert_eq!(*journal.borrow(), ["access auth4", "access late1"]);
}

#[tokio::test]
async fn equal_priorities_run_in_descending_name_order() {
    let journal = Journal::default();
    let made = ["a", "c", "b"].map(|name| instance(&journal, name, 0, 7, ok));
    let ex = exchange();
    Chain::default().access(&Instances::new(made.into()).globals(), &ex).await;
    assert_eq!(*journal.borrow(), ["access c0", "access b0", "access a0"]);
}

#[tokio::test]
async fn after_an_exit_no_access_runs_but_every_log_does() {
    fn exit(ex: &Exchange) -> Outcome {
        respond::exit_message(ex, http::StatusCode::IM_A_TEAPOT, "no")
    }
    let journal = Journal::default();
    let instances = Instances::new(vec![
        instance(&journal, "a", 0, 3, ok),
        instance(&journal, "b", 0, 2, exit),
        instance(&journal, "c", 0, 1, ok),
    ]);
    let ex = exchange();
    let mut chain = Chain::default();
    chain.access(&instances.globals(), &ex).await;
    chain.log(&ex);
    assert_eq!(ex.response.status(), 418);
    assert_eq!(*journal.borrow(), ["access a0", "access b0", "log a0", "log b0", "log c0"]);
}

#[tokio::test]
async fn a_fault_is_kongs_500_and_names_nothing() {
    let journal = Journal::default();
    let fault = |_: &Exchange| Err(Stop::Fault(anyhow::anyhow!("secret cause")));
    let ex = exchange();
    let instances = Instances::new(vec![instance(&journal, "p", 0, 1, fault)]);
    Chain::default().access(&instances.globals(), &ex).await;
    assert_eq!(ex.response.status(), 500);
    let body = String::from_utf8(ex.response.take_body().unwrap().to_vec()).unwrap();
    assert!(body.contains("An unexpected error occurred") && !body.contains("secret"), "{body}");
}

/// A plugin whose `log` is broken.
struct Broken;

impl Plugin for Broken {
    fn phases(&self) -> Phases {
        Phases::LOG
    }

    fn log(&self, _ex: &Exchange) {
        panic!("this plugin is broken");
    }
}

#[tokio::test]
async fn a_panic_in_log_takes_no_other_record_with_it() {
    let journal = Journal::default();
    let entity = instance(&journal, "broken", 0, 9, ok).entity.clone();
    let broken = Rc::new(Instance::new(entity, 9, Box::new(Broken)));
    let instances = Instances::new(vec![broken, instance(&journal, "good", 0, 1, ok)]);
    let (ex, mut chain) = (exchange(), Chain::default());
    chain.access(&instances.plan(None, None), &ex).await;
    chain.log(&ex);
    assert_eq!(journal.borrow().last().unwrap(), "log good0");
}

#[test]
fn what_is_told_of_a_plugin_is_what_the_chain_does() {
    let journal = Journal::default();
    let scopes = [0, ROUTE, GROUP, CONSUMER, CONSUMER | ROUTE];
    let all = scopes.map(|scope| instance(&journal, "p", scope, 1, ok));
    let plan = Instances::new(all.to_vec()).plan(Some(IDS[2]), Some(IDS[3]));
    let told = |ex: &Exchange| {
        let choice = plan.explain(ex).remove(0);
        let verdicts = choice.candidates.iter().map(|candidate| candidate.verdict);
        verdicts.collect::<Vec<_>>()
    };
    use Verdict::{LessSpecific, OtherConsumer, OtherGroup, Runs};
    // In the order consumer and route, consumer, group, route, global.
    let ex = exchange();
    assert_eq!(told(&ex), [OtherConsumer, OtherConsumer, OtherGroup, Runs, LessSpecific]);
    ex.authenticate(Some(consumer()), None);
    assert_eq!(told(&ex), [Runs, LessSpecific, LessSpecific, LessSpecific, LessSpecific]);
}

#[test]
fn a_plugin_for_https_alone_runs_on_http_too_and_one_for_tcp_nowhere() {
    let journal = Journal::default();
    let global = instance(&journal, "p", 0, 1, ok);
    for (protocol, scope) in [(Protocol::Https, ROUTE), (Protocol::Tcp, 0)] {
        let mut entity = PluginEntity::clone(&instance(&journal, "p", ROUTE, 1, ok).entity);
        entity.protocols = vec![protocol];
        let probe = Probe { name: "p".into(), journal: journal.clone(), act: ok };
        let narrow = Rc::new(Instance::new(Arc::new(entity), 1, Box::new(probe)));
        let plan = Instances::new(vec![narrow, global.clone()]).plan(Some(IDS[2]), None);
        let choice = plan.explain(&exchange()).remove(0);
        let runs = choice.runs().unwrap().entity.route.is_some();
        assert_eq!(runs, scope == ROUTE, "{protocol:?}");
    }
}
