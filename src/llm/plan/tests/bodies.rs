//! What becomes of bodies that are no chats.

use super::*;

fn sent(options: Value, route: &str, path: &str, body: &str) -> Result<String, String> {
    let plan = plan(json!({}), options, json!({"route_type": route}));
    let method = if body.is_empty() { Method::GET } else { Method::POST };
    let prepared = send_as(&plan, &method, path, &[], body).map_err(|error| error.to_string())?;
    Ok(prepared.body.map_or_else(String::new, |body| String::from_utf8(body.to_vec()).unwrap()))
}

#[test]
fn a_new_thing_names_the_model_and_what_is_stored_does_not() {
    let of = |route, path, body| sent(json!({}), route, path, body).unwrap();
    let model = r#"{"input":"x","model":"gpt-4o"}"#;
    assert_eq!(of("llm/v1/embeddings", "/e", r#"{"input":"x"}"#), model);
    // No deployment is in the path.
    let deployment = r#"{"input":"x","model":"gpt-4o-dep"}"#;
    assert_eq!(of("llm/v1/responses", "/responses", r#"{"input":"x"}"#), deployment);
    let named = r#"{"input":"x","model":"gpt-4o"}"#;
    assert_eq!(of("llm/v1/responses", "/responses", named), deployment);
    assert_eq!(of("llm/v1/responses", "/responses/r_1/cancel", "{}"), "{}");
    assert_eq!(of("llm/v1/batches", "/batches", r#"{"input_file_id":"f"}"#).len(), 21);
    assert_eq!(of("llm/v1/assistants", "/assistants", "{}"), r#"{"model":"gpt-4o-dep"}"#);
    assert_eq!(of("llm/v1/assistants", "/threads", "{}"), "{}");
    let run = "/threads/t/runs";
    assert_eq!(of("llm/v1/assistants", run, r#"{"assistant_id":"a"}"#).matches("model").count(), 0);
    let own = of("llm/v1/assistants", run, r#"{"model":"gpt-4o"}"#);
    assert_eq!(own, r#"{"model":"gpt-4o-dep"}"#);
}

#[test]
fn the_v1_surface_names_the_deployment_and_the_dated_one_the_model() {
    let of = |options: Value| sent(options, "llm/v1/chat", "/chat", HI).unwrap();
    let has = |text: String, part: &str| assert!(text.contains(part), "{text}");
    has(of(json!({})), r#""model":"gpt-4o""#);
    has(of(json!({"azure_api_version": "v1"})), r#""model":"gpt-4o-dep""#);
    has(of(json!({"azure_api_version": "preview"})), r#""model":"gpt-4o-dep""#);
    let foundry = json!({"azure_service": "azure-foundry", "azure_foundry_resource": "r",
        "azure_deployment_id": null});
    has(of(foundry), r#""model":"gpt-4o""#);
    let url = "https://p.example/openai/v1/chat/completions";
    has(of(json!({"upstream_url": url})), r#""model":"gpt-4o""#);
    let said = json!({"upstream_url": url, "azure_api_version": "v1"});
    has(of(said), r#""model":"gpt-4o-dep""#);
}

#[test]
fn options_go_where_they_mean_something() {
    let options = || json!({"max_tokens": 5, "temperature": 0.5, "embeddings_dimensions": 64});
    let of = |route, path| sent(options(), route, path, r#"{"input":"x"}"#).unwrap();
    assert_eq!(of("llm/v1/embeddings", "/e"), r#"{"input":"x","model":"gpt-4o","dimensions":64}"#);
    assert_eq!(
        of("llm/v1/responses", "/responses"),
        r#"{"input":"x","model":"gpt-4o-dep","max_output_tokens":5,"temperature":0.5}"#
    );
    assert_eq!(of("audio/v1/audio/speech", "/s"), r#"{"input":"x","model":"gpt-4o"}"#);
}

#[test]
fn reasoning_models_get_the_limit_under_their_name() {
    let with = |name: &str, options: Value, body: &str| {
        let plan = plan(json!({}), options, json!({"name": name}));
        chat(&plan, &format!(r#"{{{body},{}"#, &HI[1..])).unwrap()
    };
    let o3 = with("o3-mini", json!({}), r#""max_tokens":7"#);
    assert!(o3.contains(r#""max_completion_tokens":7"#) && !o3.contains("max_tokens"), "{o3}");
    let own = with("gpt-5", json!({"max_tokens": 9}), r#""max_tokens":7"#);
    assert!(own.contains(r#""max_completion_tokens":9"#), "{own}");
    let old = with("gpt-4o", json!({}), r#""max_completion_tokens":7"#);
    assert!(old.contains(r#""max_tokens":7"#), "2023-05-15 knows no other: {old}");
    let new = json!({"azure_api_version": "2024-10-21"});
    let new = with("gpt-4o", new, r#""max_completion_tokens":7"#);
    assert!(new.contains(r#""max_completion_tokens":7"#), "{new}");
    let said = json!({"max_tokens_field": "max_completion_tokens"});
    let said = with("house-model", said, r#""max_tokens":7"#);
    assert!(said.contains(r#""max_completion_tokens":7"#), "{said}");
}

#[test]
fn operations_that_take_json_say_so() {
    let of = |route, path, body| sent(json!({}), route, path, body).unwrap_err();
    let text = "content-type header does not match request body, or bad JSON formatting";
    assert_eq!(of("llm/v1/embeddings", "/e", "nonsense"), text);
    assert_eq!(of("llm/v1/responses", "/responses", "[]"), text);
    assert_eq!(
        of("llm/v1/embeddings", "/e", r#"{"model":"other"}"#),
        "cannot use own model - must be: gpt-4o"
    );
}

#[test]
fn forms_name_the_model_where_the_path_does_not() {
    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n--b--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=b")];
    let of = |options: Value, form: &str| {
        let model = json!({"route_type": "audio/v1/audio/transcriptions"});
        let plan = plan(json!({}), options, model);
        let prepared = send_as(&plan, &Method::POST, "/t", &kind, form);
        let body = prepared.map(|prepared| prepared.body.unwrap_or_default());
        let text = body.map(|body| String::from_utf8(body.to_vec()).unwrap());
        (plan.reads_forms(), text)
    };
    let v1 = || json!({"azure_api_version": "v1"});
    assert_eq!(of(v1(), form), (true, Ok(form.replace("gpt-4o", "gpt-4o-dep"))));
    assert_eq!(of(json!({}), form), (false, Ok(form.to_owned())));
    assert_eq!(of(v1(), ""), (true, Ok(String::new())), "one that streams goes as it came");
    let other = of(v1(), &form.replace("gpt-4o", "whisper")).1;
    assert_eq!(other, Err(Error::OwnModel("gpt-4o".to_owned())));
}

#[test]
fn streams_of_responses_follow_the_policy() {
    let with = |streaming, body: &str| {
        let config = target(json!({}), json!({}), json!({"route_type": "llm/v1/responses"}));
        let plan = Plan::new(&config, streaming).unwrap();
        let prepared = send_as(&plan, &Method::POST, "/responses", &[], body)?;
        Ok((prepared.stream, String::from_utf8(prepared.body.unwrap().to_vec()).unwrap()))
    };
    let (asked, plain) = (r#"{"stream":true}"#, r#"{"input":"x"}"#);
    assert_eq!(with(ResponseStreaming::Deny, asked), Err(Error::StreamingDenied));
    let (stream, body) = with(ResponseStreaming::Always, plain).unwrap();
    assert!(stream && body.contains(r#""stream":true"#), "{body}");
    let (stream, body) = with(ResponseStreaming::Allow, plain).unwrap();
    assert!(!stream && !body.contains("stream"), "{body}");
}

#[test]
fn a_stream_that_is_counted_is_asked_for_its_tokens() {
    let ask = |options: Value, model: Value, path: &str, body: &str| {
        let plan = plan(json!({}), options, model);
        let prepared = super::prepare(&plan, &Method::POST, path, &[], body, true).unwrap();
        (String::from_utf8(prepared.body.unwrap().to_vec()).unwrap(), prepared.hides_usage)
    };
    let stream = |more: &str| format!(r#"{{"stream":true{more},{}"#, &HI[1..]);
    let new = || json!({"azure_api_version": "2024-10-21"});
    let asked = (
        r#"{"stream":true,"messages":[{"role":"user","content":"hi"}],"model":"gpt-4o",
            "stream_options":{"include_usage":true}}"#
            .replace("\n            ", ""),
        true,
    );
    assert_eq!(ask(new(), json!({}), "/ai", &stream("")), asked);
    let own = r#","stream_options":{"include_usage":true}"#;
    let (body, hides) = ask(new(), json!({}), "/ai", &stream(own));
    assert!(body.starts_with(&stream(own)[..60]) && !hides, "the client gets its own: {body}");
    let (body, hides) = ask(new(), json!({}), "/ai", HI);
    assert!(!body.contains("stream_options") && !hides, "no stream: {body}");
    for (options, path) in [
        (json!({}), "/ai"), // Kong's default api-version knows no such member
        (new(), "/ai?api-version=2024-02-01"),
        (json!({"azure_api_version": "v1", "include_usage": "never"}), "/ai"),
    ] {
        let (body, hides) = ask(options, json!({}), path, &stream(""));
        assert!(!body.contains("stream_options") && !hides, "{path}: {body}");
    }
    for (options, model, path) in [
        (json!({}), json!({}), "/ai?api-version=2025-01-01-preview"),
        (json!({"azure_api_version": "v1"}), json!({}), "/ai"),
        (json!({"include_usage": "always"}), json!({}), "/ai"),
        (json!({}), json!({"provider": "openai"}), "/ai"),
        (json!({"upstream_url": "http://x.example/openai/v1/chat/completions"}), json!({}), "/ai"),
    ] {
        let (body, hides) = ask(options.clone(), model, path, &stream(""));
        assert!(body.contains(r#""include_usage":true"#) && hides, "{options} {path}: {body}");
    }
    let text = json!({"route_type": "llm/v1/completions"});
    let (body, hides) = ask(new(), text, "/ai", r#"{"stream":true,"prompt":"hi"}"#);
    assert!(body.contains(r#""include_usage":true"#) && hides, "{body}");
    let other = json!({"route_type": "llm/v1/responses"});
    let (body, hides) = ask(new(), other, "/responses", r#"{"stream":true,"input":"hi"}"#);
    assert!(!body.contains("stream_options") && !hides, "responses count unasked: {body}");
}
