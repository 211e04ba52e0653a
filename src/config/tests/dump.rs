//! Dumps by the real schemas.

use super::*;
use crate::lua::schema::LuaSchemas;
use crate::lua::{Options, Vm};

const EVERYTHING: &str = r#"_format_version: "1.1"
_info:
  select_tags: [mine]
  defaults: {service: {retries: 2}}
_plugin_configs:
  shared: {echo_downstream: true}
services:
- name: s
  url: https://a.test:8443/base
  path: null
  connect_timeout: null
  routes:
  - name: r
    paths: ['/users/\d+$', /plain]
    plugins:
    - {name: correlation-id, _config: shared}
  - paths: [/nameless]
routes:
- {name: serviceless, hosts: ['*.a.test'], headers: {x-a: [b]}}
consumers:
- username: bob
  groups: [{name: gold}]
  keyauth_credentials: [{key: secret-of-bob}]
  basicauth_credentials: [{username: bob, password: secret-password}]
  acls: [{group: admins}]
- custom_id: '17'
  jwt_secrets: [{key: iss, secret: secret-of-17}]
consumer_groups:
- name: gold
  plugins: [{name: request-termination, config: {status_code: 418}}]
plugins:
- name: ai-proxy-advanced
  route: serviceless
  config:
    route_type: llm/v1/chat
    model:
      provider: azure
      options: {azure_instance: ${{ env "DECK_INSTANCE" }}, azure_deployment_id: d}
    auth: {header_name: api-key, header_value: '{vault://env/azure-key}'}
upstreams:
- name: u.test
  targets: [{target: '10.0.0.1:80', weight: 1}]
vaults: [{name: env, prefix: mine, config: {prefix: app_}}]
"#;

fn env() -> Env {
    Env::from_iter([("DECK_INSTANCE", "my-instance"), ("AZURE_KEY", "secret-of-azure")])
}

fn dumped(text: &str, with_secrets: bool) -> Dump {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let source = Source { name: "k".to_owned(), text: text.to_owned() };
    dump(&[source], &schemas, &env(), with_secrets).unwrap()
}

#[test]
fn a_dump_loads_again_to_itself() {
    let first = dumped(EVERYTHING, true);
    assert_eq!(dumped(&first.yaml(), true).document, first.document);
    assert_eq!(dumped(&first.document.to_string(), true).document, first.document);
}

#[test]
fn a_dump_means_what_the_file_means() {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let load = |text: String| {
        let source = Source { name: "k".to_owned(), text };
        load(&[source], &schemas, &env()).unwrap().snapshot
    };
    let (before, after) = (load(EVERYTHING.to_owned()), load(dumped(EVERYTHING, true).yaml()));
    let ids = |snapshot: &Snapshot| snapshot.plugins.iter().map(|p| p.id).collect::<Vec<_>>();
    assert_eq!(ids(&before), ids(&after));
    for (one, other) in before.plugins.iter().zip(&after.plugins) {
        assert_eq!((&one.config, one.consumer_group), (&other.config, other.consumer_group));
    }
    let paths = |snapshot: &Snapshot| {
        snapshot.routes.iter().map(|r| (r.id, r.paths.clone())).collect::<Vec<_>>()
    };
    let mut after_paths = paths(&after);
    let mut before_paths = paths(&before);
    after_paths.sort();
    before_paths.sort();
    assert_eq!(before_paths, after_paths);
    let service = uuid!("b268827a-8f7f-551f-8769-e6bceb2f3ec6");
    assert_eq!(after.services[&service].connect_timeout, 60000);
    let bob = after.consumer("bob").unwrap();
    assert_eq!(bob.groups[0].name, "gold");
    assert_eq!(after.keyauth_credentials["secret-of-bob"].consumer.id, bob.id);
    let password = |snapshot: &Snapshot| {
        let mut credentials = snapshot.basicauth_credentials.values();
        credentials.next().unwrap().password.expose().to_owned()
    };
    assert_eq!(password(&before), password(&after), "hashed once");
    assert_ne!(password(&after), "secret-password");
}

