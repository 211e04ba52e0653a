//! Speech, transcriptions and images: bytes that look like what they are called, and the texts and
//! usages that Azure gives with them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::call::{Call, Kind};
use super::super::clock;
use super::super::rule::Rule;
use super::super::wire::{Refusal, Reply};
use super::{Answered, bad, form, no_method, ok, required};

/// A picture of one pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9\
    awAAAABJRU5ErkJggg==";

/// Pictures of one request.
const IMAGES_MAX: u64 = 10;

pub(super) fn reply(call: &Call, rule: &Rule) -> Answered {
    if call.head.method != Method::POST {
        return Err(no_method());
    }
    match call.kind {
        Kind::Speech => speech(call),
        Kind::Images => images(call),
        _ => transcription(call, rule),
    }
}

/// A WAV of silence, or bytes under the head of another format.
fn speech(call: &Call) -> Answered {
    let input = required(call, "input")?;
    required(call, "voice")?;
    let format = call.member("response_format").and_then(Value::as_str).unwrap_or("mp3");
    let (kind, head) = match format {
        "mp3" => ("audio/mpeg", &b"ID3\x04\x00\x00\x00\x00\x00\x00"[..]),
        "wav" => ("audio/wav", &b"RIFF\x24\x08\x00\x00WAVEfmt "[..]),
        "opus" => ("audio/opus", &b"OggS\x00\x02"[..]),
        "flac" => ("audio/flac", &b"fLaC"[..]),
        "aac" => ("audio/aac", &b"\xff\xf1\x50\x80"[..]),
        "pcm" => ("audio/pcm", &b""[..]),
        _ => return Err(bad("response_format", "Unsupported response format.")),
    };
    let length = (input.len() * 64).clamp(2048, 1 << 20);
    let body: Vec<u8> = head.iter().copied().chain(std::iter::repeat_n(0, length)).collect();
    Ok(Reply::new(StatusCode::OK, kind, body.into()))
}

fn transcription(call: &Call, rule: &Rule) -> Answered {
    let parts = form::parts(call);
    let file = form::file(&parts, "file");
    let file = file.ok_or_else(|| bad("file", "Missing required parameter: 'file'."))?;
    let name = file.file.as_deref().unwrap_or_default();
    let said = format!("You sent {} bytes in {name}.", file.data.len());
    let said = rule.content.clone().unwrap_or(said);
    let format = form::text(&parts, "response_format").unwrap_or_else(|| "json".to_owned());
    let plain = |text: String| Ok(Reply::text(StatusCode::OK, text));
    match format.as_str() {
        "text" => plain(format!("{said}\n")),
        "srt" => plain(format!("1\n00:00:00,000 --> 00:00:01,000\n{said}\n\n")),
        "vtt" => plain(format!("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{said}\n\n")),
        "verbose_json" => Ok(ok(&json!({
            "task": if call.kind == Kind::Translations { "translate" } else { "transcribe" },
            "language": "english",
            "duration": 1.0,
            "text": said,
            "segments": [{
                "id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": said, "tokens": [1, 2],
                "temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0,
                "no_speech_prob": 0.0,
            }],
        }))),
        "json" => Ok(ok(&json!({
            "text": said,
            "usage": {
                "type": "tokens", "input_tokens": 14, "output_tokens": 7, "total_tokens": 21,
                "input_token_details": { "text_tokens": 0, "audio_tokens": 14 },
            },
        }))),
        _ => Err(bad("response_format", "Unsupported response format.")),
    }
}

fn images(call: &Call) -> Answered {
    let parts = form::parts(call);
    let field = |name: &str| match call.member(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => form::text(&parts, name),
    };
    let is_edit = call.path().ends_with("/edits");
    if is_edit && form::file(&parts, "image").is_none() && call.member("image").is_none() {
        return Err(bad("image", "Missing required parameter: 'image'."));
    }
    let text = "Missing required parameter: 'prompt'.";
    let prompt = field("prompt").ok_or_else(|| bad("prompt", text))?;
    if prompt.contains("[[blocked]]") {
        return Err(blocked());
    }
    let count = field("n").and_then(|n| n.parse().ok()).unwrap_or(1).clamp(1, IMAGES_MAX);
    let filters = || {
        let safe = json!({ "filtered": false, "severity": "safe" });
        json!({ "hate": safe, "self_harm": safe, "sexual": safe, "violence": safe })
    };
    let image = |_| {
        let mut image = json!({ "b64_json": picture(), "content_filter_results": filters() });
        if field("model").is_some_and(|model| model.contains("dall-e")) {
            image["revised_prompt"] = prompt.as_str().into();
        }
        image
    };
    let data: Vec<Value> = (0..count).map(image).collect();
    Ok(ok(&json!({
        "created": clock::now_secs(),
        "data": data,
        "usage": {
            "input_tokens": 8, "output_tokens": 272, "total_tokens": 280,
            "input_tokens_details": { "text_tokens": 8, "image_tokens": 0 },
        },
    })))
}

fn picture() -> String {
    // Decoded and encoded once more, so that what goes out is base64 for sure.
    STANDARD.decode(PNG).map(|bytes| STANDARD.encode(bytes)).unwrap_or_default()
}

/// Of images, which say `inner_error` where chats say `innererror`.
fn blocked() -> Refusal {
    let violence = json!({ "filtered": true, "severity": "medium" });
    Refusal(
        StatusCode::BAD_REQUEST,
        json!({ "error": {
            "code": "content_policy_violation",
            "message": "Your request was rejected as a result of our safety system.",
            "type": null,
            "param": null,
            "inner_error": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_results": { "violence": violence },
            },
        }}),
    )
}

/// A picture as bytes.
pub(super) fn picture_bytes() -> Bytes {
    STANDARD.decode(PNG).unwrap_or_default().into()
}
