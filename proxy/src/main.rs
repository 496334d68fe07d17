//! The `colophon` program: parse, build, run, drain.

fn main() -> std::process::ExitCode {
    colophon::cli::main()
}
