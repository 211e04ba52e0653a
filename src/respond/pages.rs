//! The bodies of errors: which format a client gets, and Kong's templates or the operator's own.

use std::path::Path;

use http::StatusCode;

use super::reason::reason;

/// A body format of Kong's error templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Format {
    Json,
    Html,
    Xml,
    #[default]
    Plain,
    /// JSON as `kong.response.exit` writes a table: on one line, without a request id.
    Compact,
    /// Nothing: Kong has an empty template for `application/grpc`.
    Grpc,
}

impl Format {
    const ALL: [Self; 4] = [Self::Html, Self::Json, Self::Xml, Self::Plain];

    /// The format of a media type that `error_default_type` may name.
    pub fn of_type(name: &str) -> Option<Self> {
        match name {
            "application/json" => Some(Self::Json),
            "text/html" => Some(Self::Html),
            "application/xml" => Some(Self::Xml),
            "text/plain" => Some(Self::Plain),
            _ => None,
        }
    }

    /// The end of the setting's name: `error_template_html`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Html => "html",
            Self::Xml => "xml",
            Self::Plain => "plain",
            Self::Compact => "compact",
            Self::Grpc => "grpc",
        }
    }

    fn content_type(self) -> Option<&'static str> {
        match self {
            Self::Json | Self::Compact => Some("application/json; charset=utf-8"),
            Self::Html => Some("text/html; charset=utf-8"),
            Self::Xml => Some("application/xml; charset=utf-8"),
            Self::Plain => Some("text/plain; charset=utf-8"),
            Self::Grpc => None,
        }
    }

    /// Kong's template. The first `%s` is the message, the second the request id.
    fn template(self) -> &'static str {
        match self {
            Self::Json => "{\n  \"message\":\"%s\",\n  \"request_id\":\"%s\"\n}",
            Self::Html => {
                "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    \
                 <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    \
                 <p>%s.</p>\n    <p>request_id: %s</p>\n  </body>\n</html>\n"
            }
            Self::Xml => {
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  \
                 <message>%s</message>\n  <requestid>%s</requestid>\n</error>\n"
            }
            Self::Plain => "%s\nrequest_id: %s\n",
            Self::Compact => "{\"message\":\"%s\"}",
            Self::Grpc => "",
        }
    }

    /// A message cannot leave its place. Kong does not escape; its own messages hold no markup,
    /// but one may hold a name.
    fn escaped(self, text: &str) -> String {
        match self {
            Self::Json | Self::Compact => {
                let quoted = serde_json::Value::from(text).to_string();
                quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
            }
            Self::Html | Self::Xml => {
                text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
            }
            Self::Plain | Self::Grpc => text.to_owned(),
        }
    }
}

/// How errors are told: `error_default_type` and `error_template_*`.
#[derive(Debug, Default)]
pub struct Pages {
    /// What nginx' own pages speak to a client that says nothing of what it takes.
    pub default_type: Format,
    own: Vec<(Format, String)>,
}

impl Pages {
    /// Reads the operator's templates. `file` knows the path of a format's, if there is one.
    ///
    /// # Errors
    /// One line for each file that cannot be read or filled in.
    pub fn read<'a>(
        default_type: Format,
        file: impl Fn(Format) -> Option<&'a Path>,
    ) -> Result<Self, Vec<String>> {
        let mut pages = Self { default_type, own: Vec::new() };
        let mut errors = Vec::new();
        for format in Format::ALL {
            let Some(path) = file(format) else { continue };
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
            match text.and_then(|text| check(&text).map(|()| text)) {
                Ok(text) => pages.own.push((format, text)),
                Err(error) => {
                    let (name, path) = (format.name(), path.display());
                    errors.push(format!("error_template_{name}: {path}: {error}"));
                }
            }
        }
        if errors.is_empty() { Ok(pages) } else { Err(errors) }
    }

    /// Content-Type and body of an error.
    pub fn page(&self, format: Format, message: &str, id: &str) -> (Option<&'static str>, String) {
        let own = self.own.iter().find(|(known, _)| *known == format);
        let template = own.map_or(format.template(), |(_, text)| text.as_str());
        (format.content_type(), fill(template, &format.escaped(message), id))
    }
}

