//! One exchange, from its first byte to its log record. Read this file first.
//!
//! An exchange runs inside the task of its connection (of its stream over HTTP/2): no other task
//! and no channel stands between the client and the upstream. When the client hangs up, the future
//! or the body is dropped, and the upstream call with it; [`Finish`] then still runs `log`.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::{Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use thiserror::Error;

use super::head;
use super::http1::Arrival;
use super::reply::{Finish, Reply};
use super::route;
use super::tunnel::{Slot, Tunnel};
use super::worker::Worker;
use crate::chain::Chain;
use crate::http1::Raw;
use crate::pdk::request::Connection;
use crate::pdk::{self, Body, Exchange, ReadError};
use crate::proxy::{self, NoReply, Way, headers};
use crate::respond::{self, Failure};
use crate::runloop::Runloop;
use crate::upstream::{Interrupted, ReplyBody, Stream, Unread};

/// Serves one request. The error ends the client's connection, or its stream of HTTP/2.
pub(super) async fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    arrival: Arrival,
    slot: Slot,
) -> Result<Response<Box<Reply>>, HungUp> {
    worker.requests.add(1);
    let Arrival { mut head, body, refused, can_switch } = arrival;
    let clients = &worker.shared.settings.clients;
    let checked = match refused.map_or_else(|| head::check_line(&head, clients), Err) {
        Ok(()) => head::check(&head, clients).and_then(|length| {
            if connection.lacks_tls { Err(Failure::PlainHttp) } else { Ok(length) }
        }),
        Err(failure) => {
            if refused.is_none() {
                // nginx has not read them yet.
                head.headers.clear();
            }
            Err(failure)
        }
    };
    head::settle(&mut head);
    let version = head.version;
    let body = if checked.is_err() { Body::Empty } else { body };
    let settings = &worker.shared.settings;
    let budget = worker.shared.budget.clone();
    let request = pdk::Request::new(head, body, connection, budget, settings.clients.body_ms);
    request.head_len.set(checked.unwrap_or_default());
    let ex = Rc::new(Exchange::new(request, worker.shared.pages.clone()));
    let runloop = worker.runloop();
    let _ = ex.entities.set(runloop.clone());
    let _ = ex.upstream.set(worker.clone());
    let mut finish = Finish::new(worker, runloop, ex.clone());
    let refused = checked.is_err();
    if let Err(failure) = checked {
        respond::fail(&ex, failure);
    }
    let run = {
        // Pinned first: each of the wrappers would copy it whole.
        let run = pin!(run(&mut finish, can_switch));
        AssertUnwindSafe(pdk::CURRENT.scope(ex.clone(), run)).catch_unwind().await
    };
    let rest = match run {
        Ok(rest) => rest,
        Err(_) => {
            // The panic hook has told the operator where; the worker lives.
            tracing::error!(request_id = %ex.id, fault = "gateway", "an exchange panicked");
            respond::fail(&ex, Failure::Unexpected);
            Rest::Here
        }
    };
    let mut response = match rest {
        Rest::Tunnel(upstream) => switch(&ex, upstream, finish, &slot),
        Rest::Upstream(body) => answer(&ex, Some(body), finish).await,
        Rest::Here => answer(&ex, None, finish).await,
    };
    if refused && version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    match ex.response.hangs_up.get() {
        true => Err(HungUp),
        false => Ok(response),
    }
}

/// A plugin wants the connection closed and nothing said (nginx' status 444).
#[derive(Debug, Error)]
#[error("a plugin has hung up")]
pub(super) struct HungUp;

/// What comes behind the head of a response.
enum Rest {
    /// A body in memory.
    Here,
    /// The upstream's body.
    Upstream(ReplyBody),
    /// Another protocol.
    Tunnel(Raw<Stream>),
}

/// The phases up to the head of the response. `can_switch`: the client's connection can change to
/// another protocol.
async fn run(finish: &mut Finish, can_switch: bool) -> Rest {
    let (ex, runloop, worker) =
        (finish.exchange.clone(), finish.runloop.clone(), finish.worker.clone());
    let chain = &mut finish.chain;
    if !ex.response.exited() {
        chain.rewrite(&runloop.globals, &ex).await;
    }
    // A request that is answered before its Route's plugins have their turn has no Route: what
    // nginx or `rewrite` answers, and what comes over another protocol than the Route's.
    let routed = if ex.response.exited() { None } else { route::route(&runloop, &ex) };
    if routed.is_none() && !ex.response.exited() {
        respond::fail(&ex, Failure::NoRoute);
    }
    match routed.filter(|_| !ex.response.exited()) {
        Some(routed) => {
            ex.set_matched(routed.matched);
            finish.route = Some(routed.index);
            chain.access(&routed.plan, &ex).await;
        }
        None => chain.access(&runloop.globals, &ex).await,
    }
    // OpenResty asks also for what it reads away, so that the connection can go on.
    ex.request.ask_for_body().await;
    let mut rest = Rest::Here;
    if !ex.response.exited() {
        rest = upstream(&worker, &runloop, chain, &ex, can_switch).await;
        headers::add_hash_cookie(&ex);
    }
    if ex.response.exited() {
        respond::shape_call(&ex);
    }
    let settings = &worker.shared.settings;
    headers::tell_status(&ex, settings.headers);
    chain.header_filter(&ex);
    if ex.response.status().is_informational() != matches!(rest, Rest::Tunnel(_)) {
        // A final response cannot have such a status; to the client it would be the end of HTTP.
        tracing::error!(request_id = %ex.id, status = %ex.response.status(), "no final status");
        respond::fail(&ex, Failure::Unexpected);
    }
    if ex.response.exited() {
        // A filter has answered, or failed: the upstream's body is not the body any more.
        rest = Rest::Here;
    }
    // The page that a redirect leads to would inherit it in old browsers, so nginx says none there.
    let redirects = matches!(ex.response.status().as_u16(), 301 | 302);
    if let Some(charset) = settings.clients.charset.as_ref().filter(|_| !redirects) {
        headers::add_charset(&mut ex.response.headers_mut(), charset);
    }
    if settings.allow_debug_header {
        headers::name_route(&ex);
    }
    headers::to_client(&ex, settings.headers);
    rest
}

