// The gradient of a convolution's weights: [channels of chunks] × [filters], summed over pixels on
// tensor cores. Each block sums the tiles of one split, in order; `reduce_splits` adds the splits,
// in order. Must not know networks.
#pragma once
#include "conv.cuh"

// Pixels of a tile, pairs of chunks of a warp, and chunks of a block.
constexpr int GRADIENT_PIXELS = 256, PAIRS = 4, GROUP_CHUNKS = 2 * PAIRS * WARPS;

// Offsets in the patch of the chunks whose rows this lane loads.
template <class T>
DEVICE void pair_offsets(int* offsets, const PatchShape& shape, const Part<T>& part,
                         const ChunkGroup& group) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int taps = part.filter_height * part.filter_width;
#pragma unroll
    for (int u = 0; u < PAIRS; u++) {
        const int index = (u * WARPS + warp) * 2 + lane / 8 % 2;
        const int chunk = group.first_chunk + (index < group.chunks ? index : 0);
        const int tap = chunk % taps;
        offsets[u] = chunk / taps * shape.pitch + tap / part.filter_width * shape.columns +
                     tap % part.filter_width;
    }
}

// Fragments of 16 pixels: each pair's chunks, and the filters.
template <int NT>
struct PixelFragments {
    uint32_t a[PAIRS][4], b[NT + NT % 2][2];
};

template <int NT>
DEVICE void load_pixels(PixelFragments<NT>& f, const bf16* patch, const bf16* gradient, int pixel,
                        const int* offsets, int first) {
    constexpr int PITCH = GRADIENT_PIXELS | 1;
    const int lane = threadIdx.x % 32;
    // Matrices: both chunks of the pair at pixels 0–7, then at 8–15.
#pragma unroll
    for (int u = 0; u < PAIRS; u++)
        ldmatrix_x4_transposed(f.a[u], patch + (pixel + offsets[u]) * 8);
    // Matrices: pixels 0–7 and 8–15 of one column of filters, then of the next.
    const bf16* row = gradient + (first + lane % 16) * 8;
#pragma unroll
    for (int n = 0; n + 1 < NT; n += 2)
        ldmatrix_x4_transposed(f.b[n], row + (n + lane / 16) * PITCH * 8);
    if (NT % 2) ldmatrix_x2_transposed(f.b[NT - 1], row + (NT - 1) * PITCH * 8);
}

template <int NT>
DEVICE void multiply_pixels(float (*sum)[NT][4], const PixelFragments<NT>& f, int pairs) {
#pragma unroll
    for (int u = 0; u < PAIRS; u++)
        if (u < pairs)
#pragma unroll
            for (int n = 0; n < NT; n++) mma(sum[u][n], f.a[u], f.b[n]);
}

// The products of one tile's pixels; the next pixels' fragments are loaded before these are
// multiplied. Both chunks of a pair that is not there are the first one, and nobody reads their
// sum.
template <int NT>
DEVICE void multiply_tile(float (*sum)[NT][4], const bf16* patch, const bf16* gradient,
                          const Tiling& tiling, const PatchShape& shape, int stride_height,
                          int stride_width, const int* offsets, int pairs) {
    const int lane = threadIdx.x % 32, mine = lane / 16 * 8 + lane % 8;
    auto pixel = [&](int first) {
        return patch_offset(tiling, shape, stride_height, stride_width, first + mine);
    };
    PixelFragments<NT> even, odd;
    load_pixels<NT>(even, patch, gradient, pixel(0), offsets, 0);
#pragma unroll 1
    for (int first = 0; first < GRADIENT_PIXELS; first += 32) {
        load_pixels<NT>(odd, patch, gradient, pixel(first + 16), offsets, first + 16);
        multiply_pixels<NT>(sum, even, pairs);
        if (first + 32 < GRADIENT_PIXELS)
            load_pixels<NT>(even, patch, gradient, pixel(first + 32), offsets, first + 32);
        multiply_pixels<NT>(sum, odd, pairs);
    }
}

