//! Connections of clients, whole: what they send, what they get, and what becomes of them.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::LocalSet;

use super::*;

const LIMITS: Limits = Limits { line: 1 << 10, head: 4 << 10 };

type Reply = Response<BoxBody<Bytes, Infallible>>;
type Ending = Result<Option<Raw<DuplexStream>>, Ended>;

fn reply(text: &'static str) -> Reply {
    Response::new(Full::from(text).boxed())
}

/// Serves the other end of a stream whose buffer takes `room` bytes.
fn served<F: Future<Output = Result<Reply, Infallible>>>(
    room: usize,
    answer: impl Fn(Arrival) -> F,
) -> (DuplexStream, impl Future<Output = Ending>) {
    let (client, server) = duplex(room);
    (client, serve(server, LIMITS, Activity::new(9), answer))
}

/// What a client gets that sends this and closes its side when it has everything.
async fn exchanged<F: Future<Output = Result<Reply, Infallible>>>(
    text: &str,
    answer: impl Fn(Arrival) -> F,
) -> (String, Ending) {
    let (mut client, serving) = served(1 << 20, answer);
    let client = async {
        client.write_all(text.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        let _ = tokio::time::timeout(Duration::from_millis(50), client.read_to_end(&mut all)).await;
        drop(client);
        String::from_utf8(all).unwrap()
    };
    LocalSet::new().run_until(async { tokio::join!(client, serving) }).await
}

/// The request in words: line, and body with trailers if all of it has come.
async fn told(arrival: Arrival) -> Result<Reply, Infallible> {
    let Arrival { head, body, refused, .. } = arrival;
    let mut text = format!("{} {} {refused:?} ", head.method, head.uri);
    if let pdk::Body::Stream(body) = body {
        match body.collect().await {
            Ok(whole) => {
                text += &format!("{:?} ", whole.trailers());
                text += &String::from_utf8_lossy(&whole.to_bytes());
            }
            Err(error) => text += &error.to_string(),
        }
    }
    Ok(Response::new(Full::from(text).boxed()))
}

#[tokio::test]
async fn requests_behind_each_other_are_answered_in_their_order() {
    let first = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    let second =
        "POST /b HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n";
    let text = format!("{first}{second}GET /c HTTP/1.0\r\n\r\nGET /not HTTP/1.1\r\n\r\n");
    let (got, ended) = exchanged(&text, told).await;
    let answer = |word: &str, text: &str| {
        let length = text.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: {word}\r\n\r\n{text}")
    };
    let expected = [
        answer("keep-alive", "POST /a None None abc"),
        answer("keep-alive", "POST /b None Some({\"a\": \"b\"}) x"),
        answer("close", "GET /c None "),
    ];
    assert_eq!(got, expected.concat());
    assert!(ended.is_ok());
}

#[tokio::test]
async fn a_refused_head_is_answered_behind_the_others_and_nothing_is_read_behind_it() {
    let text = "GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.1\r\nX : y\r\n\r\nGET /c HTTP/1.1\r\n\r\n";
    let (got, ended) = exchanged(text, told).await;
    assert!(got.contains("GET /a None") && got.contains("PUT /b Some(BadRequest)"), "{got}");
    assert!(got.ends_with(" ") && got.contains("connection: close") && !got.contains("/c"));
    assert!(ended.is_ok());
}

#[tokio::test]
async fn a_body_that_breaks_its_framing_or_off_is_not_whole() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (got, _) = exchanged(&format!("{head}1\nx"), told).await;
    assert!(got.contains("not chunked as it says") && got.contains("connection: close"), "{got}");
    let (mut client, serving) = served(1 << 20, told);
    let client = async {
        client.write_all(format!("{head}5\r\nab").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        got
    };
    let (got, _) = tokio::join!(client, serving);
    assert!(got.contains("closed its connection within the body"), "{got}");
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_read_away() {
    let text = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\n\r\n";
    let (got, _) = exchanged(text, |arrival| {
        let path = arrival.head.uri.path().to_owned();
        async move { Ok(Response::new(Full::from(path).boxed())) }
    })
    .await;
    assert!(got.ends_with("\r\n\r\n/b"), "{got}");
}

#[tokio::test]
async fn a_client_is_asked_once_for_a_body_and_not_at_all_if_nobody_wants_it() {
    let head = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (mut client, serving) = served(1 << 20, |mut arrival| async move {
        arrival.body.ask().await;
        told(arrival).await
    });
    let client = async move {
        client.write_all(head.as_bytes()).await.unwrap();
        let mut word = [0; 25];
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"ab").await.unwrap();
        let mut answer = [0; 17];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n");
    };
    tokio::join!(client, serving).1.unwrap();
    let unasked = |_| async { Ok(reply("no")) };
    let (got, _) = exchanged(&format!("{head}abGET / HTTP/1.1\r\n\r\n"), unasked).await;
    assert!(got.starts_with("HTTP/1.1 200") && got.matches("HTTP/").count() == 1, "{got}");
}

#[tokio::test]
async fn an_answer_is_framed_as_its_client_can_take_it() {
    let pieces = |trailers: bool| {
        let mut frames = vec![Frame::data(Bytes::from("ab")), Frame::data(Bytes::from("c"))];
        if trailers {
            let lines = [("a", "1"), ("b", "2"), ("content-length", "3")];
            let lines = lines.map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v)));
            frames.push(Frame::trailers(HeaderMap::from_iter(lines)));
        }
        let frames = frames.into_iter().map(Ok::<_, Infallible>);
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
        response.headers_mut().insert("trailer", HeaderValue::from_static("a, content-length"));
        response.map(BodyExt::boxed)
    };
    let ok = "HTTP/1.1 200 OK\r\ntrailer: a, content-length\r\n";
    let chunked =
        "transfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n2\r\nab\r\n1\r\nc\r\n";
    for (request, trailers, answer) in [
        ("GET / HTTP/1.1\r\n\r\n", true, format!("{ok}{chunked}0\r\n\r\n")),
        ("GET / HTTP/1.1\r\nTE: trailers\r\n\r\n", true, format!("{ok}{chunked}0\r\na: 1\r\n\r\n")),
        ("GET / HTTP/1.1\r\n\r\n", false, format!("{ok}{chunked}0\r\n\r\n")),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            true,
            format!("{ok}connection: close\r\n\r\nabc"),
        ),
        ("HEAD / HTTP/1.1\r\n\r\n", false, format!("{ok}connection: keep-alive\r\n\r\n")),
    ] {
        let (got, _) = exchanged(request, |_| async { Ok(pieces(trailers)) }).await;
        assert_eq!(got, answer, "{request:?}");
    }
    for (declared, sent) in [("2", "ab"), ("0", ""), ("x", "chunks")] {
        let answer = || {
            let mut response = pieces(false);
            response.headers_mut().clear();
            response.headers_mut().insert("content-length", HeaderValue::from_static(declared));
            response
        };
        let (got, _) = exchanged("GET / HTTP/1.1\r\n\r\n", |_| async { Ok(answer()) }).await;
        let head = format!("content-length: {declared}\r\nconnection: keep-alive\r\n\r\n");
        let expected = match sent {
            "chunks" => format!("{chunked}0\r\n\r\n"),
            sent => format!("{head}{sent}"),
        };
        assert_eq!(got, format!("HTTP/1.1 200 OK\r\n{expected}"));
    }
}

