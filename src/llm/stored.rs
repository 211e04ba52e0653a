//! Things that a model's resource keeps (files, batches, responses, ...): which ids a request names
//! and which a reply tells.
//!
//! An id lives at the resource that made it. Nothing here knows which one that is; see
//! [`Whereabouts`](crate::standings::Whereabouts).

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem;
use smallvec::SmallVec;

use crate::llm::RouteType;
use crate::llm::json::{self, Fault, Scanner};
use crate::llm::splice::Object;
use crate::llm::sse::Event;

/// The longest text that is taken for an id, in bytes. Those of OpenAI and Azure have 70 at most.
pub const ID_MAX: usize = 128;

/// How much of a reply is looked at for ids, in bytes. They come first, or the reply is short.
const LOOKED_MAX: usize = 64 << 10;

/// Things of which one reply, or one member of a request, may tell the ids.
const IDS_MAX: usize = 16;

/// A name in a path, and the members of a reply there that tell ids: a string, an object with an
/// `id`, or a list of such objects.
type Tree = (&'static str, &'static [&'static str]);

const TREES: [Tree; 10] = [
    ("files", &["id"]),
    ("uploads", &["id", "file"]),
    ("batches", BATCH),
    ("assistants", &["id"]),
    ("threads", &["id", "thread_id"]),
    ("vector_stores", &["id"]),
    ("responses", &["id"]),
    ("conversations", &["id"]),
    ("videos", VIDEO),
    ("video", VIDEO),
];

/// The files of a batch are made when it is done.
const BATCH: &[&str] = &["id", "output_file_id", "error_file_id"];

/// Azure has an id for each video of a job.
const VIDEO: &[&str] = &["id", "generations"];

/// Members of a request that name something which is kept.
const NAMING: [&str; 4] = ["previous_response_id", "input_file_id", "assistant_id", "conversation"];

/// Members that do so at any depth: files of an input, of a message and of tools.
const NAMING_WITHIN: [&str; 3] = ["\"file_id\"", "\"file_ids\"", "\"vector_store_ids\""];

/// Whether requests of a route type may name something that is kept.
pub fn may_name(route_type: RouteType) -> bool {
    matches!(route_type, RouteType::Preserve | RouteType::Chat) || tree_of(route_type).is_some()
}

/// Whether a request at this path is about something that is kept.
pub fn is_kept(route_type: RouteType, path: &str) -> bool {
    tree_of(route_type).is_some() || route_type == RouteType::Preserve && tree_in(path).is_some()
}

/// The ids that a request names: whatever may be one, so most of them are none. Those of the path
/// come first.
pub fn named<'a>(
    path: &'a str,
    body: Option<&'a Object<Bytes>>,
) -> impl Iterator<Item = Cow<'a, str>> {
    let behind = tree_in(path).map_or("", |(_, rest)| rest);
    let of_path = behind.split('/').filter(|segment| is_id(segment)).map(Cow::Borrowed);
    let values = NAMING.iter().filter_map(move |name| body?.get(name));
    let within = NAMING_WITHIN.iter().flat_map(move |name| {
        let bytes = body.map_or(&b""[..], |body| body.bytes());
        let found =
            memmem::find_iter(bytes, name).filter_map(|at| texts(&bytes[at + name.len()..]));
        found.take(IDS_MAX).flatten()
    });
    of_path.chain(values.flat_map(ids)).chain(within)
}

/// The path ahead of what all operations of a resource share: where several resources are behind
/// one host, it tells them apart.
pub fn base(path: &str) -> &str {
    let is_shared =
        |segment: &str| matches!(segment, "openai" | "v1") || tree_named(segment).is_some();
    let mut at = 0usize;
    for segment in path.split('/') {
        if is_shared(segment) {
            return &path[..at.saturating_sub(1)];
        }
        at += segment.len() + 1;
    }
    path.trim_end_matches('/')
}

fn tree_of(route_type: RouteType) -> Option<&'static Tree> {
    tree_named(match route_type {
        RouteType::Files => "files",
        RouteType::Batches => "batches",
        RouteType::Assistants => "assistants",
        RouteType::Responses => "responses",
        RouteType::VideoGenerations => "videos",
        _ => return None,
    })
}

