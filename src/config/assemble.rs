//! Judged entities to a Snapshot.
//!
//! Each becomes its type of `entity.rs`; what has none yet is kept as a record. The JSON that log
//! records and Lua plugins see is made here once: without nulls, with the workspace and the times
//! that Kong would have set.

mod credentials;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::draft::Draft;
use super::judge::Judged;
use super::problem::{At, Report};
use crate::catalog::Catalog;
use crate::entity::{Acl, Consumer, ConsumerGroup, Groups, PluginEntity, Record};
use crate::schema::Check;
use crate::snapshot::Snapshot;

/// The workspace 'default' of every Kong without a database.
const WORKSPACE: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";

/// Builds the snapshot of valid entities; `now` is the time of loading in seconds.
pub(super) fn assemble(
    drafts: &[Draft],
    judged: Vec<Judged>,
    now: f64,
    report: &mut Report,
) -> Snapshot {
    let mut builder = Builder {
        snapshot: Snapshot::default(),
        consumers: Vec::new(),
        acls: HashMap::new(),
        rows: Vec::new(),
        schema: None,
        now,
        report,
    };
    let mut members: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for (draft, judged) in drafts.iter().zip(judged) {
        match (draft.link("consumer"), draft.link("consumer_group")) {
            (Some(consumer), Some(group)) if draft.kind.name == "consumer_group_consumers" => {
                members.entry(consumer).or_default().push(group);
            }
            _ => builder.add(draft, judged),
        }
    }
    builder.join(&members);
    builder.snapshot.catalog = Catalog::new(std::mem::take(&mut builder.rows));
    let acls = builder.acls.into_iter();
    builder.snapshot.acls = acls.map(|(consumer, acls)| (consumer, Groups::new(acls))).collect();
    builder.snapshot
}

struct Builder<'a> {
    snapshot: Snapshot,
    /// Without their groups, which may come later in the file.
    consumers: Vec<Consumer>,
    /// By consumer.
    acls: HashMap<Uuid, Vec<Acl>>,
    /// Every entity as JSON.
    rows: Vec<(String, Uuid, Arc<Value>)>,
    /// What the entity in hand was checked with.
    schema: Option<Rc<dyn Check>>,
    now: f64,
    report: &'a mut Report,
}

