// Layers without filters: maximum and average pooling, which look through a window; batch
// normalisation alone, ReLU alone (a copy), and sums. Must not know networks.
#pragma once
#include "norm.cuh"

// Pooling of one part of the input. Padded as convolutions are; pixels outside the concatenation do
// not count, those outside the part alone are zeros.
template <class T>
struct Pool {
    Part<T> part;
    int images, height, width, out_height, out_width;
    int size, stride, average;
    // [images][out height][out width][out channels], of which this part begins at `first_channel`.
    T* out;
    int out_channels, first_channel;
    // Which pixel of each window was the largest.
    uint16_t* winner;
    const T* gradient;
    // The part's source's gradient from readers without filters.
    T* extra;
    int accumulate;
};

template <class T>
DEVICE void read_part(const Part<T>& part, int image, int y, int x, int channel, float* v) {
    if (y >= part.height || x >= part.width) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = 0;
        return;
    }
    load8(
        part.x + (((long long)image * part.height + y) * part.width + x) * part.channels + channel,
        v);
    if (!part.k0) return;
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = fmaxf(part.k0[channel + i] * v[i] + part.k1[channel + i], part.floor);
}

// Positions in one direction that a window sees.
struct Range {
    int first, end, origin;
};

DEVICE Range window_range(int at, int size, int stride, int length) {
    const int origin = at * stride - (size - 1) / 2;
    return {origin < 0 ? 0 : origin, smaller(origin + size, length), origin};
}

// Windows in one direction that see a position.
DEVICE Range windows_of(int at, int size, int stride, int count) {
    const int pad = (size - 1) / 2, least = at + pad - size + 1;
    return {least <= 0 ? 0 : (least + stride - 1) / stride, smaller((at + pad) / stride + 1, count),
            0};
}

// A thread a column of an output pixel.
template <class T>
DEVICE void pool(const Pool<T>& p) {
    const int columns = p.part.channels / 8;
    const long long index = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (index >= (long long)p.images * p.out_height * p.out_width * columns) return;
    const int channel = int(index % columns) * 8;
    const long long pixel = index / columns;
    const int x = int(pixel % p.out_width), y = int(pixel / p.out_width % p.out_height);
    const int image = int(pixel / p.out_width / p.out_height);
    const Range rows = window_range(y, p.size, p.stride, p.height);
    const Range line = window_range(x, p.size, p.stride, p.width);
    float result[8] = {};
    uint16_t winner[8] = {};
    bool first = true;
    for (int iy = rows.first; iy < rows.end; iy++)
        for (int ix = line.first; ix < line.end; ix++) {
            float v[8];
            read_part(p.part, image, iy, ix, channel, v);
            const int at = (iy - rows.origin) * p.size + ix - line.origin;
#pragma unroll
            for (int i = 0; i < 8; i++)
                if (p.average)
                    result[i] += v[i];
                else if (first || v[i] > result[i])
                    result[i] = v[i], winner[i] = uint16_t(at);
            first = false;
        }
    const float count = float((rows.end - rows.first) * (line.end - line.first));
    const long long at = pixel * p.out_channels + p.first_channel + channel;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (p.average)
            result[i] /= count;
        else
            p.winner[at + i] = winner[i];
    }
    store8(p.out + at, result);
}

// A thread a column of a source's pixel.
template <class T>
DEVICE void pool_gradient(const Pool<T>& p) {
    const int columns = p.part.channels / 8;
    const long long index = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (index >= (long long)p.images * p.part.height * p.part.width * columns) return;
    const int channel = int(index % columns) * 8;
    const long long pixel = index / columns;
    const int x = int(pixel % p.part.width), y = int(pixel / p.part.width % p.part.height);
    const int image = int(pixel / p.part.width / p.part.height);
    const Range rows = windows_of(y, p.size, p.stride, p.out_height);
    const Range line = windows_of(x, p.size, p.stride, p.out_width);
    float sum[8] = {};
    const long long to = pixel * p.part.channels + channel;
    if (p.accumulate) load8(p.extra + to, sum);
    for (int oy = rows.first; oy < rows.end; oy++)
        for (int ox = line.first; ox < line.end; ox++) {
            const long long at = (((long long)image * p.out_height + oy) * p.out_width + ox) *
                                     p.out_channels + p.first_channel + channel;
            const Range down = window_range(oy, p.size, p.stride, p.height);
            const Range across = window_range(ox, p.size, p.stride, p.width);
            const float share =
                1.0f / float((down.end - down.first) * (across.end - across.first));
            const int mine = (y - down.origin) * p.size + x - across.origin;
            float g[8];
            load8(p.gradient + at, g);
#pragma unroll
            for (int i = 0; i < 8; i++)
                if (p.average)
                    sum[i] += g[i] * share;
                else if (p.winner[at + i] == mine)
                    sum[i] += g[i];
        }
    store8(p.extra + to, sum);
}

