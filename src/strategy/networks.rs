//! Which networks were proposed before, so that a strategy proposes none twice. Two decision lists
//! that describe the same network are one. Must not know why a network is proposed.

use super::oversized::Redrawn;
use super::{PendingMinibatch, ProposalRequest, RewardedMinibatch};
use crate::space::{Decision, Network, Space};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// Draws without a new network after which one that was proposed before is proposed again.
pub(super) const MAX_DRAWS: usize = 1_000;

/// Names the network that a finished list describes: equal for two lists if the networks are. What
/// surrounds it (the image, the classes, the language model) is not part of the name. Two of a
/// million networks share a name with a probability below 10⁻⁷; one of them is then not proposed.
pub(super) fn network_name(space: &dyn Space, layers: usize, decisions: &[Decision]) -> u64 {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    let written = match space.build(layers, decisions).map(|built| built.network) {
        Ok(Network::Conv(network)) => serde_json::to_writer(
            &mut hash,
            &(network.learning_rate, &network.layers, &network.output),
        ),
        Ok(Network::Cell(network)) => serde_json::to_writer(&mut hash, &network.cell),
        Ok(Network::Choices(network)) => serde_json::to_writer(&mut hash, &network.values),
        Err(_) => serde_json::to_writer(&mut hash, &(layers, decisions)),
    };
    debug_assert!(written.is_ok(), "a hash takes every byte");
    hash.finish()
}

/// FNV-1a, and a last mixing (`MurmurHash3`'s) of its weak upper bits.
struct Hash(u64);

impl Hash {
    fn finish(&self) -> u64 {
        let mut hash = self.0;
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        hash ^ (hash >> 33)
    }
}

impl std::io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A set of names that may hold millions and is cheap to copy: sorted runs, each more than twice as
/// long as the next, shared between the copies.
#[derive(Clone, Default)]
struct Names {
    runs: Vec<Arc<[u64]>>,
}

impl Names {
    fn contains(&self, name: u64) -> bool {
        self.runs.iter().any(|run| run.binary_search(&name).is_ok())
    }

    fn insert(&mut self, name: u64) {
        if self.contains(name) {
            return;
        }
        let mut last = vec![name];
        while let Some(run) = self.runs.pop() {
            if run.len() > 2 * last.len() {
                self.runs.push(run);
                break;
            }
            last = merged(&run, &last);
        }
        self.runs.push(last.into());
    }

    fn len(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
    }

    fn sorted(&self) -> Vec<u64> {
        let runs = self.runs.iter().rev();
        runs.fold(Vec::new(), |all, run| merged(run, &all))
    }

    fn of_sorted(names: Vec<u64>) -> Self {
        let runs = if names.is_empty() {
            Vec::new()
        } else {
            vec![names.into()]
        };
        Self { runs }
    }
}

/// The two sorted lists as one.
fn merged(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let mut b = b.iter().copied().peekable();
    for &name in a {
        while let Some(smaller) = b.next_if(|other| *other < name) {
            all.push(smaller);
        }
        all.push(name);
    }
    all.extend(b);
    all
}

/// The networks of a log. One whose trial was left out without a reward may be proposed once more:
/// the machine may have been at fault.
#[derive(Clone, Default)]
pub(super) struct ProposedNetworks {
    proposed: Names,
    left_out: Names,
}

/// As it stands in a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedNetworks {
    proposed: Vec<u64>,
    left_out: Vec<u64>,
}

impl ProposedNetworks {
    pub(super) fn observe(&mut self, space: &dyn Space, minibatch: &RewardedMinibatch) {
        for (list, reward) in minibatch.decisions.iter().zip(minibatch.rewards) {
            let name = network_name(space, minibatch.layers, list);
            if reward.is_some() || self.left_out.contains(name) {
                self.proposed.insert(name);
            } else {
                self.left_out.insert(name);
            }
        }
    }

    /// Those that a proposal must not repeat: of the log and of what is pending.
    pub(super) fn with_pending<'a>(
        &'a self,
        space: &dyn Space,
        pending: &[Arc<PendingMinibatch>],
    ) -> KnownNetworks<'a> {
        let pending = pending
            .iter()
            .flat_map(|minibatch| minibatch.networks(space).iter().copied());
        KnownNetworks {
            proposed: &self.proposed,
            pending: pending.collect(),
        }
    }

    pub(super) fn save(&self) -> SavedNetworks {
        SavedNetworks {
            proposed: self.proposed.sorted(),
            left_out: self.left_out.sorted(),
        }
    }

    pub(super) fn restore(saved: SavedNetworks) -> Self {
        Self {
            proposed: Names::of_sorted(saved.proposed),
            left_out: Names::of_sorted(saved.left_out),
        }
    }
}

/// The networks that one request must not propose again; it grows by what the request proposes.
pub(super) struct KnownNetworks<'a> {
    proposed: &'a Names,
    pending: HashSet<u64>,
}

