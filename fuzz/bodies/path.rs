//! Any text as a path: what comes out is safe on a request line, and stays where it is.

use http::uri::PathAndQuery;
use silverback::router::path;

/// The path of a request, then the Service's path and what the Route matched, one on each line.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let (request, base) = (lines.next().unwrap_or_default(), lines.next().unwrap_or("/s"));
    let _ = path::is_well_escaped(request);
    let decoded = path::decoded(request);
    let _ = path::is_text(&decoded);
    for segment in decoded.split('/').skip(1) {
        assert!(segment != "." && segment != "..", "dots are left: {decoded}");
    }
    assert!(!decoded.contains("//"), "slashes are left: {decoded}");
    let canonical = path::normalise(request);
    assert!(is_safe(&canonical), "not for a request line: {canonical:?}");
    let base = base.starts_with('/').then_some(base).filter(|base| is_safe(base));
    for end in (0..=decoded.len()).filter(|end| decoded.is_char_boundary(*end)).take(64) {
        let up = path::upstream(base, &decoded, decoded.get(..end));
        let up = path::escape(&up);
        assert!(is_safe(&up), "not for a request line: {up:?}");
        assert!(up.starts_with('/'), "{up}");
    }
}

fn is_safe(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic());
    plain && PathAndQuery::try_from(path).is_ok()
}
