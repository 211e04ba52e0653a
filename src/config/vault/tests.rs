use serde_json::json;

use super::*;

fn env() -> Env {
    Env::from_iter([
        ("MY_SECRET", "s1"),
        ("MY_SECRET_PREVIOUS", "s0"),
        ("APP_KEY", "app"),
        ("JSON", r#"{"user": "u", "nested": {"a": "b"}, "empty": ""}"#),
        ("EMPTY", ""),
        ("B64_KEY", "c2VjcmV0"),
        ("B64_BAD", "%"),
    ])
}

fn resolve(reference: &str) -> Result<String, Unresolved> {
    let entities = [
        json!({"name": "env", "prefix": "app", "config": {"prefix": "app_"}}),
        json!({"name": "env", "prefix": "b", "config": {"prefix": "b64_", "base64_decode": true}}),
    ];
    Vaults::new(&env(), entities.iter()).resolve(reference)
}

#[test]
fn references_are_resolved_from_the_environment() {
    let cases = [
        ("{vault://env/my-secret}", "s1"),
        ("{vault://env/MY_SECRET}", "s1"),
        ("{vault://env/my-secret/}", "s1"),
        ("{vault://env/my-secret#2}", "s0"),
        ("{vault://env/secret?prefix=my-}", "s1"),
        ("{vault://app/key}", "app"),
        ("{vault://app/secret?prefix=MY_}", "s1"),
        ("{vault://env/json/user}", "u"),
        ("{vault://b/key}", "secret"),
    ];
    for (reference, value) in cases {
        assert_eq!(resolve(reference).as_deref(), Ok(value), "{reference}");
    }
}

#[test]
fn what_cannot_be_resolved_says_why() {
    let variable = |name: &str| Unresolved::Variable(name.to_owned());
    let key = |key: &str| Unresolved::Key { variable: "JSON".to_owned(), key: key.to_owned() };
    let cases = [
        ("{vault://env/no-such-var}", variable("NO_SUCH_VAR")),
        ("{vault://env/empty}", variable("EMPTY")),
        ("{vault://env/json/nested}", key("nested")),
        ("{vault://env/json/empty}", key("empty")),
        ("{vault://nope/x}", Unresolved::Vault("nope".to_owned())),
        ("{vault://b/bad}", Unresolved::Base64("B64_BAD".to_owned())),
        ("{vault://env}", Unresolved::Malformed),
        ("{vault:///x}", Unresolved::Malformed),
        ("{vault://env/x#y}", Unresolved::Malformed),
    ];
    for (reference, reason) in cases {
        assert_eq!(resolve(reference), Err(reason), "{reference}");
    }
}

#[test]
fn a_prefix_from_kong_conf_applies_to_env() {
    let env = Env::from_iter([("KONG_VAULT_ENV_PREFIX", "SEC_"), ("SEC_A", "yes")]);
    let vaults = Vaults::new(&env, std::iter::empty());
    assert_eq!(vaults.resolve("{vault://env/a}").as_deref(), Ok("yes"));
}

#[test]
fn only_referenceable_fields_are_touched() {
    let reference = "{vault://env/my-secret}";
    let mut value = json!({
        "auth": {"value": reference, "name": reference},
        "targets": [{"key": reference}, {"key": "{vault://env/none}"}, {"key": "plain"}],
        "headers": {"a": [reference]},
        "inside": format!("Bearer {reference}"),
    });
    let fields = ["auth.value", "targets.*.key", "headers"].map(str::to_owned);
    let env = env();
    let left = Vaults::new(&env, std::iter::empty()).resolve_in(&mut value, &fields).left;
    let expected = json!({
        "auth": {"value": "s1", "name": reference},
        "targets": [{"key": "s1"}, {"key": "{vault://env/none}"}, {"key": "plain"}],
        "headers": {"a": ["s1"]},
        "inside": format!("Bearer {reference}"),
    });
    assert_eq!(value, expected);
    let left: Vec<_> =
        left.into_iter().map(|(path, reason)| (Path(path).to_string(), reason)).collect();
    let unset = Unresolved::Variable("NONE".to_owned());
    assert_eq!(left, [("targets[1].key".to_owned(), Some(unset)), ("auth.name".to_owned(), None)]);
}

#[test]
fn references_are_remembered_by_record_field_and_item() {
    let mut value = json!({
        "redis": {"password": "{vault://env/my-secret}"},
        "targets": [{"key": "plain"}, {"key": "{vault://env/none}"}],
        "headers": {"a": "{vault://env/my-secret}", "b": "plain"},
        "list": ["x", "{vault://env/my-secret}"],
        "top": "{vault://env/my-secret}",
    });
    let fields = ["redis.password", "targets.*.key", "headers.*", "list.*", "top"];
    let env = env();
    let vaults = Vaults::new(&env, std::iter::empty());
    let found = vaults.resolve_in(&mut value, &fields.map(str::to_owned)).references;
    let shown = |one: &Referenced| format!("{:?} {} {:?}", one.record, one.field, one.item);
    let shown: Vec<_> = found.iter().map(|one| shown(one).replace("String", "")).collect();
    assert_eq!(
        shown,
        [
            r#"[("redis")] password None"#,
            r#"[("targets"), Number(2)] key None"#,
            r#"[] headers Some(("a"))"#,
            r#"[] list Some(Number(2))"#,
            "[] top None",
        ]
    );
    assert_eq!(found[1].text, "{vault://env/none}");
}
