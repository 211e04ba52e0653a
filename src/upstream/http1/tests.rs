//! What an upstream may say, whole and in pieces, and what becomes of its connection.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;

use super::*;
use crate::pdk::body::Buffered;

/// An answer, and whether its connection may serve another request.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    lines: Vec<String>,
    body: String,
    trailers: Vec<String>,
    is_free: bool,
}

fn request(method: Method) -> Request<Outgoing> {
    let mut request = Request::new(Outgoing::empty());
    *request.method_mut() = method;
    *request.uri_mut() = "/a?b=c".parse().unwrap();
    request.headers_mut().insert("host", "a.test".parse().unwrap());
    request
}

fn pair() -> (Box<Connection>, DuplexStream) {
    let (ours, theirs) = duplex(1 << 20);
    (Connection::new(Stream::Test(ours)), theirs)
}

async fn ask(
    connection: &mut Connection,
    mut request: Request<Outgoing>,
) -> Result<Response<()>, Fault> {
    let asked = std::future::poll_fn(|cx| connection.poll_ask(&mut request, cx)).await;
    asked.map_err(|unanswered| unanswered.fault)
}

async fn frame(connection: &mut Connection) -> Option<Result<Frame<Bytes>, Fault>> {
    std::future::poll_fn(|cx| connection.poll_frame(cx)).await
}

async fn read_head(theirs: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(theirs.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

async fn read(connection: &mut Connection, method: Method) -> Result<Answer, Fault> {
    let response = ask(connection, request(method)).await?;
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    while let Some(frame) = frame(connection).await {
        match frame?.into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = lines(&frame.into_trailers().unwrap()),
        }
    }
    Ok(Answer {
        status: response.status().as_u16(),
        lines: lines(response.headers()),
        body: String::from_utf8(body).unwrap(),
        trailers,
        is_free: connection.rest(),
    })
}

/// What is read when an upstream sends these pieces, and then closes or waits.
async fn said(method: Method, pieces: &[&[u8]], closes: bool) -> Result<Answer, Fault> {
    let (mut connection, mut theirs) = pair();
    let upstream = async {
        read_head(&mut theirs).await;
        for piece in pieces {
            theirs.write_all(piece).await.unwrap();
            yield_now().await;
        }
        (!closes).then_some(theirs)
    };
    let both = async { tokio::join!(read(&mut connection, method), upstream).0 };
    tokio::time::timeout(Duration::from_secs(5), both).await.expect("an end")
}

async fn get(text: &str) -> Result<Answer, Fault> {
    said(Method::GET, &[text.as_bytes()], false).await
}

async fn closing(text: &str) -> Result<Answer, Fault> {
    said(Method::GET, &[text.as_bytes()], true).await
}

#[tokio::test]
async fn an_answer_is_the_same_wherever_it_is_split() {
    for (text, body, trailers, is_free) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX: y\r\n\r\nhello", "hello", 0, true),
        ("\r\n\nHTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", 0, true),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 1\n\nx", "x", 0, true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n1;a=b\r\n \r\n00A \r\n0123456789\r\n0\r\n\r\n",
            "hello 0123456789",
            0,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n",
            "x",
            2,
            true,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", 0, true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", 0, false),
    ] {
        let whole = get(text).await.unwrap();
        assert_eq!((whole.body.as_str(), whole.trailers.len()), (body, trailers), "{text}");
        assert_eq!(whole.is_free, is_free, "{text}");
        for at in 1..text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            let split = said(Method::GET, &[first, second], false).await.unwrap();
            assert_eq!(split, whole, "split at {at}: {text}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(said(Method::GET, &bytes, false).await.unwrap(), whole, "{text}");
    }
}

