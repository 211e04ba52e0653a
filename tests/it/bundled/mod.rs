//! Kong's own bundled plugins, run from a checkout of Kong as the Lua that they are.
//!
//! Nothing of Kong's is in this repository. `SILVERBACK_KONG_CHECKOUT` names a checkout, and
//! `SILVERBACK_LUA_LIBRARIES` the folders of Lua libraries that some plugins need, with `:` between
//! them. Without the first, these tests say that they were skipped and prove nothing.
//!
//! A case runs in each [`Way`] that a user may have the plugins on the path. `Way::scene` starts a
//! gateway and an upstream, and makes sure that the handlers are those of the checkout: a native
//! plugin of the same name would pass many a case too.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::gateway::{Builder, TestGateway};
use super::http::{Message, Upstream};
use super::lua::{install, with_plugins};

mod ai;
mod auth;
mod basics;
mod directory;
mod guards;
mod hard;
mod libraries;
mod loggers;
mod stateful;
mod tokens;
mod traces;

const CHECKOUT: &str = "SILVERBACK_KONG_CHECKOUT";
const LIBRARIES: &str = "SILVERBACK_LUA_LIBRARIES";

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Tells where each handler comes from that the gateway has loaded.
const WITNESS: &str = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }
function P:access()
  local found = {}
  for name, module in pairs(package.loaded) do
    local plugin = name:match('^kong%.plugins%.(.+)%.handler$')
    for _, method in pairs(plugin and type(module) == 'table' and module or {}) do
      if type(method) == 'function' then
        found[plugin] = debug.getinfo(method, 'S').source
      end
    end
  end
  kong.response.exit(200, found)
end
return P
";

const WITNESS_ROUTE: &str = "
routes:
- name: witness
  paths: [/witness]
  plugins:
  - name: witness
";

/// How a user has Kong's plugins on the path.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// The whole checkout, so that every module of Kong's is there.
    Checkout,
    /// A folder with nothing but the plugins.
    Folder,
}

impl Way {
    /// Both ways; none, said aloud, if there is no checkout.
    pub fn all() -> Vec<Self> {
        Self::given(&[CHECKOUT])
    }

    /// As `all`, for a case that needs libraries of third parties as well.
    pub fn with_libraries() -> Vec<Self> {
        Self::given(&[CHECKOUT, LIBRARIES])
    }

    fn given(names: &[&str]) -> Vec<Self> {
        let Some(missing) = names.iter().find(|name| std::env::var_os(name).is_none()) else {
            return vec![Self::Checkout, Self::Folder];
        };
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        // `print` would be kept from who looks at a test that passed.
        let mut terminal = std::io::stderr();
        writeln!(terminal, "{test}: skipped, {missing} is not set").unwrap();
        Vec::new()
    }

    /// A scene with these plugins of Kong's.
    pub fn scene(self, plugins: &[&str]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        install(folder.path(), "witness", WITNESS);
        let checkout = PathBuf::from(std::env::var_os(CHECKOUT).unwrap());
        let mut roots = vec![folder.path().to_owned()];
        match self {
            Self::Checkout => roots.push(checkout.clone()),
            Self::Folder => {
                for plugin in plugins {
                    let plugin = Path::new("kong/plugins").join(plugin);
                    symlink(checkout.join(&plugin), folder.path().join(&plugin)).unwrap();
                }
            }
        }
        let libraries = std::env::var_os(LIBRARIES).unwrap_or_default();
        roots.extend(std::env::split_paths(&libraries));
        let path = roots.iter().map(|root| format!("{0}/?.lua;{0}/?/init.lua", root.display()));
        let builder = with_plugins(folder.path(), "bundled,witness")
            .set("lua_package_path", &path.collect::<Vec<_>>().join(";"));
        Scene {
            folder,
            builder,
            plugins: plugins.iter().map(|&name| name.to_owned()).collect(),
            reply: OK,
        }
    }
}

/// What a case starts from.
pub struct Scene {
    folder: tempfile::TempDir,
    builder: Builder,
    plugins: Vec<String>,
    reply: &'static [u8],
}

#[allow(dead_code)] // each group of cases uses some of it
impl Scene {
    /// Sets a property of `kong.conf`.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.set(name, value);
        self
    }

    /// What the upstream answers, in place of a plain 200.
    pub fn reply(mut self, reply: &'static [u8]) -> Self {
        self.reply = reply;
        self
    }

    /// Adds a Lua plugin of the test's own; `plugins` has to name it too.
    pub fn plugin(self, name: &str, handler: &str) -> Self {
        install(self.folder.path(), name, handler);
        self
    }

    /// Starts the gateway with a configuration in which `{upstream}` is the upstream's address.
    /// It begins with a collection and has Routes below Services only.
    pub async fn start(self, config: &str) -> Running {
        let upstream = Upstream::replying(self.reply).await;
        let config = config.replace("{upstream}", &upstream.address.to_string());
        let config = format!("_format_version: '3.0'\n{config}\n{WITNESS_ROUTE}");
        let gateway = self.builder.start(&config);
        let sources = gateway.get("/witness").await;
        for plugin in &self.plugins {
            let source = sources.json()[plugin].as_str().unwrap_or_default().to_owned();
            let file = Path::new(source.trim_start_matches('@'));
            let ours = std::env::current_dir().unwrap();
            assert!(file.is_absolute() && !file.starts_with(ours), "{plugin} is {source:?}");
        }
        Running { gateway, upstream, _folder: self.folder }
    }
}

/// A gateway that runs plugins of Kong's, and its upstream.
pub struct Running {
    pub gateway: TestGateway,
    pub upstream: Upstream,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Sends a GET with these headers.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Message {
        self.gateway.send("GET", path, headers, b"").await
    }

    /// The last request that reached the upstream.
    pub fn sent(&self) -> Message {
        self.upstream.seen().pop().unwrap_or_default()
    }
}
