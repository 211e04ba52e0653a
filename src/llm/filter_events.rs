//! Azure's events that say nothing but what its content filter has found.
//!
//! A stream begins with one that has no choices, and the asynchronous filter sends choices without
//! a `delta`. Clients that know OpenAI alone stumble over both. They pass as they come unless the
//! configuration has them folded into the events around them, or dropped.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;

use crate::llm::RouteType;
use crate::llm::json;
use crate::llm::splice::{Edit, Key, Object};
use crate::llm::sse::{Event, Fate};

/// What is said of the prompt; the second is the older name.
static RESULTS: LazyLock<[Key; 2]> =
    LazyLock::new(|| ["prompt_filter_results", "prompt_annotations"].map(Key::new));
static CHOICES: LazyLock<Key> = LazyLock::new(|| Key::new("choices"));

/// `model.options.azure_filter_events`, ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterEvents {
    /// They pass.
    #[default]
    Raw,
    /// The next event with choices says it, too; choices get an empty `delta`.
    Fold,
    /// The client does not learn of it.
    Drop,
}

/// Folds or drops the events of one stream.
pub struct Folder {
    drops: bool,
    /// What a choice has to have, and an empty one.
    part: (Key, &'static [u8]),
    needle: Finder<'static>,
    /// What the next event has to say of the prompt, by the positions of the names.
    held: [Option<Bytes>; 2],
}

impl Folder {
    /// For a stream of chats or completions; `None` where everything passes.
    pub fn new(mode: FilterEvents, route_type: RouteType) -> Option<Self> {
        let (name, needle, empty): (_, _, &[u8]) = match route_type {
            RouteType::Completions => ("text", "\"text\"", b"\"\""),
            _ => ("delta", "\"delta\"", b"{}"),
        };
        (mode != FilterEvents::Raw).then(|| Self {
            drops: mode == FilterEvents::Drop,
            part: (Key::new(name), empty),
            needle: Finder::new(needle),
            held: [None, None],
        })
    }

    /// What the client gets of an event.
    pub fn fate(&mut self, event: Event<'_>) -> Fate {
        let is_usual =
            self.held.iter().all(Option::is_none) && self.needle.find(event.raw()).is_some();
        // Most events have text in them, and nothing is done to them.
        let data = (!is_usual).then(|| event.data()).flatten();
        let Some(data) = data else { return Fate::Pass };
        let Ok(chunk) = Object::read(&*data) else { return Fate::Pass };
        let Some(choices) = chunk.get("choices") else { return Fate::Pass };
        if json::items(choices).next().is_none() {
            return self.hold(&chunk);
        }
        let whole = self.whole(choices);
        let Some(whole) = whole else { return Fate::Hide };
        let is_told = |key: &Key| chunk.get(key.name()).is_some_and(|own| own != b"null");
        let held = std::mem::take(&mut self.held);
        let mut edits = vec![Edit::set(&CHOICES, &whole)];
        for (key, held) in RESULTS.iter().zip(&held) {
            edits.extend(held.as_ref().filter(|_| !is_told(key)).map(|held| Edit::set(key, held)));
        }
        if edits.len() == 1 && matches!(whole, Cow::Borrowed(_)) {
            return Fate::Pass;
        }
        Fate::Replace(event.with_data(&chunk.splice(&edits)))
    }

    /// An event without choices: what it says of the prompt is for the next one. Others without
    /// choices are not Azure's, the one with the tokens above all.
    fn hold<B: AsRef<[u8]>>(&mut self, chunk: &Object<B>) -> Fate {
        let is_usage = chunk.get("usage").is_some_and(|usage| usage != b"null");
        let results = RESULTS.each_ref().map(|key| chunk.get(key.name()));
        if is_usage || results.iter().all(Option::is_none) {
            return Fate::Pass;
        }
        for (held, result) in self.held.iter_mut().zip(results).filter(|_| !self.drops) {
            *held = result.map(Bytes::copy_from_slice).or(held.take());
        }
        Fate::Hide
    }

