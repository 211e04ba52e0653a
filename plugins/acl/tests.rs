//! Who passes, with which header, and whose groups count.

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::entity::{self, Consumer, Groups, Ref};
use crate::pdk::Credential;
use crate::pdk::client::Named;
use crate::plugin::Stop;

/// A consumer in the groups `g1` and `g2`, and one that is in none.
const MEMBER: Uuid = Uuid::from_u128(1);
const LONER: Uuid = Uuid::from_u128(2);

fn snapshot() -> Arc<Snapshot> {
    let mut snapshot = Snapshot::default();
    let acl = |id, group: &str| entity::Acl {
        id: Uuid::from_u128(id),
        group: group.into(),
        consumer: Ref { id: MEMBER },
    };
    snapshot.acls.insert(MEMBER, Groups::new(vec![acl(2, "g1"), acl(1, "g2")]));
    Arc::new(snapshot)
}

fn plugin(changes: Value) -> Acl {
    let mut config = json!({
        "allow": null, "deny": null, "hide_groups_header": false,
        "always_use_authenticated_groups": false,
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    Acl { config: serde_json::from_value(config).unwrap(), snapshot: snapshot() }
}

fn exchange(consumer: Option<Uuid>, with_credential: bool) -> Exchange {
    let ex = Exchange::for_test("GET", "/", &[]);
    let Some(id) = consumer else { return ex };
    let json = json!({"id": id, "username": null, "custom_id": null, "tags": null});
    let consumer: Consumer = serde_json::from_value(json).unwrap();
    let credential = Credential::new(Uuid::nil(), None, id);
    ex.authenticate(Some(Arc::new(consumer)), with_credential.then_some(credential));
    ex
}

/// What the upstream is told, or the status and message of the refusal.
async fn run(plugin: &Acl, ex: &Exchange) -> String {
    match plugin.access(ex).outcome().await {
        Ok(()) => {
            let headers = ex.request.headers();
            let told = [CONSUMER_GROUPS, AUTHENTICATED_GROUPS].into_iter().find_map(|name| {
                Some(format!("{name}: {}", headers.get(&name)?.to_str().unwrap()))
            });
            told.unwrap_or_default()
        }
        Err(Stop::Exit) => {
            let message = ex.answer_json()["message"].as_str().unwrap().to_owned();
            format!("{} {message}", ex.response.status().as_u16())
        }
        Err(Stop::Fault(fault)) => panic!("{fault:#}"),
    }
}

const FORBIDDEN: &str = "403 You cannot consume this service";

#[tokio::test]
async fn groups_decide() {
    for (config, consumer, expected) in [
        (json!({"allow": ["g1", "other"]}), Some(MEMBER), "x-consumer-groups: g2, g1"),
        (json!({"allow": ["G1"]}), Some(MEMBER), FORBIDDEN),
        (json!({"allow": []}), Some(MEMBER), FORBIDDEN),
        (json!({"deny": ["g1"]}), Some(MEMBER), FORBIDDEN),
        (json!({"deny": ["x"]}), Some(MEMBER), "x-consumer-groups: g2, g1"),
        (json!({"deny": ["x"], "hide_groups_header": true}), Some(MEMBER), ""),
        (json!({"deny": ["x"]}), Some(LONER), "x-consumer-groups: "),
        (json!({"allow": ["x"]}), Some(LONER), FORBIDDEN),
        (json!({"allow": ["x"]}), None, "401 Unauthorized"),
        (json!({"deny": ["x"]}), None, "401 Unauthorized"),
    ] {
        let text = format!("{config} {consumer:?}");
        assert_eq!(run(&plugin(config), &exchange(consumer, true)).await, expected, "{text}");
    }
}

#[tokio::test]
async fn the_anonymous_consumer_without_groups_is_asked_to_sign_in() {
    let answer = run(&plugin(json!({"allow": ["x"]})), &exchange(Some(LONER), false)).await;
    assert_eq!(answer, "401 Unauthorized");
}

#[tokio::test]
async fn groups_that_were_found_out_stand_in_for_those_of_a_consumer() {
    let found = json!(["ga", "gb"]);
    let always = json!({"allow": ["ga"], "always_use_authenticated_groups": true});
    for (config, consumer, has_credential, expected) in [
        (json!({"allow": ["ga"]}), None, false, "x-authenticated-groups: ga, gb"),
        (json!({"allow": ["ga"]}), Some(LONER), false, "x-authenticated-groups: ga, gb"),
        (json!({"allow": ["ga"]}), Some(MEMBER), true, FORBIDDEN),
        (always, Some(MEMBER), true, "x-authenticated-groups: ga, gb"),
        (json!({"deny": ["ga"]}), None, false, FORBIDDEN),
        (json!({"deny": ["g1"]}), None, false, ""),
    ] {
        let ex = exchange(consumer, has_credential);
        ex.shared.set(FOUND_OUT, found.clone());
        let text = format!("{config} {consumer:?}");
        assert_eq!(run(&plugin(config), &ex).await, expected, "{text}");
    }
}

#[tokio::test]
async fn what_is_no_list_of_groups_is_none() {
    let ex = exchange(None, false);
    ex.shared.set(FOUND_OUT, json!("ga"));
    assert_eq!(run(&plugin(json!({"allow": ["ga"]})), &ex).await, "401 Unauthorized");
}

#[tokio::test]
async fn groups_that_were_found_out_count_for_a_credential_without_a_consumer() {
    let member = Some(Id::Known(MEMBER));
    for (named, owner, allow, found, expected) in [
        (Named::Nobody, None, "ga", true, "x-authenticated-groups: ga, gb"),
        (Named::Nobody, None, "g1", true, FORBIDDEN),
        (Named::Nobody, None, "ga", false, FORBIDDEN),
        (Named::Nobody, member.clone(), "g1", true, "x-consumer-groups: g2, g1"),
        (Named::Stranger(None), None, "ga", true, "x-authenticated-groups: ga, gb"),
        (Named::Stranger(Some(Id::read("x"))), None, "ga", true, FORBIDDEN),
        (Named::Stranger(member.clone()), None, "g1", true, "x-consumer-groups: g2, g1"),
    ] {
        let ex = exchange(None, false);
        let text = format!("{named:?} {owner:?} {allow} {found}");
        let id = Some(Id::read("k"));
        ex.client.set(named, Some(Credential { id, identifier: None, consumer_id: owner }));
        if found {
            ex.shared.set(FOUND_OUT, json!(["ga", "gb"]));
        }
        assert_eq!(run(&plugin(json!({"allow": [allow]})), &ex).await, expected, "{text}");
    }
}
