//! What each route type is on the wire: one table.
//!
//! A row says where the operation is at OpenAI and on Azure's surfaces, what its body is, whether
//! the body names a model, and whether its reply is checked. Operations on stored things (files,
//! batches, responses, ...) are trees: what stands behind their name in the client's path, an id
//! or `{id}/cancel`, goes on to the upstream.

use percent_encoding::percent_decode_str;

use crate::llm::error::Error;
use crate::llm::template::is_plain_segment;
use crate::llm::{RouteType, Wire, anthropic};

/// One row.
pub(super) struct Operation {
    /// Whose API it belongs to.
    pub(super) wire: Wire,
    /// Behind `/v1` at OpenAI, and behind `/openai/v1` or the deployment on Azure.
    pub(super) path: &'static str,
    /// The same for Azure where it has a name of its own there.
    azure_path: Option<&'static str>,
    /// Where it is under a dated api-version of Azure.
    pub(super) dated: Dated,
    /// What the body is.
    pub(super) media: Media,
    /// Where the model is named.
    pub(super) naming: Naming,
    /// Whether a reply of 200 must be one of this route type (Kong's rule for chats).
    pub(super) is_checked: bool,
    /// The names of the trees, as clients write them and as the upstream does, longest first.
    roots: &'static [Root],
    azure_roots: Option<&'static [Root]>,
    /// Which of `model.options` go into the body.
    pub(super) options: Options,
    /// `genai_category` where the configuration has the default.
    pub(super) category: &'static str,
}

/// A name in a client's path, and the upstream's path for it.
type Root = (&'static str, &'static str);

/// Where an operation is under a dated api-version of Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dated {
    /// Behind `/openai/deployments/{deployment}`.
    Deployment,
    /// Behind `/openai`, in api-versions from this one on; older ones know it under v1 only.
    Resource(&'static str),
    /// Under `/openai/v1` only.
    Never,
}

/// What a request body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// JSON, which must be there.
    Json,
    /// A form of several parts, or JSON.
    Form,
    /// Whatever the client sends.
    Any,
}

/// Where the model is named, beside the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// In the body, always.
    Always,
    /// In the body, where it makes something new or names one.
    Creation,
    /// Nowhere.
    Never,
    /// In the query.
    Query,
}

/// Which of `model.options` go into the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Options {
    /// `max_tokens` under either of its names, `temperature`, `top_p`.
    Chat,
    /// The same with `max_tokens` under that name.
    Completions,
    /// The same as `max_output_tokens`.
    Responses,
    /// `max_tokens`, `temperature`, `top_p` and `top_k`.
    Messages,
    /// `embeddings_dimensions`.
    Embeddings,
    /// None.
    None,
}

const USUAL: Operation = Operation {
    wire: Wire::Openai,
    path: "/chat/completions",
    azure_path: None,
    dated: Dated::Deployment,
    media: Media::Json,
    naming: Naming::Always,
    is_checked: false,
    roots: &[],
    azure_roots: None,
    options: Options::None,
    category: "text/generation",
};

static CHAT: Operation = Operation { is_checked: true, options: Options::Chat, ..USUAL };

/// Chats at a target that speaks Anthropic's API.
static MESSAGES: Operation = Operation {
    wire: Wire::Messages,
    path: "/messages",
    dated: Dated::Never,
    options: Options::Messages,
    ..USUAL
};

/// What a client of Anthropic's API asks for that asks how long its request is.
const COUNT: Branch<'_> = Branch { root: "/messages", rest: "/count_tokens" };

static COMPLETIONS: Operation =
    Operation { path: "/completions", is_checked: true, options: Options::Completions, ..USUAL };

static EMBEDDINGS: Operation = Operation {
    path: "/embeddings",
    options: Options::Embeddings,
    category: "text/embeddings",
    ..USUAL
};

static FILES: Operation =
    Operation { path: "/files", roots: &[("files", "/files"), ("uploads", "/uploads")], ..STORED };

static BATCHES: Operation =
    Operation { path: "/batches", roots: &[("batches", "/batches")], ..STORED };

/// Things that are kept by the resource, whatever the model.
const STORED: Operation =
    Operation { dated: Dated::Resource(""), media: Media::Any, naming: Naming::Never, ..USUAL };

static ASSISTANTS: Operation = Operation {
    path: "/assistants",
    naming: Naming::Creation,
    roots: &[
        ("assistants", "/assistants"),
        ("threads", "/threads"),
        ("vector_stores", "/vector_stores"),
    ],
    ..STORED
};

static RESPONSES: Operation = Operation {
    path: "/responses",
    dated: Dated::Resource("2025-03-01"),
    naming: Naming::Creation,
    roots: &[("responses", "/responses"), ("conversations", "/conversations")],
    options: Options::Responses,
    ..USUAL
};