impl Builder<'_> {
    fn add(&mut self, draft: &Draft, judged: Judged) {
        let mut value = judged.entity;
        let [schema, _] = judged.checks;
        self.schema = schema;
        self.stamp(draft, &mut value);
        match draft.kind.name {
            "services" => self.service(draft, value),
            "routes" => self.route(draft, value),
            "upstreams" => self.upstream(draft, value),
            "targets" => self.target(draft, value),
            "consumers" => {
                if let Some(mut consumer) = self.typed::<Consumer>(draft, &value) {
                    consumer.json = json_of(value, false);
                    self.keep(draft, &consumer.json);
                    self.consumers.push(consumer);
                }
            }
            "consumer_groups" => {
                if let Some(mut group) = self.typed::<ConsumerGroup>(draft, &value) {
                    group.json = json_of(value, false);
                    self.keep(draft, &group.json);
                    self.snapshot.consumer_groups.insert(group.id, Arc::new(group));
                }
            }
            "plugins" => {
                let mut config = judged.config;
                whole_numbers(&mut config);
                value["config"] = config;
                if let Some(mut plugin) = self.typed::<PluginEntity>(draft, &value) {
                    plugin.references = judged.references;
                    self.remember_place(draft);
                    self.keep(draft, &json_of(value, false));
                    self.snapshot.plugins.push(Arc::new(plugin));
                }
            }
            "keyauth_credentials"
            | "basicauth_credentials"
            | "jwt_secrets"
            | "hmacauth_credentials"
            | "acls" => {
                if self.credential(draft, &value) {
                    self.keep(draft, &json_of(value, false));
                }
            }
            collection => {
                if collection == "certificates" {
                    self.remember_place(draft);
                }
                self.keep(draft, &json_of(value.clone(), false));
                let record = Record { id: draft.id, json: value };
                let records = self.snapshot.records.entry(collection.to_owned()).or_default();
                records.push(Arc::new(record));
            }
        }
    }

    fn keep(&mut self, draft: &Draft, json: &Arc<Value>) {
        self.rows.push((draft.kind.name.to_owned(), draft.id, json.clone()));
    }

    fn remember_place(&mut self, draft: &Draft) {
        let at = At { document: draft.document, path: &draft.path, pos: draft.node.pos };
        self.snapshot.places.insert(draft.id, self.report.place(at));
    }

    /// Kong's automatic fields.
    fn stamp(&self, draft: &Draft, value: &mut Value) {
        whole_numbers(value);
        if !value.is_object() {
            *value = json!({});
        }
        let has = |field: &str| {
            let fields = self.schema.as_ref().map(|schema| schema.fields(&[]));
            fields.is_none_or(|fields| fields.contains(&field))
        };
        if has("id") {
            value["id"] = json!(draft.id);
        }
        for (field, id) in &draft.links {
            value[*field] = json!({ "id": id });
        }
        for field in ["created_at", "updated_at"] {
            if has(field) && value[field].is_null() {
                // Targets are the one entity whose times Kong keeps to the millisecond.
                let is_target = draft.kind.name == "targets";
                let now = (self.now * 1000.0).round() / 1000.0;
                value[field] = if is_target { json!(now) } else { json!(self.now as i64) };
            }
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, draft: &Draft, value: &Value) -> Option<T> {
        T::deserialize(value)
            .or_else(|_| T::deserialize(self.with_defaults(value)))
            .map_err(|error| {
                // Its text may quote the value, which a credential's must not be.
                let reason =
                    if draft.kind.secret_key { String::new() } else { format!(": {error}") };
                let message = format!("the entity passed its schema but does not fit{reason}");
                self.report.error(draft.at("id"), message);
            })
            .ok()
    }

    /// The entity with its defaults where the file has null: Kong forgets nulls when it stores an
    /// entity, and falls back on the defaults when it needs the field.
    fn with_defaults(&self, value: &Value) -> Value {
        let mut given = value.clone();
        drop_nulls(&mut given);
        match &self.schema {
            Some(schema) => schema.process(given).0,
            None => given,
        }
    }

    fn service(&mut self, draft: &Draft, value: Value) {
        let Some(mut service) = self.typed::<crate::entity::Service>(draft, &value) else { return };
        service.json = json_of(value, true);
        self.keep(draft, &service.json);
        self.remember_place(draft);
        self.snapshot.services.insert(service.id, Arc::new(service));
    }

    fn route(&mut self, draft: &Draft, value: Value) {
        let Some(mut route) = self.typed::<crate::entity::Route>(draft, &value) else { return };
        route.json = json_of(value, true);
        self.keep(draft, &route.json);
        self.remember_place(draft);
        self.snapshot.routes.push(Arc::new(route));
    }

    fn upstream(&mut self, draft: &Draft, value: Value) {
        let Some(mut upstream) = self.typed::<crate::entity::Upstream>(draft, &value) else {
            return;
        };
        upstream.json = json_of(value, true);
        self.keep(draft, &upstream.json);
        self.snapshot.upstreams.insert(upstream.name.clone(), Arc::new(upstream));
    }

    fn target(&mut self, draft: &Draft, value: Value) {
        let Some(mut target) = self.typed::<crate::entity::Target>(draft, &value) else { return };
        target.json = json_of(value, true);
        self.keep(draft, &target.json);
        let targets = self.snapshot.targets.entry(target.upstream.id).or_default();
        targets.push(Arc::new(target));
    }

    /// Puts the consumers, with their groups by name, into the snapshot.
    fn join(&mut self, members: &HashMap<Uuid, Vec<Uuid>>) {
        for mut consumer in std::mem::take(&mut self.consumers) {
            let ids = members.get(&consumer.id).map(Vec::as_slice).unwrap_or_default();
            let known = ids.iter().filter_map(|id| self.snapshot.consumer_groups.get(id));
            consumer.groups = known.cloned().collect();
            consumer.groups.sort_by(|a, b| a.name.cmp(&b.name));
            consumer.groups.dedup_by_key(|group| group.id);
            if let Some(username) = &consumer.username {
                self.snapshot.consumers_by_username.insert(username.clone(), consumer.id);
            }
            self.snapshot.consumers.insert(consumer.id, Arc::new(consumer));
        }
    }
}

/// An entity as Kong's log serializer prints it: no nulls; consumers without a workspace.
fn json_of(mut value: Value, has_workspace: bool) -> Arc<Value> {
    drop_nulls(&mut value);
    if has_workspace {
        value["ws_id"] = json!(WORKSPACE);
    }
    Arc::new(value)
}

/// A null is a field without a value: as good as not there.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Makes `1.0` to `1`: Lua, and so Kong, knows only one kind of number.
fn whole_numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: above it a double skips integers
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64()
                && float.fract() == 0.0
                && float.abs() <= EXACT
            {
                *value = json!(float as i64);
            }
        }
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        _ => {}
    }
}
