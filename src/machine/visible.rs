//! Which GPUs a user's program may see: `CUDA_VISIBLE_DEVICES` for each lane. The program brings
//! its own CUDA, so none of ours is needed. Must not know the program.

use super::MachineError;
use std::ffi::OsStr;

pub(super) const VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// The user's own restriction, which ours must stay within; None: none.
pub fn inherited() -> Option<String> {
    std::env::var_os(VARIABLE).map(|list| list.to_string_lossy().into_owned())
}

/// The GPUs that programs find here, as `cuda:0`, …: those that the driver shows as device files,
/// and the user has not hidden.
pub(super) fn gpus(inherited: Option<&str>) -> Vec<String> {
    let files = std::fs::read_dir("/dev").map_or(0, |entries| {
        entries
            .flatten()
            .filter(|entry| is_gpu(&entry.file_name()))
            .count()
    });
    let count = inherited.map_or(files, |list| entries(list).len().min(files));
    (0..count).map(|index| format!("cuda:{index}")).collect()
}

/// `nvidia0`, but not `nvidiactl`.
fn is_gpu(file: &OsStr) -> bool {
    let digits = file
        .to_str()
        .and_then(|name| name.strip_prefix("nvidia"))
        .unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What CUDA reads of the list: everything before the first entry that is none.
fn entries(list: &str) -> Vec<&str> {
    list.split(',')
        .map(str::trim)
        .take_while(|entry| !entry.is_empty() && !entry.starts_with('-'))
        .collect()
}

/// `CUDA_VISIBLE_DEVICES` of a program on this device: the one GPU of the lane, as whoever started
/// this process numbers it; on the CPU none.
///
/// # Errors
/// When the user's restriction has no such GPU.
pub fn visible(device: &str, inherited: Option<&str>) -> Result<String, MachineError> {
    let Some(index) = super::devices::gpu_index(device) else {
        return Ok(String::new());
    };
    let Some(list) = inherited else {
        return Ok(index.to_string());
    };
    let shown = entries(list);
    shown
        .get(index)
        .map(|entry| (*entry).to_owned())
        .ok_or_else(|| MachineError::Hidden {
            device: device.to_owned(),
            list: list.to_owned(),
            shown: shown.len(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_shows_its_own_gpu_as_the_user_numbers_it() {
        assert_eq!(visible("cuda:1", None).unwrap(), "1");
        assert_eq!(visible("cuda:1", Some("2, 5")).unwrap(), "5");
        assert_eq!(
            visible("cuda:0", Some("GPU-8932f937,GPU-1")).unwrap(),
            "GPU-8932f937"
        );
        assert_eq!(visible("cpu", Some("2,5")).unwrap(), "");
        assert_eq!(visible("cpu", None).unwrap(), "");
    }

    #[test]
    fn a_gpu_that_the_user_has_hidden_is_refused() {
        for (list, shown) in [("2,5", 2), ("", 0), ("-1", 0), ("0,-1,1", 1)] {
            let error = visible("cuda:2", Some(list)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("CUDA_VISIBLE_DEVICES={list} shows {shown} GPUs")),
                "{error}"
            );
        }
        assert_eq!(gpus(Some("")), Vec::<String>::new());
    }

    #[test]
    fn device_files_are_told_from_the_drivers_other_ones() {
        let files = [
            "nvidia0",
            "nvidia12",
            "nvidiactl",
            "nvidia-uvm",
            "nvidia",
            "null",
        ]
        .map(|name| is_gpu(OsStr::new(name)));
        assert_eq!(files, [true, true, false, false, false, false]);
    }
}