#[tokio::test]
async fn an_answer_that_is_shorter_than_its_head_says_is_no_whole_one() {
    let (got, ended) = exchanged("GET / HTTP/1.1\r\n\r\n", |_| async {
        let frames = futures_util::stream::iter([Ok(Frame::data(Bytes::from("ab")))]);
        let mut response = Response::new(StreamBody::new(frames).boxed());
        response.headers_mut().insert("content-length", HeaderValue::from_static("3"));
        Ok(response)
    })
    .await;
    assert!(got.ends_with("\r\n\r\nab"), "{got}");
    assert!(matches!(ended, Err(Ended::Cut(_))));
}

#[tokio::test]
async fn an_answer_goes_out_however_slowly_it_is_taken() {
    let body: &'static str = Box::leak("x".repeat(50_000).into_boxed_str());
    for room in [1, 7, 5010] {
        let (mut client, serving) = served(room, |_| async { Ok(reply(body)) });
        let client = async {
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let mut got = String::new();
            client.read_to_string(&mut got).await.unwrap();
            got
        };
        let (got, ended) = tokio::join!(client, serving);
        assert!(ended.is_ok() && got.ends_with(&format!("\r\n\r\n{body}")));
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_exchange() {
    struct Gone<'a>(&'a Cell<bool>);
    impl Drop for Gone<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let gone = Cell::new(false);
    let (mut client, serving) = served(1 << 10, |_| async {
        let _gone = Gone(&gone);
        std::future::pending::<()>().await;
        Ok(Response::new(Empty::new().boxed()))
    });
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    drop(client);
    assert!(matches!(serving.await, Err(Ended::Left)));
    assert!(gone.get());
}

#[tokio::test]
async fn behind_an_answer_to_a_request_for_another_protocol_the_stream_is_free() {
    let ask = "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n";
    let switch = |arrival: Arrival| async move {
        let mut response = reply("");
        if arrival.can_switch && arrival.head.uri == "/" {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
        }
        Ok(response)
    };
    let (got, ended) = exchanged(&format!("{ask}\u{1}hello"), switch).await;
    assert_eq!(got, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n");
    let mut behind = [0; 6];
    ended.unwrap().unwrap().read_exact(&mut behind).await.unwrap();
    assert_eq!(&behind, b"\x01hello");
    // One that is not agreed to leaves HTTP behind it.
    let text = format!("{}GET /b HTTP/1.1\r\n\r\n", ask.replace("GET /", "GET /a"));
    assert_eq!(exchanged(&text, switch).await.0.matches("HTTP/1.1 200 OK").count(), 2);
}

#[tokio::test]
async fn a_client_that_is_still_sending_gets_its_answer() {
    let (mut client, serving) = served(1 << 16, |mut arrival| async move {
        drop(std::mem::take(&mut arrival.body));
        let mut response = reply("no");
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
        Ok(response)
    });
    let client = async {
        let head = "POST / HTTP/1.1\r\nContent-Length: 999999\r\n\r\nab";
        client.write_all(head.as_bytes()).await.unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        // More than fits on the way: it ends only because somebody reads.
        client.write_all(&[b'x'; 1 << 18]).await.unwrap();
        drop(client);
        got
    };
    let (got, ended) = tokio::join!(client, serving);
    assert!(got.ends_with("no") && ended.is_ok());
}

#[tokio::test]
async fn a_connection_that_waits_holds_nothing() {
    let (mut client, server) = duplex(1 << 10);
    let mut wire = Wire::new(server, LIMITS, Activity::new(9));
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let next = poll_fn(|cx| wire.poll_next(cx)).await.unwrap();
    assert!(matches!(next, Next::Request(_)) && wire.end_exchange());
    assert!(futures_util::poll!(poll_fn(|cx| wire.poll_next(cx))).is_pending());
    assert_eq!(wire.held(), 0);
}

#[tokio::test]
async fn a_body_that_is_held_too_long_takes_nothing_of_the_next_one() {
    let old = RefCell::new(pdk::Body::Empty);
    let text = "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
                POST /b HTTP/1.1\r\nContent-Length: 4\r\n\r\nde";
    let (mut client, serving) = served(1 << 10, |mut arrival| {
        let old = &old;
        async move {
            if arrival.head.uri == "/a" {
                old.replace(std::mem::take(&mut arrival.body));
                return Ok(reply("a"));
            }
            drop(old.take());
            told(arrival).await
        }
    });
    let client = async move {
        client.write_all(text.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        client.write_all(b"fg").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        got
    };
    let (got, _) = tokio::join!(client, serving);
    assert!(got.ends_with("POST /b None None defg"), "{got}");
}

#[tokio::test]
async fn few_bytes_of_a_long_body_do_not_keep_a_large_buffer() {
    let (mut client, server) = duplex(1 << 10);
    let wire = Rc::new(RefCell::new(Wire::new(server, LIMITS, Activity::new(9))));
    client.write_all(b"PUT / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n").await.unwrap();
    assert!(matches!(poll_fn(|cx| wire.borrow_mut().poll_next(cx)).await, Ok(Next::Request(_))));
    let mut body = Arriving::http1(Rc::new(Held::new(&wire)));
    client.write_all(b"abc").await.unwrap();
    let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(data, "abc");
    assert_eq!(data.try_into_mut().unwrap().capacity(), 3);
}

#[tokio::test]
async fn a_client_that_leaves_while_its_body_is_read_away_ends_its_exchange() {
    let (mut client, serving) = served(1 << 10, |mut arrival| async move {
        drop(std::mem::take(&mut arrival.body));
        std::future::pending::<Result<Reply, Infallible>>().await
    });
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab").await.unwrap();
    drop(client);
    assert!(matches!(serving.await, Err(Ended::Left)));
}
