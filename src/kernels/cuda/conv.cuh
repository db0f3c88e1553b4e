// Convolution forward and the gradient of a layer's output, as implicit matrix products on tensor
// cores: [pixels] × [filters], summed over chunks, each one tap of one column of channels. The
// parts of the input are never concatenated. Must not know networks.
#pragma once
#include "norm.cuh"

// Offsets of the chunks' taps in the patch, for one group of weights.
template <class T>
DEVICE void load_offsets(int* offsets, const PatchShape& shape, const Part<T>& part, int first,
                         int count, int chunks) {
    const int taps = part.filter_height * part.filter_width;
    for (int i = threadIdx.x; i < count; i += THREADS) {
        const int chunk = first + i, tap = chunk % taps;
        const int at = chunk / taps * shape.pitch + tap / part.filter_width * shape.columns +
                       tap % part.filter_width;
        // The chunk that makes their number even has weights of zero.
        offsets[i] = chunk < chunks ? at : 0;
    }
}

template <int N>
DEVICE void load_weights(bf16* to, const bf16* from, int chunks) {
    for (int i = threadIdx.x; i < chunks * N; i += THREADS) copy_async(to + i * 8, from + i * 8);
}

// Fragments of one step: 16 of the sum's terms.
template <int NT, int MT>
struct Fragments {
    uint32_t a[MT][4], b[NT + NT % 2][2];
};

template <int NT, int MT>
DEVICE void load_fragments(Fragments<NT, MT>& f, const bf16* patch, const bf16* weights,
                           const int* pixels, const int* offsets, int step) {
    const int lane = threadIdx.x % 32;
    const int offset = offsets[2 * step + lane / 16];
#pragma unroll
    for (int m = 0; m < MT; m++) ldmatrix_x4(f.a[m], patch + (pixels[m] + offset) * 8);
    const bf16* row = weights + ((2 * step + lane / 8 % 2) * NT * 8 + lane % 8) * 8;
#pragma unroll
    for (int n = 0; n + 1 < NT; n += 2) ldmatrix_x4(f.b[n], row + (n + lane / 16) * 64);
    if (NT % 2) ldmatrix_x2(f.b[NT - 1], row + (NT - 1) * 64);
}

template <int NT, int MT>
DEVICE void multiply(float (*sum)[NT][4], const Fragments<NT, MT>& f) {
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int m = 0; m < MT; m++) mma(sum[m][n], f.a[m], f.b[n]);
}

// One group of weights: `steps` times 16 terms. Where registers allow it, the next step's fragments
// are loaded before this one's are multiplied.
template <int NT, int MT>
DEVICE void multiply_group(float (*sum)[NT][4], const bf16* patch, const bf16* weights,
                           const int* pixels, const int* offsets, int steps) {
    Fragments<NT, MT> even, odd;
    if (4 * NT * MT + 2 * (4 * MT + 2 * NT) > 52) {
        for (int step = 0; step < steps; step++) {
            load_fragments(even, patch, weights, pixels, offsets, step);
            multiply<NT, MT>(sum, even);
        }
        return;
    }
    load_fragments(even, patch, weights, pixels, offsets, 0);
    for (int step = 0; step < steps; step += 2) {
        if (step + 1 < steps) load_fragments(odd, patch, weights, pixels, offsets, step + 1);
        multiply<NT, MT>(sum, even);
        if (step + 2 < steps) load_fragments(even, patch, weights, pixels, offsets, step + 2);
        if (step + 1 < steps) multiply<NT, MT>(sum, odd);
    }
}

// All terms of the sum: parts, blocks of columns, groups of weights.
template <int NT, int MT, bool GRADIENT>
DEVICE void sum_parts(const Conv& p, const Tile& tile, float (*sum)[NT][4]) {
    SHARED(shared);
    constexpr int N = NT * 8;
    // As many loads under way together as registers allow.
    constexpr int AT_ONCE = GRADIENT ? (NT * MT > 14 ? 1 : NT * MT > 7 ? 2 : 3)
                                     : (NT * MT > 14 ? 3 : 4);
    int* offsets = reinterpret_cast<int*>(shared);
    bf16* weights = reinterpret_cast<bf16*>(shared + (p.group * 4 + 15) / 16 * 16);
    bf16* patch = weights + p.group * N * 8;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const bf16* weight = p.weight + blockIdx.y * p.weight_tile;
    for (int index = 0; index < p.part_count; index++) {
        const Part<bf16>& part = p.parts[index];
        const PatchShape shape = patch_shape(p.tiling, part);
        int pixels[MT];
#pragma unroll
        for (int m = 0; m < MT; m++)
            pixels[m] = patch_offset(p.tiling, shape, part.stride_height, part.stride_width,
                                     (warp * MT + m) * 16 + lane % 16);
        for (int first = 0; first < part.channels / 8; first += part.block) {
            const int count = smaller(part.block, part.channels / 8 - first);
            const int chunks = count * part.filter_height * part.filter_width;
            const int even = chunks + chunks % 2;
            for (int from = 0; from < even; from += p.group) {
                const int here = smaller(p.group, even - from);
                sync_block();
                load_weights<N>(weights, weight + from * N * 8, here);
                load_offsets(offsets, shape, part, from, here, chunks);
                if (from == 0)
                    load_patch<GRADIENT, AT_ONCE>(patch, shape, p.tiling, tile, part, first, count);
                wait_copies();
                sync_block();
                multiply_group<NT, MT>(sum, patch, weights, pixels, offsets, here / 2);
            }
            weight += even * N * 8;
        }
    }
}

