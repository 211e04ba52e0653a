//! The limit on a VM's memory (`silverback_lua_vm_memory`), and where it does not hold.
//!
//! While it holds, every value that host code makes is made in a protected call of its own, which
//! costs several times what the value does. So it does not hold in host code that takes values and
//! gives values: what that takes too much is missing for the plugin's own code, which fails.

use mlua::Lua;

use super::Options;

/// Puts the limit back that was there before.
struct Limit<'a>(&'a Lua, usize);

impl<'a> Limit<'a> {
    fn set(lua: &'a Lua, bytes: usize) -> Option<Self> {
        lua.set_memory_limit(bytes).ok().map(|before| Self(lua, before))
    }
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        let _ = self.0.set_memory_limit(self.1);
    }
}

/// No limit until this is dropped.
pub(super) struct Lifted(Lua, usize);

impl Drop for Lifted {
    fn drop(&mut self) {
        let _ = self.0.set_memory_limit(self.1);
    }
}

/// Lifts the limit beyond the host code that does, for the results that are made after it.
pub(super) fn lift(lua: &Lua) -> Lifted {
    let before = lua.set_memory_limit(0).unwrap_or_default();
    Lifted(lua.clone(), before)
}

/// Runs host code without the limit.
pub(super) fn off<T>(lua: &Lua, run: impl FnOnce() -> T) -> T {
    let _before = Limit::set(lua, 0);
    run()
}

/// Runs Lua code that such host code calls.
pub(super) fn on<T>(lua: &Lua, run: impl FnOnce() -> T) -> T {
    let bytes = Options::of_vm(lua).map_or(0, |options| options.memory_limit_bytes);
    let _before = Limit::set(lua, bytes);
    run()
}