static SPEECH: Operation = Operation { path: "/audio/speech", category: "audio/speech", ..USUAL };

static TRANSCRIPTIONS: Operation = Operation {
    path: "/audio/transcriptions",
    media: Media::Form,
    category: "audio/transcription",
    ..USUAL
};

static TRANSLATIONS: Operation = Operation {
    path: "/audio/translations",
    media: Media::Form,
    category: "audio/transcription",
    ..USUAL
};

static IMAGES: Operation =
    Operation { path: "/images/generations", category: "image/generation", ..USUAL };

static IMAGE_EDITS: Operation =
    Operation { path: "/images/edits", media: Media::Form, category: "image/generation", ..USUAL };

static VIDEOS: Operation = Operation {
    path: "/videos",
    azure_path: Some("/video/generations/jobs"),
    dated: Dated::Never,
    media: Media::Form,
    naming: Naming::Creation,
    roots: &[
        ("video/generations/jobs", "/videos"),
        ("videos/generations", "/videos"),
        ("video/generations", "/videos"),
        ("videos", "/videos"),
    ],
    azure_roots: Some(&[
        ("video/generations/jobs", "/video/generations/jobs"),
        ("videos/generations", "/video/generations/jobs"),
        ("video/generations", "/video/generations"),
        ("videos", "/video/generations/jobs"),
    ]),
    category: "video/generation",
    ..USUAL
};

static REALTIME: Operation = Operation {
    path: "/realtime",
    naming: Naming::Query,
    roots: &[("realtime", "/realtime")],
    category: "realtime/generation",
    ..STORED
};

static PRESERVE: Operation = Operation { media: Media::Any, naming: Naming::Never, ..USUAL };

/// The list of models, which any route type for a model has beside it (not in Kong).
pub(super) const MODELS: &str = "/models";

impl Operation {
    /// The row of a route type.
    pub(super) fn of(route: RouteType) -> &'static Self {
        match route {
            RouteType::Chat => &CHAT,
            RouteType::Completions => &COMPLETIONS,
            RouteType::Embeddings => &EMBEDDINGS,
            RouteType::Files => &FILES,
            RouteType::Batches => &BATCHES,
            RouteType::Assistants => &ASSISTANTS,
            RouteType::Responses => &RESPONSES,
            RouteType::Speech => &SPEECH,
            RouteType::Transcriptions => &TRANSCRIPTIONS,
            RouteType::Translations => &TRANSLATIONS,
            RouteType::ImageGenerations => &IMAGES,
            RouteType::ImageEdits => &IMAGE_EDITS,
            RouteType::VideoGenerations => &VIDEOS,
            RouteType::Realtime => &REALTIME,
            RouteType::Preserve => &PRESERVE,
        }
    }

    /// The row of a route type where chats may be Anthropic's messages.
    pub(super) fn on(wire: Wire, route: RouteType) -> &'static Self {
        match (wire, route) {
            (Wire::Messages, RouteType::Chat) => &MESSAGES,
            _ => Self::of(route),
        }
    }

    /// Its path on Azure.
    pub(super) fn azure_path(&self) -> &'static str {
        self.azure_path.unwrap_or(self.path)
    }

    /// Whether clients may name something below it.
    pub(super) fn is_tree(&self) -> bool {
        !self.roots.is_empty()
    }

    /// What the client asks for in the tree; `None` when its path does not name the operation.
    pub(super) fn branch<'c>(
        &self,
        is_azure: bool,
        raw_path: &str,
        path: &'c str,
    ) -> Result<Option<Branch<'c>>, Error> {
        if self.wire == Wire::Messages {
            if path.ends_with(anthropic::COUNT_TOKENS) {
                return Ok(Some(COUNT));
            }
            let Some(rest) = anthropic::batches(path) else { return Ok(None) };
            check_segments(raw_path)?;
            return Ok(Some(Branch { root: COUNT.root, rest }));
        }
        if !self.is_tree() {
            return Ok(None);
        }
        check_segments(raw_path)?;
        let roots = self.azure_roots.filter(|_| is_azure).unwrap_or(self.roots);
        let found =
            roots.iter().filter_map(|(name, upstream)| Some((behind(path, name)?, *upstream)));
        // The last name in the path counts: those before it are the gateway's own.
        let last = found.min_by_key(|(rest, _)| rest.len());
        Ok(last.map(|(rest, root)| Branch { root, rest: rest.trim_end_matches('/') }))
    }
}

/// A place in a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Branch<'c> {
    /// The upstream's path of the tree.
    pub(super) root: &'static str,
    /// What follows, with its slash; empty for the tree itself.
    pub(super) rest: &'c str,
}

