//! gRPC: calls of every kind go through as they are, and what goes wrong is told in gRPC's words.

use std::sync::Arc;

use ::http::Response;
use bytes::Bytes;
use h2::Reason;
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use super::gateway::{Builder, TestGateway};
use super::grpc_ends::{Call, Client, Manners, Upstream, data, trailers};
use super::http;
use super::lua::{install, with_plugins};
use super::stream_ends::{LogPipe, soon};
use super::tls::certificate;

pub const PATH: &str = "/hello.Hello/Say";

pub fn config(url: &str, more: &str) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: {url}\n  routes:\n  - name: r\n    \
         protocols: [grpc, grpcs]\n    paths: [/hello.Hello]\n{more}"
    )
}

pub fn gateway(config: &str) -> TestGateway {
    start(Builder::default(), config)
}

pub fn start(builder: Builder, config: &str) -> TestGateway {
    builder.set("proxy_listen", "127.0.0.1:0 http2").start(config)
}

pub async fn scene(manners: Manners) -> (Upstream, TestGateway, Client) {
    let upstream = Upstream::start(manners).await;
    let gateway = gateway(&config(&format!("grpc://{}", upstream.address), ""));
    let client = Client::connect(gateway.address).await;
    (upstream, gateway, client)
}

#[tokio::test]
async fn a_call_goes_through_with_metadata_and_trailers_in_both_directions() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let headers = [("grpc-timeout", "5S"), ("x-trace-bin", "AAEC"), ("user-agent", "test/1")];
    let mut calling = client.begin(PATH, &headers).await;
    calling.stream.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), false).unwrap();
    calling.stream.send_trailers(trailers(&[("x-sum", "1")])).unwrap();

    let mut call = upstream.call().await;
    let head = &call.request;
    assert_eq!(head.method(), "POST");
    assert_eq!(head.uri().to_string(), format!("http://{}{PATH}", upstream.address));
    let header = |name: &str| head.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("content-type"), Some("application/grpc+proto"));
    assert_eq!(header("te"), Some("trailers"));
    assert_eq!(header("grpc-timeout"), Some("5S"));
    assert_eq!(header("x-trace-bin"), Some("AAEC"));
    assert_eq!(header("user-agent"), Some("test/1"));
    assert_eq!(header("host"), None);
    assert_eq!(header("content-length"), None);
    assert_eq!(header("connection"), None);
    assert_eq!(header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(header("via").is_some_and(|via| via.starts_with("2 silverback/")));
    assert_eq!(call.body().await, b"\0\0\0\0\x02hi");
    let sum = soon("trailers", call.request.body_mut().trailers()).await.unwrap().unwrap();
    assert_eq!(sum["x-sum"], "1");
    let mut stream = call.begin();
    stream.send_data(Bytes::from_static(b"\0\0\0\0\x03you"), false).unwrap();
    let end = trailers(&[("grpc-status", "3"), ("grpc-message", "no"), ("x-end-bin", "BBBB")]);
    stream.send_trailers(end).unwrap();

    let (head, mut body) = calling.answer().await.into_parts();
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert!(head.headers["via"].to_str().unwrap().starts_with("2 silverback/"));
    assert!(head.headers.contains_key("x-kong-upstream-latency"));
    assert_eq!(data(&mut body).await, b"\0\0\0\0\x03you");
    let end = soon("trailers", body.trailers()).await.unwrap().unwrap();
    for (name, value) in [("grpc-status", "3"), ("grpc-message", "no"), ("x-end-bin", "BBBB")] {
        assert_eq!(end[name], value);
    }
}

#[tokio::test]
async fn both_sides_of_a_stream_may_wait_for_each_other() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let mut calling = client.begin(PATH, &[]).await;
    let mut call = upstream.call().await;
    // The upstream speaks first, before there is a message, and each answer waits for the last.
    let mut sending = call.begin();
    let mut body = calling.answer().await.into_body();
    for n in 0..20u8 {
        sending.send_data(Bytes::from(vec![n; 3]), false).unwrap();
        assert_eq!(soon("an answer", body.data()).await.unwrap().unwrap(), vec![n; 3]);
        calling.stream.send_data(Bytes::from(vec![n; 5]), false).unwrap();
        let asked = soon("a question", call.request.body_mut().data()).await;
        assert_eq!(asked.unwrap().unwrap(), vec![n; 5]);
    }
    calling.stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(call.body().await, b"");
    sending.send_trailers(trailers(&[("grpc-status", "0")])).unwrap();
    assert_eq!(data(&mut body).await, b"");
    assert_eq!(soon("trailers", body.trailers()).await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn large_messages_go_through_windows_in_both_directions() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let echo = tokio::spawn(async move {
        let mut call = upstream.call().await;
        let mut sending = call.begin();
        let body = call.request.body_mut();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            sending.send_data(piece, false).unwrap();
        }
        sending.send_trailers(trailers(&[("grpc-status", "0")])).unwrap();
    });
    let sent: Vec<u8> = (0..4 << 20).map(|n: u32| (n / 7) as u8).collect();
    let answer = client.call(PATH, &[], &sent).await;
    assert!(answer.body == sent);
    assert_eq!(answer.field("grpc-status"), Some("0"));
    echo.await.unwrap();
}

