//! How the settings divide the machine's devices into lanes. Must not know what is computed on
//! them.

use super::devices::{available_cores, gpu_index, list_devices};
use super::{DeviceUse, DevicesSettings, MachineError, visible};
use serde::Serialize;

/// One thread of execution that trains one child at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneSpec {
    /// `cpu` or `cuda:0`
    pub device: String,
    /// `cpu-0`: the lane's name in logs and metrics.
    pub name: String,
    /// CPU cores that its threads are pinned to; empty: not pinned.
    pub cores: Vec<usize>,
    pub threads: usize,
}

/// The lanes that these settings mean on this machine.
///
/// # Errors
/// Names the device that this build or this machine does not have, and what would be right.
pub fn resolve_lanes(settings: &DevicesSettings) -> Result<Vec<LaneSpec>, MachineError> {
    let gpus: Vec<_> = list_devices()
        .into_iter()
        .filter(|device| gpu_index(&device.device).is_some())
        .map(|gpu| gpu.device)
        .collect();
    divide(settings, &gpus, &available_cores(), cfg!(feature = "cuda"))
}

/// As `resolve_lanes`, for a user's program, which brings its own CUDA: any build can lend it a
/// GPU, and a GPU that is listed need not be found here.
///
/// # Errors
/// As `resolve_lanes`.
pub fn resolve_lanes_for_programs(
    settings: &DevicesSettings,
) -> Result<Vec<LaneSpec>, MachineError> {
    let inherited = visible::inherited();
    let mut gpus = visible::gpus(inherited.as_deref());
    if let DeviceUse::Listed(names) = &settings.use_ {
        for name in names.iter().filter(|name| gpu_index(name).is_some()) {
            visible::visible(name, inherited.as_deref())?;
            gpus.push(name.clone());
        }
    }
    divide(settings, &gpus, &available_cores(), true)
}

/// `resolve_lanes` for a machine with these GPUs and cores.
fn divide(
    settings: &DevicesSettings,
    gpus: &[String],
    cores: &[usize],
    cuda_build: bool,
) -> Result<Vec<LaneSpec>, MachineError> {
    if let Some((key, problem)) = settings.problems().into_iter().next() {
        return Err(MachineError::Settings { key, problem });
    }
    let used = match &settings.use_ {
        DeviceUse::Auto if gpus.is_empty() => vec!["cpu".to_owned()],
        DeviceUse::Auto => gpus.to_vec(),
        DeviceUse::Listed(names) => names.clone(),
    };
    let mut lanes = Vec::new();
    for device in used {
        if device == "cpu" {
            lanes.extend(cpu_lanes(settings, cores));
        } else if gpus.contains(&device) {
            lanes.extend(gpu_lanes(settings, &device));
        } else {
            return Err(absent(device, gpus, cuda_build));
        }
    }
    Ok(lanes)
}

fn absent(device: String, gpus: &[String], cuda_build: bool) -> MachineError {
    if cuda_build {
        MachineError::Absent {
            device,
            gpus: gpus.to_vec(),
        }
    } else {
        MachineError::CpuBuild(device)
    }
}

/// As many lanes as the cores allow, or as asked; cores are shared in turn where there are more
/// threads than cores.
fn cpu_lanes(settings: &DevicesSettings, cores: &[usize]) -> Vec<LaneSpec> {
    let threads = settings.threads_per_lane;
    let lanes = settings
        .lanes_per_device
        .unwrap_or((cores.len() / threads).max(1));
    let lane = |index: usize| {
        let mut own: Vec<_> = cores
            .iter()
            .copied()
            .cycle()
            .skip(index * threads % cores.len().max(1))
            .take(threads.min(cores.len()))
            .collect();
        own.sort_unstable();
        LaneSpec {
            device: "cpu".into(),
            name: format!("cpu-{index}"),
            cores: own,
            threads,
        }
    };
    (0..lanes).map(lane).collect()
}

fn gpu_lanes(settings: &DevicesSettings, device: &str) -> Vec<LaneSpec> {
    let lane = |index: usize| LaneSpec {
        device: device.into(),
        name: format!("{}-{index}", device.replace(':', "")),
        cores: Vec::new(),
        threads: settings.threads_per_lane,
    };
    (0..settings.lanes_per_device.unwrap_or(1))
        .map(lane)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        use_: DeviceUse,
        lanes_per_device: Option<usize>,
        threads_per_lane: usize,
    ) -> DevicesSettings {
        DevicesSettings {
            use_,
            lanes_per_device,
            threads_per_lane,
        }
    }

    fn listed(names: &[&str]) -> DeviceUse {
        DeviceUse::Listed(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn lanes_share_the_cores_out() {
        let lanes = divide(
            &settings(DeviceUse::Auto, None, 2),
            &[],
            &[0, 1, 4, 5, 6],
            false,
        )
        .unwrap();
        let cores: Vec<_> = lanes.iter().map(|lane| lane.cores.clone()).collect();
        assert_eq!(cores, [vec![0, 1], vec![4, 5]]);
        assert_eq!(lanes[1].name, "cpu-1");
        // More lanes than cores, and more threads than cores: cores are used in turn, none twice in
        // one lane.
        let lanes = divide(
            &settings(listed(&["cpu"]), Some(3), 2),
            &[],
            &[0, 1, 2],
            false,
        )
        .unwrap();
        let cores: Vec<_> = lanes.iter().map(|lane| lane.cores.clone()).collect();
        assert_eq!(cores, [vec![0, 1], vec![0, 2], vec![1, 2]]);
        let lanes = divide(&settings(DeviceUse::Auto, None, 8), &[], &[3], false).unwrap();
        assert_eq!(
            (lanes.len(), lanes[0].cores.as_slice(), lanes[0].threads),
            (1, [3].as_slice(), 8)
        );
        // A system that does not tell its cores: nothing is pinned.
        assert!(
            divide(&settings(DeviceUse::Auto, None, 1), &[], &[], false).unwrap()[0]
                .cores
                .is_empty()
        );
    }

    #[test]
    fn gpus_come_first_where_the_build_has_them() {
        let gpus = ["cuda:0".to_owned(), "cuda:1".to_owned()];
        let names = |use_| -> Vec<String> {
            divide(&settings(use_, None, 1), &gpus, &[0, 1], true)
                .unwrap()
                .into_iter()
                .map(|lane| lane.name)
                .collect()
        };
        assert_eq!(names(DeviceUse::Auto), ["cuda0-0", "cuda1-0"]);
        assert_eq!(
            names(listed(&["cuda:1", "cpu"])),
            ["cuda1-0", "cpu-0", "cpu-1"]
        );
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let error = |names: &[&str], cuda| {
            divide(&settings(listed(names), None, 1), &[], &[0], cuda)
                .unwrap_err()
                .to_string()
        };
        assert!(error(&["cuda:0"], false).contains("make run CUDA=1"));
        assert!(error(&["cuda:3"], true).contains("no cuda:3 here"));
        assert!(error(&["cpu", "cpu"], true).contains("twice"));
        assert!(error(&["gpu"], true).contains("\"gpu\" is no device"));
        assert!(error(&["cuda:01"], true).contains("is no device"));
        assert!(error(&[], true).contains("names no device"));
    }
}
