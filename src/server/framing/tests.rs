use super::*;

const LIMITS: Limits = Limits { line: 64, head: 256 };

fn scan(text: &str) -> Seen {
    Framing::new(LIMITS).scan(text.as_bytes())
}

#[test]
fn requests_behind_each_other_are_told_apart() {
    let first = "\r\n\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    let second = "POST /b HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let text = format!("{first}{second}GET /c HTTP/1.0\r\n\r\n");
    assert_eq!(scan(&text), Seen::All);
    let partial = format!("{first}{second}GET /c HT");
    assert_eq!(scan(&partial), Seen::Partial(first.len() + second.len()));
    let bad = format!("{first}{second}NO\r\n\r\n");
    assert_eq!(scan(&bad), Seen::Refused(first.len() + second.len(), Failure::BadRequest));
}

#[test]
fn a_head_may_come_in_any_pieces() {
    let text = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
    for cut in 1..text.len() {
        let (mut framing, mut held) = (Framing::new(LIMITS), Vec::new());
        for piece in [&text[..cut], &text[cut..]] {
            held.extend_from_slice(piece);
            match framing.scan(&held) {
                Seen::All => held.clear(),
                Seen::Partial(at) => _ = held.drain(..at),
                seen => panic!("{seen:?} at {cut}"),
            }
        }
        assert!(held.is_empty() && framing.is_between(), "{cut}");
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
        assert_eq!(scan(&text), Seen::Refused(0, Failure::BadRequest), "{text:?}");
    }
    for coding in ["identity", "gzip, chunked", "chunked, gzip", "\"chunked\"", "chunked;q=1", "x"]
    {
        let text = with(&format!("Transfer-Encoding: {coding}"));
        assert_eq!(scan(&text), Seen::Refused(0, Failure::NotImplemented), "{text:?}");
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
        assert_eq!(scan(text), Seen::All, "{text:?}");
    }
}

#[test]
fn a_head_is_bounded_before_it_has_ended() {
    let long = "a".repeat(LIMITS.line);
    assert_eq!(scan(&format!("GET /{long}")), Seen::Refused(0, Failure::UriTooLong));
    assert_eq!(scan(&"\r\n".repeat(LIMITS.head)), Seen::Refused(0, Failure::UriTooLong));
    let begun = "GET / HTTP/1.1\r\n";
    assert_eq!(scan(&format!("{begun}A: {long}")), Seen::Refused(0, Failure::HeadersTooLarge));
    let many = "A: b\r\n".repeat(LIMITS.head / 6);
    assert_eq!(scan(&format!("{begun}{many}")), Seen::Refused(0, Failure::HeadersTooLarge));
    let limits = Limits { line: 64, head: usize::MAX };
    let lines = "A: b\r\n".repeat(LINES_MAX + 1);
    let seen = Framing::new(limits).scan(format!("{begun}{lines}").as_bytes());
    assert_eq!(seen, Seen::Refused(0, Failure::HeadersTooLarge));
}

#[test]
fn a_body_that_breaks_its_framing_is_told() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(scan(&format!("{head}1\nx")), Seen::Broken(head.len() + 1));
}

#[test]
fn what_follows_a_request_for_another_protocol_is_left_alone() {
    const ASK: &str = "GET / HTTP/1.1\r\nupgrade: x\r\n\r\n";
    let body = "POST / HTTP/1.1\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nab";
    for ask in [ASK, body] {
        let mut framing = Framing::new(LIMITS);
        assert_eq!(framing.scan(format!("{ask}NO\r\n\r\n").as_bytes()), Seen::Partial(ask.len()));
        assert_eq!(framing.undecided(), Some(1));
        framing.go_on();
        assert_eq!(framing.undecided(), None);
        assert_eq!(framing.scan(b"NO\r\n\r\n"), Seen::Refused(0, Failure::BadRequest));
    }
    // HTTP/1.0 has no other protocols.
    let old = ASK.replace("1.1", "1.0");
    assert_eq!(scan(&format!("{old}NO\r\n\r\n")), Seen::Refused(old.len(), Failure::BadRequest));
}

#[test]
fn of_a_refused_head_the_method_and_the_target_are_known_as_far_as_they_are_in_order() {
    for (head, method, target) in [
        ("POST /a?b=c HTTP/1.1\r\nX : y\r\n", Some("POST"), "/a?b=c"),
        ("\r\nGET  http://h/a  HTTP/1.1\r\nX", Some("GET"), "http://h/a"),
        ("PUT /endless", Some("PUT"), "/"),
        ("PUT /a b HTTP/1.1\r\n", Some("PUT"), "/"),
        ("414 /a HTTP/1.1\r\n", None, "/"),
        ("get /a HTTP/1.1\r\n", None, "/"),
        ("GET", None, "/"),
        ("", None, "/"),
    ] {
        let (found, at) = begins(head.as_bytes());
        assert_eq!((found, at), (method.map(str::as_bytes), target.as_bytes()), "{head:?}");
    }
}
