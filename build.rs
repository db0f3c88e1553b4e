//! Options of the linker. Must not generate code.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Backtraces need the debug information. Compressed, it takes a third of the space, and the
    // standard library reads it as it is.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
}
