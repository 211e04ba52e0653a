//! gzip of upstream replies: read as it comes, or whole, and never more than a bound.
//!
//! The gateway asks upstreams for gzip, whatever its client can read (as Kong does), so it has to
//! undo it for clients that cannot, and to look inside for all others.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue};
use thiserror::Error;

use crate::pdk::body::{Buffered, Collector};
use crate::pdk::{Budget, ReadError};

/// What one read may become, in bytes. Text shrinks to a tenth; a thousandth is an attack.
const READ_MAX: usize = 16 << 20;

/// How much is inflated at a time when a whole body is read.
const STEP: usize = 16 << 10;

/// Why a reply cannot be inflated.
#[derive(Debug, Error)]
pub(in crate::plugins) enum Corrupt {
    /// Not gzip, cut off, or far too long for what it was.
    #[error("the reply is not valid gzip: {0}")]
    Gzip(#[from] io::Error),
    /// Larger than a body may be.
    #[error(transparent)]
    Size(#[from] ReadError),
}

/// A gzip stream on its way.
pub(super) struct Inflate {
    decoder: MultiGzDecoder<Sink>,
    begun: bool,
}

impl Inflate {
    pub(super) fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Sink(Vec::new())), begun: false }
    }

    /// What a read becomes; everything that can be known by now is in it.
    pub(super) fn push(&mut self, read: &[u8]) -> Result<Bytes, Corrupt> {
        if read.is_empty() {
            return Ok(Bytes::new());
        }
        self.begun = true;
        self.decoder.write_all(read)?;
        self.decoder.flush()?;
        Ok(self.taken())
    }

    /// The end of the body: it must be the end of the gzip stream too, if there was any.
    pub(super) fn finish(&mut self) -> Result<Bytes, Corrupt> {
        if std::mem::take(&mut self.begun) {
            self.decoder.try_finish()?;
        }
        Ok(self.taken())
    }

    fn taken(&mut self) -> Bytes {
        std::mem::take(&mut self.decoder.get_mut().0).into()
    }
}

/// Inflates a whole body, up to `limit` bytes.
pub(in crate::plugins) fn inflate(
    body: &[u8],
    limit: usize,
    budget: &Arc<Budget>,
) -> Result<Buffered, Corrupt> {
    let mut inflate = Inflate::new();
    let mut whole = Collector::new(limit, budget);
    for part in body.chunks(STEP) {
        whole.push(inflate.push(part)?)?;
    }
    whole.push(inflate.finish()?)?;
    Ok(whole.finish())
}

/// Whether a reply is in gzip.
pub(in crate::plugins) fn is_gzip(headers: &HeaderMap) -> bool {
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let encoding = encoding.trim_ascii();
    encoding.eq_ignore_ascii_case(b"gzip") || encoding.eq_ignore_ascii_case(b"x-gzip")
}

/// Whether a client reads gzip (RFC 9110, section 12.5.3).
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let wanted = parts
            .find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok())
            .is_none_or(|quality| quality > 0.0);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        any |= name == "*" && wanted;
    }
    any
}

/// Output of one read.
struct Sink(Vec<u8>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > READ_MAX {
            return Err(io::Error::other("it grows too much"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn any_cut_gives_the_same_text() {
        let text: Vec<u8> = (0..5000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let zipped = gzip(&text);
        for size in [1, 2, 7, 1000, zipped.len()] {
            let mut inflate = Inflate::new();
            let mut out = Vec::new();
            for part in zipped.chunks(size) {
                out.extend_from_slice(&inflate.push(part).unwrap());
            }
            out.extend_from_slice(&inflate.finish().unwrap());
            assert_eq!(out, text, "{size}");
        }
    }

    #[test]
    fn events_come_out_as_soon_as_the_upstream_flushes() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut inflate = Inflate::new();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let read = std::mem::take(encoder.get_mut());
            assert_eq!(inflate.push(&read).unwrap(), event);
        }
        assert!(inflate.finish().is_err(), "the stream was cut off");
    }

    #[test]
    fn nonsense_and_bombs_are_refused() {
        let budget = Budget::new(1 << 30);
        let whole = |body: &[u8], limit| inflate(body, limit, &budget).map(|whole| whole.bytes);
        assert_eq!(whole(&gzip(b"hello"), 5).unwrap(), "hello");
        assert!(matches!(whole(&gzip(b"hello"), 4), Err(Corrupt::Size(_))));
        assert!(matches!(whole(b"{\"choices\":[]}", 99), Err(Corrupt::Gzip(_))));
        assert!(matches!(whole(&gzip(b"hello")[..12], 99), Err(Corrupt::Gzip(_))));
        let bomb = gzip(&vec![0; READ_MAX + 1]);
        assert!(matches!(Inflate::new().push(&bomb), Err(Corrupt::Gzip(_))));
        assert_eq!(whole(b"", 0).unwrap(), "");
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn clients_that_read_gzip() {
        let accepts = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
            accepts_gzip(&headers)
        };
        assert!(accepts("br, gzip") && accepts("GZIP;q=0.5") && accepts("*"));
        assert!(!accepts("br") && !accepts("gzip;q=0, *") && !accepts("identity, *;q=0"));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
