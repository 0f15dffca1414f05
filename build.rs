//! scratch
fn main() {
    println!("cargo:rustc-link-arg=-Wl,-rpath,/work/main/.libtorch/lib");
}
