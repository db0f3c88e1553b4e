//! The kernels as code for GPUs, compiled beforehand by build.sh and committed compressed. Must not
//! know what they compute.

use flate2::read::GzDecoder;
use std::io::Read;

/// What GPUs need at least; also the first code below.
pub const LEAST_CAPABILITY: (i32, i32) = (8, 0);

/// Code for this compute capability, and for those of the same first number after it.
const BINARIES: [((i32, i32), &[u8]); 2] = [
    ((9, 0), include_bytes!("code/engine.sm_90.cubin.gz")),
    ((8, 0), include_bytes!("code/engine.sm_80.cubin.gz")),
];

/// For what came later: the driver compiles it.
const PTX: &[u8] = include_bytes!("code/engine.compute_90.ptx.gz");

/// An image that the driver loads, 0 behind it.
///
/// # Errors
/// There is none for such a GPU.
pub fn code(capability: (i32, i32)) -> Result<Vec<u8>, String> {
    if capability < LEAST_CAPABILITY {
        return Err(format!(
            "compute capability {}.{}; netwright's kernels need {}.{} or later",
            capability.0, capability.1, LEAST_CAPABILITY.0, LEAST_CAPABILITY.1
        ));
    }
    let fitting = BINARIES
        .iter()
        .find(|(least, _)| capability.0 == least.0 && capability.1 >= least.1);
    let packed = fitting.map_or(PTX, |(_, code)| code);
    let mut code = Vec::new();
    GzDecoder::new(packed)
        .read_to_end(&mut code)
        .map_err(|error| format!("its kernels cannot be unpacked: {error}"))?;
    code.push(0);
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::path::Path;

    #[test]
    fn every_gpu_from_the_least_on_has_code() {
        let is_binary = |capability| code(capability).unwrap().starts_with(b"\x7fELF");
        for capability in [(8, 0), (8, 6), (8, 9), (9, 0)] {
            assert!(is_binary(capability), "{capability:?}");
        }
        let ptx = String::from_utf8(code((12, 0)).unwrap()).unwrap();
        assert!(ptx.contains(".target sm_90") && ptx.ends_with('\0'));
        let error = code((7, 5)).unwrap_err();
        assert!(error.contains("7.5") && error.contains("8.0"), "{error}");
    }

    /// `make kernels` writes both.
    #[test]
    fn the_code_is_that_of_these_sources() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels/cuda");
        let mut headers: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".h") || name.ends_with(".cuh") || name == "build.sh")
            .filter(|name| name != "emulate.h")
            .collect();
        headers.sort();
        let mut hash = Sha256::new();
        for name in headers {
            hash.update(std::fs::read(folder.join(name)).unwrap());
        }
        let digest: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let committed = std::fs::read_to_string(folder.join("code/sources.sha256")).unwrap();
        assert_eq!(
            committed.trim(),
            digest,
            "the kernels have changed: make kernels ARGUMENTS=--update compiles them again"
        );
    }
}
