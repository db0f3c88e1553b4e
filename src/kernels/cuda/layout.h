// What host and kernels say to each other: plain structs of sizes and device addresses.
// Tensors are [images][height][width][channels], channels padded to a multiple of 8 with zeros;
// a column is eight neighbouring channels.
#pragma once
#include "device.h"

constexpr int THREADS = 256, WARPS = THREADS / 32;

// One source of a convolution's sum. Of a forward pass: a part of the concatenated input, and
// value = max(floor, k0·x + k1), a layer's batch normalisation and ReLU. Of a gradient: a reader of
// the layer, and value = k0·x + k1·y + k2, the gradient of what the reader's convolution gave.
template <class T>
struct Part {
    const T* x;
    const T* y;
    // Coefficients of each channel; null: the value is x.
    const float* k0;
    const float* k1;
    const float* k2;
    float floor;
    int channels, height, width;
    int filter_height, filter_width, pad_height, pad_width;
    // Pixels of the source that one step of the output moves by.
    int stride_height, stride_width;
    // Zeros between two pixels of the source, plus one: a gradient's way through a stride.
    int dilation_height, dilation_width;
    // Columns of channels that are in shared memory at a time.
    int block;
    // For the plain kernels: the weights in f32, and how far two of them are apart.
    const float* weight;
    int weight_channel, weight_filter;
    // Number of real filters or channels behind `channels`, and for each padded channel its own or
    // -1.
    const int* real;
};

// A layer's batch normalisation: arrays of one number a padded channel.
struct Norm {
    // Applied where the layer is read: slope·y + offset.
    float *slope, *offset, *mean, *inverse;
    // The gradient of y: gradient0·g + gradient1·y + gradient2.
    float *gradient0, *gradient1, *gradient2;
    // Trained numbers and their gradients, running statistics: of the real channels.
    const float *scale, *shift;
    float *scale_gradient, *shift_gradient;
    float *running_mean, *running_variance;
    // For each padded channel the real one, or -1.
    const int* real;
    int channels;
    // Values of a channel in a batch, and what is added to their variance before its root.
    float count, epsilon;
};

// A tile of output pixels, whose sides are powers of two, perhaps over several images.
struct Tiling {
    int images, height, width;
    int log_width, log_height, tile_images;
    int across, down;
};

// One convolution (or the gradient of a layer's output), for a block of threads a tile.
struct Conv {
    const Part<bf16>* parts;
    int part_count;
    Tiling tiling;
    // [tiles of filters][parts][blocks of columns][chunks][filters of a tile][8]
    const bf16* weight;
    long long weight_tile;
    // Chunks of weights that are in shared memory at a time; even.
    int group;
    bf16* out;
    int out_channels;
    // [tiles of pixels][out channels][2]
    float* moments;
    unsigned* counters;
    Norm norm;
    // Of a forward pass: whether moments of the batch are taken.
    int training;
    // Of a gradient: whether `norm` stands behind the layer, and what is added from elsewhere.
    int normalised;
    float floor;
    const bf16* y;
    const bf16* extra;
    // [images][head_channels]
    const float* head;
    int head_channels;
};

// Where a block of `weight_gradient` stands.
struct ChunkGroup {
    int part;
    // Of the part's columns: those that the chunks read.
    int first_column, columns;
    // Chunks of the part, counted from the first column read.
    int first_chunk, chunks;
    // Of the first chunk in the layer's packed weights, counted in chunks.
    int weight_chunk;
};

// The gradient of a convolution's weights, summed in splits of its pixels.
struct WeightGradient {
    const Part<bf16>* parts;
    const ChunkGroup* groups;
    // The gradient of the layer's y.
    Part<bf16> gradient;
    Tiling tiling;
    int splits;
    // [splits][tiles of filters][chunks][filters of a tile][8]
    float* partial;
    long long partial_split, partial_tile;
};
