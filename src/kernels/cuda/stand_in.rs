//! Tests on a driver that has no GPU behind it: it is loaded in place of NVIDIA's, in a process of
//! its own, and its kernels run in the emulator. Must not know what is tested.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in the process that has the stand-in.
const VARIABLE: &str = "NETWRIGHT_STAND_IN";

/// Runs a test's body where the driver is the stand-in: `test` is the test's path, `environment` what
/// the stand-in is told.
pub fn on_stand_in(test: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(VARIABLE).is_some() {
        return body();
    }
    let Some(folder) = folder() else {
        return;
    };
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("LD_LIBRARY_PATH", folder)
        .env(VARIABLE, "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// Where the stand-in is. Without a C++ compiler there is none: in CI that is a failure.
fn folder() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("src/kernels/cuda/tests/driver.sh"))
        .arg(root.join("target"))
        .output()
        .unwrap();
    if output.status.success() {
        let folder = String::from_utf8(output.stdout).unwrap();
        return Some(PathBuf::from(folder.trim()));
    }
    let problem = String::from_utf8_lossy(&output.stderr).into_owned();
    let compiler = Command::new("c++").arg("--version").output();
    assert!(
        compiler.is_err() && std::env::var("CI").as_deref() != Ok("true"),
        "{problem}"
    );
    None
}
