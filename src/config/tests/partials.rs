//! Partials by the real schemas.

use super::*;
use crate::lua::schema::LuaSchemas;
use crate::lua::{Options, Vm};

fn read(body: &str) -> Result<Loaded, Errors> {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let text = format!("_format_version: '3.0'\n{body}");
    load(&[Source { name: "k".to_owned(), text }], &schemas, &Env::default())
}

const SHARED: &str = "partials:
- {name: shared, type: redis-ce, config: {host: redis.test, database: 3}}
- {id: 13dc230d-d65e-439a-9f05-9fd71abfee4d, type: redis-ce, config: {host: by.id}}
- {name: ee, type: redis-ee, config: {sentinel_nodes: [{host: a}]}}
";

#[test]
fn a_partial_is_put_where_the_plugin_takes_it() {
    let links = [
        "partials: [{name: shared}]",
        "partials: [{name: shared, path: config.redis}]",
        "partials: [{id: shared}]",
    ];
    for link in links {
        let body =
            format!("{SHARED}plugins:\n- {{name: rate-limiting, config: {{minute: 1}}, {link}}}\n");
        let loaded = read(&body).unwrap();
        let redis = &loaded.snapshot.plugins[0].config["redis"];
        let wanted = (json!("redis.test"), json!(3), json!(6379));
        assert_eq!(
            (redis["host"].clone(), redis["database"].clone(), redis["port"].clone()),
            wanted
        );
        assert_eq!(warnings(&loaded), Vec::<String>::new());
    }
}

#[test]
fn kongs_own_links_stand_beside_the_plugins() {
    let body = format!(
        "{SHARED}plugins:\n- {{name: rate-limiting, instance_name: rl, config: {{minute: 1}}}}\n\
         plugins_partials:\n- {{plugin: rl, partial: 13dc230d-d65e-439a-9f05-9fd71abfee4d, \
         path: config.redis}}\n"
    );
    assert_eq!(read(&body).unwrap().snapshot.plugins[0].config["redis"]["host"], "by.id");
}

#[test]
fn what_a_plugin_says_beside_a_partial_has_no_effect_and_is_told() {
    let body = format!(
        "{SHARED}plugins:\n- name: rate-limiting\n  partials: [{{name: shared}}]\n  config:\n    \
         minute: 1\n    redis: {{database: 3, host: other.test, username: null, port: 1}}\n"
    );
    let loaded = read(&body).unwrap();
    let redis = &loaded.snapshot.plugins[0].config["redis"];
    assert_eq!((&redis["host"], &redis["port"]), (&json!("redis.test"), &json!(6379)));
    let told = |field: &str| {
        format!(
            "k:11: plugins[0].config.redis.{field}: has no effect: the partial 'shared' says it"
        )
    };
    assert_eq!(warnings(&loaded), [told("host"), told("port")]);
}

#[test]
fn links_that_lead_nowhere_are_told_with_their_place() {
    let cases = [
        (
            "[{name: sharde}]",
            "partial sharde for plugin rate-limiting: entity not found (did you mean 'shared'?)",
        ),
        (
            "[{path: config.redis}]",
            "partial for plugin rate-limiting: either partial ID or name is required",
        ),
        (
            "[{name: ee}]",
            "plugin 'rate-limiting' takes no partial of the type 'redis-ee' (it takes redis-ce)",
        ),
        (
            "[{name: shared, path: config}]",
            "plugin 'rate-limiting' takes no partial at 'config' (it takes one at config.redis)",
        ),
    ];
    for (links, message) in cases {
        let body = format!(
            "{SHARED}plugins:\n- name: rate-limiting\n  config: {{minute: 1}}\n  \
             partials: {links}\n"
        );
        let errors = read(&body).unwrap_err().to_string();
        assert_eq!(errors, format!("k:9: plugins[0].partials[0]: {message}"));
    }
    let body = format!(
        "{SHARED}plugins:\n- name: rate-limiting\n  config: {{minute: 1}}\n  \
         partials: [{{name: shared, path: 5}}]\n"
    );
    let errors = read(&body).unwrap_err().to_string();
    assert_eq!(errors, "k:9: plugins[0].partials[0].path: expected a string");
    let twice = "[{name: shared}, {id: 13dc230d-d65e-439a-9f05-9fd71abfee4d}]";
    let body = format!(
        "{SHARED}plugins:\n- {{name: rate-limiting, config: {{minute: 1}}, partials: {twice}}}"
    );
    let errors = read(&body).unwrap_err().to_string();
    assert!(errors.ends_with("plugins[0].partials[1]: 'config.redis' has a partial: 'shared'"));
}

#[test]
fn a_wrong_partial_is_told_once() {
    let body = "partials:\n- {name: p, type: redis-ce, config: {hots: a}}\nplugins:\n\
                - {name: rate-limiting, config: {minute: 1}, partials: [{name: p}]}\n";
    let errors = read(body).unwrap_err().to_string();
    assert_eq!(errors, "k:3: partials[0].config.hots: unknown field (did you mean 'host'?)");
    let errors = read("partials: [{name: p, type: model, config: {}}]").unwrap_err().to_string();
    assert!(errors.contains("partials of the type 'model' are not built"), "{errors}");
}

#[test]
fn the_secrets_of_a_partial_are_resolved_and_not_shown() {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let text = "_format_version: '3.0'\npartials:\n- name: p\n  type: redis-ce\n  \
                config: {host: h, username: '{vault://env/user}', password: plain-secret}\n\
                plugins:\n- name: rate-limiting\n  config: {minute: 1}\n  partials: [{name: p}]\n";
    let sources = [Source { name: "k".to_owned(), text: text.to_owned() }];
    let env = Env::from_iter([("USER", "redis-user")]);
    let loaded = load(&sources, &schemas, &env).unwrap();
    assert_eq!(warnings(&loaded), Vec::<String>::new());
    assert_eq!(loaded.snapshot.plugins[0].config["redis"]["username"], "redis-user");
    let dump = super::super::dump(&sources, &schemas, &env, false).unwrap().yaml();
    assert!(!dump.contains("plain-secret") && dump.contains("{vault://env/user}"), "{dump}");
}

#[test]
fn fields_of_enterprise_plugins_that_ask_for_nothing_are_left_out() {
    let body = "plugins:
- {name: acl, config: {allow: [a], include_consumer_groups: false}}
- {name: basic-auth, config: {brute_force_protection: {strategy: 'off', redis: {host: x}}}}
- {name: key-auth, config: {identity_realms: [{id: null, region: null, scope: cp}]}}
";
    assert_eq!(read(body).unwrap().snapshot.plugins.len(), 3);
    let asks = "plugins: [{name: acl, config: {allow: [a], include_consumer_groups: true}}]";
    let errors = read(asks).unwrap_err().to_string();
    assert!(errors.contains("unknown field (consumer groups do not count"), "{errors}");
}

#[test]
fn the_name_of_a_consumer_group_may_have_blanks() {
    let body = "consumer_groups: [{name: Custom Development}]\nconsumers:\n\
                - {username: c, groups: [{name: Custom Development}]}\n";
    let loaded = read(body).unwrap();
    let consumer = loaded.snapshot.consumers.values().next().unwrap();
    assert_eq!(consumer.groups[0].name, "Custom Development");
}
