//! The `colophon-verify` program.
fn main() {}
