//! What a network takes to tensor cores: how its convolutions are cut, and where each weight is packed
//! for them. Must not know the order of launches.

use super::layout::{Address, Part, Precision, Tiling};
use super::plan::Plan;
use super::tiles::{self, Cut, Packing, Picture};
use crate::kernels::convnet::LayerPlan;

/// A convolution, or the gradient of a layer's output, on tensor cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fast {
    pub cut: Cut,
    /// Where its weights begin among the packed ones, and how many each tile of filters has.
    pub first: usize,
    pub weight_tile: usize,
    pub moments: Address,
}

/// A weight gradient on tensor cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct FastWeights {
    pub tiling: Tiling,
    pub groups_at: Address,
    pub groups: usize,
    pub splits: usize,
    pub shared_bytes: usize,
    /// Packed numbers of a tile of filters, and of all.
    pub tile: usize,
    pub size: usize,
    /// For each packed number its parameter.
    pub parameter: Address,
}

/// Where each parameter goes among the packed weights: of forward passes, and of gradients; -1: it
/// does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub forward: Vec<i32>,
    pub backward: Vec<i32>,
    /// Of packed weights.
    pub count: usize,
}

impl Plan {
    pub(super) fn is_fast(&self) -> bool {
        self.job.precision == Precision::Bf16
    }

    pub(super) fn picture(&self, state: usize) -> Picture {
        let state = &self.states[state];
        Picture {
            images: self.job.batch,
            height: state.height,
            width: state.width,
            tiles: state.tiles,
            columns: state.columns,
        }
    }

    /// The cut of what gives a state from these parts, and room for its weights.
    pub(super) fn fast(&mut self, parts: &mut [Part], state: usize) -> Option<Fast> {
        let picture = self.picture(state);
        let cut = tiles::cut(parts, picture)?;
        let weight_tile = tiles::tile_numbers(parts, cut.columns);
        let first = self.packing.count;
        let count = weight_tile.checked_mul(picture.tiles)?;
        // Places are counted in 32 bits.
        let end = first.checked_add(count)?;
        i32::try_from(end).ok()?;
        self.packing.count = end;
        let moments = tiles::tiles(&cut.tiling) * self.states[state].padded * 2;
        Some(Fast {
            cut,
            first,
            weight_tile,
            moments: self.arena.room::<f32>(moments),
        })
    }

    /// Says where each weight of a layer is packed for its forward pass.
    pub(super) fn place_forward(&mut self, layer: &LayerPlan, parts: &[Part], fast: Fast) {
        let g = layer.geometry;
        let taps = g.filter_height * g.filter_width;
        for (at, part) in layer.parts.iter().enumerate() {
            let packing = Packing::new(parts, at, fast.cut.columns);
            let real = self.states[part.source].real.iter().enumerate();
            for (slot, real) in real.filter(|(_, real)| **real >= 0) {
                let channel = part.first + *real as usize;
                for out in 0..g.filters {
                    let first = layer.weight + (out * g.channels + channel) * taps;
                    for tap in 0..taps {
                        let place = fast.first + packing.position(out, slot, tap);
                        self.packing.forward[first + tap] = place as i32;
                    }
                }
            }
        }
    }

    /// Says where each weight of a reader of a state is packed for the state's gradient, which sees
    /// filters turned round.
    pub(super) fn place_backward(
        &mut self,
        state: usize,
        reader: usize,
        first: usize,
        packing: Packing,
    ) {
        let layer = &self.sizes.layers[reader];
        let Some(part) = layer.parts.iter().find(|part| part.source == state) else {
            return;
        };
        let g = layer.geometry;
        let taps = g.filter_height * g.filter_width;
        let real = self.states[state].real.iter().enumerate();
        for (slot, real) in real.filter(|(_, real)| **real >= 0) {
            let channel = part.first + *real as usize;
            for out in 0..g.filters {
                let weight = layer.weight + (out * g.channels + channel) * taps;
                for tap in 0..taps {
                    let place = first + packing.position(slot, out, taps - 1 - tap);
                    self.packing.backward[weight + tap] = place as i32;
                }
            }
        }
    }

    /// The gradient of a layer's weights on tensor cores; how many partial sums it needs.
    pub(super) fn plan_weights(&mut self, index: usize) -> Option<usize> {
        let forward = self.layers[index].forward?;
        if !self.states[index + 1].live {
            return None;
        }
        let picture = self.picture(index + 1);
        let gradient = self.gradient_of(index + 1);
        let cut = tiles::cut_weights(&self.layers[index].parts, &gradient, picture)?;
        let size = forward.weight_tile * picture.tiles;
        let mut parameter = vec![-1; size];
        let layer = &self.sizes.layers[index];
        let weights = layer.geometry.taps() * layer.geometry.filters;
        for weight in layer.weight..layer.weight + weights {
            let place = self.packing.forward[weight] as usize - forward.first;
            parameter[place] = weight as i32;
        }
        self.layers[index].weights = Some(FastWeights {
            tiling: cut.tiling,
            groups_at: self.arena.constant(&cut.groups),
            groups: cut.groups.len(),
            splits: cut.splits,
            shared_bytes: cut.shared_bytes,
            tile: forward.weight_tile,
            size,
            parameter: self.arena.constant(&parameter),
        });
        Some(size * cut.splits)
    }
}
