//! Realtime sessions over WebSocket, as far as they differ from a request: browsers can set no
//! header there, so the key of their user stands among the subprotocols.

use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::pdk::Exchange;

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
