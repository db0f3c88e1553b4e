//! How the settings divide the machine's devices into lanes. Must not know what is computed on
//! them.

use super::devices::{Cores, available_cores, gpu_index};
use super::{DeviceUse, DevicesSettings, MachineError, cuda, visible};
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
    let gpus = match cuda::gpus() {
        Err(reason) => Gpus {
            usable: Vec::new(),
            reasons: Vec::new(),
            none: Some(reason.to_string()),
        },
        Ok(gpus) => {
            let named = (0..).zip(&gpus);
            let named = named.map(|(index, gpu)| (format!("cuda:{index}"), gpu.problem()));
            let (old, usable): (Vec<_>, Vec<_>) = named.partition(|(_, reason)| reason.is_some());
            Gpus {
                usable: usable.into_iter().map(|(name, _)| name).collect(),
                reasons: old
                    .into_iter()
                    .filter_map(|(name, reason)| Some((name, reason?)))
                    .collect(),
                none: None,
            }
        }
    };
    divide(settings, &gpus, &available_cores())
}

/// As `resolve_lanes`, where children are computed by the CPU alone: "auto" means it.
///
/// # Errors
/// As `resolve_lanes`.
pub fn resolve_cpu_lanes(settings: &DevicesSettings) -> Result<Vec<LaneSpec>, MachineError> {
    match settings.use_ {
        DeviceUse::Auto => divide(settings, &Gpus::default(), &available_cores()),
        DeviceUse::Listed(_) => resolve_lanes(settings),
    }
}

/// As `resolve_lanes`, for a user's program, which brings its own CUDA: it can be lent any GPU, and
/// one that is listed need not be found here.
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
    let gpus = Gpus {
        usable: gpus,
        ..Gpus::default()
    };
    divide(settings, &gpus, &available_cores())
}

/// The GPUs of this machine.
#[derive(Clone, Debug, Default)]
struct Gpus {
    usable: Vec<String>,
    /// Those that cannot be used, and why.
    reasons: Vec<(String, String)>,
    /// Why there is none at all.
    none: Option<String>,
}

/// `resolve_lanes` for a machine with these GPUs and cores.
fn divide(
    settings: &DevicesSettings,
    gpus: &Gpus,
    cores: &Cores,
) -> Result<Vec<LaneSpec>, MachineError> {
    if let Some((key, problem)) = settings.problems().into_iter().next() {
        return Err(MachineError::Settings { key, problem });
    }
    let used = match &settings.use_ {
        DeviceUse::Auto if gpus.usable.is_empty() => vec!["cpu".to_owned()],
        DeviceUse::Auto => gpus.usable.clone(),
        DeviceUse::Listed(names) => names.clone(),
    };
    let mut lanes = Vec::new();
    for device in used {
        if device == "cpu" {
            lanes.extend(cpu_lanes(settings, cores));
        } else if gpus.usable.contains(&device) {
            lanes.extend(gpu_lanes(settings, &device));
        } else {
            return Err(absent(device, gpus));
        }
    }
    Ok(lanes)
}

fn absent(device: String, gpus: &Gpus) -> MachineError {
    let own = gpus.reasons.iter().find(|(name, _)| *name == device);
    match own.map(|(_, reason)| reason).or(gpus.none.as_ref()) {
        Some(reason) => MachineError::Unusable {
            device,
            reason: reason.clone(),
        },
        None => MachineError::Absent {
            device,
            gpus: gpus.usable.clone(),
        },
    }
}

