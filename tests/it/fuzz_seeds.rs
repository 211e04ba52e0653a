//! The seeds of the fuzz targets, and with them whatever was found once: `fuzz/README.md`.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;

/// Runs a target over its seeds.
fn run(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{}", folder.display());
    for seed in seeds {
        let bytes = fs::read(&seed).unwrap();
        let ran = std::panic::catch_unwind(|| body(&bytes));
        assert!(ran.is_ok(), "{}", seed.display());
    }
}

#[test]
fn seeds_of_the_loader() {
    run("loader", bodies::loader::run);
}

#[test]
fn seeds_of_the_schema_engine() {
    run("schema", bodies::schema::run);
}

#[test]
fn seeds_of_the_router() {
    run("router", bodies::router::run);
}

#[test]
fn seeds_of_paths() {
    run("path", bodies::path::run);
}

#[test]
fn seeds_of_the_wire() {
    run("wire", bodies::wire::run);
}
