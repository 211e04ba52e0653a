//! `/realtime`: a session over WebSocket that answers with the events of the API.
//!
//! What a client says in a conversation item comes back as in a chat. Audio is counted and not
//! listened to.

use std::ops::ControlFlow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::super::answer;
use super::super::call::{Call, Kind, Surface};
use super::super::clock;
use super::super::wire::{Refusal, Reply};
use super::bad;
use super::responses::last_text;
use super::store::new_id;

/// The longest message of a client, in bytes.
const MESSAGE_MAX: usize = 16 << 20;

/// RFC 6455.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request that was let in becomes a session.
pub(in super::super) fn opens(call: &Call) -> bool {
    let upgrades = call.header("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    call.kind == Kind::Realtime && upgrades && call.rest().is_empty()
}

/// What Azure says to plain requests.
pub(super) fn not_a_socket(call: &Call) -> Refusal {
    match call.rest() {
        [] => bad("", "This endpoint speaks WebSocket: ask for an upgrade."),
        _ => super::super::openai::not_found(),
    }
}

/// The head of the reply that agrees.
pub(in super::super) fn agree(call: &Call) -> Reply {
    let key = call.head.headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let digest = Sha1::new().chain_update(key.unwrap_or_default()).chain_update(GUID).finalize();
    let mut reply = Reply::text(StatusCode::SWITCHING_PROTOCOLS, "");
    reply.headers.clear();
    reply.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    reply.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = STANDARD.encode(digest);
    if let Ok(accept) = HeaderValue::try_from(accept) {
        reply.headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    let offered = call.header("sec-websocket-protocol").unwrap_or_default();
    if offered.split(',').any(|name| name.trim() == "realtime") {
        reply.headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("realtime"));
    }
    reply
}

/// One session.
pub(in super::super) struct Session {
    /// The dated preview, whose events have older names.
    is_preview: bool,
    session: Value,
    said: String,
    audio_bytes: usize,
}

impl Session {
    pub(in super::super) fn new(call: &Call) -> Self {
        let model = call.deployment.clone().unwrap_or_default();
        let session = json!({
            "id": new_id("sess_"), "object": "realtime.session", "type": "realtime",
            "model": model, "expires_at": clock::now_secs() + 1800, "instructions": "",
            "tools": [], "tool_choice": "auto",
        });
        let is_preview = call.surface == Surface::Dated;
        Self { is_preview, session, said: String::new(), audio_bytes: 0 }
    }

    /// Speaks until one of both has enough.
    pub(in super::super) async fn run(mut self, upgrade: OnUpgrade) {
        let Ok(upgraded) = upgrade.await else { return };
        let limits = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX));
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
        let hello = event("session.created", json!({ "session": self.session }));
        if socket.send(Message::text(hello.to_string())).await.is_err() {
            return;
        }
        // After the client's close frame, which the next read answers, there is no message.
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let events = self.answer(text.as_str());
            for event in events {
                if socket.send(Message::text(event.to_string())).await.is_err() {
                    return;
                }
            }
        }
        let _ = socket.close(None).await;
    }

    /// The events that follow a client's.
    fn answer(&mut self, text: &str) -> Vec<Value> {
        let asked: Value = match serde_json::from_str(text) {
            Ok(asked) => asked,
            Err(_) => return vec![error("invalid_json", "The event is no JSON.", &Value::Null)],
        };
        match self.known(&asked) {
            ControlFlow::Break(events) => events,
            ControlFlow::Continue(()) => {
                let name = asked["type"].as_str().unwrap_or_default();
                let text = format!("Invalid value: '{name}' is no event of a client.");
                vec![error("invalid_value", &text, &asked["event_id"])]
            }
        }
    }

    fn known(&mut self, asked: &Value) -> ControlFlow<Vec<Value>> {
        let events = match asked["type"].as_str().unwrap_or_default() {
            "session.update" => {
                if let (Value::Object(own), Value::Object(new)) =
                    (&mut self.session, &asked["session"])
                {
                    own.extend(new.clone());
                }
                vec![event("session.updated", json!({ "session": self.session }))]
            }
            "conversation.item.create" => self.item(&asked["item"]),
            "input_audio_buffer.append" => {
                self.audio_bytes += asked["audio"].as_str().map_or(0, |audio| audio.len() / 4 * 3);
                Vec::new()
            }
            "input_audio_buffer.clear" => {
                self.audio_bytes = 0;
                vec![event("input_audio_buffer.cleared", json!({}))]
            }
            "input_audio_buffer.commit" => {
                self.said = format!("{} bytes of audio", std::mem::take(&mut self.audio_bytes));
                let id = new_id("item_");
                vec![event("input_audio_buffer.committed", json!({ "item_id": id }))]
            }
            "response.create" => self.response(),
            "response.cancel" => {
                vec![error("response_cancel_not_active", "No response is active.", &Value::Null)]
            }
            _ => return ControlFlow::Continue(()),
        };
        ControlFlow::Break(events)
    }

    fn item(&mut self, item: &Value) -> Vec<Value> {
        self.said = last_text(item);
        let mut item = item.clone();
        item["id"] = new_id("item_").into();
        item["status"] = "completed".into();
        let of = |name| event(name, json!({ "previous_item_id": null, "item": item }));
        match self.is_preview {
            true => vec![of("conversation.item.created")],
            false => vec![of("conversation.item.added"), of("conversation.item.done")],
        }
    }

    fn response(&self) -> Vec<Value> {
        let text = format!("Hello from the Azure simulator. You said: {}", self.said);
        let (kind, delta, done) = match self.is_preview {
            true => ("text", "response.text.delta", "response.text.done"),
            false => ("output_text", "response.output_text.delta", "response.output_text.done"),
        };
        let (id, item) = (new_id("resp_"), new_id("item_"));
        let shown = |status: &str, output: Value, usage: Value| {
            json!({ "response": {
                "id": id, "object": "realtime.response", "status": status, "output": output,
                "usage": usage, "status_details": null,
            }})
        };
        let part = |text: &str| json!({ "type": kind, "text": text });
        let message = |status: &str, content: Value| {
            json!({
                "id": item, "object": "realtime.item", "type": "message", "role": "assistant",
                "status": status, "content": content,
            })
        };
        let at = |mut more: Value| {
            more["response_id"] = id.as_str().into();
            more["item_id"] = item.as_str().into();
            more["output_index"] = 0.into();
            more["content_index"] = 0.into();
            more
        };
        let pieces = answer::words(&text);
        let whole = message("completed", json!([part(&text)]));
        let usage = json!({
            "total_tokens": 7 + pieces.len(), "input_tokens": 7, "output_tokens": pieces.len(),
            "input_token_details": { "text_tokens": 7, "audio_tokens": 0, "cached_tokens": 0 },
            "output_token_details": { "text_tokens": pieces.len(), "audio_tokens": 0 },
        });
        let mut events = vec![
            event("response.created", shown("in_progress", json!([]), Value::Null)),
            event(
                "response.output_item.added",
                at(json!({ "item": message("in_progress", json!([])) })),
            ),
            event("response.content_part.added", at(json!({ "part": part("") }))),
        ];
        events.extend(pieces.iter().map(|piece| event(delta, at(json!({ "delta": piece })))));
        events.extend([
            event(done, at(json!({ "text": text }))),
            event("response.content_part.done", at(json!({ "part": part(&text) }))),
            event("response.output_item.done", at(json!({ "item": whole }))),
            event("response.done", shown("completed", json!([whole]), usage)),
        ]);
        events
    }
}

fn event(name: &str, mut members: Value) -> Value {
    members["type"] = name.into();
    members["event_id"] = new_id("event_").into();
    members
}

fn error(code: &str, text: &str, about: &Value) -> Value {
    let error = json!({
        "type": "invalid_request_error", "code": code, "message": text, "param": null,
        "event_id": about,
    });
    event("error", json!({ "error": error }))
}
