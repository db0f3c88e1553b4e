//! What a lane computes with: its candle device and its own pool of pinned threads. Must not know what
//! is computed on them.

use super::LaneSpec;
use candle_core::Device;

/// The candle device of a lane.
///
/// # Errors
/// When the GPU cannot be had, in one sentence.
pub fn candle_device(lane: &LaneSpec) -> Result<Device, String> {
    match lane.device.strip_prefix("cuda:").map(str::parse) {
        None => Ok(Device::Cpu),
        Some(Ok(index)) => {
            Device::new_cuda(index).map_err(|error| format!("{}: {error}", lane.device))
        }
        Some(Err(_)) => Err(format!("{} is no device", lane.device)),
    }
}

/// A pool of the lane's own threads, each pinned to one of its cores: lanes never share a pool, so
/// none waits for another.
///
/// # Errors
/// When the system refuses the threads.
pub fn thread_pool(lane: &LaneSpec) -> Result<rayon::ThreadPool, String> {
    let name = lane.name.clone();
    let cores = lane.cores.clone();
    rayon::ThreadPoolBuilder::new()
        .num_threads(lane.threads)
        .thread_name(move |index| format!("lane-{name}-{index}"))
        .start_handler(move |index| {
            if !cores.is_empty() {
                core_affinity::set_for_current(core_affinity::CoreId {
                    id: cores[index % cores.len()],
                });
            }
        })
        .build()
        .map_err(|error| format!("no threads for lane {}: {error}", lane.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_of_a_lane_stays_on_its_own_core() {
        let cores: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect();
        if cores.is_empty() {
            return; // A system that does not tell its cores: nothing is pinned there.
        }
        let threads = cores.len().min(2);
        let lane = LaneSpec {
            device: "cpu".into(),
            name: "test".into(),
            cores: cores[..threads].to_vec(),
            threads,
        };
        let pool = thread_pool(&lane).unwrap();
        let seen = pool.broadcast(|_| {
            core_affinity::get_core_ids()
                .unwrap_or_default()
                .into_iter()
                .map(|core| core.id)
                .collect::<Vec<_>>()
        });
        let expected: Vec<Vec<usize>> = lane.cores.iter().map(|&core| vec![core]).collect();
        assert_eq!(seen, expected);
    }
}
