//! Where `require` finds modules: the user's path, then the files embedded in the binary.
//!
//! Modules of the runtime are the other way round: those that are embedded are part of it, and
//! a checkout of Kong on the path must not replace them one by one. Its plugins do win. So are
//! libraries that call C functions of OpenSSL or nginx elsewhere: those functions are not here.
//!
//! A debug build reads embedded files from the repository, so that Lua is edited without a build.
//!
//! A module that exists nowhere is reported with the `kong-compat` file that would provide it, so
//! the message says what to write, and which plugin asked.

use std::path::Path;

use mlua::{Function, Lua, Table, Value};

use super::Options;

/// Module name, path in the repository, source; ordered by name (written by `build.rs`).
static MODULES: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// Path in the repository and source of an embedded module.
pub fn embedded(module: &str) -> Option<(&'static str, &'static str)> {
    let at = MODULES.binary_search_by_key(&module, |(name, ..)| name).ok()?;
    MODULES.get(at).map(|&(_, path, source)| (path, source))
}

/// The names of the plugins whose schema is embedded: what `bundled` means in Kong's `plugins`.
pub fn bundled_plugins() -> impl Iterator<Item = &'static str> {
    MODULES
        .iter()
        .filter_map(|(name, ..)| name.strip_prefix("kong.plugins.")?.strip_suffix(".schema"))
}

/// What Kong brings and the binary does not: plugins that the user may have on the path.
pub(super) const KONGS: [&str; 21] = [
    "acme",
    "ai-prompt-decorator",
    "ai-prompt-guard",
    "ai-prompt-template",
    "ai-request-transformer",
    "ai-response-transformer",
    "aws-lambda",
    "azure-functions",
    "datadog",
    "grpc-gateway",
    "grpc-web",
    "ldap-auth",
    "loggly",
    "oauth2",
    "session",
    "standard-webhooks",
    "statsd",
    "syslog",
    "tcp-log",
    "udp-log",
    "zipkin",
];

/// Whether a module belongs to the runtime: the user's path cannot replace it.
pub(super) fn is_core(module: &str) -> bool {
    const OF_SPECS: [&str; 4] = ["busted", "luassert", "say", "spec"];
    let first = module.split('.').next().unwrap_or_default();
    let is_ours = first == "kong" && !module.starts_with("kong.plugins.");
    let is_foreign = module.starts_with("resty.openssl") || FOREIGN.contains(&module);
    let is_bound = is_foreign || IN_C.contains(&first) || OF_SPECS.contains(&first);
    (is_ours || is_bound) && embedded(module).is_some()
}

/// Libraries that need a C module, with what is below them: LuaSocket and LuaSec for example.
const IN_C: &[&str] = &["cjson", "mime", "ngx", "socket", "ssl", "zlib"];

/// Libraries whose own files are FFI calls into the server.
const FOREIGN: &[&str] = &[
    "ffi-zlib",
    "kong.plugins.ldap-auth.asn1",
    "resty.aes",
    "resty.evp",
    "resty.hmac",
    "resty.md5",
    "resty.random",
    "resty.sha1",
    "resty.sha224",
    "resty.sha256",
    "resty.sha384",
    "resty.sha512",
    "resty.string",
];

/// Puts the embedded modules around the loader for `package.path`.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let package: Table = lua.globals().get("package")?;
    let loaders: Table = package.get("loaders")?;
    let path: Function = loaders.raw_get(2)?;
    // The slots from 3 on load C modules; see `cpath` in mod.rs.
    for slot in 3..=loaders.raw_len() {
        loaders.raw_set(slot, Value::Nil)?;
    }
    let core = |lua: &Lua, name: String| {
        if is_core(&name) { load(lua, &name) } else { Ok(Value::Nil) }
    };
    loaders.raw_set(2, lua.create_function(core)?)?;
    loaders.raw_set(3, noting(lua, path)?)?;
    loaders.raw_set(4, lua.create_function(|lua, name: String| load(lua, &name))?)
}

