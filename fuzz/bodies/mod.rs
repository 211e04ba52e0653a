//! What the fuzz targets do with a handful of bytes.
//!
//! They are apart from the targets so that the test suite can run them over the seeds: what was
//! found once is looked at on every run, and the targets go on compiling.

// Each target uses one of them.
#![allow(dead_code, unreachable_pub)]

pub mod loader;
pub mod path;
pub mod router;
pub mod schema;
pub mod wire;

use silverback::lua;
use silverback::lua::schema::LuaSchemas;

/// The schemas of everything that is built in, made once for each thread.
fn with_schemas<R>(run: impl FnOnce(&LuaSchemas) -> R) -> R {
    thread_local! {
        static SCHEMAS: LuaSchemas = {
            let vm = lua::Vm::new(&lua::Options::default()).expect("a VM");
            LuaSchemas::new(vm, &["bundled"])
        };
    }
    SCHEMAS.with(run)
}
