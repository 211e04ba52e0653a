//! The binary: arguments, exit codes, signals; nothing else.

/// Small allocations dominate a request; glibc's allocator spends twice as long on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    silverback::cli::main()
}
