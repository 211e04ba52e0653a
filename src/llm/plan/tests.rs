use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::llm::config::tests::target;

fn plan(auth: Value, options: Value, model: Value) -> Plan {
    Plan::new(&target(auth, options, model), ResponseStreaming::Allow).unwrap()
}

fn invalid(auth: Value, options: Value, model: Value) -> String {
    match Plan::new(&target(auth, options, model), ResponseStreaming::Allow) {
        Ok(_) => panic!("the target was accepted"),
        Err(invalid) => invalid.to_string(),
    }
}

mod bodies;
mod messages;
mod urls;

/// A request of a client: path with query, headers, body.
fn send(plan: &Plan, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Prepared, Error> {
    send_as(plan, &Method::POST, path, headers, body)
}

/// The same with another method.
fn send_as(
    plan: &Plan,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Prepared, Error> {
    prepare(plan, method, path, headers, body, false)
}

/// The same; `counts` asks a stream for its tokens.
fn prepare(
    plan: &Plan,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
    counts: bool,
) -> Result<Prepared, Error> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
    let headers: HeaderMap =
        headers.iter().map(|(key, value)| (name(key), value.parse().unwrap())).collect();
    let captures = |key: &str| (key == "dep").then(|| "captured".to_owned());
    let (headers, captures) = (&headers, &captures);
    let client = Client { method, raw_path: path, path, query, headers, captures };
    let content_type = headers.get("content-type").map(HeaderValue::as_bytes);
    let body = Body::read(content_type, Bytes::copy_from_slice(body.as_bytes()), 0)?;
    plan.prepare(&client, &body, counts)
}

fn chat(plan: &Plan, body: &str) -> Result<String, String> {
    let prepared = send(plan, "/ai", &[], body).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(prepared.body.unwrap().to_vec()).unwrap())
}

const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

fn recorded(case: &str, file: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/golden/recorded");
    let text = std::fs::read(format!("{folder}/{case}/{file}.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn header<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    let headers = message["headers"].as_array()?.iter();
    let mut named = headers.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.next().map(|pair| pair[1].as_str().unwrap())
}

/// Replays a recording of Kong: what the upstream got, or how Kong refused.
fn replay(case: &str, plan: &Plan) {
    replay_except(case, plan, usize::MAX);
}

/// The same without the step where this gateway differs on purpose.
fn replay_except(case: &str, plan: &Plan, except: usize) {
    let (requests, upstream, replies) =
        (recorded(case, "request"), recorded(case, "upstream"), recorded(case, "response"));
    let steps = requests.as_array().unwrap().iter().enumerate();
    for (step, request) in steps.filter(|(step, _)| *step != except) {
        let note = format!("{case} step {step}");
        let headers: Vec<(&str, &str)> = request["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
            .collect();
        let body = request["body"].as_str().unwrap_or("not text");
        let prepared = send(plan, request["path"].as_str().unwrap(), &headers, body);
        match (upstream[step].get(0), prepared) {
            (Some(got), Ok(prepared)) => {
                check_request(&note, got, &prepared, body, plan, &headers);
                let model = header(&replies[step], "X-Kong-LLM-Model").map(str::as_bytes);
                if replies[step]["status"] == 200 && model.is_some() {
                    let ours = prepared.model_header.as_ref().map(HeaderValue::as_bytes);
                    assert_eq!(ours, model, "{note}");
                }
            }
            (None, Err(error)) => {
                assert_eq!(error.status(), replies[step]["status"].as_u64().unwrap() as u16);
                let body = String::from_utf8(error.body("")).unwrap();
                assert_eq!(body, replies[step]["body"].as_str().unwrap(), "{note}");
            }
            (_, prepared) => panic!("{note}: {:?}", prepared.err()),
        }
    }
}

fn check_request(
    note: &str,
    got: &Value,
    prepared: &Prepared,
    body: &str,
    plan: &Plan,
    sent: &[(&str, &str)],
) {
    assert_eq!(prepared.target.as_str(), got["target"].as_str().unwrap(), "{note}");
    assert_eq!(Some(&*prepared.endpoint.host), header(got, "host"), "{note}");
    assert_eq!(u64::from(prepared.endpoint.port), got["port"].as_u64().unwrap(), "{note}");
    assert_eq!(
        prepared.endpoint.protocol.is_tls(),
        got.get("tls_sni").is_some_and(|s| !s.is_null())
    );
    let text = prepared.body.as_ref().map_or(body.as_bytes(), |body| &body[..]);
    let theirs = got["body"].as_str().unwrap();
    match serde_json::from_str::<Value>(theirs) {
        Ok(theirs) => {
            let ours: Value = serde_json::from_slice(text).unwrap();
            assert_eq!(numbers_as_kong(ours), numbers_as_kong(theirs), "{note}");
        }
        Err(_) => assert_eq!(text, theirs.as_bytes(), "{note}"),
    }
    if let Some((name, _)) = &plan.credential.header(&Client {
        method: &Method::POST,
        raw_path: "",
        path: "",
        query: "",
        headers: &HeaderMap::new(),
        captures: &|_| None,
    }) {
        let ours = prepared.credential.as_ref().map(|(_, value)| value.to_str().unwrap());
        let kept = || sent.iter().find(|(own, _)| name == own).map(|(_, value)| *value);
        assert_eq!(ours.or_else(kept), header(got, name.as_str()), "{note}");
    }
}

/// Kong's numbers are doubles, and it forgets a decimal point.
fn numbers_as_kong(value: Value) -> Value {
    match value {
        // Whole numbers stop at 2^63 there.
        Value::Number(number) => json!(number.as_f64().map(|number| number.min(2f64.powi(63)))),
        Value::Array(items) => items.into_iter().map(numbers_as_kong).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key, numbers_as_kong(value))).collect()
        }
        other => other,
    }
}

