//! Bytes of a reply: server-sent events, and what a quirk does to them or to a plain body.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::rule::Quirk;

/// The writes of a stream: one an event, unless the quirk says otherwise.
pub(super) fn frames(mut events: Vec<String>, quirk: Option<Quirk>) -> Vec<Bytes> {
    if quirk == Some(Quirk::Malformed) {
        // The third event is the first with text in it.
        if let Some(event) = events.get_mut(2) {
            *event = first_half(event).to_owned();
        }
    }
    if !matches!(quirk, Some(Quirk::NoDone | Quirk::ErrorEvent)) {
        events.push("[DONE]".into());
    }
    let end = if quirk == Some(Quirk::Crlf) { "\r\n\r\n" } else { "\n\n" };
    written(events.into_iter().map(|event| format!("data: {event}{end}")), quirk)
}

/// The writes of events that are whole.
pub(super) fn written(
    events: impl IntoIterator<Item = String>,
    quirk: Option<Quirk>,
) -> Vec<Bytes> {
    let frames: Vec<Bytes> = events.into_iter().map(Bytes::from).collect();
    match quirk {
        Some(Quirk::OneByte) => frames.iter().flat_map(single_bytes).collect(),
        Some(Quirk::Empty) => Vec::new(),
        _ => frames,
    }
}

/// The writes of a plain body.
pub(super) fn plain(body: String, quirk: Option<Quirk>) -> Vec<Bytes> {
    match quirk {
        Some(Quirk::Malformed) => vec![first_half(&body).to_owned().into()],
        Some(Quirk::Empty) => Vec::new(),
        Some(Quirk::OneByte) => single_bytes(&body.into()).collect(),
        _ => vec![body.into()],
    }
}

/// Compresses writes one by one, flushed after each so that a reader can follow a stream.
pub(super) fn gzip(writes: &[Bytes]) -> Vec<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut compressed = Vec::with_capacity(writes.len() + 1);
    for write in writes {
        // Writing to memory does not fail.
        let _ = encoder.write_all(write).and_then(|()| encoder.flush());
        compressed.push(std::mem::take(encoder.get_mut()).into());
    }
    compressed.push(encoder.finish().unwrap_or_default().into());
    compressed
}

fn first_half(text: &str) -> &str {
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at));
    &text[..middle.unwrap_or(0)]
}

fn single_bytes(bytes: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let bytes = bytes.clone();
    (0..bytes.len()).map(move |at| bytes.slice(at..=at))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn each_compressed_write_can_be_read_before_the_next_one_comes() {
        let writes = [Bytes::from("data: 1\n\n"), Bytes::from("data: 2\n\n")];
        let compressed = gzip(&writes);
        let mut first = [0; 9];
        let mut reader = flate2::read::GzDecoder::new(compressed[0].as_ref());
        reader.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"data: 1\n\n");
        let mut all = String::new();
        let whole = compressed.concat();
        flate2::read::GzDecoder::new(whole.as_slice()).read_to_string(&mut all).unwrap();
        assert_eq!(all, "data: 1\n\ndata: 2\n\n");
    }
}
