//! The child process of a cell, and of the verbs that need a network.

fn main() {}