#[tokio::test]
async fn calls_share_a_connection() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let calls: Vec<_> = (0..20)
        .map(|n: u8| {
            let client = client.clone();
            tokio::spawn(async move { client.call(PATH, &[], &[n]).await.body })
        })
        .collect();
    // All are under way before the first is answered.
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(upstream.call().await);
    }
    for call in waiting {
        call.echo().await;
    }
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), [n as u8]);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_upstream_gets_as_many_streams_as_it_allows() {
    let manners = Manners { streams: Some(2), ..Manners::default() };
    let (upstream, _gateway, client) = scene(manners).await;
    // The first call brings the upstream's settings.
    let (first, ()) = tokio::join!(client.call(PATH, &[], b"0"), async {
        upstream.call().await.echo().await;
    });
    assert_eq!(first.body, b"0");
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(PATH, &[], b"x").await.body })
        })
        .collect();
    let mut waiting: Vec<Call> = Vec::new();
    for _ in 0..6 {
        waiting.push(upstream.call().await);
    }
    let at_once = |connection| waiting.iter().filter(|c| c.connection == connection).count();
    assert_eq!([at_once(0), at_once(1), at_once(2)], [2, 2, 2]);
    for call in waiting {
        call.echo().await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), b"x");
    }
}

#[tokio::test]
async fn a_client_that_cancels_ends_the_call_at_the_upstream() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let mut log = LogPipe::open();
    let logged = gateway(&config(
        &format!("grpc://{}", upstream.address),
        &format!("    plugins: [{}]\n", log.plugin()),
    ));
    let other = Client::connect(logged.address).await;
    for (client, begun) in [(&client, false), (&client, true), (&other, true)] {
        let mut calling = client.begin(PATH, &[]).await;
        let mut call = upstream.call().await;
        let mut answer = None;
        let mut sending = None;
        if begun {
            sending = Some(call.begin());
            answer = Some(calling.answer().await);
        }
        calling.stream.send_reset(Reason::CANCEL);
        drop(answer);
        let read = soon("the end of the request", call.request.body_mut().data()).await;
        assert_eq!(read.unwrap().unwrap_err().reason(), Some(Reason::CANCEL));
        if let Some(mut sending) = sending {
            let reset = std::future::poll_fn(|cx| sending.poll_reset(cx));
            assert_eq!(soon("a reset", reset).await.unwrap(), Reason::CANCEL);
        }
    }
    assert_eq!(log.record().await["response"]["status"], 200);
    // Others on the same connections live.
    let (answer, ()) = tokio::join!(client.call(PATH, &[], b"x"), async {
        upstream.call().await.echo().await;
    });
    assert_eq!(answer.body, b"x");
}