const UP: &str = "http://127.0.0.1:19001/up/path";

#[test]
fn recordings_with_the_usual_target() {
    let key = json!({"header_name": "api-key", "header_value": "sk-azure-1"});
    let usual = plan(key, json!({ "upstream_url": UP }), json!({}));
    for case in [
        "ai-azure-chat-headers",
        "ai-azure-method-get",
        "ai-bad-json",
        "ai-bad-route-type-mix",
        "ai-json-reencode",
        "ai-log-payloads",
        "ai-model-conflict",
        "ai-model-same-name",
        "ai-options-client-only",
        "ai-request-chunked",
        "ai-request-gzip",
        "ai-stream-basic",
        "ai-stream-include-usage",
        "ai-tools-passthrough",
        "ai-upstream-200-no-usage",
    ] {
        replay(case, &usual);
    }
    // messages [1]: Kong answers 500, this gateway 400.
    replay_except("ai-bad-messages", &usual, 4);
}

#[test]
fn recordings_of_addresses() {
    let key = || json!({"header_name": "api-key", "header_value": "sk-azure-1"});
    let instance = || plan(key(), json!({}), json!({}));
    replay("ai-azure-url-from-instance", &instance());
    let version = json!({"azure_api_version": "2024-10-21"});
    replay("ai-azure-url-api-version", &plan(key(), version.clone(), json!({})));
    replay("ai-azure-url-client-api-version", &plan(key(), version, json!({})));
    let model = json!({"route_type": "llm/v1/completions", "name": "gpt-35-turbo-instruct"});
    replay("ai-azure-completions-url", &plan(key(), json!({}), model));
    let bearer = json!({"header_name": "Authorization", "header_value": "Bearer sk-1"});
    let openai = json!({"provider": "openai"});
    replay("ai-openai-default-url", &plan(bearer.clone(), json!({}), openai.clone()));
    replay("ai-openai-upstream-url", &plan(bearer, json!({ "upstream_url": UP }), openai));
    let model = json!({"provider": "openai", "route_type": "llm/v1/completions",
        "name": "gpt-3.5-turbo-instruct"});
    replay("ai-openai-completions", &plan(json!({}), json!({}), model));
    let model = json!({"route_type": "preserve", "name": "m"});
    replay("ai-preserve-azure-derived", &plan(key(), json!({}), model.clone()));
    let path = json!({"upstream_path": "/embeddings"});
    replay("ai-preserve-upstream-path", &plan(key(), path, model.clone()));
    replay("ai-preserve-multipart", &plan(key(), json!({ "upstream_url": UP }), model));
    let model = json!({"route_type": "preserve", "name": null});
    replay("ai-preserve-noname", &plan(key(), json!({ "upstream_url": UP }), model));
}

