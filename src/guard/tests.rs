use std::sync::Arc;

use serde_json::json;

use super::*;

fn guard(env: &[(&str, &str)]) -> Guard {
    let env = env.iter().copied().collect();
    Guard::new(true, &Snapshot { env, ..Snapshot::default() })
}

fn refused(guard: &Guard, address: &str) -> Option<Rule> {
    let address = address.parse().unwrap();
    guard.check(Named::Client, "host.example", address).err().map(|refused| refused.rule)
}

#[test]
fn metadata_addresses_are_refused_in_every_spelling() {
    let guard = guard(&[]);
    for (address, rule) in [
        ("169.254.169.254:80", Rule::LinkLocal),
        ("169.254.169.254:443", Rule::LinkLocal),
        ("169.254.129.3:8081", Rule::LinkLocal),
        ("[::ffff:169.254.169.254]:80", Rule::LinkLocal),
        ("[::169.254.169.254]:80", Rule::LinkLocal),
        ("[64:ff9b::169.254.169.254]:80", Rule::LinkLocal),
        ("[2002:a9fe:a9fe::1]:80", Rule::LinkLocal),
        ("[fe80::a9fe:a9fe]:80", Rule::LinkLocal),
        ("168.63.129.16:80", Rule::Platform),
        ("[::ffff:168.63.129.16]:32526", Rule::Platform),
        ("[fd00:ec2::254]:80", Rule::Ec2),
        ("127.0.0.1:40342", Rule::Agent),
        ("127.9.9.9:50342", Rule::Agent),
        ("[::1]:2377", Rule::Agent),
        ("[::ffff:127.0.0.1]:40342", Rule::Agent),
        ("0.0.0.0:40342", Rule::Agent),
        ("[::]:40342", Rule::Agent),
    ] {
        assert_eq!(refused(&guard, address), Some(rule), "{address}");
    }
}

#[test]
fn other_addresses_are_not() {
    let guard = guard(&[]);
    for address in
        ["127.0.0.1:8080", "10.0.0.4:40342", "168.63.129.17:80", "[fd00:ec2::253]:80", "[::1]:80"]
    {
        assert_eq!(refused(&guard, address), None, "{address}");
    }
}

#[test]
fn the_endpoint_of_this_machine_is_refused_under_each_of_its_addresses() {
    let rule = Some(Rule::InForce("IDENTITY_ENDPOINT"));
    let here = guard(&[("IDENTITY_ENDPOINT", "http://localhost:42356/msi/token")]);
    for address in ["127.0.0.1:42356", "[::1]:42356", "0.0.0.0:42356", "[::ffff:127.0.0.1]:42356"] {
        assert_eq!(refused(&here, address), rule, "{address}");
    }
    assert_eq!(refused(&here, "127.0.0.1:42357"), None);
    assert_eq!(refused(&here, "10.0.0.1:42356"), None);

    let there = guard(&[("IDENTITY_ENDPOINT", "https://10.1.2.3:2378/x")]);
    assert_eq!(refused(&there, "[::ffff:10.1.2.3]:2378"), rule);
    let named = guard(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "Host.Example:81")]);
    let rule = Some(Rule::InForce("AZURE_POD_IDENTITY_AUTHORITY_HOST"));
    assert_eq!(refused(&named, "10.0.0.1:81"), rule);
}

#[test]
fn an_endpoint_of_a_plugins_configuration_is_refused() {
    let config = json!({"targets": [
        {"auth": {"azure_imds_endpoint": null}},
        {"auth": {"azure_imds_endpoint": "http://127.0.0.1:9001"}},
    ]});
    let plugin = json!({
        "id": uuid::Uuid::nil(), "name": "ai-proxy-advanced", "instance_name": null,
        "enabled": true, "config": config, "service": null, "route": null, "consumer": null,
        "consumer_group": null, "protocols": [], "tags": null,
    });
    let plugins = vec![Arc::new(serde_json::from_value(plugin).unwrap())];
    let guard = Guard::new(true, &Snapshot { plugins, ..Snapshot::default() });
    assert_eq!(refused(&guard, "127.0.0.1:9001"), Some(Rule::InForce("azure_imds_endpoint")));
}

#[test]
fn the_operator_is_obeyed_and_may_switch_the_guard_off() {
    let imds = "169.254.169.254:80".parse().unwrap();
    assert_eq!(guard(&[]).check(Named::Operator, "169.254.169.254", imds), Ok(()));
    let off = Guard::new(false, &Snapshot::default());
    assert_eq!(off.check(Named::Plugin, "169.254.169.254", imds), Ok(()));
    assert!(guard(&[]).check(Named::Plugin, "169.254.169.254", imds).is_err());
}

#[test]
fn the_operators_line_names_host_address_rule_and_remedy() {
    let address = "[::ffff:169.254.169.254]:443".parse().unwrap();
    let refused = guard(&[]).check(Named::Client, "a.nip.example", address).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the client named the upstream a.nip.example, which is [::ffff:169.254.169.254]:443: \
         link-local addresses belong to metadata services (silverback_metadata_guard=off lets it \
         through)"
    );
}

#[test]
fn each_service_and_target_at_a_metadata_address_is_a_warning() {
    let nil = uuid::Uuid::nil();
    let service = json!({
        "id": nil, "name": "imds", "protocol": "http", "host": "169.254.169.254", "port": 80,
        "path": null, "retries": 5, "connect_timeout": 1, "write_timeout": 1, "read_timeout": 1,
        "enabled": true, "tls_verify": null, "tags": null,
    });
    let target = |text: &str| {
        let upstream = json!({ "id": nil });
        let json = json!({
            "id": nil, "target": text, "weight": 1, "upstream": upstream, "tags": null,
        });
        Arc::new(serde_json::from_value(json).unwrap())
    };
    let texts = ["[fe80::1]", "[fe80::2]:80", "168.63.129.16", "127.0.0.1:40342", "own.test:80"];
    let snapshot = Snapshot {
        services: [(nil, Arc::new(serde_json::from_value(service).unwrap()))].into(),
        targets: [(nil, texts.map(target).to_vec())].into(),
        ..Snapshot::default()
    };
    let lines = warnings(&snapshot);
    let begins = [
        "service 'imds' at 169.254.169.254: link-local",
        "target '127.0.0.1:40342': ports 40342",
        "target '168.63.129.16': 168.63.129.16 is the platform",
        "target '[fe80::1]': link-local",
        "target '[fe80::2]:80': link-local",
    ];
    assert_eq!(lines.len(), begins.len(), "{lines:#?}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line}");
    }
}

#[test]
fn literal_metadata_addresses_are_worth_a_warning() {
    assert_eq!(literal("169.254.169.254", 80), Some(Rule::LinkLocal));
    assert_eq!(literal("[fe80::1]", 80), Some(Rule::LinkLocal));
    assert_eq!(literal("localhost", 40342), Some(Rule::Agent));
    assert_eq!(literal("localhost", 8080), None);
    assert_eq!(literal("metadata.example", 80), None);
}