/// The page that nginx has itself for a status, as in Kong; `None` if it has none. Some
/// pages say more than what the status is called.
pub(super) fn of_nginx(status: StatusCode, detail: Option<&str>) -> Option<String> {
    let code = status.as_u16();
    let words = match (code, reason(status)) {
        (..300 | 304, _) | (_, Some(b"")) => return None,
        (302, _) => "Found",
        (401, _) => "Authorization Required",
        (_, Some(words)) => std::str::from_utf8(words).unwrap_or_default(),
        (_, None) => status.canonical_reason().unwrap_or_default(),
    };
    let title = detail.unwrap_or(words);
    let detail = detail.map(|detail| format!("<center>{detail}</center>\r\n")).unwrap_or_default();
    Some(format!(
        "<html>\r\n<head><title>{code} {title}</title></head>\r\n<body>\r\n\
         <center><h1>{code} {words}</h1></center>\r\n{detail}</body>\r\n</html>\r\n"
    ))
}

/// Kong fills templates in with `string.format`: `%s` twice at most, and `%%` for a percent sign.
fn check(template: &str) -> Result<(), String> {
    let mut places = 0;
    let mut rest = template;
    while let Some((_, behind)) = rest.split_once('%') {
        places += usize::from(behind.starts_with('s'));
        if !behind.starts_with(['s', '%']) || places > 2 {
            return Err("it may hold %s twice at most, and a percent sign is %%".to_owned());
        }
        rest = behind.get(1..).unwrap_or_default();
    }
    Ok(())
}

fn fill(template: &str, message: &str, id: &str) -> String {
    let mut out = String::with_capacity(template.len() + message.len() + id.len());
    let mut values = [message, id].into_iter();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        out.push_str(if behind.starts_with('s') { values.next().unwrap_or_default() } else { "%" });
        rest = behind.get(1..).unwrap_or_default();
    }
    out + rest
}

/// The best format for an `Accept` value; the first of equal quality wins.
///
/// A type that Kong has no template for counts, too, and gets JSON. Kong reads a range only as far
/// as it understands it, and parameters of one letter it does not: behind one, `q` is not seen.
pub(super) fn best(accept: &str) -> Format {
    let mut chosen = (0.0, Format::Json);
    for range in accept.split(',') {
        let Some((kind, mut rest)) = media_type(range.trim()) else { continue };
        let mut stated = None;
        while let Some(text) = rest.trim_start().strip_prefix(';')
            && let Some((quality, behind)) = parameter(text.trim_start())
        {
            stated = quality.or(stated);
            rest = behind;
        }
        let quality = stated.unwrap_or(1.0);
        if quality > chosen.0 {
            chosen = (quality, format_of(kind));
        }
    }
    chosen.1
}

/// The type at the beginning of a media range, and what follows it.
fn media_type(range: &str) -> Option<(&str, &str)> {
    let slash = range.find('/')?;
    let (kind, subtype) = (range.get(..slash)?, range.get(slash + 1..)?);
    let end = match subtype.strip_prefix('*') {
        Some(_) => 1,
        None => subtype.find(is_no_name).unwrap_or(subtype.len()),
    };
    let is_known = |half: &str| half == "*" || is_token(half);
    (is_known(kind) && is_known(subtype.get(..end)?)).then(|| range.split_at(slash + 1 + end))
}

/// Letters in upper case are those of a type that Kong does not know.
fn format_of(kind: &str) -> Format {
    match kind {
        "text/html" => Format::Html,
        "application/xml" => Format::Xml,
        "text/plain" | "text/*" => Format::Plain,
        "application/grpc" => Format::Grpc,
        _ => Format::Json,
    }
}

/// What Kong takes for a name: two characters at least.
fn is_token(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains(is_no_name)
}

fn is_no_name(c: char) -> bool {
    !c.is_ascii_alphanumeric() && !"-!#$&^_+.".contains(c)
}

/// The quality that the first parameter states, if it is one, and what follows the parameter;
/// `None` at something that Kong cannot read.
fn parameter(text: &str) -> Option<(Option<f32>, &str)> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.eq_ignore_ascii_case("q") {
        let length = quality_length(value)?;
        let quality = value.get(..length)?.trim_end_matches('.').parse().ok()?;
        return Some((Some(quality), value.get(length..)?));
    }
    let end = text.find(is_no_name).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let rest = match rest.strip_prefix('=') {
        Some(value) => value.split_at_checked(value.find(';').unwrap_or(value.len()))?.1,
        None => rest,
    };
    is_token(name).then_some((None, rest))
}

