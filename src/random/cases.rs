//! The cases that property tests draw. Must not know what is tested.

use proptest::test_runner::{Config, RngSeed};

/// The seed of the cases in `make test`: the same on every machine and in every run.
const SEED: u64 = 2017;
/// How many times more cases `make fuzz` draws.
const FUZZ: u32 = 20;

/// For `#![proptest_config(cases(n))]`: `n` cases that are the same in every run. With
/// `NETWRIGHT_FUZZ=SEED` (`make fuzz`) they are drawn anew, from that seed, and are many more. A
/// case that fails there becomes a test with fixed numbers: no file remembers it.
pub fn cases(n: u32) -> Config {
    let fuzz = std::env::var("NETWRIGHT_FUZZ").ok();
    let (seed, cases) = match fuzz {
        None => (SEED, n),
        Some(seed) => {
            let seed = seed.parse().expect("NETWRIGHT_FUZZ is a whole number");
            eprintln!("property tests: NETWRIGHT_FUZZ={seed}");
            (seed, FUZZ * n)
        }
    };
    Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_global_rejects: 20 * cases.max(50),
        ..Config::default()
    }
}