// Batch normalisation alone, of one part: its input is copied, its gradient handed on.
template <class T>
struct Copy {
    Part<T> part;
    int images, height, width;
    T* out;
    int out_channels, first_channel;
    // Gradient of the copy, and the coefficients that make of it that of the input.
    const T* gradient;
    Norm norm;
    T* extra;
    int accumulate;
};

template <class T>
DEVICE void copy_part(const Copy<T>& p) {
    const int columns = p.part.channels / 8;
    const long long index = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (index >= (long long)p.images * p.height * p.width * columns) return;
    const int channel = int(index % columns) * 8;
    const long long pixel = index / columns;
    float v[8];
    read_part(p.part, int(pixel / p.width / p.height), int(pixel / p.width % p.height),
              int(pixel % p.width), channel, v);
    store8(p.out + pixel * p.out_channels + p.first_channel + channel, v);
}

template <class T>
DEVICE void copy_gradient(const Copy<T>& p) {
    const int columns = p.part.channels / 8;
    const long long index = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (index >= (long long)p.images * p.part.height * p.part.width * columns) return;
    const int channel = int(index % columns) * 8, own = p.first_channel + channel;
    const long long pixel = index / columns;
    const int x = int(pixel % p.part.width), y = int(pixel / p.part.width % p.part.height);
    const long long image = pixel / p.part.width / p.part.height;
    const long long at = ((image * p.height + y) * p.width + x) * p.out_channels + own;
    float g[8], v[8], sum[8] = {};
    const long long to = pixel * p.part.channels + channel;
    if (p.accumulate) load8(p.extra + to, sum);
    load8(p.gradient + at, g);
    load8(p.out + at, v);
#pragma unroll
    for (int i = 0; i < 8; i++)
        sum[i] += p.norm.gradient0[own + i] * g[i] +
                  (p.norm.gradient1[own + i] * v[i] + p.norm.gradient2[own + i]);
    store8(p.extra + to, sum);
}

// The sum of inputs, of which this is one part: what it lacks in channels, rows or columns is zero.
template <class T>
struct Sum {
    Part<T> part;
    // For each padded channel of the sum the part's own, or -1; and the other way round.
    const int *channels_of, *channels_to;
    int images, height, width;
    T* out;
    int out_channels;
    // Whether other parts are in the sum already.
    int add;
    const T* gradient;
    T* extra;
    int accumulate;
};

// A thread a column of an output pixel.
template <class T>
DEVICE void sum_part(const Sum<T>& p) {
    const int columns = p.out_channels / 8;
    const long long index = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (index >= (long long)p.images * p.height * p.width * columns) return;
    const int first = int(index % columns) * 8;
    const long long pixel = index / columns;
    const int x = int(pixel % p.width), y = int(pixel / p.width % p.height);
    const long long image = pixel / p.width / p.height;
    float v[8] = {};
    const long long to = pixel * p.out_channels + first;
    if (p.add) load8(p.out + to, v);
    if (y < p.part.height && x < p.part.width) {
        const T* from = p.part.x +
                        ((image * p.part.height + y) * p.part.width + x) * p.part.channels;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int c = p.channels_of[first + i];
            if (c < 0) continue;
            const float x0 = load1(from + c);
            v[i] += p.part.k0 ? fmaxf(p.part.k0[c] * x0 + p.part.k1[c], p.part.floor) : x0;
        }
    }
    store8(p.out + to, v);
}

// A thread a column of a source's pixel.
template <class T>
DEVICE void sum_gradient(const Sum<T>& p) {
    const int columns = p.part.channels / 8;
    const long long index = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (index >= (long long)p.images * p.part.height * p.part.width * columns) return;
    const int first = int(index % columns) * 8;
    const long long pixel = index / columns;
    const int x = int(pixel % p.part.width), y = int(pixel / p.part.width % p.part.height);
    const long long image = pixel / p.part.width / p.part.height;
    const T* from = p.gradient + ((image * p.height + y) * p.width + x) * p.out_channels;
    float v[8] = {};
    const long long to = pixel * p.part.channels + first;
    if (p.accumulate) load8(p.extra + to, v);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int c = p.channels_to[first + i];
        if (c >= 0) v[i] += load1(from + c);
    }
    store8(p.extra + to, v);
}
