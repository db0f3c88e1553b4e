//! The binary: parse, call, exit code. Knows nothing but the command line.

fn main() -> std::process::ExitCode {
    netwright::cli::main()
}
