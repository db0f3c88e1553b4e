//! A grid: every decision list of the space once, in order, the last decision changing fastest. After
//! the last list it begins again. A list that failed is not proposed again. The controller's
//! parameters stay.

use super::oversized::Redrawn;
use super::{
    GradientRequest, LearningSettings, Proposal, ProposalRequest, RewardedMinibatch, Strategy,
};
use crate::policy::{Gradient, PolicyError, UpdateRule};
use crate::space::{Decision, Space, first_list, next_list};
use std::cmp::Ordering;
use std::sync::Arc;

/// Knows how far the log has come.
#[derive(Clone, Default)]
pub(super) struct Grid {
    /// The furthest list of the log, with its depth: another depth begins another grid.
    furthest: Option<(usize, Vec<Decision>)>,
}

/// Where two lists stand to each other in the order of the grid. Up to their first difference they
/// decide the same things.
fn order(a: &[Decision], b: &[Decision]) -> Ordering {
    let single = |pair: (&Decision, &Decision)| match pair {
        (Decision::Choice(a), Decision::Choice(b)) => a.cmp(b),
        (Decision::Skips(a), Decision::Skips(b)) => a.cmp(b),
        _ => Ordering::Equal,
    };
    let different = a.iter().zip(b).map(single).find(|order| order.is_ne());
    different.unwrap_or(Ordering::Equal)
}

impl Grid {
    fn advance(&mut self, layers: usize, list: &[Decision]) {
        let is_further = match &self.furthest {
            Some((depth, furthest)) if *depth == layers => order(list, furthest).is_gt(),
            _ => true,
        };
        if is_further {
            self.furthest = Some((layers, list.to_vec()));
        }
    }
}

/// The list after this one; after the last one, and after none, the first. `repeats` becomes true
/// where the grid begins again.
fn after(
    request: &ProposalRequest,
    list: Option<Vec<Decision>>,
    repeats: &mut bool,
) -> Vec<Decision> {
    let ProposalRequest { space, layers, .. } = *request;
    let Some(mut list) = list else {
        return first_list(space, layers);
    };
    if next_list(space, layers, &mut list) {
        return list;
    }
    *repeats = true;
    first_list(space, layers)
}

impl Strategy for Grid {
    fn reads_history(&self) -> bool {
        true
    }

    fn update_rule(&self, _: &LearningSettings) -> UpdateRule {
        UpdateRule::None
    }

    fn propose(&self, request: &ProposalRequest) -> Result<Vec<Proposal>, PolicyError> {
        let layers = request.layers;
        let mut known = self.clone();
        for pending in request.pending {
            for list in pending.decisions.iter() {
                known.advance(pending.layers, list);
            }
        }
        let mut last = known
            .furthest
            .filter(|(depth, _)| *depth == layers)
            .map(|(_, list)| list);
        let mut repeats = false;
        let mut proposals = Vec::with_capacity(request.keys.len());
        for _ in request.keys {
            let mut redrawn = Redrawn::default();
            let mut list = after(request, last.take(), &mut repeats);
            while redrawn.refuses(request, &list) {
                list = after(request, Some(list), &mut repeats);
            }
            last = Some(list.clone());
            proposals.push(Proposal {
                decisions: list,
                entropy: None,
                repeats,
                redrawn: redrawn.count,
            });
        }
        Ok(proposals)
    }

    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError> {
        Ok(Gradient::zero(request.policy.parameter_count()))
    }

    fn observe(&mut self, _: &dyn Space, minibatch: &RewardedMinibatch) {
        for list in minibatch.decisions {
            self.advance(minibatch.layers, list);
        }
    }

    fn save(&self) -> Vec<u8> {
        super::as_json(&self.furthest).into_bytes()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.furthest = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn copy(&self) -> Arc<dyn Strategy> {
        Arc::new(self.clone())
    }
}
