//! The words behind a status.

use http::StatusCode;

/// The reason phrase of nginx, where it is not the standard's. It has none for statuses that it
/// does not know, so that theirs is empty.
pub fn reason(status: StatusCode) -> Option<&'static [u8]> {
    match status.as_u16() {
        302 => Some(b"Moved Temporarily"),
        405 => Some(b"Not Allowed"),
        408 => Some(b"Request Time-out"),
        413 => Some(b"Request Entity Too Large"),
        414 => Some(b"Request-URI Too Large"),
        416 => Some(b"Requested Range Not Satisfiable"),
        503 => Some(b"Service Temporarily Unavailable"),
        504 => Some(b"Gateway Time-out"),
        200..=202 | 204 | 206 | 301 | 303 | 304 | 307 | 308 => None,
        400..=404 | 406 | 409..=412 | 415 | 421 | 429 => None,
        500..=502 | 507 => None,
        _ => Some(b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_nginx() {
        for (status, words) in [
            (200, None),
            (302, Some("Moved Temporarily")),
            (418, Some("")),
            (426, Some("")),
            (429, None),
            (504, Some("Gateway Time-out")),
            (599, Some("")),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(reason(status), words.map(str::as_bytes), "{status}");
        }
    }
}
