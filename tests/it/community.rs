//! Plugins that others have written for Kong, unmodified, each from its own repository.
//!
//! Nothing of theirs is in this repository. `SILVERBACK_COMMUNITY_PLUGINS` names a folder that
//! holds checkouts, each in a folder `owner+name`; `docs/compatibility.md` lists them. Without it
//! these tests say that they were skipped and prove nothing. So does one whose repository is not
//! there.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream};
use super::lua::with_plugins;

mod access;
mod logging;
mod routing;

const FOLDER: &str = "SILVERBACK_COMMUNITY_PLUGINS";

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A plugin, the folder of its repository that holds it, and the libraries beside it.
struct Plugin {
    name: &'static str,
    /// `owner+name`, and the folder below it.
    place: &'static str,
    /// Folders of libraries: `owner+name`, and the folder that goes on the path, or that is the
    /// module of this name.
    libraries: &'static [(&'static str, &'static str)],
}

impl Plugin {
    /// A gateway's builder with the plugin on its path; `None`, said aloud, if it is not here.
    fn builder(&self) -> Option<Scene> {
        let Some(root) = std::env::var_os(FOLDER).map(PathBuf::from) else {
            return skipped(&format!("{FOLDER} is not set"));
        };
        for place in self.libraries.iter().map(|(place, _)| place).chain([&self.place]) {
            if !root.join(place).is_dir() {
                return skipped(&format!("{place} is not there"));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("kong/plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        symlink(root.join(self.place), plugins.join(self.name)).unwrap();
        let mut path = with_init(folder.path());
        for (library, module) in self.libraries {
            if module.is_empty() {
                path.push(';');
                path.push_str(&with_init(&root.join(library)));
            } else {
                symlink(root.join(library), folder.path().join(module)).unwrap();
            }
        }
        let builder = with_plugins(folder.path(), &format!("bundled,{}", self.name))
            .set("lua_package_path", &path);
        Some(Scene { plugin: self.name, builder, _folder: folder })
    }
}

fn with_init(root: &Path) -> String {
    format!("{0}/?.lua;{0}/?/init.lua", root.display())
}

fn skipped<T>(reason: &str) -> Option<T> {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // `print` would be kept from who looks at a test that passed.
    let mut terminal = std::io::stderr();
    writeln!(terminal, "{test}: skipped, {reason}").unwrap();
    None
}

/// What a case starts from.
struct Scene {
    plugin: &'static str,
    builder: Builder,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// Sets an environment variable for the gateway alone.
    fn env(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.env(name, value);
        self
    }

    /// A gateway with one Route, `~/a(?:/(?<id>[0-9]+))?`, that has the plugin with this
    /// configuration, and what else the file holds.
    async fn start(self, config: &str, more: &str) -> Running {
        self.start_before(OK, config, more).await
    }

    /// As [`start`](Self::start), with an upstream that answers this.
    async fn start_before(self, reply: &'static [u8], config: &str, more: &str) -> Running {
        let upstream = Upstream::replying(reply).await;
        let config = format!(
            "_format_version: '3.0'\nservices:\n- name: s\n  url: http://{}\n  routes:\n  \
             - name: r\n    paths: ['~/a(?:/(?<id>[0-9]+))?']\n    strip_path: false\n    \
             plugins:\n    - name: {}\n      config: {config}\n{more}",
            upstream.address, self.plugin
        );
        let gateway = self.builder.start(&config);
        Running { gateway, upstream, _folder: self._folder }
    }
}

/// A gateway that runs a plugin of somebody else's, and its upstream.
struct Running {
    gateway: TestGateway,
    upstream: Upstream,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Message {
        self.gateway.send("GET", path, headers, b"").await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Message {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        self.gateway.send("POST", path, &all, body.as_bytes()).await
    }

    /// The last request that reached the upstream.
    fn sent(&self) -> Message {
        self.upstream.seen().pop().unwrap_or_default()
    }
}
