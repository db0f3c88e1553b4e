// Batch normalisation's statistics: moments of a tile, their sum over all tiles in a fixed order,
// and the coefficients that readers apply. Must not know convolutions.
#pragma once
#include "patch.cuh"

constexpr float MOMENTUM = 0.1f;

// What the coefficients of one channel follow from, beside its sums.
struct ChannelInputs {
    int real;
    float scale, shift, running_mean, running_variance, mean, inverse, slope;
};

DEVICE ChannelInputs load_inputs(const Norm& n, bool gradient, int channel) {
    ChannelInputs in{n.real[channel], 0, 0, 0, 0, 0, 0, 0};
    if (in.real < 0) return in;
    if (gradient) {
        in.mean = n.mean[channel];
        in.inverse = n.inverse[channel];
        in.slope = n.slope[channel];
    } else {
        in.scale = n.scale[in.real];
        in.shift = n.shift[in.real];
        in.running_mean = n.running_mean[in.real];
        in.running_variance = n.running_variance[in.real];
    }
    return in;
}

// Of one padded channel, from the sums of y and y²; updates the running statistics (of one value
// alone the variance is unknown and stays).
DEVICE void finish_statistics(const Norm& n, const ChannelInputs& in, int channel, double sum,
                              double squares) {
    const int real = in.real;
    float mean = 0, inverse = 0, slope = 0, offset = 0;
    if (real >= 0) {
        const double exact = sum / n.count;
        double variance = squares / n.count - exact * exact;
        variance = variance > 0 ? variance : 0;
        mean = float(exact);
        inverse = float(1 / sqrt(variance + double(n.epsilon)));
        slope = in.scale * inverse;
        offset = in.shift - mean * slope;
        n.running_mean[real] = in.running_mean + MOMENTUM * (mean - in.running_mean);
        if (n.count > 1) {
            const float unbiased = float(variance * n.count / (n.count - 1));
            n.running_variance[real] =
                in.running_variance + MOMENTUM * (unbiased - in.running_variance);
        }
    }
    n.mean[channel] = mean;
    n.inverse[channel] = inverse;
    n.slope[channel] = slope;
    n.offset[channel] = offset;
}

// Of one padded channel, from the sums of the gradient g and of g·(y − mean).
DEVICE void finish_gradient(const Norm& n, const ChannelInputs& in, int channel, double sum,
                            double centred) {
    const int real = in.real;
    float k0 = 0, k1 = 0, k2 = 0;
    if (real >= 0) {
        const double inverse = in.inverse, slope = in.slope;
        n.shift_gradient[real] = float(sum);
        n.scale_gradient[real] = float(centred * inverse);
        const double share = slope * inverse * inverse * centred / n.count;
        k0 = float(slope);
        k1 = float(-share);
        k2 = float(share * in.mean - slope * sum / n.count);
    }
    n.gradient0[channel] = k0;
    n.gradient1[channel] = k1;
    n.gradient2[channel] = k2;
}

DEVICE void finish(const Norm& n, const ChannelInputs& in, bool gradient, int channel,
                   double first, double second) {
    if (gradient)
        finish_gradient(n, in, channel, first, second);
    else
        finish_statistics(n, in, channel, first, second);
}

// Adds a tile's moments, one thread a channel and moment, from the threads' own: `sums`
// [groups][channels][2]; writes them to `moments` [channels][2].
DEVICE void add_threads(const float* sums, int groups, int channels, float* moments) {
    for (int i = threadIdx.x; i < 2 * channels; i += THREADS) {
        float sum = 0;
#pragma unroll 8
        for (int group = 0; group < groups; group++) sum += sums[group * 2 * channels + i];
        moments[i] = sum;
    }
}

// Whether this block is the last of `blocks` to come here. All threads must call it; `flag` lies in
// shared memory.
DEVICE bool is_last_block(unsigned* counter, unsigned blocks, unsigned* flag) {
    fence();
    sync_block();
    if (threadIdx.x == 0) {
        *flag = add_atomic(counter, 1) == blocks - 1;
        if (*flag) *counter = 0;
    }
    sync_block();
    if (!*flag) return false;
    fence();
    return true;
}

// The sum over all tiles and what follows from it, by one block: `moments` [tiles][pitch / 2][2],
// of which this block takes `channels` (a multiple of 8, at most 64). `room` in shared memory:
// THREADS float4.
DEVICE void add_tiles(const Norm& n, bool gradient, const float* moments, int tiles, int pitch,
                      int first_channel, int channels, float* room) {
    constexpr int AT_ONCE = 16;
    const int quads = channels / 2, groups = THREADS / quads, t = threadIdx.x;
    const int quad = t % quads, group = t / quads;
    const float4* from = reinterpret_cast<const float4*>(moments + 2 * first_channel) + quad;
    float4 sum = {0, 0, 0, 0};
    ChannelInputs in{};
    if (t < channels) in = load_inputs(n, gradient, first_channel + t);
    for (int first = group; first < tiles && group < groups; first += AT_ONCE * groups) {
        // All at once, so that their loads are under way together.
        float4 v[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const int tile = first + i * groups;
            v[i] = {0, 0, 0, 0};
            if (tile < tiles) v[i] = load_fresh(from + (long long)tile * (pitch / 4));
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            sum.x += v[i].x, sum.y += v[i].y, sum.z += v[i].z, sum.w += v[i].w;
    }
    if (group < groups) reinterpret_cast<float4*>(room)[group * quads + quad] = sum;
    sync_block();
    if (t >= channels) return;
    double first = 0, second = 0;
#pragma unroll 4
    for (int g = 0; g < groups; g++) {
        first += room[(g * channels + t) * 2];
        second += room[(g * channels + t) * 2 + 1];
    }
    finish(n, in, gradient, first_channel + t, first, second);
}
