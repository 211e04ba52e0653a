//! What plugins see of replies that are read whole, and of targets that are tried again.

use super::gateway::TestGateway;
use super::http::{Upstream, closed_port};
use super::lua::{install, with_plugins};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-up: own\r\n\r\nok";

fn start(upstream: &Upstream, handler: &str) -> (TestGateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let whole = format!("local P = {{ PRIORITY = 1000, VERSION = '1.0.0' }}\n{handler}\nreturn P");
    install(folder.path(), "probe", &whole);
    let config = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    plugins:\n    - name: probe\n",
        upstream.address
    );
    (with_plugins(folder.path(), "bundled,probe").start(&config), folder)
}

#[tokio::test]
async fn a_body_that_was_read_whole_is_one_piece_and_then_an_end() {
    let upstream = Upstream::replying(OK).await;
    let handler = "function P:access()
          if kong.request.get_query_arg('exit') then kong.response.exit(200, 'hm') end
          kong.service.request.enable_buffering()
        end
        function P:header_filter() kong.response.clear_header('content-length') end
        function P:body_filter()
          ngx.arg[1] = '(' .. ngx.arg[1] .. ' ' .. tostring(ngx.arg[2]) .. ')'
        end";
    let (gateway, _folder) = start(&upstream, handler);
    assert_eq!(gateway.get("/a").await.text(), "(ok false)( true)");
    assert_eq!(gateway.get("/a?exit=1").await.text(), "(hm false)( true)");
}

#[tokio::test]
async fn the_headers_of_a_reply_that_was_read_whole_stay_what_they_were() {
    let upstream = Upstream::replying(OK).await;
    let handler = "function P:access()
          if kong.request.get_query_arg('whole') then kong.service.request.enable_buffering() end
        end
        function P:header_filter()
          kong.response.set_header('x-up', 'changed')
          kong.response.set_header('x-seen', kong.service.response.get_header('x-up'))
        end";
    let (gateway, _folder) = start(&upstream, handler);
    assert_eq!(gateway.get("/a?whole=1").await.header("x-seen"), Some("own"));
    assert_eq!(gateway.get("/a").await.header("x-seen"), Some("changed"));
}

#[tokio::test]
async fn the_last_retry_callback_counts_and_runs_in_the_balancers_phase() {
    let upstream = Upstream::replying(OK).await;
    let closed = closed_port();
    let handler = format!(
        "function P:access()
          kong.service.set_target('127.0.0.1', {})
          kong.service.set_target_retry_callback(function() error('not this one') end)
          kong.service.set_target_retry_callback(function()
            if kong.request.get_query_arg('fail') then kong.service.request.set_method('PUT') end
            kong.service.request.set_header('x-phase', ngx.get_phase())
            kong.service.set_target('127.0.0.1', {})
            return true
          end)
        end",
        closed.local_addr().unwrap().port(),
        upstream.address.port()
    );
    let (gateway, _folder) = start(&upstream, &handler);
    assert_eq!(gateway.get("/a").await.status(), 200);
    assert_eq!(upstream.seen()[0].header("x-phase"), Some("balancer"));
    let failed = gateway.get("/a?fail=1").await;
    assert_eq!(failed.status(), 503);
    let told = "The upstream server is currently unavailable";
    assert!(failed.text().contains(told), "{}", failed.text());
    assert_eq!(upstream.seen().len(), 1);
}