/// As many lanes as the cores allow, or as asked; cores are shared in turn where there are more
/// threads than cores. A CPU quota names no cores: there the kernel chooses, because every process
/// of the machine that has one would be pinned to the first ones.
fn cpu_lanes(settings: &DevicesSettings, cores: &Cores) -> Vec<LaneSpec> {
    let threads = settings.threads_per_lane;
    let lanes = settings
        .lanes_per_device
        .unwrap_or((cores.usable / threads).max(1));
    let cores = if cores.usable < cores.ids.len() {
        &[][..]
    } else {
        &cores.ids
    };
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
            ..DevicesSettings::default()
        }
    }

    fn pinned(ids: &[usize]) -> Cores {
        Cores {
            ids: ids.to_vec(),
            usable: ids.len(),
        }
    }

    fn listed(names: &[&str]) -> DeviceUse {
        DeviceUse::Listed(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn lanes_share_the_cores_out() {
        let lanes = divide(
            &settings(DeviceUse::Auto, None, 2),
            &Gpus::default(),
            &pinned(&[0, 1, 4, 5, 6]),
        )
        .unwrap();
        let cores: Vec<_> = lanes.iter().map(|lane| lane.cores.clone()).collect();
        assert_eq!(cores, [vec![0, 1], vec![4, 5]]);
        assert_eq!(lanes[1].name, "cpu-1");
        // More lanes than cores, and more threads than cores: cores are used in turn, none twice in
        // one lane.
        let lanes = divide(
            &settings(listed(&["cpu"]), Some(3), 2),
            &Gpus::default(),
            &pinned(&[0, 1, 2]),
        )
        .unwrap();
        let cores: Vec<_> = lanes.iter().map(|lane| lane.cores.clone()).collect();
        assert_eq!(cores, [vec![0, 1], vec![0, 2], vec![1, 2]]);
        let lanes = divide(
            &settings(DeviceUse::Auto, None, 8),
            &Gpus::default(),
            &pinned(&[3]),
        )
        .unwrap();
        assert_eq!(
            (lanes.len(), lanes[0].cores.as_slice(), lanes[0].threads),
            (1, [3].as_slice(), 8)
        );
        // A quota of two cores' worth of time names none of the eight.
        let quota = Cores {
            ids: (0..8).collect(),
            usable: 2,
        };
        let lanes = divide(
            &settings(DeviceUse::Auto, None, 1),
            &Gpus::default(),
            &quota,
        )
        .unwrap();
        assert!(lanes.len() == 2 && lanes.iter().all(|lane| lane.cores.is_empty()));
        // A system that does not tell its cores: nothing is pinned.
        assert!(
            divide(
                &settings(DeviceUse::Auto, None, 1),
                &Gpus::default(),
                &pinned(&[])
            )
            .unwrap()[0]
                .cores
                .is_empty()
        );
    }

    fn gpus(usable: &[&str], reasons: &[(&str, &str)], none: Option<&str>) -> Gpus {
        let owned = |(name, reason): &(&str, &str)| ((*name).to_owned(), (*reason).to_owned());
        Gpus {
            usable: usable.iter().map(|name| (*name).to_owned()).collect(),
            reasons: reasons.iter().map(owned).collect(),
            none: none.map(str::to_owned),
        }
    }

    #[test]
    fn gpus_come_first_where_there_are_some() {
        let two = gpus(&["cuda:0", "cuda:1"], &[("cuda:2", "too old")], None);
        let names = |use_| -> Vec<String> {
            divide(&settings(use_, None, 1), &two, &pinned(&[0, 1]))
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
        let error = |names: &[&str], gpus: &Gpus| {
            divide(&settings(listed(names), None, 1), gpus, &pinned(&[0]))
                .unwrap_err()
                .to_string()
        };
        let none = gpus(&[], &[], Some("no driver"));
        let one = gpus(&["cuda:0"], &[("cuda:1", "it is too old")], None);
        assert!(error(&["cuda:0"], &none).contains("cuda:0 cannot be used: no driver"));
        assert!(error(&["cuda:1"], &one).contains("cuda:1 cannot be used: it is too old"));
        assert!(error(&["cuda:3"], &one).contains("no cuda:3 here"));
        assert!(error(&["cpu", "cpu"], &one).contains("twice"));
        assert!(error(&["gpu"], &one).contains("\"gpu\" is no device"));
        assert!(error(&["cuda:01"], &one).contains("is no device"));
        assert!(error(&[], &one).contains("names no device"));
    }
}
