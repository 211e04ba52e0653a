use super::*;

const V1: &str = "/openai/v1";
const JSON: (&str, &str) = ("content-type", "application/json");

async fn ask(sim: &Sim, method: &str, path: &str, body: &str) -> Got {
    call(sim, method, path, &[KEY, JSON], body).await.expect("a reply")
}

fn form(fields: &[(&str, &str)], file: Option<(&str, &str)>) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        out +=
            &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    if let Some((name, value)) = file {
        out += &format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.jsonl\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{value}\r\n"
        );
    }
    out + "--b--\r\n"
}

async fn upload(sim: &Sim, path: &str, form: &str) -> Got {
    let kind = ("content-type", "multipart/form-data; boundary=b");
    call(sim, "POST", path, &[KEY, kind], form).await.expect("a reply")
}

#[tokio::test]
async fn an_upload_is_201_and_can_be_read_again() {
    let sim = start(Options::default());
    let path = format!("{V1}/files");
    let made = upload(&sim, &path, &form(&[("purpose", "batch")], Some(("file", "a\r\nb")))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let dated = format!("/openai/files/{id}/content?api-version=2024-10-21");
    assert_eq!(ask(&sim, "GET", &dated, "").await.text(), "a\r\nb", "both surfaces know it");
    let list = ask(&sim, "GET", &path, "").await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    let gone = ask(&sim, "DELETE", &format!("{path}/{id}"), "").await.json();
    assert_eq!(gone["deleted"], true);
    assert_eq!(ask(&sim, "GET", &format!("{path}/{id}"), "").await.status, 404);
    assert_eq!(upload(&sim, &path, &form(&[], None)).await.status, 400);
}

#[tokio::test]
async fn a_batch_moves_on_with_each_look() {
    let sim = start(Options::default());
    let line = r#"{"custom_id":"x","body":{"model":"m"}}"#;
    let form = form(&[("purpose", "batch")], Some(("file", line)));
    let file = upload(&sim, &format!("{V1}/files"), &form).await.json();
    let path = format!("{V1}/batches");
    let create = |window: &str| {
        json!({"input_file_id": file["id"], "endpoint": "/chat/completions",
            "completion_window": window})
        .to_string()
    };
    assert_eq!(ask(&sim, "POST", &path, &create("1h")).await.status, 400);
    let batch = ask(&sim, "POST", &path, &create("24h")).await.json();
    let own = format!("{path}/{}", batch["id"].as_str().unwrap());
    let running = ask(&sim, "GET", &own, "").await.json();
    assert_eq!(running["status"], "in_progress");
    let done = ask(&sim, "GET", &own, "").await.json();
    assert_eq!(
        (&done["status"], &done["request_counts"]["completed"]),
        (&json!("completed"), &json!(1))
    );
    let output = done["output_file_id"].as_str().unwrap();
    let content = ask(&sim, "GET", &format!("{V1}/files/{output}/content"), "").await.json();
    assert_eq!(content["custom_id"], "x");
    assert_eq!(content["response"]["body"]["model"], "m");
    let cancelled = ask(&sim, "POST", &format!("{own}/cancel"), "{}").await;
    assert_eq!(cancelled.status, 400, "it is over");
}

#[tokio::test]
async fn responses_stream_named_events_without_a_done() {
    let sim = start(Options::default());
    let body = r#"{"model":"gpt-4o","input":"a b","stream":true}"#;
    let got = ask(&sim, "POST", &format!("{V1}/responses"), body).await;
    let text = got.text();
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!((names[0], *names.last().unwrap()), ("response.created", "response.completed"));
    assert!(!text.contains("[DONE]"));
    let dated = |version| format!("/openai/responses?api-version={version}");
    assert_eq!(ask(&sim, "POST", &dated("2025-03-01-preview"), body).await.status, 200);
    assert_eq!(ask(&sim, "POST", &dated("2024-10-21"), body).await.status, 404);
    let fault = r#"{"model":"gpt-4o","input":"[[fault-429]]"}"#;
    assert_eq!(ask(&sim, "POST", &format!("{V1}/responses"), fault).await.status, 429);
}

#[tokio::test]
async fn each_surface_has_its_own_paths() {
    let sim = start(Options { deployments: vec!["gpt-4o".into()], ..Options::default() });
    let chat = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
    let inference = "/models/chat/completions?api-version=2024-05-01-preview";
    for (method, path, body, status) in [
        ("POST", inference, chat, 200),
        ("POST", "/models/chat/completions", chat, 404),
        ("POST", "/api/projects/p1/openai/v1/chat/completions", chat, 200),
        ("GET", "/openai/v1/models", "", 200),
        ("GET", "/openai/models?api-version=2024-10-21", "", 200),
        ("GET", "/openai/models", "", 404),
        ("POST", "/openai/chat/completions?api-version=2024-10-21", chat, 404),
        ("POST", "/openai/video/generations/jobs?api-version=2025-04-01-preview", "{}", 404),
        ("POST", "/openai/deployments/gpt-4o/files?api-version=2024-10-21", "{}", 404),
        ("POST", "/openai/v1/responses", r#"{"model":"other","input":"x"}"#, 404),
        ("POST", "/openai/v1/responses", r#"{"input":"x"}"#, 400),
        ("PUT", "/openai/v1/files/x", "", 405),
        ("GET", "/openai/v1/nothing", "", 404),
    ] {
        let got = ask(&sim, method, path, body).await;
        assert_eq!(got.status, status, "{method} {path}: {}", got.text());
    }
    let nobody = get(&sim, "/openai/v1/files", &[]).await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn a_video_is_done_at_the_second_look() {
    let sim = start(Options::default());
    let jobs = format!("{V1}/video/generations/jobs");
    let body = r#"{"model":"sora","prompt":"x"}"#;
    let job = ask(&sim, "POST", &format!("{jobs}?api-version=preview"), body).await;
    assert_eq!(job.status, 201, "{}", job.text());
    let own = format!("{jobs}/{}", job.json()["id"].as_str().unwrap());
    assert_eq!(ask(&sim, "GET", &own, "").await.json()["status"], "running");
    let done = ask(&sim, "GET", &own, "").await.json();
    assert_eq!(done["status"], "succeeded");
    let generation = done["generations"][0]["id"].as_str().unwrap();
    let content = format!("{V1}/video/generations/{generation}/content/video");
    let video = ask(&sim, "GET", &content, "").await;
    assert_eq!(video.header("content-type"), Some("video/mp4"));
}

const SESSION: &str = "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-4o";

fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: sim\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A session, and what its server has said until it was there.
async fn session(sim: &Sim) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(sim.addr()).await.unwrap();
    let head = upgrade(&format!("{SESSION}&api-key=sim-key"));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("session.created") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    (stream, seen)
}

#[tokio::test]
async fn a_session_that_its_client_closes_is_closed_with_the_clients_code() {
    let sim = start(Options::default());
    let (mut stream, mut seen) = session(&sim).await;
    // A close frame with 1000, under a mask of zeros.
    stream.write_all(b"\x88\x82\0\0\0\0\x03\xe8").await.unwrap();
    stream.read_to_end(&mut seen).await.unwrap();
    assert!(seen.ends_with(b"\x88\x02\x03\xe8"), "{}", String::from_utf8_lossy(&seen));
}

#[tokio::test]
async fn a_session_needs_an_upgrade_and_a_key() {
    let sim = start(Options::default());
    assert_eq!(get(&sim, SESSION, &[KEY]).await.status, 400);
    let (_stream, seen) = session(&sim).await;
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "RFC 6455's own example: {text}");
    let mut other = TcpStream::connect(sim.addr()).await.unwrap();
    other.write_all(upgrade(SESSION).as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(other.read_buf(&mut seen).await.unwrap() > 0);
    }
    assert!(seen.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&seen));
}
