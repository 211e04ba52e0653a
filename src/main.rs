//! The binary: arguments, exit codes, signals; nothing else.

fn main() -> std::process::ExitCode {
    silverback::cli::main()
}
