use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What came out of a stream that was read in these pieces.
#[derive(Debug, PartialEq)]
struct Seen {
    data: Vec<Vec<u8>>,
    forwarded: Vec<u8>,
    tail: Bytes,
    outcome: Outcome,
}

fn read<'a>(reads: impl IntoIterator<Item = &'a [u8]>, ended: Ended) -> Seen {
    let mut framer = Framer::default();
    let (mut data, mut forwarded) = (Vec::new(), Vec::new());
    let mut note = |event: Event<'_>| data.extend(event.data().map(Cow::into_owned));
    for read in reads {
        for piece in framer.push(Bytes::copy_from_slice(read), &mut note).unwrap() {
            forwarded.extend_from_slice(&piece);
        }
    }
    let (tail, outcome) = framer.finish(ended, &mut note);
    Seen { data, forwarded, tail, outcome }
}

fn vectors() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/vectors/azure");
    let mut vectors = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("stream-") {
            vectors.push(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
        }
    }
    assert!(vectors.len() >= 18);
    vectors
}

fn wire_text(vector: &Value) -> &[u8] {
    vector["response"]["wire_text"].as_str().unwrap().as_bytes()
}

fn check_vector(vector: &Value) {
    let (name, expect) = (&vector["name"], &vector["expect"]);
    let chunks = vector["response"]["wire_chunks_b64"].as_array().unwrap();
    let chunks: Vec<Vec<u8>> =
        chunks.iter().map(|c| BASE64_STANDARD.decode(c.as_str().unwrap()).unwrap()).collect();
    let seen = read(chunks.iter().map(Vec::as_slice), Ended::Complete);
    let wire = wire_text(vector);

    let done = expect["done"] == true;
    let truncated = expect["truncated"] == true;
    let outcome = match (done, truncated) {
        (true, _) => Outcome::Done,
        (false, false) => Outcome::NotDone,
        (false, true) => Outcome::Broken,
    };
    assert_eq!(seen.outcome, outcome, "{name}");
    let json: Vec<Value> =
        seen.data.iter().filter_map(|data| serde_json::from_slice(data).ok()).collect();
    if let Some(events) = expect["data_events"].as_u64() {
        // The vectors do not count [DONE].
        assert_eq!(json.len() as u64, events, "{name}");
    }
    if let Some(text) = expect["text"].as_str() {
        let pieces = json.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str());
        assert_eq!(pieces.collect::<String>(), text, "{name}");
    }
    if truncated {
        assert!(wire.starts_with(&seen.forwarded) && seen.forwarded.len() < wire.len());
        assert!(seen.forwarded.ends_with(b"\n\n"), "{name}");
        assert_eq!(seen.tail, BROKEN, "{name}");
    } else {
        let all = [&seen.forwarded[..], &seen.tail].concat();
        assert!(all.starts_with(wire), "{name}: every byte is passed on");
        let added = if wire.ends_with(b"]\n") { &b"\n"[..] } else { b"" };
        assert_eq!(&all[wire.len()..], added, "{name}");
    }
}

#[test]
fn azure_vectors() {
    vectors().iter().for_each(check_vector);
}

#[test]
fn a_cut_at_any_byte_changes_nothing() {
    for vector in vectors() {
        let wire = wire_text(&vector);
        let whole = read([wire], Ended::Complete);
        for cut in 0..=wire.len() {
            let (a, b) = wire.split_at(cut);
            assert_eq!(read([a, b], Ended::Complete), whole, "{} at {cut}", vector["name"]);
        }
        assert_eq!(read(wire.chunks(1), Ended::Complete), whole, "{}", vector["name"]);
    }
}

#[test]
fn events_in_one_read_are_not_copied() {
    let wire = Bytes::from_static(b"data: 1\n\ndata: 2\n\ndata: 3");
    let forward = Framer::default().push(wire.clone(), |_| {}).unwrap();
    assert_eq!(forward.as_slice(), ["data: 1\n\ndata: 2\n\n"]);
    assert_eq!(forward[0].as_ptr(), wire.as_ptr());
}

#[test]
fn data_lines_join_and_other_fields_do_not_count() {
    let seen = read(
        [&b": hi\nevent: x\ndata:a\ndata\ndata:  b\nid: 1\n\ndatax: 1\n\n"[..]],
        Ended::Complete,
    );
    assert_eq!(seen.data, [b"a\n\n b"]);
    assert_eq!(seen.outcome, Outcome::NotDone);
}

#[test]
fn done_gets_its_blank_line() {
    for (wire, tail) in [
        (&b"data: [DONE]"[..], &b"data: [DONE]\n\n"[..]),
        (b"data: [DONE]\n", b"data: [DONE]\n\n"),
        (b"data:[DONE]\r", b"data:[DONE]\r\n\n"),
        (b"data: [DONE]\r\n", b"data: [DONE]\r\n\n"),
        (b"data: [DONE]\n\n", b""),
        (b"data: [DONE]\r\r", b""),
        (b"data: [DONE]\n\ndata: {", b""),
    ] {
        for ended in [Ended::Complete, Ended::Broken] {
            let seen = read([wire], ended);
            assert_eq!((&seen.tail[..], seen.outcome), (tail, Outcome::Done), "{wire:?}");
        }
    }
}