fn tree_named(segment: &str) -> Option<&'static Tree> {
    TREES.iter().find(|(name, _)| *name == segment)
}

/// The first tree that a path names, and what follows.
fn tree_in(path: &str) -> Option<(&'static Tree, &str)> {
    let mut rest = path;
    while !rest.is_empty() {
        let (segment, behind) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some(tree) = tree_named(segment) {
            return Some((tree, behind));
        }
        rest = behind;
    }
    None
}

/// The ids that stand behind the name of a member: a text, or texts in a list. In a text no such
/// name can stand: its quotes would be escaped. Nothing is entered that could have the name in it
/// once more, so no byte is read twice.
fn texts(rest: &[u8]) -> Option<SmallVec<[Cow<'_, str>; 1]>> {
    let mut scanner = Scanner::new(rest);
    scanner.blank();
    scanner.expect(b':').ok()?;
    scanner.blank();
    let is_list = scanner.expect(b'[').is_ok();
    let mut found = SmallVec::new();
    while found.len() < IDS_MAX {
        scanner.blank();
        let from = scanner.at();
        if scanner.string().is_err() {
            break;
        }
        found.extend(json::text(&rest[from..scanner.at()]).filter(|id| is_id(id)));
        scanner.blank();
        if !is_list || scanner.expect(b',').is_err() {
            break;
        }
    }
    (!found.is_empty()).then_some(found)
}

fn is_id(text: &str) -> bool {
    (1..=ID_MAX).contains(&text.len())
}

/// The ids in the value of a member.
fn ids(value: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let whole = std::iter::once(value).filter(|value| !value.starts_with(b"["));
    let one = |value| match json::text(value) {
        Some(text) => Some(text),
        None => Object::read(value).ok()?.get("id").and_then(json::text).map(owned),
    };
    let all = whole.chain(json::items(value)).filter_map(one);
    all.filter(|id| is_id(id)).take(IDS_MAX)
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// Finds the ids in a reply while it passes; what is not needed for that is not kept.
pub struct Finder {
    wanted: &'static [&'static str],
    /// Members that were not seen yet.
    missing: usize,
    held: Vec<u8>,
    /// Just behind the last member that was read.
    at: usize,
    /// Events that may still tell it.
    events: u8,
}

impl Finder {
    /// What to look for in the reply to a request; `None` where it tells no new id.
    pub fn new(route_type: RouteType, creates: bool, path: &str) -> Option<Self> {
        let named = tree_in(path).map(|(tree, _)| tree);
        let (_, wanted) = named.or_else(|| tree_of(route_type))?;
        // Who asks again how it is going hears of what has been made meanwhile.
        let tells = creates || *wanted == BATCH || *wanted == VIDEO;
        let missing = wanted.len();
        tells.then_some(Self { wanted, missing, held: Vec::new(), at: 0, events: 4 })
    }

    /// Takes a part of a JSON reply. Ids are told as soon as they can be known: the client may come
    /// back with one before the reply is over.
    pub fn see(&mut self, read: &[u8], mut tell: impl FnMut(&str)) {
        if self.missing == 0 {
            return;
        }
        let room = LOOKED_MAX - self.held.len();
        self.held.extend_from_slice(&read[..read.len().min(room)]);
        while self.missing > 0 {
            // What cannot be read may still become complete.
            let Ok((name, value, next)) = member(&self.held, self.at) else { break };
            if self.wanted.iter().any(|wanted| *wanted == name) {
                self.missing -= 1;
                ids(value).for_each(|id| tell(&id));
            }
            self.at = next;
        }
        if self.missing == 0 || self.held.len() == LOOKED_MAX {
            self.missing = 0;
            self.held = Vec::new();
        }
    }

    /// Whether there is nothing left to find in a JSON reply.
    pub fn is_done(&self) -> bool {
        self.missing == 0
    }

