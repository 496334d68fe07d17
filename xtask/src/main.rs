//! Set-up, tests and long runs.
fn main() {}
