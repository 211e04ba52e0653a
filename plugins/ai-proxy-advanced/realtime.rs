//! Realtime sessions over WebSocket, as far as they differ from a request: browsers can set no
//! header there, so the key of their user stands among the subprotocols; and what the model has
//! counted stands in messages that go by.

use std::cell::RefCell;
use std::rc::Rc;

use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, StatusCode};

use super::session::Session;
use crate::llm::RouteType;
use crate::llm::realtime::SessionUsage;
use crate::pdk::Exchange;

/// What is said in a session can be read if it is not compressed, so nobody offers that.
pub(super) fn ask_plainly(ex: &Exchange) {
    ex.request.clear_header(SEC_WEBSOCKET_EXTENSIONS);
}

/// Listens to a session that begins, if somebody counts.
pub(super) fn listen(session: &Session, ex: &Exchange) -> Option<Rc<RefCell<SessionUsage>>> {
    let target = session.target()?;
    let begins = ex.service.status.get() == Some(StatusCode::SWITCHING_PROTOCOLS);
    if !begins || target.plan.route_type() != RouteType::Realtime || !session.counts(ex, target) {
        return None;
    }
    let usage: Rc<RefCell<SessionUsage>> = Rc::default();
    let heard = usage.clone();
    *ex.response.listener.borrow_mut() = Some(Box::new(move |data| heard.borrow_mut().hear(data)));
    Some(usage)
}

/// What OpenAI's browser clients put in front of the key.
const KEY: &str = "openai-insecure-api-key.";

/// Takes the client's key off the subprotocols: it is the gateway that signs in.
pub(super) fn sign_off(ex: &Exchange) {
    let Some(offered) = ex.request.header(SEC_WEBSOCKET_PROTOCOL) else { return };
    let Some(kept) = offered.to_str().ok().map(without_key) else { return };
    match HeaderValue::from_str(&kept) {
        Ok(kept) if !kept.is_empty() => ex.request.set_header(SEC_WEBSOCKET_PROTOCOL, kept),
        _ => ex.request.clear_header(SEC_WEBSOCKET_PROTOCOL),
    }
}

fn without_key(offered: &str) -> String {
    let names = offered.split(',').map(str::trim);
    names.filter(|name| !name.starts_with(KEY)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_browser_goes_no_further() {
        let offered = "realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1";
        assert_eq!(without_key(offered), "realtime, openai-beta.realtime-v1");
        assert_eq!(without_key("openai-insecure-api-key.sk-1"), "");
    }
}