#[test]
fn a_broken_stream_ends_with_an_error_event() {
    for (wire, ended) in [
        (&b"data: {}\n\ndata: {\"a"[..], Ended::Complete),
        (b"data: {}\n\ndata: [DON", Ended::Complete),
        (b"data: {}\n\n", Ended::Broken),
    ] {
        let seen = read([wire], ended);
        assert_eq!(seen.forwarded, b"data: {}\n\n");
        assert_eq!((&seen.tail[..], seen.outcome), (BROKEN, Outcome::Broken));
    }
    let error = read([BROKEN], Ended::Complete);
    let error: Value = serde_json::from_slice(&error.data[0]).unwrap();
    assert_eq!(error["error"]["code"], "upstream_stream_broken");
}

#[test]
fn a_comment_that_is_cut_off_breaks_nothing() {
    assert_eq!(read([&b"data: {}\n\n: keep"[..]], Ended::Complete).outcome, Outcome::NotDone);
}

#[test]
fn endless_events_are_refused_and_give_back_what_was_taken() {
    let mut framer = Framer::default();
    let half = Bytes::from(vec![b'x'; EVENT_SIZE_MAX / 2]);
    assert!(framer.push(half.clone(), |_| {}).is_ok());
    assert!(framer.push(half.clone(), |_| {}).is_ok());
    let left = [&half[..], &half, &half].concat();
    assert_eq!(framer.push(half, |_| {}), Err(TooLong { left: left.into() }));
    // Events around it, and one that ends in the read in which it begins.
    let long = [b"data: 2\n\n", &vec![b'x'; EVENT_SIZE_MAX][..], b"\n\ndata: 3\n\n"].concat();
    for read in [long.clone(), long[..EVENT_SIZE_MAX + 10].to_vec()] {
        let mut framer = Framer::default();
        assert!(framer.push(Bytes::from_static(b"data: 1"), |_| {}).is_ok());
        let left = [b"data: 1\n\n", &read[..]].concat();
        let read = [b"\n\n", &read[..]].concat();
        assert_eq!(framer.push(read.into(), |_| {}), Err(TooLong { left: left.into() }));
    }
}

/// What the client gets of a stream whose events with an `x` are hidden, and those with a `y`
/// replaced.
fn shaped<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut framer = Framer::default();
    let fate = |event: Event<'_>| match event.raw() {
        raw if raw.contains(&b'x') => Fate::Hide,
        raw if raw.contains(&b'y') => Fate::Replace(Bytes::from_static(b"data: other\n\n")),
        _ => Fate::Pass,
    };
    let mut out = Vec::new();
    for read in reads {
        for piece in framer.push(Bytes::copy_from_slice(read), fate).unwrap() {
            out.extend_from_slice(&piece);
        }
    }
    let (rest, _) = framer.finish(Ended::Complete, fate);
    out.extend_from_slice(&rest);
    out
}

#[test]
fn a_hidden_event_leaves_every_other_byte_wherever_the_reads_are_cut() {
    for end in ["\n\n", "\r\n\r\n", "\r\r"] {
        let event = |data: &str| format!("data: {data}{end}");
        let wire: String = ["x", "1", "x", "x", "2", "3", "y", "x", "4", "[DONE]"]
            .iter()
            .map(|data| event(data))
            .collect();
        let expected = format!(
            "{}{}{}data: other\n\n{}{}",
            event("1"),
            event("2"),
            event("3"),
            event("4"),
            event("[DONE]")
        );
        for cut in 0..=wire.len() {
            for other in cut..=wire.len() {
                let (one, two) = (&wire.as_bytes()[..cut], &wire.as_bytes()[cut..other]);
                let out = shaped([one, two, &wire.as_bytes()[other..]]);
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{cut} {other} {end:?}");
            }
        }
        let bytes = shaped(wire.as_bytes().chunks(1));
        assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{end:?}");
    }
}

proptest! {
    #[test]
    fn any_stream_in_any_pieces(
        wire in "(data: ?|[:a\u{feff}]|\r|\n|\r\n|\\[DONE\\]|data: \\[DONE\\]\n\n){0,24}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let wire = wire.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.sort_unstable();
        let mut reads = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([wire.len()]) {
            reads.push(&wire[from..cut]);
            from = cut;
        }
        let whole = read([wire], Ended::Complete);
        prop_assert_eq!(read(reads, Ended::Complete), whole);
    }
}

#[test]
fn a_message_ends_with_its_own_event_or_with_an_error() {
    let of = |wire: &'static str, ended| {
        let mut framer = Framer::new(Wire::Messages);
        let mut out = Vec::new();
        for piece in framer.push(Bytes::from_static(wire.as_bytes()), |_| ()).unwrap() {
            out.extend_from_slice(&piece);
        }
        let (rest, outcome) = framer.finish(ended, |_| ());
        out.extend_from_slice(&rest);
        (String::from_utf8(out).unwrap(), outcome)
    };
    let text =
        "event: content_block_delta\ndata: {\"delta\":{\"text\":\"error message_stop\"}}\n\n";
    let stop = "event: message_stop\ndata: {\"type\": \"message_stop\"}\n\n";
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n";
    let told = std::str::from_utf8(BROKEN_MESSAGE).unwrap();
    for ended in [Ended::Complete, Ended::Broken] {
        assert_eq!(of(stop, ended), (stop.to_owned(), Outcome::Done));
        assert_eq!(of(error, ended), (error.to_owned(), Outcome::Done));
        let (out, outcome) = of(text, ended);
        assert_eq!((out, outcome), ([text, told].concat(), Outcome::Broken));
    }
    let (out, outcome) = of(&stop[..stop.len() - 1], Ended::Complete);
    assert_eq!((out.as_str(), outcome), (stop, Outcome::Done), "an end without its blank line");
}
