//! A lane's own pool of pinned threads. Must not know what is computed on them.

use super::{LaneSpec, MachineError, ThreadPool};

/// A pool of the lane's own threads, each pinned to one of its cores: lanes never share a pool, so
/// none waits for another.
///
/// # Errors
/// The system refuses the threads.
pub fn thread_pool(lane: &LaneSpec) -> Result<ThreadPool, MachineError> {
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
        .map_err(|source| MachineError::Threads {
            lane: lane.name.clone(),
            source,
        })
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
