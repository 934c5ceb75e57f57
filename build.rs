//! Nothing to do in a normal build.
fn main() {}