template <int NT>
DEVICE void write_partial(const WeightGradient& p, const ChunkGroup& group,
                          float (*sum)[NT][4]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float* to = p.partial + blockIdx.y * p.partial_split + blockIdx.z * p.partial_tile;
#pragma unroll
    for (int u = 0; u < PAIRS; u++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int chunk = (u * WARPS + warp) * 2 + half;
            if (chunk >= group.chunks) continue;
            float* row = to + (group.weight_chunk + chunk) * NT * 64 + lane % 4 * 16 + lane / 4;
#pragma unroll
            for (int n = 0; n < NT; n++) {
                row[n * 64] = sum[u][n][half * 2];
                row[n * 64 + 8] = sum[u][n][half * 2 + 1];
            }
        }
}

template <int NT>
DEVICE void weight_gradient(const WeightGradient& p) {
    SHARED(shared);
    const ChunkGroup& group = p.groups[blockIdx.x];
    const Part<bf16>& part = p.parts[group.part];
    const PatchShape shape = patch_shape(p.tiling, part);
    // The gradient's patch is the tile itself, with a pitch of one more.
    constexpr int PITCH = GRADIENT_PIXELS | 1;
    bf16* gradient = reinterpret_cast<bf16*>(shared);
    bf16* patch = gradient + PITCH * NT * 8;
    int offsets[PAIRS];
    pair_offsets(offsets, shape, part, group);
    const int warp = threadIdx.x / 32;
    const int pairs = ((group.chunks + 1) / 2 - warp + WARPS - 1) / WARPS;
    const int stride_height = part.stride_height, stride_width = part.stride_width;
    float sum[PAIRS][NT][4];
#pragma unroll
    for (int u = 0; u < PAIRS; u++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) sum[u][n][i] = 0;
    const int tiles = p.tiling.across * p.tiling.down *
                      ((p.tiling.images + p.tiling.tile_images - 1) / p.tiling.tile_images);
    for (int index = blockIdx.y; index < tiles; index += p.splits) {
        const Tile tile = find_tile(p.tiling, index);
        // All have read the tile before.
        sync_block();
        load_patch<true, 4>(gradient, patch_shape(p.tiling, p.gradient), p.tiling, tile, p.gradient,
                            blockIdx.z * NT, NT);
        load_patch<false, 4>(patch, shape, p.tiling, tile, part, group.first_column, group.columns);
        sync_block();
        multiply_tile<NT>(sum, patch, gradient, p.tiling, shape, stride_height, stride_width,
                          offsets, pairs);
    }
    write_partial<NT>(p, group, sum);
}

// Adds the splits of all layers' partial sums in order; each number goes to its parameter.
struct Reduction {
    const float* partial;
    int splits;
    long long size;
    // For each packed number its parameter, or -1.
    const int* parameter;
    float* gradient;
};

// Four numbers a thread in `SPLIT_LANES` threads, the splits shared among groups of such threads.
constexpr int SPLIT_LANES = 16;

DEVICE void reduce_splits(const Reduction& p) {
    SHARED(shared);
    float4* room = reinterpret_cast<float4*>(shared);
    constexpr int GROUPS = THREADS / SPLIT_LANES;
    const int t = threadIdx.x, lane = t % SPLIT_LANES, group = t / SPLIT_LANES;
    const long long quad = (long long)blockIdx.x * SPLIT_LANES + lane, quads = p.size / 4;
    float4 sum = {0, 0, 0, 0};
    if (quad < quads) {
        const float4* from = reinterpret_cast<const float4*>(p.partial) + quad;
#pragma unroll 8
        for (int split = group; split < p.splits; split += GROUPS) {
            const float4 v = from[split * quads];
            sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
        }
    }
    room[t] = sum;
    sync_block();
    const long long i = (long long)blockIdx.x * SPLIT_LANES * 4 + t;
    if (t >= SPLIT_LANES * 4 || i >= p.size) return;
    const int parameter = p.parameter[i];
    if (parameter < 0) return;
    float total = 0;
    for (int g = 0; g < GROUPS; g++)
        total += reinterpret_cast<const float*>(room)[g * SPLIT_LANES * 4 + t];
    p.gradient[parameter] = total;
}
