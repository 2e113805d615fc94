//! The `supernode` command.
fn main() {}