#[tokio::test]
async fn a_call_that_the_upstream_breaks_off_is_not_whole() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let mut calling = client.begin(PATH, &[]).await;
    let mut call = upstream.call().await;
    let mut sending = call.begin();
    sending.send_data(Bytes::from_static(b"part"), false).unwrap();
    let mut body = calling.answer().await.into_body();
    assert_eq!(soon("data", body.data()).await.unwrap().unwrap(), "part");
    sending.send_reset(Reason::INTERNAL_ERROR);
    assert!(soon("the end", body.data()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_stream_that_is_reset_without_an_error_has_not_ended() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let mut calling = client.begin(PATH, &[]).await;
    calling.stream.send_data(Bytes::from_static(b"part"), false).unwrap();
    let mut call = upstream.call().await;
    assert_eq!(soon("data", call.request.body_mut().data()).await.unwrap().unwrap(), "part");
    calling.stream.send_reset(Reason::NO_ERROR);
    let read = soon("the end of the request", call.request.body_mut().data()).await;
    assert!(read.unwrap().is_err(), "the upstream takes half a request for whole");

    let mut calling = client.begin(PATH, &[]).await;
    let mut call = upstream.call().await;
    let mut sending = call.begin();
    sending.send_data(Bytes::from_static(b"part"), false).unwrap();
    let mut body = calling.answer().await.into_body();
    assert_eq!(soon("data", body.data()).await.unwrap().unwrap(), "part");
    sending.send_reset(Reason::NO_ERROR);
    let read = soon("the end of the answer", body.data()).await;
    assert!(read.unwrap().is_err(), "the client takes half an answer for whole");
}

#[tokio::test]
async fn a_server_that_answers_early_ends_the_clients_stream() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let mut calling = client.begin(PATH, &[]).await;
    let mut call = upstream.call().await;
    let mut sending = call.begin();
    sending.send_trailers(trailers(&[("grpc-status", "8")])).unwrap();
    let mut body = calling.answer().await.into_body();
    assert_eq!(data(&mut body).await, b"");
    assert_eq!(soon("trailers", body.trailers()).await.unwrap().unwrap()["grpc-status"], "8");
    let reset = std::future::poll_fn(|cx| calling.stream.poll_reset(cx));
    assert_eq!(soon("a reset", reset).await.unwrap(), Reason::NO_ERROR);
}

#[tokio::test]
async fn a_call_that_is_refused_unseen_is_sent_again() {
    let (upstream, _gateway, client) = scene(Manners::default()).await;
    let (answer, ()) = tokio::join!(client.call(PATH, &[], b"message"), async {
        for _ in 0..2 {
            upstream.call().await.respond.send_reset(Reason::REFUSED_STREAM);
        }
        upstream.call().await.echo().await;
    });
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"message"[..]));
    let (answer, ()) = tokio::join!(client.call(PATH, &[], b"message"), async {
        upstream.call().await.respond.send_reset(Reason::INTERNAL_ERROR);
    });
    assert_eq!(answer.status, 502, "it may have been seen");
    assert_eq!(answer.field("grpc-status"), Some("13"));
}

#[tokio::test]
async fn an_upstream_that_says_goodbye_is_connected_to_anew() {
    let manners = Manners { leaves: true, ..Manners::default() };
    let (upstream, _gateway, client) = scene(manners).await;
    for n in 0..5u8 {
        let message = [n];
        let (answer, ()) = tokio::join!(client.call(PATH, &[], &message), async {
            upstream.call().await.echo().await;
        });
        assert_eq!((answer.status, answer.body.as_slice()), (200, &message[..]));
    }
    assert_eq!(upstream.connections(), 5);
}

#[tokio::test]
async fn upstream_keepalive_holds_for_calls_too() {
    for (setting, value, connections) in [
        ("upstream_keepalive_pool_size", "0", 4),
        ("upstream_keepalive_max_requests", "2", 2),
        ("upstream_keepalive_pool_size", "60", 1),
    ] {
        let upstream = Upstream::start(Manners::default()).await;
        let url = format!("grpc://{}", upstream.address);
        let gateway = start(Builder::default().set(setting, value), &config(&url, ""));
        let client = Client::connect(gateway.address).await;
        for _ in 0..4 {
            let (answer, ()) = tokio::join!(client.call(PATH, &[], b"x"), async {
                upstream.call().await.echo().await;
            });
            assert_eq!(answer.status, 200);
        }
        assert_eq!(upstream.connections(), connections, "{setting}={value}");
    }
}

#[tokio::test]
async fn a_call_goes_to_the_next_target_when_one_refuses_the_connection() {
    let closed = http::closed_port();
    let upstream = Upstream::start(Manners::default()).await;
    let mut log = LogPipe::open();
    let config = format!(
        "_format_version: '3.0'\nupstreams:\n- name: u\n  targets:\n  - target: {}\n  \
         - target: {}\nservices:\n- name: s\n  url: grpc://u\n  routes:\n  - name: r\n    \
         protocols: [grpc]\n    paths: [/]\n    plugins: [{}]\n",
        closed.local_addr().unwrap(),
        upstream.address,
        log.plugin()
    );
    let gateway = gateway(&config);
    let client = Client::connect(gateway.address).await;
    let mut tries = Vec::new();
    for _ in 0..2 {
        let answer = client.call(PATH, &[], b"message");
        let (answer, authority) = tokio::join!(answer, async {
            let call = upstream.call().await;
            let authority = call.request.uri().authority().unwrap().to_string();
            call.echo().await;
            authority
        });
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"message"[..]));
        assert_eq!(authority, upstream.address.to_string());
        tries.push(log.record().await["tries"].as_array().unwrap().len());
    }
    tries.sort_unstable();
    assert_eq!(tries, [1, 2]);
}