#[test]
fn recordings_of_credentials() {
    let up = || json!({ "upstream_url": UP });
    for (case, auth) in [
        ("ai-azure-auth-none", json!({})),
        (
            "ai-azure-auth-bearer",
            json!({"header_name": "Authorization", "header_value": "Bearer tok"}),
        ),
        (
            "ai-azure-auth-allow-override",
            json!({"header_name": "api-key", "header_value": "sk", "allow_override": true}),
        ),
        (
            "ai-azure-auth-param-body",
            json!({"param_name": "key", "param_value": "sk", "param_location": "body"}),
        ),
        (
            "ai-azure-auth-param-query",
            json!({"param_name": "subscription-key", "param_value": "a b&c",
                "param_location": "query"}),
        ),
    ] {
        replay(case, &plan(auth, up(), json!({})));
    }
}

#[test]
fn recordings_of_models_options_and_streams() {
    let key = || json!({"header_name": "api-key", "header_value": "sk-azure-1"});
    let nameless = plan(key(), json!({ "upstream_url": UP }), json!({"name": null}));
    replay("ai-model-from-request", &nameless);
    let options = json!({"upstream_url": UP, "max_tokens": 512, "temperature": 1.0, "top_p": 0.5,
        "top_k": 40});
    replay("ai-options-defaults", &plan(key(), options, json!({})));
    let usual = target(key(), json!({ "upstream_url": UP }), json!({}));
    replay("ai-stream-always", &Plan::new(&usual, ResponseStreaming::Always).unwrap());
    replay("ai-stream-deny", &Plan::new(&usual, ResponseStreaming::Deny).unwrap());
    let model = json!({"route_type": "llm/v1/completions", "name": "m"});
    replay("ai-stream-completions", &plan(key(), json!({ "upstream_url": UP }), model));
    let options = json!({"azure_deployment_id": "$(headers.x-dep)",
        "azure_api_version": "$(headers.x-ver)"});
    let templates = plan(key(), options, json!({"name": "$(headers.x-model)"}));
    // x-dep: d/../1 leaves its place in the path; Kong lets it.
    replay_except("ai-tmpl-header", &templates, 2);
    replay(
        "ai-tmpl-bad-expr",
        &plan(key(), json!({ "upstream_url": UP }), json!({"name": "$(headers)"})),
    );
}

#[test]
fn a_template_that_makes_no_sense_is_told_per_request_wherever_it_stands() {
    for (field, value, said) in [
        ("azure_instance", "$(body.x)", "source 'body' is not supported"),
        ("azure_deployment_id", "$(headers)", "cannot parse expression for field '$(headers)'"),
        ("upstream_url", "https://h/$(body.x)", "source 'body' is not supported"),
        ("upstream_path", "/a/$(body.x)", "source 'body' is not supported"),
    ] {
        let plan = plan(json!({}), json!({ field: value }), json!({}));
        assert_eq!(send(&plan, "/ai", &[], HI).err().unwrap().to_string(), said, "{field}");
    }
}

#[test]
fn templates_of_the_client_stay_in_their_place() {
    let options = json!({"azure_deployment_id": "$(headers.x-dep)",
        "azure_api_version": "$(headers.x-ver)"});
    let plan = plan(json!({}), options, json!({"name": "$(headers.x-model)"}));
    let send = |dep| {
        let headers = [("x-model", "m1"), ("x-dep", dep), ("x-ver", "v 9")];
        send(&plan, "/ai?a=b", &headers, HI)
    };
    let prepared = send("gpt-4.1 mini").unwrap();
    let expected = "/openai/deployments/gpt-4.1%20mini/chat/completions?api-version=v%209&a=b";
    assert_eq!(prepared.target.as_str(), expected);
    assert_eq!(prepared.model.as_deref(), Some("m1"));
    assert_eq!(prepared.azure.unwrap().azure_deployment_id, "gpt-4.1 mini");
    // Kong sends this one: /openai/deployments/d/../1/chat/completions.
    for dep in ["d/../1", "..", "x?y", "%2e", ""] {
        let refused = Err(Error::UnsafeValue { field: "azure_deployment_id" });
        assert_eq!(send(dep).map(|_| ()), refused, "{dep}");
    }
    let missing = super::tests::send(&plan, "/ai", &[("x-model", "m1")], HI).err().unwrap();
    assert_eq!(missing.to_string(), "headers key x-dep was not provided");
}

