//! The exact URL of every operation on every surface: what breaks when somebody tidies up.

use super::*;

const CHAT_BODY: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

/// A body that the route type takes.
fn body_of(route: &str) -> &'static str {
    match route {
        "llm/v1/chat" => CHAT_BODY,
        "llm/v1/completions" => r#"{"prompt":"hi"}"#,
        _ => r#"{"input":"hi"}"#,
    }
}

/// The URL that a request gets; `request` is a method, a path and its query.
fn url(provider: &str, options: Value, route: &str, request: &str) -> String {
    let model = json!({"provider": provider, "route_type": route});
    let plan = plan(json!({}), options, model);
    let (method, target) = request.split_once(' ').unwrap();
    let body = if method == "POST" { body_of(route) } else { "" };
    let method = method.parse().unwrap();
    let prepared = send_as(&plan, &method, target, &[], body);
    let prepared = prepared.unwrap_or_else(|error| panic!("{route} {request}: {error}"));
    let port = match prepared.endpoint.port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    format!("https://{}{port}{}", prepared.endpoint.host, prepared.target)
}

/// Route type, a client's request, and the path on a surface.
type Row = (&'static str, &'static str, &'static str);

fn check(provider: &str, options: &Value, base: &str, rows: &[Row]) {
    for (route, request, expected) in rows {
        let found = url(provider, options.clone(), route, request);
        assert_eq!(found, format!("{base}{expected}"), "{route} {request} {options}");
    }
}

const SPEECH: &str = "audio/v1/audio/speech";
const TRANSCRIPTIONS: &str = "audio/v1/audio/transcriptions";
const TRANSLATIONS: &str = "audio/v1/audio/translations";
const IMAGES: &str = "image/v1/images/generations";
const EDITS: &str = "image/v1/images/edits";
const VIDEOS: &str = "video/v1/videos/generations";
const REALTIME: &str = "realtime/v1/realtime";

#[test]
fn azure_under_a_date() {
    let options = json!({"azure_api_version": "2025-04-01-preview"});
    let rows: &[Row] = &[
        ("llm/v1/chat", "POST /chat", "/deployments/gpt-4o-dep/chat/completions?api-version=V"),
        ("llm/v1/chat", "GET /v1/models", "/models?api-version=V"),
        ("llm/v1/chat", "GET /openai/models/gpt-4o", "/models/gpt-4o?api-version=V"),
        ("llm/v1/completions", "POST /c", "/deployments/gpt-4o-dep/completions?api-version=V"),
        ("llm/v1/embeddings", "POST /e", "/deployments/gpt-4o-dep/embeddings?api-version=V"),
        ("llm/v1/files", "GET /v1/files?purpose=batch", "/files?api-version=V&purpose=batch"),
        ("llm/v1/files", "POST /upload", "/files?api-version=V"),
        ("llm/v1/files", "GET /files/file-1/content", "/files/file-1/content?api-version=V"),
        ("llm/v1/files", "DELETE /openai/files/file-1", "/files/file-1?api-version=V"),
        ("llm/v1/batches", "POST /v1/batches", "/batches?api-version=V"),
        ("llm/v1/batches", "GET /v1/batches?limit=2", "/batches?api-version=V&limit=2"),
        ("llm/v1/batches", "POST /batches/b_1/cancel", "/batches/b_1/cancel?api-version=V"),
        ("llm/v1/assistants", "POST /v1/assistants", "/assistants?api-version=V"),
        ("llm/v1/assistants", "POST /v1/threads", "/threads?api-version=V"),
        ("llm/v1/assistants", "GET /threads/t/runs/r", "/threads/t/runs/r?api-version=V"),
        ("llm/v1/assistants", "GET /vector_stores", "/vector_stores?api-version=V"),
        ("llm/v1/responses", "POST /v1/responses", "/responses?api-version=V"),
        ("llm/v1/responses", "GET /responses/r_1", "/responses/r_1?api-version=V"),
        ("llm/v1/responses", "DELETE /responses/r_1", "/responses/r_1?api-version=V"),
        (SPEECH, "POST /s", "/deployments/gpt-4o-dep/audio/speech?api-version=V"),
        (TRANSCRIPTIONS, "POST /t", "/deployments/gpt-4o-dep/audio/transcriptions?api-version=V"),
        (TRANSLATIONS, "POST /t", "/deployments/gpt-4o-dep/audio/translations?api-version=V"),
        (IMAGES, "POST /i", "/deployments/gpt-4o-dep/images/generations?api-version=V"),
        (EDITS, "POST /i", "/deployments/gpt-4o-dep/images/edits?api-version=V"),
        (VIDEOS, "POST /v1/videos", "/v1/video/generations/jobs?api-version=preview"),
        (REALTIME, "GET /rt", "/realtime?api-version=V&deployment=gpt-4o-dep"),
        (REALTIME, "GET /v1/realtime?model=gpt-4o&x=1", RENAMED),
    ];
    const RENAMED: &str = "/realtime?api-version=V&deployment=gpt-4o-dep&x=1";
    let version = |row: &Row| row.2.replace("=V", "=2025-04-01-preview");
    for row in rows {
        let base = "https://my-instance.openai.azure.com/openai";
        let found = url("azure", options.clone(), row.0, row.1);
        assert_eq!(found, format!("{base}{}", version(row)), "{} {}", row.0, row.1);
    }
}

#[test]
fn azure_under_kongs_default_date() {
    // No version that old has responses: the request goes where they are.
    let base = "https://my-instance.openai.azure.com/openai";
    check(
        "azure",
        &json!({}),
        base,
        &[
            ("llm/v1/responses", "POST /v1/responses", "/v1/responses"),
            ("llm/v1/responses", "GET /v1/responses/r_1", "/v1/responses/r_1"),
            ("llm/v1/files", "GET /v1/files", "/files?api-version=2023-05-15"),
            (VIDEOS, "GET /v1/videos/j_1", "/v1/video/generations/jobs/j_1?api-version=preview"),
        ],
    );
}

#[test]
fn azure_v1_and_its_preview() {
    let rows: &[Row] = &[
        ("llm/v1/chat", "POST /chat", "/chat/completions"),
        ("llm/v1/chat", "GET /v1/models", "/models"),
        ("llm/v1/completions", "POST /c", "/completions"),
        ("llm/v1/embeddings", "POST /e", "/embeddings"),
        ("llm/v1/files", "GET /files/file-1/content", "/files/file-1/content"),
        ("llm/v1/batches", "GET /batches/b_1", "/batches/b_1"),
        ("llm/v1/assistants", "POST /threads/t/messages", "/threads/t/messages"),
        ("llm/v1/responses", "POST /v1/responses", "/responses"),
        ("llm/v1/responses", "GET /responses/r/input_items", "/responses/r/input_items"),
        ("llm/v1/responses", "POST /responses/r/cancel", "/responses/r/cancel"),
        (SPEECH, "POST /s", "/audio/speech"),
        (TRANSCRIPTIONS, "POST /t", "/audio/transcriptions"),
        (TRANSLATIONS, "POST /t", "/audio/translations"),
        (IMAGES, "POST /i", "/images/generations"),
        (EDITS, "POST /i", "/images/edits"),
        (VIDEOS, "POST /v1/videos", "/video/generations/jobs"),
        (VIDEOS, "GET /video/generations/g/content/video", "/video/generations/g/content/video"),
        (REALTIME, "POST /v1/realtime/client_secrets", "/realtime/client_secrets"),
    ];
    let base = "https://my-instance.openai.azure.com/openai/v1";
    check("azure", &json!({"azure_api_version": "v1"}), base, rows);
    for (route, request, path) in rows {
        let preview = json!({"azure_api_version": "preview"});
        let found = url("azure", preview, route, request);
        assert_eq!(found, format!("{base}{path}?api-version=preview"), "{route} {request}");
    }
    let realtime = url("azure", json!({"azure_api_version": "v1"}), REALTIME, "GET /v1/realtime");
    assert_eq!(realtime, format!("{base}/realtime?model=gpt-4o-dep"));
    // An AzureOpenAI client sends its own date, which v1 would refuse.
    let dated = "POST /openai/deployments/x/chat/completions?api-version=2024-10-21";
    let found = url("azure", json!({"azure_api_version": "v1"}), "llm/v1/chat", dated);
    assert_eq!(found, format!("{base}/chat/completions"));
}

#[test]
fn azure_foundry() {
    let foundry = |more: Value| {
        let mut options = json!({"azure_service": "azure-foundry", "azure_instance": null,
            "azure_deployment_id": null, "azure_foundry_resource": "kong-east"});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        options
    };
    let base = "https://kong-east.services.ai.azure.com";
    check(
        "azure",
        &foundry(json!({})),
        base,
        &[
            ("llm/v1/chat", "POST /chat", "/openai/v1/chat/completions"),
            ("llm/v1/responses", "GET /responses/r_1", "/openai/v1/responses/r_1"),
            ("llm/v1/chat", "GET /v1/models", "/openai/v1/models"),
        ],
    );
    let project = json!({"azure_foundry_path_prefix": "/api/projects/p1/openai/v1/"});
    check(
        "azure",
        &foundry(project),
        base,
        &[
            ("llm/v1/chat", "POST /chat", "/api/projects/p1/openai/v1/chat/completions"),
            ("llm/v1/files", "GET /files/f", "/api/projects/p1/openai/v1/files/f"),
        ],
    );
    let inference = json!({"azure_foundry_path_prefix": "/models"});
    check(
        "azure",
        &foundry(inference.clone()),
        base,
        &[
            ("llm/v1/chat", "POST /c", "/models/chat/completions?api-version=2024-05-01-preview"),
            ("llm/v1/embeddings", "POST /e", "/models/embeddings?api-version=2024-05-01-preview"),
        ],
    );
    let dated = json!({"azure_foundry_path_prefix": "/models", "azure_api_version": "2025-04-01",
        "azure_foundry_domain": "services.ai.azure.us"});
    let base = "https://kong-east.services.ai.azure.us";
    check(
        "azure",
        &foundry(dated),
        base,
        &[("llm/v1/chat", "POST /c", "/models/chat/completions?api-version=2025-04-01")],
    );
    let files = invalid(json!({}), foundry(inference), json!({"route_type": "llm/v1/files"}));
    assert_eq!(files, "model.options.azure_foundry_path_prefix: '/models' has no such operation");
}

#[test]
fn claude_on_foundry() {
    let claude = |more: Value| {
        let mut options = json!({"azure_service": "azure-foundry", "azure_instance": null,
            "azure_deployment_id": "claude-dep", "azure_foundry_resource": "kong-east",
            "azure_foundry_path_prefix": "/anthropic/v1"});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        options
    };
    let rows: &[Row] = &[
        ("llm/v1/chat", "POST /chat", "/messages"),
        ("llm/v1/chat", "POST /chat/v1/messages?beta=true&api-version=1", "/messages?beta=true"),
        ("llm/v1/chat", "POST /v1/messages/count_tokens", "/messages/count_tokens"),
        ("llm/v1/chat", "POST /v1/messages/batches", "/messages/batches"),
    ];
    let base = "https://kong-east.services.ai.azure.com/anthropic/v1";
    check("azure", &claude(json!({})), base, rows);
    check("azure", &claude(json!({"azure_foundry_path_prefix": "/anthropic/v1/"})), base, rows);
    let url = json!({"upstream_url": "https://proxy.corp/claude/messages"});
    let rows = rows.iter().map(|row| (row.0, row.1, row.2));
    let rows: Vec<Row> = rows.collect();
    check("azure", &claude(url), "https://proxy.corp/claude", &rows);
    let preserve: &[Row] = &[("preserve", "POST /v1/messages", "/v1/messages")];
    check("azure", &claude(json!({})), "https://kong-east.services.ai.azure.com", preserve);
}

#[test]
fn azure_elsewhere() {
    let government = json!({"azure_domain": "openai.azure.us"});
    check(
        "azure",
        &government,
        "https://my-instance.openai.azure.us",
        &[(
            "llm/v1/chat",
            "POST /chat",
            "/openai/deployments/gpt-4o-dep/chat/completions?api-version=2023-05-15",
        )],
    );
    let at = |path: &str| {
        json!({"upstream_url": format!("https://proxy.corp:8443{path}"),
        "azure_api_version": "2024-10-21"})
    };
    let base = "https://proxy.corp:8443";
    check(
        "azure",
        &at("/az/openai/files"),
        base,
        &[
            ("llm/v1/files", "GET /v1/files", "/az/openai/files?api-version=2024-10-21"),
            (
                "llm/v1/files",
                "GET /files/f/content",
                "/az/openai/files/f/content?api-version=2024-10-21",
            ),
        ],
    );
    check(
        "azure",
        &at("/az/openai/assistants"),
        base,
        &[("llm/v1/assistants", "POST /threads", "/az/openai/threads?api-version=2024-10-21")],
    );
    // A URL that does not end in the operation's name is the operation.
    check(
        "azure",
        &at("/own"),
        base,
        &[
            ("llm/v1/files", "GET /v1/files/f", "/own/f?api-version=2024-10-21"),
            ("llm/v1/chat", "POST /chat", "/own?api-version=2024-10-21"),
        ],
    );
    let chat = at("/az/openai/deployments/d/chat/completions");
    check(
        "azure",
        &chat,
        base,
        &[("llm/v1/chat", "GET /v1/models", "/az/openai/models?api-version=2024-10-21")],
    );
    check(
        "azure",
        &at("/az/openai/v1/chat/completions"),
        base,
        &[("llm/v1/chat", "POST /chat", "/az/openai/v1/chat/completions")],
    );
}

#[test]
fn azure_under_openais_names_for_videos() {
    let options = json!({"azure_api_version": "v1", "upstream_path": "/videos"});
    let base = "https://my-instance.openai.azure.com/openai/v1/videos";
    for (request, rest) in [("POST /v1/videos", ""), ("GET /v1/videos/v/content", "/v/content")] {
        let found = url("azure", options.clone(), VIDEOS, request);
        assert_eq!(found, format!("{base}{rest}"), "{request}");
    }
}

#[test]
fn azure_at_the_clients_path() {
    check(
        "azure",
        &json!({}),
        "https://my-instance.openai.azure.com",
        &[
            ("preserve", "GET /openai/models?x=1", "/openai/models?api-version=2023-05-15&x=1"),
            ("preserve", "GET /openai/v1/models", "/openai/v1/models"),
        ],
    );
}

#[test]
fn openai_itself() {
    check(
        "openai",
        &json!({}),
        "https://api.openai.com/v1",
        &[
            ("llm/v1/chat", "POST /chat", "/chat/completions"),
            ("llm/v1/chat", "GET /models", "/models"),
            ("llm/v1/completions", "POST /c", "/completions"),
            ("llm/v1/embeddings", "POST /e", "/embeddings"),
            ("llm/v1/files", "GET /files/f/content", "/files/f/content"),
            ("llm/v1/files", "POST /v1/uploads/u/parts", "/uploads/u/parts"),
            ("llm/v1/batches", "GET /batches?after=b", "/batches?after=b"),
            ("llm/v1/assistants", "GET /assistants/a", "/assistants/a"),
            ("llm/v1/responses", "POST /responses", "/responses"),
            (
                "llm/v1/responses",
                "GET /responses/r/input_items?limit=1",
                "/responses/r/input_items?limit=1",
            ),
            (SPEECH, "POST /s", "/audio/speech"),
            (TRANSCRIPTIONS, "POST /t", "/audio/transcriptions"),
            (TRANSLATIONS, "POST /t", "/audio/translations"),
            (IMAGES, "POST /i", "/images/generations"),
            (EDITS, "POST /i", "/images/edits"),
            (VIDEOS, "POST /v1/videos", "/videos"),
            (VIDEOS, "GET /v1/videos/v/content", "/videos/v/content"),
            (REALTIME, "GET /realtime?model=", "/realtime?model=gpt-4o"),
        ],
    );
}

#[test]
fn providers_that_speak_openais_wire() {
    let chat = |provider: &str, options: Value| url(provider, options, "llm/v1/chat", "POST /chat");
    for (provider, expected) in [
        ("mistral", "https://api.mistral.ai/v1/chat/completions"),
        ("deepseek", "https://api.deepseek.com/v1/chat/completions"),
        ("xai", "https://api.x.ai/v1/chat/completions"),
        ("cerebras", "https://api.cerebras.ai/v1/chat/completions"),
        ("huggingface", "https://router.huggingface.co/v1/chat/completions"),
        ("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions"),
    ] {
        assert_eq!(chat(provider, json!({})), expected);
    }
    let mainland = json!({"dashscope": {"international": false}});
    assert!(chat("dashscope", mainland).starts_with("https://dashscope.aliyuncs.com/"));
    assert_eq!(
        chat("databricks", json!({"databricks": {"workspace_instance_id": "dbc-1"}})),
        "https://dbc-1.cloud.databricks.com/serving-endpoints/v1/chat/completions"
    );
    for provider in ["vllm", "ollama"] {
        let bare = json!({"upstream_url": "https://own.example:8000"});
        let expected = "https://own.example:8000/v1/chat/completions";
        assert_eq!(chat(provider, bare), expected, "{provider}");
        let full = json!({"upstream_url": "https://own.example/x/chat"});
        assert_eq!(chat(provider, full), "https://own.example/x/chat", "{provider}");
    }
    let own = json!({"upstream_url": "https://own.example/api/chat"});
    assert!(invalid(json!({}), own, json!({"provider": "ollama"})).contains("Ollama's own API"));
    let url = invalid(json!({}), json!({}), json!({"provider": "vllm"}));
    assert_eq!(url, "model.options.upstream_url: must be set for provider vllm");
}

#[test]
fn what_a_client_says_stays_in_its_tree() {
    let plan = plan(json!({}), json!({}), json!({"route_type": "llm/v1/files"}));
    for path in ["/files/../x", "/files/%2e%2e/x", "/files/a%2fb", "/files/%0d%0ax"] {
        let refused = send_as(&plan, &Method::GET, path, &[], "").err();
        assert_eq!(refused, Some(Error::UnsafeValue { field: "the request path" }), "{path}");
    }
}

#[test]
fn a_key_in_the_query_of_a_realtime_client_is_the_gateways() {
    let key = json!({"header_name": "api-key", "header_value": "k"});
    let realtime = json!({"route_type": REALTIME});
    let signing = plan(key, json!({"azure_api_version": "v1"}), realtime.clone());
    let target = |plan: &Plan| {
        let path = "/realtime?api-key=theirs&model=gpt-4o";
        send_as(plan, &Method::GET, path, &[], "").unwrap().target.to_string()
    };
    assert_eq!(target(&signing), "/openai/v1/realtime?model=gpt-4o-dep");
    let open = plan(json!({}), json!({"azure_api_version": "v1"}), realtime);
    assert_eq!(target(&open), "/openai/v1/realtime?model=gpt-4o-dep&api-key=theirs");
    let other = send_as(&open, &Method::GET, "/realtime?model=gpt-5", &[], "").err();
    assert_eq!(other, Some(Error::OwnModel("gpt-4o".to_owned())));
}
