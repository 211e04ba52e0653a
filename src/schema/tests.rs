//! Tests of the engine without Lua.