#[test]
fn a_dump_holds_defaults_ids_and_shared_parts() {
    let document = dumped(EVERYTHING, true).document;
    let service = &document["services"][0];
    assert_eq!((&service["retries"], &service["port"]), (&json!(2), &json!(8443)));
    assert_eq!(service["id"], "b268827a-8f7f-551f-8769-e6bceb2f3ec6");
    assert_eq!(service["tags"], json!(["mine"]));
    // A null that a default would fill again, and one that it would not.
    assert_eq!(service.get("path"), Some(&json!("/base")));
    assert_eq!(service.get("connect_timeout"), Some(&Value::Null));
    let route = &document["routes"][0];
    assert_eq!((&route["service"], &route["paths"][0]), (&json!("s"), &json!("~/users/\\d+$")));
    assert_eq!(document["routes"][1].get("name"), None);
    let member = json!({"consumer": "bob", "consumer_group": "gold"});
    assert_eq!(document["consumer_group_consumers"][0], member);
    let mut plugins = document["plugins"].as_array().unwrap().iter();
    let shared = plugins.find(|plugin| plugin["name"] == "correlation-id").unwrap();
    assert_eq!(shared["config"]["echo_downstream"], true);
}

#[test]
fn a_masked_dump_holds_no_secret_and_keeps_references() {
    let masked = dumped(EVERYTHING, false).yaml();
    assert!(!masked.contains("secret-of") && !masked.contains("secret-password"), "{masked}");
    assert!(masked.contains("'{vault://env/azure-key}'"), "{masked}");
    assert!(masked.contains("azure_instance: '${{ env `DECK_INSTANCE` }}'"), "{masked}");
    assert!(masked.contains("key: '***'"), "{masked}");
    // What has no secrets of its own loads again, masked as it is.
    let open =
        "_format_version: '3.0'\nservices: [{name: s, host: '${{ env \"DECK_INSTANCE\" }}'}]";
    let first = dumped(open, false);
    assert_eq!(dumped(&first.yaml(), false).document, first.document);
    assert_eq!(dumped(&first.yaml(), true).document["services"][0]["host"], "my-instance");
}

#[test]
fn a_certificate_from_a_vault_is_checked_like_any_other() {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let one = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let two = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let text = "_format_version: '3.0'
certificates: [{cert: '{vault://env/cert}', key: '{vault://env/key}', snis: [a.test]}]
";
    let source = Source { name: "k".to_owned(), text: text.to_owned() };
    let with_key = |key: String| {
        let env = Env::from_iter([("CERT", one.cert.pem()), ("KEY", key)]);
        load(std::slice::from_ref(&source), &schemas, &env)
    };
    let loaded = with_key(one.signing_key.serialize_pem()).unwrap();
    assert!(loaded.snapshot.records["certificates"][0].json["cert"].as_str().unwrap().len() > 99);
    let errors = with_key(two.signing_key.serialize_pem()).unwrap_err().to_string();
    let said = "certificate does not match key (the vault reference was resolved to it)";
    assert_eq!(errors, format!("k:2: certificates[0]: {said}"));
    let errors = with_key("no key".to_owned()).unwrap_err().to_string();
    assert!(errors.starts_with("k:2: certificates[0].key: invalid key"), "{errors}");
}

#[test]
fn a_text_that_looks_like_a_placeholder_is_none_in_a_dump() {
    let text = "_format_version: '3.0'\nconsumers: [{username: 'a${{ `${{` }} x }}'}]";
    let first = dumped(text, true);
    assert_eq!(dumped(&first.yaml(), true).document, first.document);
    assert_eq!(first.document["consumers"][0]["username"], "a${{ `${{` }} x }}");
}

#[test]
fn a_dump_without_secrets_does_not_load_with_asterisks_for_keys() {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &["bundled"]);
    let text = dumped(EVERYTHING, false).yaml();
    let source = Source { name: "k".to_owned(), text };
    let errors = load(&[source], &schemas, &env()).unwrap_err();
    let lines: Vec<String> = errors.problems().iter().map(ToString::to_string).collect();
    for field in ["key", "password", "secret"] {
        let masked = |line: &&String| {
            line.contains(&format!(".{field}:")) && line.contains("that `config dump` has masked")
        };
        assert_eq!(lines.iter().filter(masked).count(), 1, "{field}: {lines:#?}");
    }
}
