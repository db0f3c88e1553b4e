// Convolutions and statistics for every size and both precisions, without tensor cores: slow,
// short, and what the fast kernels fall back to. Must not know networks.
#pragma once
#include "windows.cuh"
#include "update.cuh"

template <class T>
struct PlainConv {
    const Part<T>* parts;
    int part_count;
    int images, height, width;
    T* out;
    int out_channels;
    // For each padded channel the real one, or -1.
    const int* real;
    // Of a gradient: what else reaches the layer, and its normalisation.
    int normalised;
    float floor;
    const T* y;
    const T* extra;
    const float* head;
    int head_channels;
    Norm norm;
};

template <bool GRADIENT, class T>
DEVICE float plain_value(const Part<T>& part, long long at, int channel) {
    const float x = load1(part.x + at);
    if (!part.k0) return x;
    if (GRADIENT)
        return part.k0[channel] * x + (part.k1[channel] * load1(part.y + at) + part.k2[channel]);
    return fmaxf(part.k0[channel] * x + part.k1[channel], part.floor);
}

// The source's position behind a tap, or -1.
DEVICE int tap_position(int at, int tap, int stride, int pad, int dilation, int length) {
    const int position = at * stride + tap - pad;
    if (position < 0 || position % dilation != 0) return -1;
    return position / dilation < length ? position / dilation : -1;
}

// One part's terms of one number.
template <bool GRADIENT, class T>
DEVICE float plain_part(const Part<T>& part, int image, int y, int x, int filter) {
    float sum = 0;
    const int taps = part.filter_height * part.filter_width;
    for (int ky = 0; ky < part.filter_height; ky++) {
        const int sy = tap_position(y, ky, part.stride_height, part.pad_height,
                                    part.dilation_height, part.height);
        for (int kx = 0; kx < part.filter_width && sy >= 0; kx++) {
            const int sx = tap_position(x, kx, part.stride_width, part.pad_width,
                                        part.dilation_width, part.width);
            if (sx < 0) continue;
            const long long at =
                (((long long)image * part.height + sy) * part.width + sx) * part.channels;
            // A gradient sees the filter turned round.
            const int tap = ky * part.filter_width + kx;
            const float* weight = part.weight + (long long)filter * part.weight_filter +
                                  (GRADIENT ? taps - 1 - tap : tap);
            for (int c = 0; c < part.channels; c++) {
                const int real = part.real[c];
                if (real >= 0)
                    sum += weight[(long long)real * part.weight_channel] *
                           plain_value<GRADIENT>(part, at + c, c);
            }
        }
    }
    return sum;
}

// A thread a number of the output.
template <class T, bool GRADIENT>
DEVICE void convolve_plain(const PlainConv<T>& p) {
    const long long index = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (index >= (long long)p.images * p.height * p.width * p.out_channels) return;
    const int c = int(index % p.out_channels);
    const long long pixel = index / p.out_channels;
    const int x = int(pixel % p.width), y = int(pixel / p.width % p.height);
    const int image = int(pixel / p.width / p.height);
    float sum = 0;
    if (p.real[c] >= 0)
        for (int i = 0; i < p.part_count; i++)
            sum += plain_part<GRADIENT>(p.parts[i], image, y, x, p.real[c]);
    if (GRADIENT) {
        if (p.extra) sum += load1(p.extra + index);
        if (p.head) sum += p.head[(long long)image * p.head_channels + c];
        if (p.normalised && !(p.norm.slope[c] * load1(p.y + index) + p.norm.offset[c] > p.floor))
            sum = 0;
    }
    store1(p.out + index, sum);
}

// Statistics of one column's channels by one block: the mean first, then squares around it.
template <class T>
struct Statistics {
    const T* y;
    // Null: statistics of y; otherwise of this gradient, weighted with y.
    const T* gradient;
    long long pixels;
    int channels;
    Norm norm;
};

// Sums eight numbers over the block's threads, in order. `room`: 8 · (THREADS + 1) doubles.
DEVICE void sum_column(const double* v, double* sum, double* room) {
    sync_block();
    for (int i = 0; i < 8; i++) room[threadIdx.x * 8 + i] = v[i];
    sync_block();
    if (threadIdx.x < 8) {
        double total = 0;
        for (int t = 0; t < THREADS; t++) total += room[t * 8 + threadIdx.x];
        room[THREADS * 8 + threadIdx.x] = total;
    }
    sync_block();
    for (int i = 0; i < 8; i++) sum[i] = room[THREADS * 8 + i];
}

template <class T, bool GRADIENT>
DEVICE void statistics(const Statistics<T>& p) {
    SHARED(shared);
    double* room = reinterpret_cast<double*>(shared);
    const int channel = blockIdx.x * 8, t = threadIdx.x;
    double sum[8] = {}, first[8], second[8];
    for (long long pixel = t; pixel < p.pixels; pixel += THREADS) {
        float v[8];
        load8((GRADIENT ? p.gradient : p.y) + pixel * p.channels + channel, v);
        for (int i = 0; i < 8; i++) sum[i] += v[i];
    }
    sum_column(sum, first, room);
    for (int i = 0; i < 8; i++) sum[i] = 0;
    for (long long pixel = t; pixel < p.pixels; pixel += THREADS) {
        float v[8], y[8];
        load8(p.y + pixel * p.channels + channel, y);
        if (GRADIENT) load8(p.gradient + pixel * p.channels + channel, v);
        for (int i = 0; i < 8; i++) {
            const double centred =
                y[i] - (GRADIENT ? double(p.norm.mean[channel + i]) : first[i] / p.pixels);
            sum[i] += GRADIENT ? v[i] * centred : centred * centred;
        }
    }
    sum_column(sum, second, room);
    if (t >= 8) return;
    const double mean = first[t] / p.pixels;
    finish(p.norm, load_inputs(p.norm, GRADIENT, channel + t), GRADIENT, channel + t, first[t],
           GRADIENT ? second[t] : second[t] + mean * first[t]);
}

// The gradient of one part's weights.
template <class T>
struct PlainWeights {
    Part<T> part, gradient;
    int images;
    // Where this part's weights begin in the packed gradient.
    float* out;
};

// A thread a weight: [padded filters][padded channels][taps].
template <class T>
DEVICE void plain_weights(const PlainWeights<T>& p) {
    const Part<T>&part = p.part, &g = p.gradient;
    const int taps = part.filter_height * part.filter_width;
    const long long index = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (index >= (long long)g.channels * part.channels * taps) return;
    const int tap = int(index % taps), c = int(index / taps % part.channels);
    const int filter = int(index / taps / part.channels);
    if (part.real[c] < 0 || g.real[filter] < 0) return;
    const int ky = tap / part.filter_width, kx = tap % part.filter_width;
    double sum = 0;
    for (int y = 0; y < g.height; y++) {
        const int sy = tap_position(y, ky, part.stride_height, part.pad_height, 1, part.height);
        for (int x = 0; x < g.width && sy >= 0; x++) {
            const int sx = tap_position(x, kx, part.stride_width, part.pad_width, 1, part.width);
            for (int image = 0; image < p.images && sx >= 0; image++) {
                const long long own = ((long long)image * g.height + y) * g.width + x;
                const long long at = ((long long)image * part.height + sy) * part.width + sx;
                sum += plain_value<true>(g, own * g.channels + filter, filter) *
                       plain_value<false>(part, at * part.channels + c, c);
            }
        }
    }
    p.out[(long long)g.real[filter] * part.weight_filter +
          (long long)part.real[c] * part.weight_channel + tap] = float(sum);
}
