//! What spaces must do: the paper's rules, exact sizes, and equality that means "the same network".

mod cells;
mod conditions;
mod equality;
mod given;
mod layers;
mod named;
mod spaces;

use super::*;

const IMAGE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};

fn conv(settings: &SpaceSettings) -> Box<dyn Space> {
    settings.build(IMAGE, 10)
}

fn layer(
    filter: (usize, usize),
    filters: usize,
    stride: (usize, usize),
    inputs: &[usize],
) -> ConvLayer {
    let ((filter_height, filter_width), (stride_height, stride_width)) = (filter, stride);
    ConvLayer::new(
        Convolution {
            filter_height,
            filter_width,
            filters,
            stride_height,
            stride_width,
        },
        inputs,
    )
}

fn network(layers: Vec<ConvLayer>) -> ConvNetwork {
    ConvNetwork::new(IMAGE, 10, layers)
}

fn built(space: &dyn Space, layers: usize, decisions: &[Decision]) -> ConvNetwork {
    match space.build(layers, decisions).unwrap().network {
        Network::Conv(network) => network,
        Network::Cell(_) | Network::Choices(_) => panic!("not a convolutional network"),
    }
}