    /// The choices, each with its `delta`; `None` where they say nothing but what the filter has
    /// found, and that is not wanted. Why a choice ended is told in any case.
    fn whole<'a>(&self, choices: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let (key, empty) = &self.part;
        let (mut says, mut is_whole) = (false, true);
        let mut all = vec![b'['];
        for choice in json::items(choices) {
            let Ok(object) = Object::read(choice) else { return Some(Cow::Borrowed(choices)) };
            let has_part = object.get(key.name()).is_some_and(|part| part != b"null");
            let ends = object.get("finish_reason").is_some_and(|reason| reason != b"null");
            says |= has_part || ends;
            is_whole &= has_part;
            if all.len() > 1 {
                all.push(b',');
            }
            match has_part {
                true => all.extend_from_slice(choice),
                false => all.extend_from_slice(&object.splice(&[Edit::set(key, empty)])),
            }
        }
        all.push(b']');
        match (is_whole, says || !self.drops) {
            (_, false) => None,
            (true, true) => Some(Cow::Borrowed(choices)),
            (false, true) => Some(Cow::Owned(all)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::llm::sse::Framer;

    fn folded(mode: FilterEvents, route: RouteType, wire: &str) -> String {
        let mut folder = Folder::new(mode, route).unwrap();
        let wire = Bytes::copy_from_slice(wire.as_bytes());
        let out = Framer::default().push(wire, |event| folder.fate(event)).unwrap();
        String::from_utf8(out.concat()).unwrap()
    }

    fn vector(name: &str) -> String {
        let path = format!("{}/spec/vectors/azure/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let vector: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        vector["response"]["wire_text"].as_str().unwrap().to_owned()
    }

    const FIRST: &str =
        "data: {\"choices\":[],\"id\":\"\",\"prompt_filter_results\":[{\"a\": 1.0}]}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n";

    #[test]
    fn the_first_event_goes_into_the_next_one_or_goes() {
        let next = r#"data: { "choices": [{"delta":{"content":"é \u00e9"},"x":1e2}], "n": 1.0 }"#;
        let later = "data: {\"choices\":[{\"delta\":{}}]}\n\n";
        let wire = format!("{FIRST}: ping\n\nid: 7\n{next}\n\n{later}{USAGE}");
        let chat = |mode| folded(mode, RouteType::Chat, &wire);
        let into = next.replace(" }", ",\"prompt_filter_results\":[{\"a\": 1.0}] }");
        let fold = format!(": ping\n\nid: 7\n{into}\n\n{later}{USAGE}");
        assert_eq!(chat(FilterEvents::Fold), fold);
        assert_eq!(chat(FilterEvents::Drop), &wire[FIRST.len()..]);
        assert!(Folder::new(FilterEvents::Raw, RouteType::Chat).is_none());
    }

    #[test]
    fn choices_without_delta_get_an_empty_one_or_go() {
        let odd = "data: {\"choices\":[{\"index\":0,\"content_filter_offsets\":{}}]}\n\n";
        let ends = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"content_filter\"}]}\n\n";
        let chat = |mode| folded(mode, RouteType::Chat, &format!("{odd}{ends}"));
        let with = |event: &str| event.replace("}]}", ",\"delta\":{}}]}");
        assert_eq!(chat(FilterEvents::Fold), format!("{}{}", with(odd), with(ends)));
        assert_eq!(chat(FilterEvents::Drop), with(ends));
        let text = folded(FilterEvents::Fold, RouteType::Completions, odd);
        assert!(text.contains(r#""text":"""#), "{text}");
    }

    #[test]
    fn every_event_of_the_vectors_has_choices_with_a_delta() {
        for name in [
            "stream-01-basic-lf",
            "stream-02-basic-crlf",
            "stream-07-include-usage",
            "stream-08-async-filter-annotations",
            "stream-09-async-filter-blocked",
            "stream-12-legacy-prompt-annotations",
        ] {
            let wire = vector(name);
            for mode in [FilterEvents::Fold, FilterEvents::Drop] {
                let out = folded(mode, RouteType::Chat, &wire).replace("\r\n", "\n");
                let events = out.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
                let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
                for event in events.filter(|event| event["usage"].is_null()) {
                    let choices = event["choices"].as_array().unwrap();
                    assert!(!choices.is_empty(), "{name} {mode:?}: {event}");
                    assert!(choices.iter().all(|c| c["delta"].is_object()), "{name}: {event}");
                }
                let tells = out.contains("prompt_filter_results") || out.contains("annotations");
                assert!(tells || mode == FilterEvents::Drop, "{name}: {out}");
                assert!(out.ends_with("data: [DONE]\n\n"), "{name}");
                let block = wire.matches("\"content_filter\"").count();
                assert_eq!(out.matches("\"content_filter\"").count(), block, "{name}");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_passes() {
        let wire = "data: nonsense\n\ndata: {\"error\":{}}\n\ndata: {\"choices\":[1]}\n\n\
            data: {\"choices\":[]}\n\ndata: {\"choices\":\ndata: [{}]}\n\n";
        let out = folded(FilterEvents::Fold, RouteType::Chat, wire);
        let whole = wire
            .replace("data: {\"choices\":\ndata: [{}]}", "data: {\"choices\": [{\"delta\":{}}]}");
        assert_eq!(out, whole);
    }
}
