//! Tests of strategies and of the replay, on the small space of the policy's tests.

mod bandit;
mod replay;
