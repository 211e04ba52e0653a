//! From a connection to a reply: read the request, decide, record, wait, send.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::call::{Call, Kind};
use super::faults::Chosen;
use super::ops::realtime::Session;
use super::record::{Outcome, Recorded};
use super::rule::Rule;
use super::state::State;
use super::wire::{Body, Cut, Reply};
use super::{auth, control, entra, errors, metadata, openai};

/// A request body beyond this is refused with 413.
const BODY_MAX: usize = 32 << 20;

/// How long a client may take to shake hands.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts connections, with TLS if there is an acceptor, until it is dropped.
pub(super) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(connection(stream, tls.clone(), Arc::clone(&state)));
            }
            // Out of descriptors, most likely: connections that end will free some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>) {
    // Chunk borders are part of what tests script, so nothing may be held back to be merged.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return serve(stream, false, state).await;
    };
    if let Ok(Ok(stream)) = tokio::time::timeout(TLS_TIMEOUT, tls.accept(stream)).await {
        serve(stream, true, state).await;
    }
}

async fn serve<I>(io: I, is_tls: bool, state: Arc<State>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(&state, is_tls, request));
    // An error is a client that left or a fault that was asked for; the record has both.
    let serving = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    let _ = serving.with_upgrades().await;
}

async fn answer(
    state: &State,
    is_tls: bool,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    if let Some(lean) = state.lean.as_ref().filter(|lean| lean.takes(&request)) {
        return Ok(lean.reply(request).await);
    }
    let upgrade = request.headers().contains_key(UPGRADE);
    let upgrade = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    let Some(body) = read_body(body).await else {
        return Ok(errors::too_large().into_response(None));
    };
    let call = Call::new(head, body, is_tls);
    if control::owns(&call) {
        return Ok(control::reply(state, &call).await.into_response(None));
    }
    let Decision { reply, identity, fault } = decide(state, &call);
    let status = if reply.dropped { 0 } else { reply.status.as_u16() };
    // A client that leaves during the delay drops this future, and the receipt with it.
    let receipt = state.record(Recorded::new(&call, identity, fault, status));
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    if reply.dropped {
        receipt.settle(Outcome::Cut);
        return Err(Cut);
    }
    if let Some(upgrade) = upgrade.filter(|_| reply.status == StatusCode::SWITCHING_PROTOCOLS) {
        tokio::task::spawn_local(Session::new(&call).run(upgrade));
    }
    Ok(reply.into_response(Some(receipt)))
}

struct Decision {
    reply: Reply,
    identity: String,
    fault: Option<String>,
}

/// A rule comes first, even before credentials: tests script with it. A named fault comes last,
/// because a deployment that fails is still one that only its callers reach.
fn decide(state: &State, call: &Call) -> Decision {
    let mut chosen = state.faults().pick(call);
    let (mut reply, identity) = if call.kind.is_data_plane() {
        data_plane(state, call, &mut chosen)
    } else {
        let usual = Rule::default();
        let rule = chosen.as_ref().map_or(&usual, |chosen| &chosen.rule);
        let scripted = rule.scripted(call).map(|reply| (reply, "not asked".to_owned()));
        scripted.unwrap_or_else(|| match call.kind {
            Kind::Entra => entra::reply(state, call, rule),
            Kind::Discovery => (entra::discovery(call), "not asked".to_owned()),
            kind if kind.is_token_endpoint() => metadata::reply(state, call, rule),
            _ => (openai::not_found().into(), "nobody".into()),
        })
    };
    if let Some(Chosen { rule, .. }) = &chosen {
        rule.adjust(&mut reply);
    }
    if call.kind.is_data_plane() {
        openai::stamp(&mut reply, call, &identity);
    }
    Decision { reply, identity, fault: chosen.map(|chosen| chosen.label) }
}

fn data_plane(state: &State, call: &Call, chosen: &mut Option<Chosen>) -> (Reply, String) {
    let mut caller = auth::caller(state, call);
    if let Some(reply) = chosen.as_ref().and_then(|chosen| chosen.rule.scripted(call)) {
        return (reply, caller.name);
    }
    if let Err(refusal) = openai::admit(state, call, &mut caller) {
        // A rule that only changes the usual reply has nothing to change here.
        *chosen = None;
        return (refusal.into(), caller.name);
    }
    if chosen.is_none() {
        *chosen = openai::fault_name(call).and_then(|name| state.faults().named(&name));
    }
    let usual = Rule::default();
    let rule = chosen.as_ref().map_or(&usual, |chosen| &chosen.rule);
    if let Some(reply) = rule.scripted(call) {
        return (reply, caller.name);
    }
    if let Err(refusal) = openai::check_body(call) {
        *chosen = None;
        return (refusal.into(), caller.name);
    }
    (openai::answer(state, call, rule), caller.name)
}

/// A whole request body; none if it is too large or its client left.
pub(super) async fn read_body(mut body: Incoming) -> Option<Bytes> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > BODY_MAX {
            return None;
        }
        // Small requests arrive in one piece, which need not be copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Some(if rest.is_empty() { first } else { rest.freeze() })
}
