# The tasks of this repository. `just` alone lists them.

_default:
    @just --list

# Format, lints and tests: what must pass before a commit
check: && test
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# OpenAI's SDKs for Python and Node and Microsoft's azure-identity, which some tests use
setup:
    tests/sdk/setup

# All tests, or those with this in their name
test *filter:
    cargo test --locked {{filter}}

# The recordings of a real Kong, or those whose names begin so
golden prefix="":
    GOLDEN={{prefix}} cargo test --locked --test it golden -- --nocapture

# Licences, advisories, sources and duplicate crates (needs cargo-deny)
deny:
    cargo deny --locked check

# Compare with nginx on this machine (needs nginx and wrk)
bench *options:
    cargo build --locked --release
    bench/compare.py {{options}}

# Instructions for a request, against bench/budget.json (needs valgrind)
budget *options="--check":
    cargo build --locked --profile budget
    bench/instructions.py {{options}}
