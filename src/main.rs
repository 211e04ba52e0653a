//! The binary: arguments, exit codes, signals; nothing else.
fn main() {}
