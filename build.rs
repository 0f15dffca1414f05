//! Tells the linker where libtorch lies at run time, and the program what it was built from.
//!
//! Sets `ETALON_COMMIT` (short hash, `+dirty` with uncommitted changes, `unknown` outside git), `ETALON_LIBTORCH` (version,
//! empty without the `torch` feature), `ETALON_FFMPEG_INSTALLED` (path, empty without one) and `ETALON_CRATES` (`name version`
//! of every direct dependency, comma-separated).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    // The sources decide whether the tree is dirty; they cause a new compilation anyway.
    for input in ["build.rs", "src", "Cargo.toml", "Cargo.lock"] {
        rerun_if_changed(Path::new(input));
    }
    println!("cargo:rustc-env=ETALON_COMMIT={}", commit().unwrap_or_else(|| "unknown".into()));
    println!("cargo:rustc-env=ETALON_CRATES={}", direct_dependencies());
    println!("cargo:rustc-env=ETALON_FFMPEG_INSTALLED={}", installed_ffmpeg());
    let libtorch = if std::env::var_os("CARGO_FEATURE_TORCH").is_some() { link_libtorch() } else { String::new() };
    println!("cargo:rustc-env=ETALON_LIBTORCH={libtorch}");
}

/// The program that `make setup` links `.ffmpeg` to, wherever the link points; empty without it.
fn installed_ffmpeg() -> String {
    let link = Path::new(".ffmpeg");
    rerun_if_changed(link);
    link.canonicalize().map(|program| program.display().to_string()).unwrap_or_default()
}

/// Stores the libraries' folder in every program, test and benchmark, so that they run from anywhere. Returns the version.
fn link_libtorch() -> String {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // Unset only when cargo runs without this project's .cargo/config.toml.
    let folder = std::env::var_os("LIBTORCH").map_or_else(|| PathBuf::from(".libtorch"), PathBuf::from);
    let Ok(folder) = folder.canonicalize() else {
        println!("cargo:warning=no libtorch at {}: run `make setup`, or set LIBTORCH to a libtorch 2.11.0", folder.display());
        return "unknown".into();
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.join("lib").display());
    // libtorch's C++ binding defines weak symbols that libtorch itself looks up; exported, they would keep the binding alive
    // in `etalon`, which calls none of it, and libtorch (0.2 s, 115 MiB) would be loaded at every start.
    println!("cargo:rustc-link-arg-bin=etalon=-Wl,--exclude-libs,ALL");
    compile_shim(&folder);
    libtorch_version(&folder).unwrap_or_else(|| "unknown".into())
}

/// What tch does not export of libtorch's C++ (src/nn/shim), with the compiler that tch's own binding needs anyway.
#[cfg(feature = "torch")]
fn compile_shim(libtorch: &Path) {
    const SOURCES: [&str; 3] = ["src/nn/shim/watch.cpp", "src/nn/shim/lists.cpp", "src/nn/shim/context.cpp"];
    SOURCES.iter().chain(&["src/nn/shim/attempt.h"]).for_each(|source| rerun_if_changed(Path::new(source)));
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        // A release of libtorch lacks what the checks in its own headers would call on every operator.
        .define("NDEBUG", None)
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .include(libtorch.join("include"))
        .files(SOURCES)
        .compile("etalon_shim");
    compile_graph(libtorch, &abi);
}

/// A library that only a machine with a GPU can open, which the program carries inside; empty without the CUDA headers.
#[cfg(feature = "torch")]
#[expect(clippy::disallowed_methods, reason = "a build script has no `base::fsio`, and cargo runs it again when it was cut off")]
fn compile_graph(libtorch: &Path, abi: &str) {
    const SOURCE: &str = "src/nn/shim/graph.cpp";
    rerun_if_changed(Path::new(SOURCE));
    let library = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("graph.so");
    std::fs::write(&library, []).expect("OUT_DIR can be written");
    // Beside torch in the same folder of packages.
    let cuda = libtorch.parent().map(|packages| packages.join("nvidia/cu13/include")).unwrap_or_default();
    if !cuda.join("crt/host_config.h").exists() || !libtorch.join("include/ATen/cuda/CUDAGraph.h").exists() {
        println!("cargo:warning=no CUDA headers beside libtorch: this build has no CUDA graphs");
        return;
    }
    let compiled = cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .get_compiler()
        .to_command()
        .args(["-shared", "-fPIC", "-O1", "-DNDEBUG"])
        .arg(format!("-D_GLIBCXX_USE_CXX11_ABI={abi}"))
        .arg("-I")
        .arg(libtorch.join("include"))
        .arg("-I")
        .arg(&cuda)
        .arg(SOURCE)
        .arg("-o")
        .arg(&library)
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        let _ = std::fs::write(&library, []);
        println!("cargo:warning={SOURCE} does not compile with these CUDA headers: this build has no CUDA graphs");
    }
}

#[cfg(not(feature = "torch"))]
fn compile_shim(_: &Path) {}

/// From `build-version` of the C++ distribution, or `version.py` of the Python wheel.
fn libtorch_version(folder: &Path) -> Option<String> {
    if let Ok(version) = std::fs::read_to_string(folder.join("build-version")) {
        return Some(version.trim().to_owned());
    }
    let text = std::fs::read_to_string(folder.join("version.py")).ok()?;
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1).map(str::to_owned)
}

fn commit() -> Option<String> {
    // The reference that HEAD names may be packed; a path that does not exist would run this script every time.
    let mut watched = vec!["HEAD".to_owned(), "packed-refs".to_owned()];
    watched.extend(git(&["symbolic-ref", "--quiet", "HEAD"]));
    for name in watched {
        if let Some(path) = git(&["rev-parse", "--git-path", &name]) {
            rerun_if_changed(Path::new(&path));
        }
    }
    let hash = git(&["rev-parse", "--short", "HEAD"])?;
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
    Some(if dirty { format!("{hash}+dirty") } else { hash })
}

/// Trimmed output of a git command; `None` when it fails or says nothing.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn rerun_if_changed(path: &Path) {
    if path.exists() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}

/// The packages that Cargo.lock lists under this one, with their versions.
fn direct_dependencies() -> String {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let field = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    let versions: BTreeMap<String, String> =
        packages.iter().filter_map(|package| Some((field(package, "name")?, field(package, "version")?))).collect();
    let own = packages.iter().find(|package| field(package, "name").as_deref() == Some(env!("CARGO_PKG_NAME")));
    let listed = own.and_then(|package| package.split_once("dependencies = [")).map_or("", |(_, list)| list);
    // An entry has a version of its own where the lock file holds several.
    let named = listed.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
    let described = named.map(|entry| match versions.get(entry) {
        Some(version) => format!("{entry} {version}"),
        None => entry.to_owned(),
    });
    described.collect::<Vec<_>>().join(", ")
}
