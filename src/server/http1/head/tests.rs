//! Which heads are requests, and which are refused.

use http::header::{ACCEPT, HOST};

use super::*;

const LIMITS: Limits = Limits { line: 64, head: 256 };

/// A head that has come at once.
fn read(text: &str) -> Result<Option<usize>, Failure> {
    Reading::default().read(text.as_bytes(), LIMITS)
}

fn head(text: &str) -> (Head, Decoder) {
    let mut reading = Reading::default();
    assert_eq!(reading.read(text.as_bytes(), LIMITS), Ok(Some(text.len())), "{text:?}");
    reading.finish(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

#[test]
fn a_head_ends_where_its_empty_line_does_and_may_come_in_any_pieces() {
    let text = "\r\n\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nX:\t y \r\nX:\r\n\r\n";
    let whole = format!("{text}abcGET /");
    for cut in 1..whole.len() {
        let mut reading = Reading::default();
        let ended = reading.read(&whole.as_bytes()[..cut], LIMITS).unwrap();
        assert_eq!(ended, (cut >= text.len()).then_some(text.len()), "{cut}");
        if ended.is_none() {
            assert_eq!(reading.read(whole.as_bytes(), LIMITS), Ok(Some(text.len())), "{cut}");
        }
        let (head, _) = reading.finish(&Bytes::copy_from_slice(whole.as_bytes())).unwrap();
        assert_eq!((head.parts.method, head.parts.uri.to_string()), (Method::POST, "/a?b".into()));
        assert_eq!(head.parts.headers[HOST], "h");
        let twice: Vec<_> = head.parts.headers.get_all("x").iter().collect();
        assert_eq!(twice, ["y", ""]);
    }
}

#[test]
fn what_is_doubtful_is_refused() {
    let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    let with = |header: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
    for text in [
        line("BAD"),
        line("get / HTTP/1.1"),
        line("G3T / HTTP/1.1"),
        line(" GET / HTTP/1.1"),
        line("GET / HTTP/1.2"),
        line("GET / HTTP/2.0"),
        line("GET / http/1.1"),
        line("GET / HTTP/1.1 "),
        line("GET /\tHTTP/1.1"),
        line("GET /a b HTTP/1.1"),
        line("GET /a"),
        line("GET a HTTP/1.1"),
        line("GET * HTTP/1.1"),
        line("GET /\u{1} HTTP/1.1"),
        line("PRI * HTTP/2.0"),
        "GET / HTTP/1.1\nHost: h\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\n\n".to_owned(),
        with("Name : value"),
        with(" folded"),
        with("\tfolded"),
        with(": value"),
        with("no colon"),
        with("A: b\rc"),
        with("A: b\0"),
        with("A: \u{7f}"),
        with("Content-Length: abc"),
        with("Content-Length: +1"),
        with("Content-Length: -1"),
        with("Content-Length: 0x1"),
        with("Content-Length: 1, 1"),
        with("Content-Length: 1\r\nContent-Length: 1"),
        with("Content-Length:"),
        with("Content-Length: 99999999999999999999"),
        with("Content-Length: 0\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked\r\nContent-Length: 0"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding:\r\n chunked"),
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
    ] {
        assert_eq!(read(&text), Err(Failure::BadRequest), "{text:?}");
    }
    for coding in ["identity", "gzip, chunked", "chunked, gzip", "\"chunked\"", "chunked;q=1", "x"]
    {
        let text = with(&format!("Transfer-Encoding: {coding}"));
        assert_eq!(read(&text), Err(Failure::NotImplemented), "{text:?}");
    }
}

#[test]
fn another_protocol_on_the_port_is_refused_before_a_line_ends() {
    for text in ["\u{16}\u{3}\u{1}", "SSH-2.0-x", "get", "G\r", "\r\r", "\r\n\u{0}", "GE\u{e9}"] {
        assert_eq!(read(text), Err(Failure::BadRequest), "{text:?}");
    }
    for text in ["", "G", "GET", "GET ", "GET /\u{e9}", "\r", "\r\n", "\r\n\r", "\r\nPO"] {
        assert_eq!(read(text), Ok(None), "{text:?}");
    }
}

#[test]
fn what_is_in_order_passes() {
    for text in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET  /a?b={c}  HTTP/1.1\r\n\r\n",
        "OPTIONS http://h/ HTTP/1.1\r\n\r\n",
        "M-SEARCH /ä HTTP/1.1\r\nX_Y.z:\r\nA: \tä \r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        head(text);
    }
}

#[test]
fn a_head_is_bounded_before_it_has_ended() {
    let long = "a".repeat(LIMITS.line);
    assert_eq!(read(&format!("GET /{long}")), Err(Failure::UriTooLong));
    assert_eq!(read(&"\r\n".repeat(LIMITS.head)), Err(Failure::UriTooLong));
    let begun = "GET / HTTP/1.1\r\n";
    assert_eq!(read(&format!("{begun}A: {long}")), Err(Failure::HeadersTooLarge));
    let many = "A: b\r\n".repeat(LIMITS.head / 6);
    assert_eq!(read(&format!("{begun}{many}")), Err(Failure::HeadersTooLarge));
    let limits = Limits { line: 64, head: usize::MAX };
    let lines = "A: b\r\n".repeat(LINES_MAX + 1);
    let read = Reading::default().read(format!("{begun}{lines}").as_bytes(), limits);
    assert_eq!(read, Err(Failure::HeadersTooLarge));
}

#[test]
fn what_a_client_wants_is_known_from_its_head() {
    let wishes =
        |version: &str, lines: &str| head(&format!("PUT / HTTP/{version}\r\n{lines}\r\n")).0.wishes;
    let none = Wishes::default();
    assert_eq!(wishes("1.1", ""), none);
    let old = Wishes { is_old: true, ..none };
    assert_eq!(wishes("1.0", ""), Wishes { closes: true, ..old });
    assert_eq!(wishes("1.0", "Connection: x, Keep-Alive\r\n"), old);
    assert_eq!(wishes("1.1", "Connection: x, Close ;y\r\n"), Wishes { closes: true, ..none });
    let expects = "Content-Length: 1\r\nExpect: 100-Continue\r\n";
    assert_eq!(wishes("1.1", expects), Wishes { expects: true, ..none });
    // Nothing is to come that could be asked for.
    assert_eq!(wishes("1.1", "Content-Length: 0\r\nExpect: 100-continue\r\n"), none);
    let all = "Connection: keep-alive\r\nUpgrade: x\r\nTE: gzip, trailers;q=1\r\n";
    assert_eq!(wishes("1.1", all), Wishes { upgrade: true, trailers: true, ..none });
    // HTTP/1.0 has no other protocols.
    assert_eq!(wishes("1.0", all), Wishes { trailers: true, ..old });
}

#[test]
fn of_a_refused_head_is_known_what_its_answer_and_its_record_depend_on() {
    for (head, method, target) in [
        ("POST /a?b=c HTTP/1.1\r\nX : y\r\n", "POST", "/a?b=c"),
        ("\r\nGET  http://h/a  HTTP/1.1\r\nX", "GET", "http://h/a"),
        ("PUT /endless", "PUT", "/"),
        ("PUT /a b HTTP/1.1\r\n", "PUT", "/"),
        ("414 /a HTTP/1.1\r\n", "-", "/"),
        ("get /a HTTP/1.1\r\n", "-", "/"),
        ("GET", "-", "/"),
        ("", "-", "/"),
    ] {
        let parts = of_refused(head.as_bytes(), Failure::BadRequest);
        assert_eq!((parts.method.as_str(), &*parts.uri.to_string()), (method, target), "{head:?}");
    }
    let text = "GET /b HTTP/1.1\r\nAccept: text/html\r\nHost: h\r\nX : y\r\nAccept: a/b\r\n\r\n";
    let parts = of_refused(text.as_bytes(), Failure::BadRequest);
    assert_eq!(parts.headers.len(), 1);
    assert_eq!(parts.headers[ACCEPT], "text/html");
    let parts = of_refused(text.as_bytes(), Failure::UriTooLong);
    assert_eq!(parts.uri, "/");
}