/// Asks the upstream and takes its head; a plugin may want the whole body first.
async fn upstream(
    worker: &Worker,
    runloop: &Runloop,
    chain: &Chain,
    ex: &Exchange,
    can_switch: bool,
) -> Rest {
    if ex.matched().is_some_and(|matched| matched.service.is_none()) {
        respond::fail(ex, Failure::NoService);
        return Rest::Here;
    }
    let settings = &worker.shared.settings;
    let (mut head, body) = match proxy::forward(&way(worker, runloop), ex).await {
        Ok(reply) => reply.into_parts(),
        Err(NoReply::Answered) => return Rest::Here,
        Err(NoReply::Failed(failure)) => {
            respond::fail(ex, failure);
            return Rest::Here;
        }
    };
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
    headers::from_hop(ex, &mut head.headers, switched);
    ex.response.take_head(head.status, head.headers);
    let reason = head.extensions.get::<ReasonPhrase>();
    ex.response.set_reason(reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes())));
    headers::drop_unwanted_trailer(ex);
    if switched {
        return match body.into_switched() {
            Some(upstream) if can_switch => Rest::Tunnel(upstream),
            _ => {
                respond::fail(ex, Failure::BadGateway);
                Rest::Here
            }
        };
    }
    if !chain.buffers(ex) {
        return Rest::Upstream(body);
    }
    let began = Instant::now();
    let whole = body.read_whole(settings.buffer_limit, &worker.shared.budget).await;
    ex.times.waited_since(began);
    match whole {
        Ok(whole) => {
            if chain.asks_all() {
                *ex.service.buffered_headers.borrow_mut() = Some(ex.response.headers().clone());
            }
            ex.response.hold_body(whole);
        }
        Err(error) => {
            let (fault, failure) = reply_failure(&error);
            tracing::warn!(request_id = %ex.id, fault, "reply body: {error}");
            ex.response.headers_mut().clear();
            respond::fail(ex, failure);
            return Rest::Here;
        }
    }
    chain.response(ex).await;
    Rest::Here
}

/// What exchanges with this configuration need to get to their upstreams.
pub(super) fn way<'a>(worker: &'a Worker, runloop: &'a Runloop) -> Way<'a> {
    let settings = &worker.shared.settings;
    Way {
        pool: &worker.pool,
        names: &worker.names,
        balancer: &runloop.balancer,
        policies: &runloop.policies,
        guard: &runloop.guard,
        buffer_limit: settings.body_limit(),
        request_id: settings.request_id_upstream,
    }
}

/// Whose fault it is that a reply was not read, and what the client is told.
pub(super) fn reply_failure(error: &Unread) -> (&'static str, Failure) {
    match error {
        Unread::TooMuch(ReadError::NoRoom) => ("gateway", Failure::Overloaded),
        Unread::TooMuch(_) => ("upstream", Failure::BadGateway),
        Unread::Interrupted(error) => {
            let failure = match error {
                Interrupted::Idle(_) => Failure::GatewayTimeout,
                Interrupted::Client(_) => Failure::BadRequest,
                Interrupted::Broken(_) | Interrupted::Reset => Failure::BadGateway,
            };
            (error.fault(), failure)
        }
    }
}

/// The response: the exchange's head, and the body with its way to the end.
async fn answer(ex: &Exchange, body: Option<ReplyBody>, finish: Finish) -> Response<Box<Reply>> {
    // Logs and Lua's body filters may still ask for them.
    let keeps_headers = finish.reads_record() || finish.chain.asks_all();
    // Boxed: an answer goes from hand to hand.
    let mut reply = Box::new(Reply::new(body, finish));
    reply.try_filters(ex).await;
    let status = ex.response.status();
    let mut response = head(ex, reply, keeps_headers);
    if status == StatusCode::NO_CONTENT {
        // RFC 9110, section 8.6.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    let reason = match ex.response.source() {
        pdk::Source::Service => ex.response.reason(),
        _ => respond::reason(status).map(Bytes::from_static),
    };
    if let Some(reason) = reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
        response.extensions_mut().insert(reason);
    }
    response
}

fn head(ex: &Exchange, reply: Box<Reply>, keeps_headers: bool) -> Response<Box<Reply>> {
    let mut response = Response::new(reply);
    *response.status_mut() = ex.response.status();
    *response.headers_mut() = match keeps_headers {
        true => ex.response.headers().clone(),
        false => std::mem::take(&mut *ex.response.headers_mut()),
    };
    response
}

/// The response after which the connection is a tunnel; the exchange ends with that.
fn switch(
    ex: &Exchange,
    upstream: Raw<Stream>,
    mut finish: Finish,
    slot: &Slot,
) -> Response<Box<Reply>> {
    finish.answer_begins();
    let response = head(ex, Box::new(Reply::alone(Bytes::new())), finish.reads_record());
    slot.replace(Some(Tunnel::new(upstream, finish)));
    response
}