impl Branch<'_> {
    /// Whether it is about batches of messages.
    pub(super) fn is_batch(&self) -> bool {
        self.root == COUNT.root && self.rest != COUNT.rest
    }
}

/// What follows the last appearance of these segments; empty or with its slash.
pub(super) fn behind<'c>(path: &'c str, name: &str) -> Option<&'c str> {
    let ends = path.match_indices(name).map(|(at, _)| (at, at + name.len()));
    let whole = ends.filter(|(at, end)| {
        path[..*at].ends_with('/') && (path[*end..].is_empty() || path[*end..].starts_with('/'))
    });
    whole.last().map(|(_, end)| &path[end..])
}

/// Whether a client asks for the list of models, or for one of them.
pub(super) fn models_branch<'c>(raw_path: &str, path: &'c str) -> Result<Option<&'c str>, Error> {
    let Some(rest) = behind(path, "models") else { return Ok(None) };
    let rest = rest.trim_end_matches('/');
    if rest.matches('/').count() > 1 {
        return Ok(None);
    }
    check_segments(raw_path)?;
    Ok(Some(rest))
}

/// A segment that a server might take for more than one, or for a step upwards, is refused: it
/// would reach what the Route does not give away.
fn check_segments(raw_path: &str) -> Result<(), Error> {
    let is_safe = |segment: &str| {
        let decoded = percent_decode_str(segment).decode_utf8();
        decoded.is_ok_and(|decoded| is_plain_segment(&decoded))
    };
    match raw_path.split('/').filter(|segment| !segment.is_empty()).all(is_safe) {
        true => Ok(()),
        false => Err(Error::UnsafeValue { field: "the request path" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(route: RouteType, path: &str) -> Option<(&'static str, String)> {
        let branch = Operation::of(route).branch(true, path, path).unwrap()?;
        Some((branch.root, branch.rest.to_owned()))
    }

    #[test]
    fn what_follows_the_name_goes_on() {
        let of = |path| branch(RouteType::Files, path);
        let files = |rest: &str| Some(("/files", rest.to_owned()));
        assert_eq!(of("/openai/files"), files(""));
        assert_eq!(of("/ai/v1/files/"), files(""));
        assert_eq!(of("/files/file-1/content"), files("/file-1/content"));
        assert_eq!(of("/files/v1/files/file-1"), files("/file-1"));
        assert_eq!(of("/my-files/x"), None);
        assert_eq!(of("/filesystem"), None);
        let runs = branch(RouteType::Assistants, "/openai/threads/t_1/runs/r_1/cancel");
        assert_eq!(runs, Some(("/threads", "/t_1/runs/r_1/cancel".to_owned())));
        let items = branch(RouteType::Responses, "/v1/responses/resp_1/input_items");
        assert_eq!(items, Some(("/responses", "/resp_1/input_items".to_owned())));
        assert_eq!(branch(RouteType::Chat, "/chat/completions"), None);
    }

    #[test]
    fn a_video_has_azures_names_there() {
        let of = |path| branch(RouteType::VideoGenerations, path);
        let jobs = "/video/generations/jobs";
        assert_eq!(of("/v1/videos"), Some((jobs, String::new())));
        assert_eq!(of("/openai/v1/video/generations/jobs/j1"), Some((jobs, "/j1".to_owned())));
        let content = Some(("/video/generations", "/g1/content/video".to_owned()));
        assert_eq!(of("/openai/v1/video/generations/g1/content/video"), content);
        let openai = Operation::of(RouteType::VideoGenerations);
        let path = "/v1/videos/v1/content";
        let branch = openai.branch(false, path, path).unwrap();
        assert_eq!(branch, Some(Branch { root: "/videos", rest: "/v1/content" }));
    }

    #[test]
    fn an_id_stays_one_segment() {
        for path in [
            "/files/../assistants",
            "/files/%2e%2e/assistants",
            "/files/a%2fb",
            "/files/a%2Fb",
            "/files/a%5cb",
            "/files/a%00",
            "/files/a%0d%0ab",
            "/files/a%252fb",
            "/files/.",
            "/files/a%3fapi-version=1",
            "/files/%ff",
        ] {
            let found = Operation::of(RouteType::Files).branch(true, path, path);
            assert!(found.is_err(), "{path}");
        }
        assert!(branch(RouteType::Files, "/files/file-ab_C.9~%20x").is_some());
    }

    #[test]
    fn models_are_a_list_or_one() {
        let of = |path| models_branch(path, path).unwrap();
        assert_eq!(of("/openai/v1/models"), Some(""));
        assert_eq!(of("/models/gpt-4o"), Some("/gpt-4o"));
        assert_eq!(of("/models/chat/completions"), None);
        assert_eq!(of("/chat/completions"), None);
    }
}
