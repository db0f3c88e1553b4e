//! Architectures that no list of decisions described: whether one is a network at all, and a
//! convolutional one a network for these images. Must not know where it was written.

use super::settings::{MAX_FILTER_SIZE, MAX_FILTERS, MAX_LAYERS, MAX_STRIDE};
use super::{
    AdoptError, Architecture, Cell, CellNetwork, ConvLayer, ConvNetwork, Convolution, ImageShape,
    LayerError, Network, Operation, Pool, TreeCell, TreeError,
};

/// The refusal of a network of another kind than this.
pub(super) fn other_kind(given: &Network, searched: &'static str) -> AdoptError {
    AdoptError::Kind {
        given: given.kind(),
        searched,
    }
}

impl Architecture {
    /// The same in canonical order, if it is a network at all: of a language model around a cell,
    /// and of named decisions, nothing is checked.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn checked(self) -> Result<Self, AdoptError> {
        let network = match self.network {
            Network::Conv(given) => {
                let (image, classes) = (given.image, given.classes);
                Network::Conv(conv(given, image, classes)?)
            }
            Network::Cell(given) => Network::Cell(CellNetwork {
                cell: cell(given.cell)?,
                ..given
            }),
            choices @ Network::Choices(_) => choices,
        };
        Ok(Self { network, ..self })
    }
}

/// The cell in canonical order.
///
/// # Errors
/// It is no tree.
pub(super) fn cell(given: Cell) -> Result<Cell, TreeError> {
    Ok(match given {
        Cell::Tree(TreeCell {
            nodes,
            inject,
            cell_index,
            inject_index,
        }) => Cell::Tree(TreeCell::new(nodes, inject, cell_index, inject_index)?),
        reference @ Cell::Reference { .. } => reference,
    })
}

/// The network in canonical order. Any layers that can be trained will do, whether or not the space
/// could describe them.
///
/// # Errors
/// What is wrong, and what would be right.
pub(super) fn conv(
    given: ConvNetwork,
    image: ImageShape,
    classes: usize,
) -> Result<ConvNetwork, AdoptError> {
    if given.image != image {
        return Err(AdoptError::Image {
            given: given.image,
            searched: image,
        });
    }
    if given.classes != classes {
        return Err(AdoptError::Classes {
            given: given.classes,
            searched: classes,
        });
    }
    if !(1..=MAX_LAYERS).contains(&given.layers.len()) {
        return Err(AdoptError::Depth {
            given: given.layers.len(),
        });
    }
    for (number, layer) in (1..).zip(&given.layers) {
        check(number, layer).map_err(|problem| AdoptError::Layer { number, problem })?;
    }
    let taken = |layer: &usize| {
        given
            .layers
            .iter()
            .any(|other| other.inputs.contains(layer))
    };
    let loose: Vec<usize> = (1..=given.layers.len())
        .filter(|layer| !taken(layer))
        .collect();
    let mut output = given.output;
    output.sort_unstable();
    if output != loose {
        return Err(AdoptError::Output {
            given: output,
            loose,
        });
    }
    if given
        .learning_rate
        .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
    {
        return Err(AdoptError::LearningRate);
    }
    Ok(ConvNetwork {
        learning_rate: given.learning_rate,
        ..ConvNetwork::new(image, classes, given.layers)
    })
}

/// Layer `number`, from 1, by itself.
fn check(number: usize, layer: &ConvLayer) -> Result<(), LayerError> {
    let earlier = layer.inputs.iter().all(|&input| input < number);
    let different = layer
        .inputs
        .iter()
        .enumerate()
        .all(|(index, input)| !layer.inputs[..index].contains(input));
    if !earlier || !different {
        return Err(LayerError::Inputs(layer.inputs.clone()));
    }
    let odd = |name: &'static str, size: usize, min: usize| {
        if (min..=MAX_FILTER_SIZE).contains(&size) && size % 2 == 1 {
            Ok(())
        } else {
            Err(LayerError::Window { name, size, min })
        }
    };
    let within = |name: &'static str, size: usize, min: usize, max: usize| {
        if (min..=max).contains(&size) {
            Ok(())
        } else {
            Err(LayerError::Range {
                name,
                size,
                min,
                max,
            })
        }
    };
    match layer.operation {
        Operation::Convolution(conv) | Operation::PlainConvolution(conv) => {
            let Convolution {
                filter_height,
                filter_width,
                filters,
                stride_height,
                stride_width,
            } = conv;
            odd("filter_height", filter_height, 1)?;
            odd("filter_width", filter_width, 1)?;
            within("filters", filters, 1, MAX_FILTERS)?;
            within("stride_height", stride_height, 1, MAX_STRIDE)?;
            within("stride_width", stride_width, 1, MAX_STRIDE)
        }
        Operation::MaxPool(Pool { size, stride })
        | Operation::AveragePool(Pool { size, stride }) => {
            // A window of one pixel leaves out those between the strides: a ResNet's shortcut.
            let smallest = if stride > 1 { 1 } else { 2 };
            within("size", size, smallest, MAX_FILTER_SIZE)?;
            within("stride", stride, 1, MAX_STRIDE)
        }
        Operation::LocalContrast { window } => odd("window", window, 3),
        Operation::Add if layer.inputs.len() < 2 => Err(LayerError::Addends(layer.inputs.clone())),
        Operation::BatchNorm | Operation::Relu | Operation::Add => Ok(()),
    }
}