#[test]
fn a_template_may_be_a_part_of_a_url() {
    let url = |url: &str| json!({ "upstream_url": url });
    let east = plan(json!({}), url("https://$(uri_captures.dep).example.com/v1"), json!({}));
    let prepared = send(&east, "/", &[], HI).unwrap();
    assert_eq!(&*prepared.endpoint.host, "captured.example.com");
    assert!(east.endpoint().is_none());
    let path = plan(json!({}), url("https://h.example/a/$(headers.p)"), json!({}));
    let target = |p| send(&path, "/", &[("p", p)], HI).map(|prepared| prepared.target.to_string());
    assert_eq!(target("b/c").unwrap(), "/a/b/c?api-version=2023-05-15");
    assert_eq!(target("b/../c"), Err(Error::UnsafeValue { field: "upstream_url" }));
    for bad in ["$(headers.url)", "$(headers.s)://h/", "https:$(headers.x)"] {
        let text = invalid(json!({}), url(bad), json!({}));
        assert!(text.contains("must not choose scheme, host or port"), "{text}");
    }
}

#[test]
fn a_client_cannot_leave_its_label_of_the_host() {
    let instance = json!({ "azure_instance": "$(headers.h)", "azure_deployment_id": "d" });
    let url = json!({ "upstream_url": "https://$(headers.h).services.ai.azure.com:8443/v1" });
    for (options, suffix, port) in
        [(instance, ".openai.azure.com", 443), (url, ".services.ai.azure.com", 8443)]
    {
        let plan = plan(json!({}), options, json!({}));
        assert!(plan.is_host_theirs());
        let endpoint = |h| send(&plan, "/", &[("h", h)], HI).map(|prepared| prepared.endpoint);
        let good = endpoint("west-1").unwrap();
        let host = format!("west-1{suffix}");
        assert_eq!((&*good.host, good.port, good.protocol.is_tls()), (&*host, port, true));
        for bad in [
            "evil.example/",
            "evil.example#",
            "evil.example?",
            "evil.example",
            "evil.example:443",
            "a@b",
            "a:b@evil",
            "a\\b",
            "%2f",
            "[::1]",
            "169.254.169.254",
            "a b",
            "ä",
            "",
        ] {
            assert!(matches!(endpoint(bad), Err(Error::UnsafeValue { .. })), "{bad}");
        }
    }
}

#[test]
fn the_host_is_the_operators_where_no_template_fills_it() {
    for options in [
        json!({}),
        json!({ "azure_deployment_id": "$(headers.dep)" }),
        json!({ "upstream_url": "https://h.example/$(headers.p)" }),
        json!({ "upstream_url": "https://h.example/", "azure_instance": "$(headers.i)" }),
    ] {
        assert!(!plan(json!({}), options.clone(), json!({})).is_host_theirs(), "{options}");
    }
}

#[test]
fn mistakes_are_found_at_load() {
    let text = |options| invalid(json!({}), options, json!({}));
    assert_eq!(
        text(json!({"azure_deployment_id": "a/b"})),
        "model.options.azure_deployment_id: 'a/b' must be a plain name: no / \\ ? # %, not . or .."
    );
    assert_eq!(
        text(json!({"azure_instance": null})),
        "model.options.azure_instance: must be set for provider azure, unless upstream_url is"
    );
    assert!(text(json!({"azure_instance": "a/b"})).contains("not a host"));
    assert!(text(json!({"azure_instance": "a@b"})).contains("not a host"));
    assert!(text(json!({"upstream_url": "https://u:p@h/"})).contains("user name"));
    // Also beside a template, which could hide them until the first request.
    let hidden = json!({"azure_deployment_id": "$(headers.d)", "upstream_path": "/x?y"});
    assert!(text(hidden).contains("upstream_path"));
    let auth = json!({"header_name": "api-key", "header_value": "sk\nx"});
    assert_eq!(
        invalid(auth, json!({}), json!({})),
        "auth.header_value: not valid in an HTTP header"
    );
    let auth = json!({"param_name": "model", "param_value": "x", "param_location": "body"});
    assert!(invalid(auth, json!({}), json!({})).starts_with("auth.param_name: 'model'"));
    let auth = json!({"param_name": "api-version", "param_value": "x", "param_location": "query"});
    assert!(invalid(auth, json!({}), json!({})).starts_with("auth.param_name: 'api-version'"));
    // Such a header is written anew for the upstream: the key would be lost on the way.
    for name in ["Host", "content-length", "Transfer-Encoding", "Connection", "Accept-Encoding"] {
        let auth = json!({"header_name": name, "header_value": "sk"});
        let said = invalid(auth, json!({}), json!({}));
        assert!(said.ends_with("is a part of the request itself; choose another name"), "{said}");
    }
    let model = json!({"provider": "gemini"});
    assert!(invalid(json!({}), json!({}), model).contains("not built yet"));
}