#[tokio::test]
async fn a_status_in_the_head_ends_the_call_there() {
    let folder = tempfile::tempdir().unwrap();
    let handler = "local P = { PRIORITY = 1, VERSION = '1.0.0' }\n\
        function P:body_filter() end\nreturn P\n";
    install(folder.path(), "watcher", handler);
    let upstream = Upstream::start(Manners::default()).await;
    let url = format!("grpc://{}", upstream.address);
    for plugins in ["", "    plugins: [{name: watcher}]\n"] {
        let builder = with_plugins(folder.path(), "bundled,watcher");
        let gateway = start(builder, &config(&url, plugins));
        let client = Client::connect(gateway.address).await;
        let (answer, ()) = tokio::join!(client.call(PATH, &[], b""), async {
            let mut call = upstream.call().await;
            let head = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "12");
            call.respond.send_response(head.body(()).unwrap(), true).unwrap();
        });
        assert_eq!(answer.headers["grpc-status"], "12");
        assert!(answer.ends_at_once, "{plugins}");

        let (answer, ()) = tokio::join!(client.call(PATH, &[], b"x"), async {
            upstream.call().await.echo().await;
        });
        assert_eq!(answer.body, b"x");
        assert_eq!(answer.trailers["grpc-status"], "0", "a filter takes no trailers away");
    }
}

#[tokio::test]
async fn calls_over_tls_ask_for_http_2() {
    let made = certificate("localhost");
    let key = PrivatePkcs8KeyDer::from(made.key.clone());
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.der.clone()], key.into())
        .unwrap();
    server.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let tls = Some(TlsAcceptor::from(Arc::new(server)));
    let upstream = Upstream::start(Manners { tls, ..Manners::default() }).await;
    let builder = Builder::default().set("nginx_proxy_proxy_ssl_verify", "off");
    let gateway = start(builder, &config(&format!("grpcs://{}", upstream.address), ""));
    let client = Client::connect(gateway.address).await;
    let (answer, scheme) = tokio::join!(client.call(PATH, &[], b"x"), async {
        let call = upstream.call().await;
        let scheme = call.request.uri().scheme_str().map(str::to_owned);
        call.echo().await;
        scheme
    });
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"x"[..]));
    assert_eq!(scheme.as_deref(), Some("https"));
    assert_eq!(*upstream.protocols.lock().unwrap(), [Some(b"h2".to_vec())]);
}

#[tokio::test]
async fn a_client_of_http_1_reaches_a_service_for_calls() {
    let upstream = Upstream::start(Manners::default()).await;
    let config = format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: grpc://{}\n  routes:\n  \
         - name: r\n    paths: [/a]\n    strip_path: false\n",
        upstream.address
    );
    let gateway = gateway(&config);
    let (answer, ()) = tokio::join!(gateway.send("POST", "/a/b", &[], b"body"), async {
        let call = upstream.call().await;
        assert_eq!(call.request.uri().path(), "/a/b");
        assert_eq!(call.request.headers()["content-length"], "4");
        call.echo().await;
    });
    assert_eq!((answer.status(), answer.text().as_str()), (200, "body"));
}

#[tokio::test]
async fn a_slow_reader_holds_up_its_own_call_only() {
    let (upstream, gateway, client) = scene(Manners::default()).await;
    let mut calling = client.begin(PATH, &[]).await;
    let mut call = upstream.call().await;
    let mut sending = call.begin();
    let stalled = calling.answer().await;
    // It is given what all windows and buffers on the way take, and no more.
    let mut taken = 0;
    loop {
        sending.reserve_capacity(16 << 10);
        let room = std::future::poll_fn(|cx| sending.poll_capacity(cx));
        let patience = std::time::Duration::from_millis(500);
        let Ok(room) = tokio::time::timeout(patience, room).await else { break };
        let length = room.unwrap().unwrap();
        sending.send_data(Bytes::from(vec![0; length]), false).unwrap();
        taken += length;
        assert!(taken < 8 << 20, "the gateway holds {taken} bytes of one stream");
    }
    // Another client's call goes over the same connection to the upstream.
    let other = Client::connect(gateway.address).await;
    let (answer, ()) = tokio::join!(other.call(PATH, &[], b"other"), async {
        upstream.call().await.echo().await;
    });
    assert_eq!((answer.body.as_slice(), upstream.connections()), (&b"other"[..], 1));
    drop(stalled);
}
