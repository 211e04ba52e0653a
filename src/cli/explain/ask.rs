//! The request that is asked about, as a connection would bring it.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;

use http::header::HOST;
use http::uri::Uri;
use http::{HeaderName, HeaderValue, Method};

use crate::cli::ExplainArgs;
use crate::pdk::request::Connection;
use crate::pdk::{Body, Exchange, Request};
use crate::settings::Settings;
use crate::shared::Shared;

/// What was asked.
pub(super) struct Asked {
    head: http::request::Parts,
    connection: Connection,
    /// The consumer that an authentication plugin would name.
    pub(super) consumer: Option<String>,
}

impl Asked {
    /// Reads the arguments; an error is one line about one of them.
    pub(super) fn new(args: &ExplainArgs, settings: &Settings) -> Result<Self, String> {
        let method = args.method.to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("METHOD: '{}' is no method", args.method))?;
        let uri = address(&args.url)?;
        let tls = match uri.scheme_str() {
            None | Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(format!("URL: '{other}' is neither http nor https")),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let request = http::Request::builder().method(method).uri(target);
        let (mut head, ()) = request.body(()).map_err(|e| format!("URL: {e}"))?.into_parts();
        let authority = uri.authority().map_or("localhost", |authority| authority.as_str());
        let host = HeaderValue::from_str(authority).map_err(|error| format!("URL: {error}"))?;
        head.headers.insert(HOST, host);
        for header in &args.headers {
            let (name, value) = named(header)?;
            if name == HOST {
                head.headers.insert(name, value);
            } else {
                head.headers.append(name, value);
            }
        }
        let local = listener(settings, tls);
        let client = SocketAddr::new(args.client, 0);
        let connection = Connection {
            client,
            peer: client,
            local: local.ip(),
            port: uri.port_u16().unwrap_or(local.port()),
            tls,
            sni: tls.then(|| uri.host().unwrap_or("localhost").into()),
            session: None,
            shown: None,
            trusted: settings.trusted_ips.iter().any(|net| net.contains(&args.client)),
            lacks_tls: false,
            text: OnceCell::new(),
        };
        Ok(Self { head, connection, consumer: args.consumer.clone() })
    }

    /// The exchange that such a request begins.
    pub(super) fn into_exchange(self, shared: &Shared) -> Exchange {
        let (budget, idle) = (shared.budget.clone(), shared.settings.clients.body_ms);
        let connection = Rc::new(self.connection);
        let request = Request::new(self.head, Body::Empty, connection, budget, idle);
        Exchange::new(request, shared.pages.clone())
    }
}

/// A whole URL, or the path of one.
fn address(text: &str) -> Result<Uri, String> {
    let error = |error| format!("URL: {error} (give http://host/path, or a path such as /v1)");
    let uri: Uri = text.parse().map_err(|e: http::uri::InvalidUri| error(e.to_string()))?;
    let is_known = text.starts_with('/') || uri.scheme().is_some();
    if is_known { Ok(uri) } else { Err(error(format!("'{text}' is no URL"))) }
}

/// `Name: value`.
fn named(header: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("-H: '{header}' is not of the form 'Name: value'");
    let (name, value) = header.split_once(':').ok_or_else(wrong)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
    Ok((name, HeaderValue::from_str(value.trim()).map_err(|_| wrong())?))
}

/// The listener that such a request would come to: routes may ask for its port.
fn listener(settings: &Settings, tls: bool) -> SocketAddr {
    let fitting = settings.proxy_listen.iter().find(|listen| listen.tls == tls);
    fitting.or(settings.proxy_listen.first()).map_or_else(
        || SocketAddr::from(([127, 0, 0, 1], if tls { 8443 } else { 8000 })),
        |listen| listen.address,
    )
}