    /// Takes an event of a stream: the first one tells what was made.
    pub fn see_event(&mut self, event: Event<'_>, mut tell: impl FnMut(&str)) {
        if self.events == 0 {
            return;
        }
        let Some(data) = event.data() else { return };
        self.events -= 1;
        let Ok(data) = Object::read(data.as_ref()) else { return };
        // A response is in a member of its event; a run or a thread is the event's data.
        let value = data.get("response").or_else(|| data.get("id"));
        let Some(id) = value.and_then(|value| ids(value).next()) else { return };
        tell(&id);
        self.events = 0;
    }
}

/// The member of an object behind `at`, which is 0 ahead of its brace, and where it ends.
fn member(bytes: &[u8], at: usize) -> Result<(Cow<'_, str>, &[u8], usize), Fault> {
    let bytes = &bytes[at..];
    let mut scanner = Scanner::new(bytes);
    scanner.blank();
    scanner.expect(if at == 0 { b'{' } else { b',' })?;
    scanner.blank();
    let key = scanner.at();
    scanner.string()?;
    let name = json::text(&bytes[key..scanner.at()]).unwrap_or_default();
    scanner.blank();
    scanner.expect(b':')?;
    scanner.blank();
    let value = scanner.at();
    scanner.value(1)?;
    let end = scanner.at();
    if scanner.peek().is_none() {
        return Err(scanner.fault()); // a number may go on
    }
    Ok((name, &bytes[value..end], at + end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Wire;
    use crate::llm::sse::Framer;

    fn named_in(path: &str, body: &'static str) -> Vec<String> {
        let body = Object::read(Bytes::from_static(body.as_bytes())).ok();
        named(path, body.as_ref()).map(Cow::into_owned).collect()
    }

    #[test]
    fn a_request_names_ids_in_its_path_and_in_its_body() {
        let of = |path| named_in(path, "");
        assert_eq!(of("/openai/v1/responses/resp_1/input_items"), ["resp_1", "input_items"]);
        assert_eq!(of("/ai/threads/t_1/runs/r_1"), ["t_1", "runs", "r_1"]);
        assert_eq!(of("/v1/responses"), [""; 0]);
        assert_eq!(of("/my-files/file_1"), [""; 0]);
        let long = format!("/files/{}", "x".repeat(ID_MAX + 1));
        assert_eq!(named(&long, None).count(), 0);
        let body = r#"{"input":"x","previous_response_id":"resp_2","input_file_id":"file_1",
            "assistant_id":7,"conversation":{"id":"conv_1"}}"#;
        assert_eq!(named_in("/responses", body), ["resp_2", "file_1", "conv_1"]);
    }

    #[test]
    fn ids_are_found_however_deep_they_are() {
        for (body, expected) in [
            (r#"{"file_ids":["f1","f2"]}"#, &["f1", "f2"][..]),
            (r#"{"attachments":[{"file_id" : "f1","tools":[]},{"file_id":"f2"}]}"#, &["f1", "f2"]),
            (r#"{"tool_resources":{"code_interpreter":{"file_ids":["f1"]}}}"#, &["f1"]),
            (r#"{"tool_resources":{"file_search":{"vector_store_ids":["v"]}}}"#, &["v"]),
            (r#"{"tools":[{"type":"file_search","vector_store_ids":["v"]}]}"#, &["v"]),
            (r#"{"input":[{"content":[{"type":"input_file","file_id":"f"}]}]}"#, &["f"]),
            (r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"f"}}]}]}"#, &["f"]),
            (r#"{"input":"say \"file_id\": \"f\"","x":"file_id"}"#, &[]),
            (r#"{"file_id":null,"file_ids":7,"vector_store_ids":{"id":"v"}}"#, &[]),
            (r#"{"file_ids":["a",{"file_ids":["b"]},"c"]}"#, &["a", "b"]),
            (r#"{"file_ids":[{"file_ids":[{"file_id":"c"}]}]}"#, &["c"]),
        ] {
            assert_eq!(named_in("/responses", body), expected, "{body}");
        }
    }

    #[test]
    fn names_that_name_nothing_hide_no_id() {
        let schema = r#"{"file_id":{"type":"string"}},"#.repeat(100);
        let body = format!(r#"{{"tools":[{schema}0],"attachments":[{{"file_id":"f"}}]}}"#);
        let body = Object::read(Bytes::from(body)).unwrap();
        assert_eq!(named("/responses", Some(&body)).collect::<Vec<_>>(), ["f"]);
    }

    #[test]
    fn chats_keep_nothing_and_may_name_files() {
        assert!(may_name(RouteType::Chat) && !is_kept(RouteType::Chat, "/files/1"));
        assert!(!may_name(RouteType::Embeddings));
        assert!(is_kept(RouteType::Files, "/my-own"));
        assert!(is_kept(RouteType::Preserve, "/openai/v1/batches"));
        assert!(!is_kept(RouteType::Preserve, "/openai/v1/chat/completions"));
    }

    #[test]
    fn resources_behind_one_host_differ_in_their_base() {
        for (path, expected) in [
            ("/openai/v1/files", ""),
            ("/openai/batches", ""),
            ("/v1/responses", ""),
            ("/contoso/openai/files", "/contoso"),
            ("/one/files", "/one"),
            ("/one/", "/one"),
            ("", ""),
        ] {
            assert_eq!(base(path), expected, "{path}");
        }
    }

    /// What is found in a reply that comes in parts of this size.
    fn found(mut finder: Finder, reply: &str, size: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for part in reply.as_bytes().chunks(size) {
            finder.see(part, |id| ids.push(id.to_owned()));
        }
        ids
    }

    #[test]
    fn a_reply_tells_its_ids_however_it_is_cut() {
        let batch = r#"{"created_at":123,"id":"batch_1","x":[{"id":"no"}],"output_file_id":null ,
            "error_file_id":"file_2"}"#;
        let video = r#"{ "generations":[{"id":"gen_1"},{"id":"gen_2"}],"n":1.5,"id":"job_1" }"#;
        for size in [1, 2, 7, 1000] {
            let of = |path, reply| {
                found(Finder::new(RouteType::Preserve, false, path).unwrap(), reply, size)
            };
            assert_eq!(of("/v1/batches/batch_1", batch), ["batch_1", "file_2"], "{size}");
            assert_eq!(of("/v1/videos/job_1", video), ["gen_1", "gen_2", "job_1"], "{size}");
        }
    }

    #[test]
    fn what_is_no_id_is_none() {
        let of = |reply: &str| {
            let finder = Finder::new(RouteType::Files, true, "/upload").unwrap();
            found(finder, reply, 4096)
        };
        assert_eq!(of(r#"{"id":"file_1","id":"file_2"}"#), ["file_1"]);
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(ID_MAX + 1));
        let late = format!(r#"{{"x":"{}","id":"file_1"}}"#, "x".repeat(LOOKED_MAX));
        let others =
            [r#"{"id":""}"#, r#"{"id":5}"#, "[]", r#"["id","x"]"#, "", "{", "x", &long, &late];
        for reply in others {
            assert_eq!(of(reply), [""; 0]);
        }
        assert!(Finder::new(RouteType::Files, false, "/files/file_1").is_none());
        assert!(Finder::new(RouteType::Chat, true, "/chat/completions").is_none());
    }

    #[test]
    fn a_stream_tells_its_id_first() {
        let of = |text: &'static str| {
            let mut finder = Finder::new(RouteType::Responses, true, "/responses").unwrap();
            let mut ids = Vec::new();
            let see = |event: Event<'_>| finder.see_event(event, |id| ids.push(id.to_owned()));
            let mut framer = Framer::new(Wire::Openai);
            framer.push(Bytes::from_static(text.as_bytes()), see).unwrap();
            ids
        };
        let response = ": hi\n\nevent: response.created\ndata: {\"type\":\"response.created\",\
            \"response\":{\"id\":\"resp_1\"}}\n\ndata: {\"id\":\"msg_1\"}\n\n";
        assert_eq!(of(response), ["resp_1"]);
        assert_eq!(of("data: {\"id\":\"thread_1\"}\n\ndata: [DONE]\n\n"), ["thread_1"]);
    }
}