#[tokio::test]
async fn an_answer_without_framing_ends_with_its_connection() {
    let answer = closing("HTTP/1.1 200 OK\r\n\r\nall of it").await.unwrap();
    assert_eq!((answer.body.as_str(), answer.is_free), ("all of it", false));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_one() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
    ] {
        let fault = closing(text).await.unwrap_err();
        let is_closed = matches!(fault, Fault::NoAnswer | Fault::HalfHead | Fault::HalfBody);
        assert!(is_closed && !fault.is_no_http(), "{text}: {fault}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_refused_without_waiting_for_more() {
    for text in [
        "SSH-2.0-OpenSSH_9\r\n",
        "\x15\x03\x03\0\x02",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let fault = get(text).await.unwrap_err();
        assert!(fault.is_no_http(), "{text:?}: {fault}");
    }
}

#[tokio::test]
async fn a_head_has_bounds() {
    let many = |lines| format!("HTTP/1.1 204 No Content\r\n{}\r\n", "a: b\r\n".repeat(lines));
    assert_eq!(get(&many(LINES_MAX)).await.unwrap().lines.len(), LINES_MAX);
    assert!(matches!(get(&many(LINES_MAX + 1)).await, Err(Fault::LargeHead)));
    let long = |length| format!("HTTP/1.1 204 No Content\r\na: {}\r\n\r\n", "x".repeat(length));
    assert!(get(&long(HEAD_MAX - 100)).await.is_ok());
    assert!(matches!(get(&long(HEAD_MAX)).await, Err(Fault::LargeHead)));
    // Without an end, and of nothing.
    let endless = long(HEAD_MAX + 1);
    assert!(matches!(get(endless.trim_end()).await, Err(Fault::LargeHead)));
    assert!(matches!(get(&"\r\n".repeat(HEAD_MAX)).await, Err(Fault::LargeHead)));
}

#[tokio::test]
async fn answers_that_announce_one_are_skipped_up_to_a_number() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let end = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let answer = get(&format!("{}{end}", hint.repeat(HINTS_MAX as usize))).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!(answer.lines, ["content-length: 2"]);
    let fault = get(&format!("{}{end}", hint.repeat(HINTS_MAX as usize + 1))).await;
    assert!(fault.unwrap_err().is_no_http());
}

#[tokio::test]
async fn what_is_no_chunk_is_refused() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "0x1\r\n",
        "1\nx\r\n",
        "1\r\nxy\r\n",
        "1\r\nx\n",
        "0\n\r\n",
        "1 1\r\n",
        "1;a\nb\r\nx\r\n",
        "0\r\nA: b\rC",
        "0\r\n: b\r\n\r\n",
        "10000000000000000\r\n",
    ] {
        let fault = get(&format!("{head}{body}")).await.unwrap_err();
        assert!(matches!(fault, Fault::Chunks(_)), "{body:?}: {fault}");
    }
    for endless in [
        format!("1;{}", "x".repeat(16 << 10)),
        format!("0\r\nA: {}", "x".repeat(16 << 10)),
        format!("0\r\n{}", "A: b\r\n".repeat(LINES_MAX + 1)),
        "1;aaaaaaaaaaaaaaa\r\nx\r\n".repeat(2 << 10),
    ] {
        let fault = get(&format!("{head}{endless}")).await.unwrap_err();
        assert!(matches!(fault, Fault::Chunks(_)), "{fault}");
    }
}

#[tokio::test]
async fn pieces_before_a_fault_are_not_lost() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut connection, mut theirs) = pair();
    theirs.write_all(format!("{head}2\r\nok\r\nzz\r\n").as_bytes()).await.unwrap();
    ask(&mut connection, request(Method::GET)).await.unwrap();
    let data = frame(&mut connection).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&*data, b"ok");
    assert!(!connection.is_end_stream());
    assert!(frame(&mut connection).await.unwrap().is_err());
    assert!(!connection.rest());
}

