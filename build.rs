//! Options of the linker, and the Rust types of ONNX's messages.

use std::error::Error;

/// Where the messages are defined.
const ONNX: &str = "src/export/onnx/onnx.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ONNX}");
    // Backtraces need the debug information. Compressed, it takes a third of the space, and the
    // standard library reads it as it is.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
    // protox is a compiler of its own: nobody needs protoc.
    let messages = protox::compile([ONNX], ["src/export/onnx"])?;
    prost_build::Config::new().compile_fds(messages)?;
    Ok(())
}