impl KnownNetworks<'_> {
    pub(super) fn contains(&self, name: u64) -> bool {
        self.pending.contains(&name) || self.proposed.contains(name)
    }

    /// Whether the network is new; from now on it is not.
    pub(super) fn insert(&mut self, name: u64) -> bool {
        !self.proposed.contains(name) && self.pending.insert(name)
    }

    /// Whether nothing new can be drawn: as many networks are known as there are lists.
    pub(super) fn is_everything(&self, space: &dyn Space, layers: usize) -> bool {
        let known = self.proposed.len() + self.pending.len();
        (known as f64).log10() > space.log10_size(layers) - 1e-9
    }

    /// The first drawn list with a new network, and false; after [`MAX_DRAWS`] the first list of
    /// all, and true. `draw` hears how many draws came before.
    ///
    /// Lists that are too large are drawn again besides.
    pub(super) fn first_new(
        &mut self,
        request: &ProposalRequest,
        redrawn: &mut Redrawn,
        mut draw: impl FnMut(usize) -> Option<Vec<Decision>>,
    ) -> Option<(Vec<Decision>, bool)> {
        let ProposalRequest { space, layers, .. } = *request;
        let draws = if self.is_everything(space, layers) {
            1
        } else {
            MAX_DRAWS
        };
        let mut first = None;
        for number in 0..draws {
            let Some(mut list) = draw(number) else { break };
            while redrawn.refuses(request, &list) {
                list = draw(number)?;
            }
            if self.insert(network_name(space, layers, &list)) {
                return Some((list, false));
            }
            first.get_or_insert(list);
        }
        first.map(|list| (list, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{
        CellSpace, ConvSpace, ImageShape, LanguageModel, SkipConnections, SpaceKind, SpaceSettings,
    };

    #[test]
    fn names_are_a_set_whatever_the_order() {
        let mut names = Names::default();
        let all: Vec<u64> = (0..1_000).map(|i| i * 7_919 % 1_009).collect();
        for (count, name) in all.iter().enumerate() {
            assert_eq!(names.contains(*name), all[..count].contains(name));
            names.insert(*name);
            names.insert(*name);
        }
        let mut sorted = all;
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names.sorted(), sorted);
        assert!(names.runs.len() < 11, "{}", names.runs.len());
        let again = Names::of_sorted(sorted.clone());
        assert!(sorted.iter().all(|name| again.contains(*name)) && !again.contains(5_000));
    }

    /// Two layers side by side are the same network in either order; and it has the same name in a
    /// space for other images, as `verify` builds one.
    #[test]
    fn the_same_network_has_one_name() {
        let settings = SpaceSettings {
            layers: 2,
            filters: vec![8, 16],
            skip_connections: SkipConnections::Predicted,
            ..SpaceSettings::default()
        };
        let image = |height| ImageShape {
            channels: 3,
            height,
            width: height,
        };
        let space = ConvSpace::new(&settings, image(32), 10);
        let other = ConvSpace::new(&settings, image(8), 2);
        let list = |space: &ConvSpace, filters: [usize; 2], skip: u8| {
            let mut list = Vec::new();
            let mut layer = 0;
            loop {
                list.push(match space.next(2, &list) {
                    crate::space::Next::Done => return list,
                    crate::space::Next::Choose { kind } => {
                        let is_filters = space.kinds()[kind].name == "filters";
                        Decision::Choice(if is_filters { filters[layer] } else { 0 })
                    }
                    crate::space::Next::Anchor { earlier } => {
                        layer += 1;
                        Decision::Skips(vec![skip; earlier])
                    }
                });
            }
        };
        let name =
            |space: &ConvSpace, filters, skip| network_name(space, 2, &list(space, filters, skip));
        assert_eq!(name(&space, [0, 1], 0), name(&space, [1, 0], 0));
        assert_ne!(name(&space, [0, 1], 1), name(&space, [1, 0], 1));
        assert_eq!(name(&space, [0, 1], 1), name(&other, [0, 1], 1));
    }

    #[test]
    fn a_cell_has_one_name_in_every_model() {
        let settings = SpaceSettings {
            kind: SpaceKind::Cell,
            base: 2,
            ..SpaceSettings::default()
        };
        let model = LanguageModel {
            vocabulary: 50,
            hidden: 8,
            layers: 1,
            shared_embeddings: true,
        };
        let cell = CellSpace::new(&settings, None);
        let modelled = CellSpace::new(&settings, Some(model));
        let list = crate::strategy::moves::uniform_list(
            &cell,
            0,
            &mut crate::random::Key::seed(1).stream(crate::random::Purpose::Decisions),
        );
        assert_eq!(
            network_name(&cell, 0, &list),
            network_name(&modelled, 0, &list)
        );
    }

    #[test]
    fn what_was_left_out_may_come_once_more() {
        let space = crate::policy::tests::Branching::new();
        let list = space.lists(2).swap_remove(3);
        let mut networks = ProposedNetworks::default();
        let mut sequence = 0;
        let mut observe = |networks: &mut ProposedNetworks, reward| {
            sequence += 1;
            networks.observe(
                &space,
                &RewardedMinibatch {
                    sequence,
                    layers: 2,
                    decisions: std::slice::from_ref(&list),
                    rewards: &[reward],
                    baseline: None,
                    scale: None,
                },
            );
        };
        let is_new = |networks: &ProposedNetworks| {
            let mut known = networks.with_pending(&space, &[]);
            known.insert(network_name(&space, 2, &list))
        };
        observe(&mut networks, None);
        assert!(is_new(&networks));
        observe(&mut networks, None);
        assert!(!is_new(&networks));
        let saved = postcard::to_stdvec(&networks.save()).unwrap();
        let again = ProposedNetworks::restore(postcard::from_bytes(&saved).unwrap());
        assert!(!is_new(&again));
        let mut rewarded = ProposedNetworks::default();
        observe(&mut rewarded, Some(0.5));
        assert!(!is_new(&rewarded));
    }
}
