//! A recording on disk: what was configured, sent, seen by the upstream and answered.
//!
//! The format is described in `spec/golden/README.md`. What the tests do not compare is not read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One recorded case.
pub struct Case {
    /// Its folder's name.
    pub name: String,
    folder: PathBuf,
}

/// Headers in order, as they were written.
pub type Headers = Vec<(String, String)>;

/// What a case sends, and what the upstream is to answer, step by step.
#[derive(Debug, Clone, Deserialize)]
pub struct Step {
    #[serde(default)]
    pub method: String,
    #[serde(default, deserialize_with = "latin1")]
    pub path: String,
    #[serde(default)]
    pub headers: Headers,
    #[serde(default)]
    pub body: Option<Payload>,
    /// The exact bytes instead of all that.
    #[serde(default)]
    pub raw: Option<Payload>,
    /// Several requests at once instead of all that.
    #[serde(default)]
    pub parallel: Vec<Self>,
}

/// One response, or those of requests that were sent at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Answers {
    Many(Vec<Got>),
    One(Box<Got>),
}

impl Answers {
    /// In the order in which the requests were sent.
    pub fn into_vec(self) -> Vec<Got> {
        match self {
            Self::Many(many) => many,
            Self::One(one) => vec![*one],
        }
    }
}

/// A request as the upstream got it.
#[derive(Debug, Clone, Deserialize)]
pub struct Seen {
    pub method: String,
    #[serde(deserialize_with = "latin1")]
    pub target: String,
    #[serde(deserialize_with = "latin1_headers")]
    pub headers: Headers,
    #[serde(default)]
    pub body: Option<Payload>,
    /// The name in the TLS hello; `None` is plain text.
    #[serde(default)]
    pub tls_sni: Option<String>,
}

/// A response as the client got it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Got {
    #[serde(default)]
    pub status: Option<u16>,
    #[serde(default, deserialize_with = "latin1_headers")]
    pub headers: Headers,
    #[serde(default)]
    pub body: Option<Payload>,
    /// The body without its gzip.
    #[serde(default)]
    pub body_decoded: Option<Payload>,
    #[serde(default)]
    pub truncated: bool,
    #[serde(default)]
    pub closed_without_reply: bool,
    /// The client gave up.
    #[serde(default, deserialize_with = "is_there")]
    pub timeout: bool,
}

/// What the upstream answers.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Reply {
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub headers: Headers,
    /// The exact bytes instead of all that; then the connection ends.
    #[serde(default)]
    pub raw: Option<Payload>,
    #[serde(default)]
    pub body: Option<Payload>,
    /// The body in HTTP chunks.
    #[serde(default)]
    pub chunks: Option<Vec<Payload>>,
    #[serde(default)]
    pub gzip: bool,
    /// The connection breaks before the last chunk.
    #[serde(default)]
    pub truncate: bool,
}

/// Bytes: a string when they are UTF-8.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload(pub Vec<u8>);

impl Payload {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => text.fmt(f),
            None => write!(f, "{} bytes", self.0.len()),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text.into_bytes())),
            Value::Object(object) if object.contains_key("repeat") => {
                let part = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or("");
                let repeat: (String, usize) =
                    serde_json::from_value(object["repeat"].clone()).map_err(D::Error::custom)?;
                let middle = repeat.0.repeat(repeat.1);
                Ok(Self([part("before"), &middle, part("after")].concat().into_bytes()))
            }
            Value::Object(object) => {
                let text = object.get("base64").and_then(Value::as_str);
                let text = text.ok_or_else(|| D::Error::custom("expected base64"))?;
                STANDARD.decode(text).map(Self).map_err(D::Error::custom)
            }
            other => Err(D::Error::custom(format!("expected text or base64, not {other}"))),
        }
    }
}

/// Heads were recorded byte by byte; as text again, they are UTF-8.
fn latin1<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(as_utf8)
}

fn latin1_headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Headers, D::Error> {
    let headers = Headers::deserialize(deserializer)?;
    Ok(headers.into_iter().map(|(name, value)| (name, as_utf8(value))).collect())
}

fn as_utf8(text: String) -> String {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Value::deserialize(deserializer)?.is_string())
}

impl Case {
    /// Every recorded case, by name.
    pub fn all() -> Vec<Self> {
        Self::below("spec/golden/recorded")
    }

    /// The cases below a folder, by name.
    pub fn below(folder: &str) -> Vec<Self> {
        let root = root().join(folder);
        let folders = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
        let mut cases: Vec<Self> = folders
            .map(|folder| Self {
                name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
                folder,
            })
            .collect();
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        cases
    }

    /// Whether only the configuration was tried.
    pub fn is_about_loading(&self) -> bool {
        self.name.starts_with("cfg-")
    }

    /// The configuration as it was given to Kong.
    pub fn config(&self) -> String {
        std::fs::read_to_string(self.folder.join("config.yaml")).unwrap()
    }

    pub fn steps(&self) -> Vec<Step> {
        self.read("request.json").unwrap()
    }

    pub fn seen(&self) -> Vec<Vec<Seen>> {
        self.read("upstream.json").unwrap()
    }

    pub fn responses<T: DeserializeOwned>(&self) -> T {
        self.read("response.json").unwrap()
    }

    /// The plugins of `spec/probes/plugins` that it needs.
    pub fn plugins(&self) -> Vec<String> {
        let plugins = self.about().get("plugins").cloned().unwrap_or_default();
        serde_json::from_value(plugins).unwrap_or_default()
    }

    /// Variables of the gateway: `KONG_TRUSTED_IPS`.
    pub fn env(&self) -> BTreeMap<String, String> {
        let env = self.about().get("env").cloned().unwrap_or_default();
        serde_json::from_value(env).unwrap_or_default()
    }

    /// Whether an honest 5xx is as good as the connection that Kong drops.
    pub fn accepts_5xx(&self) -> bool {
        self.about()["accept_5xx"] == true
    }

    fn about(&self) -> Value {
        self.read("case.json").unwrap()
    }

    /// The lines that file-log wrote, step by step.
    pub fn log(&self) -> Option<Vec<Vec<Value>>> {
        self.read("log.json")
    }

    /// What the upstream answers in each of so many steps.
    pub fn replies(&self, steps: usize) -> Vec<Reply> {
        let about = self.about();
        let one = |value: &Value| match value {
            Value::Null => Reply::usual(),
            Value::String(text) if text == "default" => Reply::usual(),
            reply => Reply::deserialize(reply).unwrap(),
        };
        match about.get("mock_replies").and_then(Value::as_array) {
            Some(replies) => replies.iter().map(one).collect(),
            None => vec![one(&about["mock_reply"]); steps],
        }
    }

    fn read<T: DeserializeOwned>(&self, file: &str) -> Option<T> {
        let text = std::fs::read(self.folder.join(file)).ok()?;
        let read = serde_json::from_slice(&text);
        Some(read.unwrap_or_else(|error| panic!("{}/{file}: {error}", self.name)))
    }
}

impl Reply {
    /// What the upstream answers when nothing else was asked of it.
    pub fn usual() -> Self {
        let headers =
            [("Content-Type", "application/json"), ("Server", "mock-upstream"), ("X-Up", "1")];
        Self {
            status: 200,
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            body: Some(Payload(br#"{"ok":true}"#.to_vec())),
            ..Self::default()
        }
    }
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
