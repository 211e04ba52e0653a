//! What HTTP/1 allows an upstream or a client to do: interim answers, framings, early ends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::gateway::TestGateway;
use super::http::{Reader, Upstream, raw};
use super::stream_ends::soon;

fn config(address: std::net::SocketAddr) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{address}\n  retries: 0\n  \
         routes:\n  - name: r\n    paths: [/a]\n"
    )
}

/// What a client gets of an upstream that says just this, and then closes.
async fn through(reply: &'static [u8], request: &[u8]) -> Option<super::http::Message> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(&config(listener.local_addr().unwrap()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut reader = Reader::new(stream);
            reader.message(false).await;
            let _ = reader.stream.write_all(reply).await;
        }
    });
    soon("an answer", raw(gateway.address, request)).await
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: gw.test\r\n\r\n";
const OLD: &[u8] = b"GET /a HTTP/1.0\r\nHost: gw.test\r\n\r\n";
const HEAD: &[u8] = b"HEAD /a HTTP/1.1\r\nHost: gw.test\r\n\r\n";

#[tokio::test]
async fn an_answer_whose_end_is_doubtful_is_a_bad_gateway() {
    for reply in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\nokok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n\
          5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n\
          0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"hello\n",
        b"<html>an answer without a head</html>\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
        b"",
    ] {
        let shown = String::from_utf8_lossy(reply);
        let answer = through(reply, GET).await.unwrap();
        assert_eq!(answer.status(), 502, "{shown}");
        let message = "An invalid response was received from the upstream server";
        assert!(answer.text().contains(message), "{shown}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_interim_answer_is_not_the_answer() {
    let reply = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let answer = through(reply, GET).await.unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("link"), None);
}

#[tokio::test]
async fn answers_without_a_body_keep_their_headers() {
    let sized = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    let answer = through(sized, HEAD).await.unwrap();
    assert_eq!((answer.status(), answer.header("content-length")), (200, Some("5")));
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(through(chunked, HEAD).await.unwrap().status(), 200);
    let unchanged = b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 5\r\n\r\n";
    let answer = through(unchanged, GET).await.unwrap();
    assert_eq!((answer.status(), answer.header("etag")), (304, Some("\"1\"")));
    assert_eq!(answer.header("transfer-encoding"), None);
    let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
    let answer = through(empty, GET).await.unwrap();
    assert_eq!((answer.status(), answer.header("transfer-encoding")), (204, None));
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n";
    let answer = through(chunked, OLD).await.unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.header("transfer-encoding"), None);
}

#[tokio::test]
async fn an_answer_of_http_1_0_ends_with_its_connection() {
    let reply = b"HTTP/1.0 200 OK\r\ncontent-type: text/x\r\n\r\nto the end";
    let answer = through(reply, GET).await.unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "to the end"));
    assert!(answer.complete);
}

#[tokio::test]
async fn an_upstream_that_closes_early_does_not_make_a_whole_answer() {
    for reply in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let answer = through(reply, GET).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!answer.complete, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on() {
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::replying(ok).await;
    let gateway = TestGateway::start(&config(upstream.address));
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let head = b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.stream.write_all(head).await.unwrap();
    let interim = soon("an interim answer", client.head()).await.unwrap();
    assert_eq!(interim.first, "HTTP/1.1 100 Continue");
    client.stream.write_all(b"body").await.unwrap();
    let answer = soon("an answer", client.message(false)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let seen = upstream.seen().remove(0);
    assert_eq!((seen.header("expect"), seen.text().as_str()), (None, "body"));
}

#[tokio::test]
async fn an_answer_before_the_body_is_read_reaches_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(&config(listener.local_addr().unwrap()));
    let upstream = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut reader = Reader::new(stream);
        reader.head().await.unwrap();
        let reply = b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
        reader.stream.write_all(reply).await.unwrap();
        // Whoever closes with bytes unread resets the connection, and may take the answer along.
        let mut rest = vec![0; 1 << 16];
        while reader.stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
    });
    let mut client = Reader::new(TcpStream::connect(gateway.address).await.unwrap());
    let head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\nbeginning";
    client.stream.write_all(head).await.unwrap();
    let answer = soon("an answer", client.message(false)).await.unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no"));
    drop(client);
    soon("the end of the upstream's connection", upstream).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_nothing_of_was_sent_goes_to_another_target() {
    let refuses = super::http::closed_port();
    let closed = refuses.local_addr().unwrap();
    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::replying(ok).await;
    let config = format!(
        "_format_version: '3.0'\nupstreams:\n- name: u\n  targets:\n  - target: {closed}\n  \
         - target: {}\nservices:\n- name: s\n  host: u\n  routes:\n  - name: r\n    \
         paths: [/a]\n",
        upstream.address
    );
    let gateway = TestGateway::start(&config);
    // Larger than what is read ahead.
    let body = vec![b'x'; 3 << 20];
    for _ in 0..4 {
        assert_eq!(gateway.send("POST", "/a", &[], &body).await.status(), 200);
    }
    assert!(upstream.seen().iter().all(|seen| seen.body.len() == body.len()));
}
