//! How the command starts.

use std::process::Command;

#[test]
fn the_command_starts_without_libtorch() {
    // The dynamic loader lists what it would load instead of running the program.
    let output = Command::new(env!("CARGO_BIN_EXE_etalon")).env("LD_TRACE_LOADED_OBJECTS", "1").output().expect("the command starts");
    let loaded = String::from_utf8_lossy(&output.stdout);
    assert!(loaded.contains("libc.so"), "the loader listed nothing: {loaded}");
    assert!(!loaded.contains("torch") && !loaded.contains("libc10"), "{loaded}");
}