/// How much of a text is a quality: `1` with zeros or `0` with digits, three decimals at most.
fn quality_length(text: &str) -> Option<usize> {
    let is_decimal = |b: &u8| if text.starts_with('1') { *b == b'0' } else { b.is_ascii_digit() };
    match text.as_bytes() {
        [b'0' | b'1', b'.', decimals @ ..] => {
            Some(2 + decimals.iter().take(3).take_while(|b| is_decimal(b)).count())
        }
        [b'0' | b'1', ..] => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_format_as_in_kong() {
        for (accept, want) in [
            ("text/html;q=0.5, application/xml", Format::Xml),
            ("image/png", Format::Json),
            ("text/*", Format::Plain),
            ("text/html;q=nan", Format::Html),
            ("image/png, text/html;q=0.9", Format::Json),
            ("text/html;q=0", Format::Json),
            ("text/html;q=0.1, text/plain;q=0.15", Format::Plain),
            ("TEXT/HTML", Format::Json),
            ("text/html;level=1;q=0.3, text/plain ; q=0.2", Format::Html),
            ("*, text/html", Format::Html),
            ("text/plain;q=1.5, text/html", Format::Plain),
            ("text/html;Q=0.1, text/plain;q=0.2", Format::Plain),
            ("text/html;v=b3;q=0.1, text/plain;q=0.2", Format::Html),
            ("text/html; charset ; q=0.1, text/plain;q=0.2", Format::Plain),
            ("text/html;q=0.1x;q=0.9, text/plain;q=0.2", Format::Plain),
            ("a/b, text/html;q=0.1", Format::Html),
            ("text/html/x, text/plain", Format::Html),
            ("text /html, text/plain", Format::Plain),
            ("application/*", Format::Json),
            ("image/*, text/plain", Format::Json),
            ("application/grpc, text/html;q=0.9", Format::Grpc),
            ("", Format::Json),
        ] {
            assert_eq!(best(accept), want, "{accept}");
        }
    }

    #[test]
    fn nginx_has_pages_of_its_own() {
        let page = |code| of_nginx(StatusCode::from_u16(code).unwrap(), None);
        let forbidden = "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n\
                         <center><h1>403 Forbidden</h1></center>\r\n</body>\r\n</html>\r\n";
        assert_eq!(page(403).as_deref(), Some(forbidden));
        for (code, title) in [
            (302, "302 Found"),
            (401, "401 Authorization Required"),
            (413, "413 Request Entity Too Large"),
            (501, "501 Not Implemented"),
        ] {
            assert!(page(code).unwrap().contains(&format!("<h1>{title}</h1>")), "{code}");
        }
        for code in [204, 304, 418, 422, 451] {
            assert_eq!(page(code), None, "{code}");
        }
    }

    #[test]
    fn a_message_cannot_break_the_body() {
        let pages = Pages::default();
        let (_, body) = pages.page(Format::Json, "say \"x\" %s", "1");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["message"], "say \"x\" %s");
        assert!(pages.page(Format::Html, "<b>", "1").1.contains("<p>&lt;b&gt;.</p>"));
    }

    #[test]
    fn an_operators_template_takes_the_place_of_kongs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let of = |format| (format == Format::Html).then_some(path.as_path());
            Pages::read(Format::Json, of)
        };
        let pages = read("100%% %s (%s)").unwrap();
        assert_eq!(pages.page(Format::Grpc, "no", "7"), (None, String::new()));
        assert_eq!(pages.page(Format::Html, "no", "7").1, "100% no (7)");
        assert_eq!(pages.page(Format::Plain, "no", "7").1, "no\nrequest_id: 7\n");
        assert_eq!(read("none").unwrap().page(Format::Html, "no", "7").1, "none");
        for bad in ["%s %s %s", "width: 100%", "%d"] {
            let errors = read(bad).unwrap_err();
            assert!(errors[0].starts_with("error_template_html: "), "{errors:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Pages::read(Format::Json, |_| Some(path.as_path())).is_err());
    }
}
