//! What the operator's log says of Lua plugins: whose line it is, and who holds up a worker.

use super::gateway::{Builder, TestGateway};
use super::http::Upstream;
use super::log_lines;
use super::lua::{install, with_plugins};
use super::stream_ends::soon;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn gateway(folder: &std::path::Path, name: &str, functions: &str) -> TestGateway {
    builder(folder, name, functions).start(&config(&Upstream::replying(OK).await, name))
}

fn builder(folder: &std::path::Path, name: &str, functions: &str) -> Builder {
    let handler =
        format!("local P = {{ PRIORITY = 10, VERSION = '1.0.0' }}\n{functions}\nreturn P\n");
    install(folder, name, &handler);
    with_plugins(folder, name)
}

fn config(upstream: &Upstream, name: &str) -> String {
    format!(
        "_format_version: '3.0'\nplugins:\n- name: {name}\nservices:\n- name: s\n  \
         url: http://{}\n  routes:\n  - name: r\n    paths: [/a]\n",
        upstream.address
    )
}

#[tokio::test]
async fn a_line_of_a_plugin_says_whose_it_is_and_of_which_request() {
    log_lines::keep();
    let mark = log_lines::mark();
    let folder = tempfile::tempdir().unwrap();
    let functions = "function P:access() kong.log.err('told by kong.log') end\n\
        function P:log() ngx.log(ngx.ERR, 'told by ngx.log') end";
    let gateway = gateway(folder.path(), "telling", functions).await;
    let response = gateway.get("/a").await;
    let id = response.header("x-kong-request-id").unwrap().to_owned();
    drop(gateway);
    for (text, phase) in [("told by kong.log", "access"), ("told by ngx.log", "log")] {
        let lines = log_lines::since(mark, text);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let fields = &lines[0]["fields"];
        assert_eq!(fields["request_id"], id.as_str(), "{}", lines[0]);
        assert_eq!((&fields["plugin"], &fields["phase"]), (&"telling".into(), &phase.into()));
    }
}

#[tokio::test]
async fn an_error_in_the_log_phase_names_the_phase_and_whose_fault_it_is() {
    log_lines::keep();
    let mark = log_lines::mark();
    let folder = tempfile::tempdir().unwrap();
    let functions = "function P:log() error('fallen at the end') end";
    let gateway = gateway(folder.path(), "ending", functions).await;
    assert_eq!(gateway.get("/a").await.status(), 200);
    drop(gateway);
    let lines = log_lines::since(mark, "fallen at the end");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let fields = &lines[0]["fields"];
    let told = (&fields["plugin"], &fields["phase"], &fields["fault"]);
    assert_eq!(told, (&"ending".into(), &"log".into(), &"plugin:ending".into()), "{}", lines[0]);
}

#[tokio::test]
async fn who_holds_up_a_worker_is_named_with_the_request() {
    log_lines::keep();
    let mark = log_lines::mark();
    let folder = tempfile::tempdir().unwrap();
    // It is busy until there is a file.
    let file = folder.path().join("go-on");
    let functions = format!("function P:access() repeat until io.open([[{}]]) end", file.display());
    let gateway = gateway(folder.path(), "holding", &functions).await;
    let told = async {
        loop {
            let lines = log_lines::since(mark, "holds up its worker");
            let line = lines.into_iter().find(|line| line["fields"]["plugin"] == "holding");
            match line {
                Some(line) => return line,
                None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    };
    let told = async {
        let line = soon("the line", told).await;
        std::fs::write(&file, "").unwrap();
        line
    };
    let (response, line) = tokio::join!(gateway.get("/a"), told);
    let id = response.header("x-kong-request-id").unwrap();
    let fields = &line["fields"];
    assert_eq!(fields["request_id"], id, "{line}");
    assert_eq!((&fields["worker"], &fields["phase"]), (&0.into(), &"access".into()), "{line}");
}

#[tokio::test]
async fn a_plugin_for_frames_alone_is_refused_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let builder = builder(folder.path(), "framing", "function P:ws_client_frame() end");
    let Err(errors) = builder.try_start(&config(&Upstream::replying(OK).await, "framing")) else {
        panic!("it started");
    };
    let told = errors.join("\n");
    let wanted = "Plugin \"framing\" cannot be loaded because it implements nothing but \
        `ws_client_frame` and its likes, which are Kong Enterprise's";
    assert!(told.contains(wanted), "{told}");
}

#[tokio::test]
async fn a_handler_that_fails_to_load_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let builder = builder(folder.path(), "falling", "local x = nil + 1");
    let Err(errors) = builder.try_start(&config(&Upstream::replying(OK).await, "falling")) else {
        panic!("it started");
    };
    let told = errors.join("\n");
    assert!(told.contains("attempt to perform arithmetic on a nil value"), "{told}");
    assert!(told.contains("falling/handler.lua:2"), "{told}");
}
