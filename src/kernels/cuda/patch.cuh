// Brings what a tile of output pixels reads of a source into shared memory: padded, normalised, and
// laid out as [columns][pixels][8], so that eight neighbouring pixels are 128 bytes in a row.
// Must not know what is multiplied with it.
#pragma once
#include "layout.h"

struct Tile {
    int image, y, x;
};

DEVICE Tile find_tile(const Tiling& t, int index) {
    const int in_picture = index % (t.across * t.down);
    return {index / (t.across * t.down) * t.tile_images,
            in_picture / t.across << t.log_height, in_picture % t.across << t.log_width};
}

// Position of a pixel of the tile in the output.
struct Pixel {
    int image, y, x;
    bool inside;
};

DEVICE Pixel find_pixel(const Tiling& t, const Tile& tile, int index) {
    Pixel pixel;
    pixel.x = tile.x + (index & ((1 << t.log_width) - 1));
    pixel.y = tile.y + (index >> t.log_width & ((1 << t.log_height) - 1));
    pixel.image = tile.image + (index >> (t.log_width + t.log_height));
    pixel.inside = pixel.x < t.width && pixel.y < t.height && pixel.image < t.images;
    return pixel;
}

// Sizes of a source's patch.
struct PatchShape {
    int rows, columns, pixels;
    // Distance between two columns of channels, in pixels; odd, which spreads them over the banks.
    int pitch;
};

template <class T>
DEVICE PatchShape patch_shape(const Tiling& t, const Part<T>& part) {
    PatchShape shape;
    shape.rows = ((1 << t.log_height) - 1) * part.stride_height + part.filter_height;
    shape.columns = ((1 << t.log_width) - 1) * part.stride_width + part.filter_width;
    shape.pixels = t.tile_images * shape.rows * shape.columns;
    shape.pitch = shape.pixels | 1;
    return shape;
}

// Where a pixel of the tile finds its first tap in the patch.
DEVICE int patch_offset(const Tiling& t, const PatchShape& shape, int stride_height,
                        int stride_width, int index) {
    const int x = index & ((1 << t.log_width) - 1);
    const int y = index >> t.log_width & ((1 << t.log_height) - 1);
    const int image = index >> (t.log_width + t.log_height);
    return (image * shape.rows + y * stride_height) * shape.columns + x * stride_width;
}

// A pixel of the patch, for a thread that takes every n-th one.
struct Walk {
    int pixel, image, y, x;
    int step, step_image, step_y, step_x;
};

DEVICE Walk start_walk(const PatchShape& shape, int first, int step) {
    const int picture = shape.rows * shape.columns;
    Walk w;
    w.pixel = first;
    w.image = first / picture;
    w.y = first % picture / shape.columns;
    w.x = first % shape.columns;
    w.step = step;
    w.step_image = step / picture;
    w.step_y = step % picture / shape.columns;
    w.step_x = step % shape.columns;
    return w;
}

DEVICE void advance(Walk& w, const PatchShape& shape) {
    w.pixel += w.step;
    w.x += w.step_x;
    w.y += w.step_y;
    w.image += w.step_image;
    if (w.x >= shape.columns) {
        w.x -= shape.columns;
        w.y++;
    }
    if (w.y >= shape.rows) {
        w.y -= shape.rows;
        w.image++;
    }
}

// A source as a tile sees it, in registers: stores into shared memory would have the compiler read
// a `Part` again and again.
struct View {
    int image, images, y, x, height, width, channels, dilation_height, dilation_width;
};

template <class T>
DEVICE View view_source(const Tiling& t, const Tile& tile, const Part<T>& part) {
    return {tile.image,
            t.images,
            tile.y * part.stride_height - part.pad_height,
            tile.x * part.stride_width - part.pad_width,
            part.height,
            part.width,
            part.channels,
            part.dilation_height,
            part.dilation_width};
}

// The source's pixel behind a pixel of the patch, or -1 where zeros are read.
template <bool GRADIENT>
DEVICE long long source_pixel(const View& v, const Walk& w) {
    int y = v.y + w.y, x = v.x + w.x;
    bool inside = y >= 0 && x >= 0 && v.image + w.image < v.images;
    if (GRADIENT && v.dilation_height > 1) {
        inside = inside && y % v.dilation_height == 0;
        y /= v.dilation_height;
    }
    if (GRADIENT && v.dilation_width > 1) {
        inside = inside && x % v.dilation_width == 0;
        x /= v.dilation_width;
    }
    inside = inside && y < v.height && x < v.width;
    return inside ? ((long long)(v.image + w.image) * v.height + y) * v.width + x : -1;
}

// Coefficients of a column.
struct Coefficients {
    float k0[8], k1[8], k2[8];
};

template <bool GRADIENT, class T>
DEVICE void load_coefficients(const Part<T>& part, int channel, Coefficients& k) {
    load8(part.k0 + channel, k.k0);
    load8(part.k1 + channel, k.k1);
    if (GRADIENT) load8(part.k2 + channel, k.k2);
}

template <bool GRADIENT>
DEVICE uint4 transform(uint4 x, uint4 y, const Coefficients& k, float floor) {
    float f[8], g[8];
    unpack(x, f);
    if (GRADIENT) unpack(y, g);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (GRADIENT)
            f[i] = k.k0[i] * f[i] + (k.k1[i] * g[i] + k.k2[i]);
        else
            f[i] = fmaxf(k.k0[i] * f[i] + k.k1[i], floor);
    }
    return pack(f);
}

// Loads `count` columns of channels, from `first` on. No barrier: the caller's come before and
// after.
template <bool GRADIENT, int AT_ONCE = GRADIENT ? 3 : 4>
DEVICE void load_patch(bf16* patch, const PatchShape& shape, const Tiling& tiling, const Tile& tile,
                       const Part<bf16>& part, int first, int count) {
    const int step = THREADS / count, t = threadIdx.x;
    if (t >= step * count) return;
    const int column = t % count;
    const bf16* x = part.x + (first + column) * 8;
    const bf16* y = GRADIENT ? part.y + (first + column) * 8 : nullptr;
    bf16* to = patch + column * shape.pitch * 8;
    const View view = view_source(tiling, tile, part);
    const float floor = part.floor;
    Coefficients k;
    const bool plain = !part.k0;
    if (!plain) load_coefficients<GRADIENT>(part, (first + column) * 8, k);
    Walk walk = start_walk(shape, t / count, step);
    while (walk.pixel < shape.pixels) {
        // Several at once, so that their loads are under way together.
        uint4 values[AT_ONCE], others[AT_ONCE];
        int at[AT_ONCE];
        bool inside[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            at[i] = walk.pixel;
            values[i] = others[i] = {0, 0, 0, 0};
            inside[i] = false;
            if (walk.pixel < shape.pixels) {
                const long long from = source_pixel<GRADIENT>(view, walk);
                inside[i] = from >= 0;
                if (inside[i]) {
                    values[i] = *reinterpret_cast<const uint4*>(x + from * view.channels);
                    if (GRADIENT && !plain)
                        others[i] = *reinterpret_cast<const uint4*>(y + from * view.channels);
                }
            }
            advance(walk, shape);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            if (at[i] >= shape.pixels) break;
            if (inside[i] && !plain)
                values[i] = transform<GRADIENT>(values[i], others[i], k, floor);
            *reinterpret_cast<uint4*>(to + at[i] * 8) = values[i];
        }
    }
}