// Puts the sums into shared memory as [pixels][PITCH], so that whole rows leave in 16 bytes at a
// time.
template <int NT, int MT>
DEVICE void stage(bf16* staged, float (*sum)[NT][4]) {
    constexpr int PITCH = NT * 8 + 8;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int pixel = (warp * MT + m) * 16 + half * 8 + lane / 4;
            bf16* row = staged + pixel * PITCH + lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < NT; n++)
                *reinterpret_cast<uint32_t*>(row + n * 8) =
                    pack_pair(sum[m][n][half * 2], sum[m][n][half * 2 + 1]);
        }
}

// What reaches a layer's output beside the convolutions that read it; masked by its ReLU.
DEVICE void complete_gradient(const Conv& p, int image, uint4 packed_extra, int channel,
                              const float* slope, const float* offset, const float* y, float* g) {
    if (p.extra) {
        float extra[8];
        unpack(packed_extra, extra);
#pragma unroll
        for (int i = 0; i < 8; i++) g[i] += extra[i];
    }
    if (p.head) {
        float head[8];
        load8(p.head + (long long)image * p.head_channels + channel, head);
#pragma unroll
        for (int i = 0; i < 8; i++) g[i] += head[i];
    }
    if (p.normalised) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (!(slope[i] * y[i] + offset[i] > p.floor)) g[i] = 0;
    }
}

// Writes the tile's pixels and adds this thread's moments to `moments` [8][2].
template <int NT, int MT, bool GRADIENT>
DEVICE void write_tile(const Conv& p, const Tile& tile, const bf16* staged, int column,
                       int first_pixel, int step, float* moments) {
    constexpr int PITCH = NT * 8 + 8, PIXELS = 16 * WARPS * MT, AT_ONCE = GRADIENT ? 2 : 4;
    const int channel = blockIdx.y * NT * 8 + column * 8;
    float slope[8], offset[8], mean[8];
    if (GRADIENT && p.normalised) {
        load8(p.norm.slope + channel, slope);
        load8(p.norm.offset + channel, offset);
        load8(p.norm.mean + channel, mean);
    }
    for (int index = first_pixel; index < PIXELS; index += AT_ONCE * step) {
        // Several at once, so that their loads are under way together.
        long long at[AT_ONCE];
        int image[AT_ONCE];
        uint4 others[AT_ONCE], extras[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            const Pixel pixel = find_pixel(p.tiling, tile, index + i * step);
            const bool inside = pixel.inside && index + i * step < PIXELS;
            image[i] = pixel.image;
            at[i] = (((long long)pixel.image * p.tiling.height + pixel.y) * p.tiling.width +
                     pixel.x) * p.out_channels + channel;
            if (!inside) at[i] = -1;
            if (GRADIENT && inside && p.normalised)
                others[i] = *reinterpret_cast<const uint4*>(p.y + at[i]);
            if (GRADIENT && inside && p.extra)
                extras[i] = *reinterpret_cast<const uint4*>(p.extra + at[i]);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            if (at[i] < 0) continue;
            float v[8], y[8];
            load8(staged + (index + i * step) * PITCH + column * 8, v);
            if (GRADIENT) {
                unpack(others[i], y);
                complete_gradient(p, image[i], extras[i], channel, slope, offset, y, v);
            }
            const uint4 rounded = pack(v);
            *reinterpret_cast<uint4*>(p.out + at[i]) = rounded;
            unpack(rounded, v);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                moments[2 * j] += v[j];
                moments[2 * j + 1] += v[j] * (GRADIENT ? y[j] - mean[j] : v[j]);
            }
        }
    }
}

// Writes the tile, takes its moments, and lets the last block of all make coefficients of them.
template <int NT, int MT, bool GRADIENT>
DEVICE void finish_tile(const Conv& p, const Tile& tile, float (*sum)[NT][4]) {
    SHARED(shared);
    constexpr int N = NT * 8, GROUPS = THREADS / NT;
    bf16* staged = reinterpret_cast<bf16*>(shared);
    float* sums = reinterpret_cast<float*>(staged + 16 * WARPS * MT * (N + 8));
    unsigned* flag = reinterpret_cast<unsigned*>(sums + 2 * GROUPS * N);
    begin_next_launch();
    // All have read the last patch.
    sync_block();
    stage<NT, MT>(staged, sum);
    sync_block();
    const int t = threadIdx.x;
    if (t < GROUPS * NT) {
        float moments[16] = {};
        write_tile<NT, MT, GRADIENT>(p, tile, staged, t % NT, t / NT, GROUPS, moments);
        float* to = sums + (t / NT * N + t % NT * 8) * 2;
#pragma unroll
        for (int i = 0; i < 2; i++) store8(to + 8 * i, moments + 8 * i);
    }
    if (GRADIENT ? !p.normalised : !p.training) return;
    sync_block();
    const int first = blockIdx.y * N, tiles = gridDim.x, pitch = 2 * p.out_channels;
    add_threads(sums, GROUPS, N, p.moments + (long long)blockIdx.x * pitch + 2 * first);
    if (is_last_block(p.counters + blockIdx.y, tiles, flag))
        add_tiles(p.norm, GRADIENT, p.moments, tiles, pitch, first, N, sums);
}

template <int NT, int MT, bool GRADIENT>
DEVICE void convolve(const Conv& p) {
    const Tile tile = find_tile(p.tiling, blockIdx.x);
    float sum[MT][NT][4];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) sum[m][n][i] = 0;
    sum_parts<NT, MT, GRADIENT>(p, tile, sum);
    finish_tile<NT, MT, GRADIENT>(p, tile, sum);
}

// Bytes of shared memory behind the loop's own: the epilogue's.
constexpr int epilogue_bytes(int nt, int mt) {
    return mt * 16 * WARPS * (nt * 8 + 8) * 2 + 2 * (THREADS / nt) * nt * 8 * 4 + 16;
}