#[tokio::test]
async fn pieces_that_are_ready_together_are_one_and_a_lone_one_waits_for_nobody() {
    let (mut connection, mut theirs) = pair();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let events = "6\r\nevent\n\r\n".repeat(100);
    theirs.write_all(format!("{head}{events}").as_bytes()).await.unwrap();
    ask(&mut connection, request(Method::GET)).await.unwrap();
    let data = frame(&mut connection).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(data, "event\n".repeat(100));
    {
        let mut next = std::pin::pin!(frame(&mut connection));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        theirs.write_all(b"5\r\nalone\r\n3").await.unwrap();
        let data = next.await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data, "alone");
    }
    assert!(futures_util::poll!(std::pin::pin!(frame(&mut connection))).is_pending());
    assert_eq!(connection.input.capacity(), 0, "who waits holds no buffer");
    // However much is ready, a piece has an end.
    let long = format!("\r\nabc\r\n{:x}\r\n{}", 1 << 19, "x".repeat(1 << 19));
    theirs.write_all(long.as_bytes()).await.unwrap();
    let data = frame(&mut connection).await.unwrap().unwrap().into_data().unwrap();
    assert!(data.len() > 1 << 10 && data.len() <= 2 * ROOM_MAX, "{}", data.len());
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let answer = said(Method::HEAD, &[text], false).await.unwrap();
    assert_eq!((answer.body.as_str(), answer.is_free), ("", true));
    for head in ["204 No Content", "304 Not Modified"] {
        for framing in ["Content-Length: 5", "Transfer-Encoding: chunked", "A: b"] {
            let answer = get(&format!("HTTP/1.1 {head}\r\n{framing}\r\n\r\n")).await.unwrap();
            assert_eq!((answer.body.as_str(), answer.is_free), ("", true), "{head} {framing}");
        }
    }
}

#[tokio::test]
async fn a_connection_is_kept_as_both_versions_of_http_say() {
    for (version, lines, is_free) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, Close\r\n", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let text = format!("HTTP/{version} 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
        assert_eq!(get(&text).await.unwrap().is_free, is_free, "{text}");
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys_answer() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let read = get(&format!("{answer}{answer}")).await.unwrap();
    assert_eq!((read.body.as_str(), read.is_free), ("ok", false));
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let read = get(&format!("{chunks}{answer}")).await.unwrap();
    assert_eq!((read.body.as_str(), read.is_free), ("ok", false));
    // The same, a little later.
    let (mut connection, mut theirs) = pair();
    theirs.write_all(answer.as_bytes()).await.unwrap();
    assert!(self::read(&mut connection, Method::GET).await.unwrap().is_free);
    assert!(!connection.has_ended());
    theirs.write_all(b"x").await.unwrap();
    assert!(connection.has_ended());
}