/// The loader of files, which notes what it is about to load: a reload asks whether it has changed.
///
/// Lua calls the loader, so that its errors are the plain texts that they are in OpenResty.
fn noting(lua: &Lua, loader: Function) -> mlua::Result<Function> {
    let note = lua.create_function(|lua, name: String| {
        if let (Ok(options), Some(file)) = (Options::of_vm(lua), path_of(lua, &name)) {
            options.files.note(&name, Some(Path::new(&file)));
        }
        Ok(())
    })?;
    let code = "local note, loader = ... return function(name) note(name) return loader(name) end";
    lua.load(code).set_name("=require").call((note, loader))
}

/// The user's file that provides a module.
pub(super) fn path_of(lua: &Lua, module: &str) -> Option<String> {
    let package: Table = lua.globals().get("package").ok()?;
    let path: String = package.get("path").ok()?;
    package.get::<Function>("searchpath").ok()?.call((module, path)).ok()?
}

/// Lets modules that have failed be loaded again: `require` would only say that they have.
pub(super) fn forget_failed(lua: &Lua) {
    let loaded = lua.globals().get::<Table>("package").and_then(|table| table.get("loaded"));
    let Ok(loaded) = loaded else { return };
    let loaded: Table = loaded;
    let failed = |pair: mlua::Result<(Value, Value)>| match pair {
        Ok((name, Value::LightUserData(_))) => Some(name),
        _ => None,
    };
    for name in loaded.pairs::<Value, Value>().filter_map(failed).collect::<Vec<_>>() {
        let _ = loaded.raw_set(name, Value::Nil);
    }
}

/// An error of a module for the operator: one stack, of the frames that say something.
pub(super) fn told(error: &str) -> String {
    const STACK: &str = "\nstack traceback:";
    // The library's own word.
    let mut parts = error.trim_start_matches("runtime error: ").split(STACK);
    let mut told = parts.next().unwrap_or_default().trim_end().to_owned();
    let frames = parts.next().unwrap_or_default().lines();
    let mut frames = frames.filter(|line| !line.is_empty() && !line.contains("[C]:")).peekable();
    if frames.peek().is_some() {
        told.push_str(STACK);
    }
    frames.for_each(|frame| {
        told.push('\n');
        told.push_str(frame);
    });
    told
}

/// A loader function for the module, or the line that `require` adds to its message.
fn load(lua: &Lua, name: &str) -> mlua::Result<Value> {
    if let Some((path, source)) = embedded(name) {
        if let Ok(options) = Options::of_vm(lua) {
            options.files.note(name, None);
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let edited = cfg!(debug_assertions).then(|| std::fs::read_to_string(file).ok()).flatten();
        let chunk = lua.load(edited.as_deref().unwrap_or(source)).set_name(format!("@{path}"));
        return chunk.into_function().map(Value::Function);
    }
    let file = match name.strip_prefix("kong.plugins.") {
        Some(plugin) => format!("plugins/{}.lua", plugin.replace('.', "/")),
        None => format!("kong-compat/{}.lua", name.replace('.', "/")),
    };
    let wanted = wanting(lua).map(|plugin| format!(", which plugin '{plugin}' wants"));
    let wanted = wanted.unwrap_or_default();
    let told = format!("\n\tno embedded file '{file}'{wanted} (what there is: {PAGE})");
    lua.create_string(told).map(Value::String)
}

/// The page of the documentation that lists the modules.
const PAGE: &str = "docs/compatibility.md, functions for Lua plugins";

/// The plugin whose file asks for a module: the innermost one on the stack.
fn wanting(lua: &Lua) -> Option<String> {
    let source = |level| {
        lua.inspect_stack(level, |frame| frame.source().source.map(|name| name.into_owned()))
    };
    (0..64).map_while(source).flatten().find_map(|source| {
        let (_, file) = source.rsplit_once("plugins/")?;
        let (plugin, _) = file.split_once('/')?;
        Some(plugin.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_file_is_its_module_name() {
        assert_eq!(embedded("kong.db.schema").unwrap().0, "kong-compat/kong/db/schema/init.lua");
        assert_eq!(embedded("kong.meta").unwrap().0, "kong-compat/kong/meta.lua");
        assert_eq!(embedded("kong.no_such"), None);
        assert!(bundled_plugins().any(|name| name == "key-auth"));
    }
}