#[test]
fn the_body_keeps_its_bytes() {
    let plan = plan(json!({}), json!({}), json!({}));
    let body = "{ \"seed\": 12345678901234567890,\n\"messages\":[{\"content\":\"\\u00e9\\/\"}],\
        \"t\":1.0 }";
    let expected = "{ \"seed\": 12345678901234567890,\n\"messages\":[{\"content\":\"\\u00e9\\/\"}],\
        \"t\":1.0,\"model\":\"gpt-4o\",\"stream\":false }";
    assert_eq!(chat(&plan, body).unwrap(), expected);
    assert_eq!(chat(&plan, expected).unwrap(), expected);
}

#[test]
fn aliases_name_a_target() {
    let plan = plan(json!({}), json!({}), json!({"model_alias": "fast"}));
    let with = |model: &str| chat(&plan, &format!(r#"{{"model":"{model}",{}"#, &HI[1..]));
    assert!(with("fast").unwrap().starts_with(r#"{"model":"gpt-4o","#));
    assert!(with("gpt-4o").is_ok());
    assert_eq!(with("other").unwrap_err(), "cannot use own model - must be: gpt-4o");
    assert!(plan.answers_to("fast") && plan.answers_to("gpt-4o") && !plan.answers_to("other"));
}

#[test]
fn an_escaped_copy_of_model_does_not_get_through() {
    let plan = plan(json!({}), json!({}), json!({}));
    let body = format!(r#"{{"mod\u0065l":"evil","model":"gpt-4o",{}"#, &HI[1..]);
    let sent = chat(&plan, &body).unwrap();
    assert!(!sent.contains("evil") && sent.matches("gpt-4o").count() == 1, "{sent}");
}

#[test]
fn a_first_message_that_is_no_object_is_a_bad_request() {
    let plan = plan(json!({}), json!({}), json!({}));
    // Kong: 500.
    let error = chat(&plan, r#"{"messages":[1]}"#).unwrap_err();
    assert_eq!(error, "request body doesn't contain valid prompts");
}

#[test]
fn a_key_in_a_preserved_body() {
    let auth = json!({"param_name": "key", "param_value": "s\"k", "param_location": "body"});
    let plan = plan(auth, json!({}), json!({"route_type": "preserve"}));
    assert_eq!(chat(&plan, r#"{"input":1}"#).unwrap(), r#"{"input":1,"key":"s\"k"}"#);
    let multipart = [("content-type", "multipart/form-data; boundary=x")];
    let error = send(&plan, "/ai", &multipart, "--x--").err();
    assert_eq!(error, Some(Error::NoBodyForCredential));
}

#[test]
fn urls_of_the_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/azure/url-01-builder.json");
    let vector: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut seen = 0;
    for case in vector["cases"].as_array().unwrap().iter().filter(|c| c["in"]["kind"] == "kong") {
        let options = json!({"azure_instance": case["in"]["azure_instance"],
            "azure_deployment_id": case["in"]["azure_deployment_id"]});
        let model = json!({"route_type": case["in"]["route_type"]});
        let prepared = send(&plan(json!({}), options, model), "/", &[], HI).unwrap();
        let (host, port) = (&prepared.endpoint.host, prepared.endpoint.port);
        let url = format!("https://{host}:{port}{}", prepared.target);
        assert_eq!(url, case["url"].as_str().unwrap());
        seen += 1;
    }
    for deployment in vector["reject"].as_array().unwrap().iter().map(|r| &r["deployment"]) {
        if deployment.is_string() {
            let text = invalid(json!({}), json!({ "azure_deployment_id": deployment }), json!({}));
            assert!(text.contains("plain name"), "{text}");
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
}
