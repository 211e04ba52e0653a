//! Answers, and the servers that records mean.

use serde_json::json;

use super::*;

fn record(json: serde_json::Value) -> Record {
    let mut all = json!({"host": "redis.example", "port": 6379});
    all.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[test]
fn records_of_both_kinds_mean_servers() {
    let short = json!({"host": "redis.example", "timeout": 50, "password": "", "database": 2});
    let short: Short = serde_json::from_value(short).unwrap();
    let open = Record::from(short).server("config.redis").unwrap();
    assert_eq!(open.place(), "redis.example:6379");
    assert_eq!(open.connect_timeout, Duration::from_millis(50));
    assert_eq!(open.login(None).password(), None, "an empty password is none");
    assert_eq!(open.tls, None);
    let longer = record(json!({"connect_timeout": 10, "read_timeout": 20, "ssl": true,
        "ssl_verify": true, "username": "u", "password": "p"}));
    let longer = longer.server("config.redis").unwrap();
    assert_eq!((longer.tls, longer.read_timeout), (Some(true), Duration::from_millis(20)));
    assert_eq!(longer.login(None).username(), Some("u"));
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let cloud = |provider: &str| {
        json!({"auth_provider": provider, "aws_region": "x",
        "azure_client_id": null, "azure_client_secret": null, "azure_tenant_id": null})
    };
    let server = record(json!({"cluster_nodes": [{"ip": "a", "port": 1}], "database": 3,
        "cloud_authentication": cloud("aws"), "sentinel_master": "m"}));
    let errors = server.server("config.redis").unwrap_err();
    assert_eq!(errors.len(), 3);
    assert!(errors[0].starts_with("config.redis.database: "), "{errors:?}");
    assert!(errors[1].contains("auth_provider: 'aws' is not built"), "{errors:?}");
    assert!(errors[2].starts_with("config.redis.sentinel_nodes: "), "{errors:?}");
    let plain = record(json!({"cloud_authentication": cloud("azure")}));
    assert!(plain.server("r").unwrap_err()[0].starts_with("r.ssl: must be true"));
}

#[test]
fn the_user_of_a_token_is_its_owner() {
    let owner = |claims: &str| super::server::owner(&format!("h.{claims}.s"));
    // {"oid":"0b1f"}
    assert_eq!(owner("eyJvaWQiOiIwYjFmIn0").as_deref(), Some("0b1f"));
    assert_eq!(owner("e30"), None);
    assert_eq!(super::server::owner("opaque"), None);
}

#[test]
fn secrets_are_not_printed() {
    let server = record(json!({"password": "s3cret", "username": "us3r"})).server("r").unwrap();
    let shown = format!("{server:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("us3r"), "{shown}");
}

#[test]
fn sentinels_are_asked_in_order_and_understood() {
    let server = record(json!({"sentinel_master": "mymaster",
        "sentinel_nodes": [{"host": "a", "port": 1}, {"host": "b", "port": null}]}));
    let server = server.server("r").unwrap();
    let mut places = server.places();
    assert_eq!(places.pop(), Some(("a".to_owned(), 1)));
    assert_eq!(places.pop(), Some(("b".to_owned(), 6379)));
    let sentinel = server.sentinel.as_ref().unwrap();
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let pair = Value::Array(vec![text("10.0.0.1"), text("6380")]);
    assert_eq!(sentinel.place(pair), Some(("10.0.0.1".to_owned(), 6380)));
    assert_eq!(sentinel.place(Value::Nil), None);
}

#[test]
fn numbers_come_in_several_shapes() {
    assert_eq!(number(&Value::Int(5)), Some(5));
    assert_eq!(number(&Value::BulkString(b"12".to_vec())), Some(12));
    assert_eq!(number(&Value::BulkString(b"x".to_vec())), None);
    assert_eq!(number(&Value::Nil), None);
}