#[tokio::test]
async fn a_connection_serves_one_exchange_after_another_until_its_upstream_closes_it() {
    let (mut connection, mut theirs) = pair();
    for round in 0..3 {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{round}");
        theirs.write_all(text.as_bytes()).await.unwrap();
        let answer = read(&mut connection, Method::GET).await.unwrap();
        assert_eq!((answer.body, answer.is_free), (round.to_string(), true));
        assert_eq!(read_head(&mut theirs).await, "GET /a?b=c HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(connection.input.capacity(), 0, "an idle connection holds no buffer");
    }
    drop(theirs);
    assert!(connection.has_ended());
}

#[tokio::test]
async fn a_reason_that_is_not_the_usual_one_is_kept() {
    for (line, reason) in
        [("200 OK", None), ("200 Fine", Some("Fine")), ("299 Ö", Some("Ö")), ("200", Some(""))]
    {
        let (mut connection, mut theirs) = pair();
        let text = format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n");
        theirs.write_all(text.as_bytes()).await.unwrap();
        let response = ask(&mut connection, request(Method::GET)).await.unwrap();
        let kept = response.extensions().get::<hyper::ext::ReasonPhrase>();
        assert_eq!(kept.map(|kept| kept.as_bytes()), reason.map(str::as_bytes), "{line}");
    }
}

#[tokio::test]
async fn behind_101_the_stream_is_whole() {
    let (mut connection, mut theirs) = pair();
    theirs.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nfirst").await.unwrap();
    let response = ask(&mut connection, request(Method::GET)).await.unwrap();
    assert!(response.status() == StatusCode::SWITCHING_PROTOCOLS && connection.has_switched());
    read_head(&mut theirs).await;
    theirs.write_all(b" second").await.unwrap();
    let mut raw = connection.into_raw().unwrap();
    raw.write_all(b"back").await.unwrap();
    let mut buffer = [0; 4];
    theirs.read_exact(&mut buffer).await.unwrap();
    drop(theirs);
    let mut all = String::new();
    raw.read_to_string(&mut all).await.unwrap();
    assert_eq!((&buffer, all.as_str()), (b"back", "first second"));
}

fn post(body: &[u8], line: Option<&str>) -> Request<Outgoing> {
    let mut request = Request::new(Outgoing::whole(Buffered::from(Bytes::copy_from_slice(body))));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert("b", "2".parse().unwrap());
    request.headers_mut().insert("a", "1".parse().unwrap());
    if let Some(length) = line {
        request.headers_mut().insert("content-length", length.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_request_is_written_as_it_is_and_with_one_length() {
    for (request, expected) in [
        (post(b"hello", None), "POST / HTTP/1.1\r\nb: 2\r\na: 1\r\ncontent-length: 5\r\n\r\nhello"),
        (
            post(b"hello", Some("5")),
            "POST / HTTP/1.1\r\nb: 2\r\na: 1\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (
            post(b"hello", Some("3")),
            "POST / HTTP/1.1\r\nb: 2\r\na: 1\r\ncontent-length: 5\r\n\r\nhello",
        ),
        (post(b"", Some("0")), "POST / HTTP/1.1\r\nb: 2\r\na: 1\r\ncontent-length: 0\r\n\r\n"),
        (post(b"", None), "POST / HTTP/1.1\r\nb: 2\r\na: 1\r\n\r\n"),
    ] {
        let (mut connection, mut theirs) = pair();
        let mut asking = std::pin::pin!(ask(&mut connection, request));
        assert!(futures_util::poll!(asking.as_mut()).is_pending());
        let mut buffer = vec![0; 1024];
        let length = theirs.read(&mut buffer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..length]), expected);
    }
    let mut request = request(Method::GET);
    *request.uri_mut() = "http://a.test:81/b?c".parse().unwrap();
    let (mut connection, mut theirs) = pair();
    let mut asking = std::pin::pin!(ask(&mut connection, request));
    assert!(futures_util::poll!(asking.as_mut()).is_pending());
    let head = read_head(&mut theirs).await;
    assert!(head.starts_with("GET http://a.test:81/b?c HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_request_is_unsent_only_if_no_byte_of_it_was_written() {
    // The other end is gone before anything is written.
    let (mut connection, theirs) = pair();
    drop(theirs);
    let mut request = post(b"hello", None);
    let asked = std::future::poll_fn(|cx| connection.poll_ask(&mut request, cx)).await;
    assert!(asked.unwrap_err().is_unsent);
    assert_eq!(request.headers().len(), 2, "it is as it was");
    let body = std::mem::replace(request.body_mut(), Outgoing::empty());
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    // It goes when a part of the request has left.
    let (ours, theirs) = duplex(10);
    let mut connection = Connection::new(Stream::Test(ours));
    let mut request = post(b"hello", None);
    let mut asking =
        std::pin::pin!(std::future::poll_fn(|cx| { connection.poll_ask(&mut request, cx) }));
    assert!(futures_util::poll!(asking.as_mut()).is_pending());
    drop(theirs);
    let unanswered = asking.await.unwrap_err();
    assert!(!unanswered.is_unsent && matches!(unanswered.fault, Fault::NoAnswer));
}

#[tokio::test]
async fn an_upstream_that_answers_and_closes_without_reading_has_answered() {
    let (ours, mut theirs) = duplex(100);
    let mut connection = Connection::new(Stream::Test(ours));
    let body = vec![b'x'; 1 << 20];
    let response = {
        let mut asking = std::pin::pin!(ask(&mut connection, post(&body, None)));
        assert!(futures_util::poll!(asking.as_mut()).is_pending());
        theirs.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        drop(theirs);
        asking.await.unwrap()
    };
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let data = frame(&mut connection).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(data, "no");
    assert!(!connection.rest(), "its request was not sent");
}
