//! Options of the linker, and the Rust types of the messages of ONNX and TensorBoard.

use std::error::Error;

/// Where the messages are defined.
const FOLDERS: [&str; 2] = ["src/export/onnx", "src/export/tensorboard"];
const MESSAGES: [&str; 2] = [
    "src/export/onnx/onnx.proto",
    "src/export/tensorboard/tensorboard.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    for file in MESSAGES {
        println!("cargo::rerun-if-changed={file}");
    }
    // Backtraces need the debug information. Compressed, it takes a third of the space, and the
    // standard library reads it as it is.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
    // protox is a compiler of its own: nobody needs protoc.
    let messages = protox::compile(MESSAGES, FOLDERS)?;
    // Maps with an order: the same run gives the same bytes.
    prost_build::Config::new()
        .btree_map(["."])
        .compile_fds(messages)?;
    Ok(())
}
