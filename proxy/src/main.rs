//! The `colophon` program: parse, build, run, drain.

/// A record's buffers are made on the threads that serve and freed on the one that logs, 20,000 times a second. The
/// system's allocator spends a tenth of the program's time on that; this one also keeps the memory for the next batch.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    colophon::cli::main()
}
