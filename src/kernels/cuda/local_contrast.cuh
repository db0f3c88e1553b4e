// Local contrast normalisation, forward and backward, a block an image. Must not know networks.
//
// As kernels/local_contrast.rs says: v = x − blur(mean over channels of x), σ = √(blur(mean over
// channels of v²) + ε), c = mean of σ over the pixels, y = v / max(c, σ).
#pragma once
#include "plain.cuh"

constexpr float CONTRAST_EPSILON = 1e-5f;

// Planes of f32 that an image needs, beside σ of each pixel and c, which are kept for the gradient.
constexpr int CONTRAST_PLANES = 5;

template <class T>
struct Contrast {
    const Part<T>* parts;
    int part_count;
    int images, height, width, window;
    // [height][window] and [width][window]: weights of each position's window, 0 outside.
    const float *rows, *columns;
    T* out;
    int out_channels;
    const int* real;
    int real_channels;
    // [images][height · width + 1]
    float* deviations;
    // [images][CONTRAST_PLANES][height · width]
    float* planes;
    const T* gradient;
    // The gradient of the concatenated input, [images][height][width][out channels].
    T* input_gradient;
};

// Weighted sums along one direction, or their transpose.
DEVICE void blur_line(const float* weights, int window, int length, int step, bool transposed,
                      int area, const float* from, float* to) {
    const int radius = (window - 1) / 2;
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS) {
        const int at = pixel / step % length, line = pixel - at * step;
        float sum = 0;
        for (int i = 0; i < window; i++) {
            const int other = transposed ? at + radius - i : at - radius + i;
            if (other < 0 || other >= length) continue;
            sum += weights[(transposed ? other : at) * window + i] * from[line + other * step];
        }
        to[pixel] = sum;
    }
    sync_block();
}

template <class T>
DEVICE void blur(const Contrast<T>& p, bool transposed, const float* from, float* middle,
                 float* to) {
    const int area = p.height * p.width;
    if (transposed) {
        blur_line(p.rows, p.window, p.height, p.width, true, area, from, middle);
        blur_line(p.columns, p.window, p.width, 1, true, area, middle, to);
    } else {
        blur_line(p.columns, p.window, p.width, 1, false, area, from, middle);
        blur_line(p.rows, p.window, p.height, p.width, false, area, middle, to);
    }
}

// Calls f(pixel, channel, value) for the concatenated input's real channels.
template <class T, class F>
DEVICE void each_input(const Contrast<T>& p, int image, int pixel, F f) {
    int first = 0;
    for (int index = 0; index < p.part_count; index++) {
        const Part<T>& part = p.parts[index];
        for (int column = 0; column < part.channels; column += 8) {
            float v[8];
            read_part(part, image, pixel / p.width, pixel % p.width, column, v);
            for (int i = 0; i < 8; i++)
                if (p.real[first + column + i] >= 0) f(first + column + i, v[i]);
        }
        first += part.channels;
    }
}

// Shared memory: THREADS doubles.
template <class T>
DEVICE void contrast(const Contrast<T>& p) {
    SHARED(shared);
    const int image = blockIdx.x, area = p.height * p.width;
    float* deviations = p.deviations + (long long)image * (area + 1);
    float* sums = p.planes + (long long)image * CONTRAST_PLANES * area;
    float *middle = sums + area, *blurred = middle + area;
    T* out = p.out + (long long)image * area * p.out_channels;
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS) {
        float sum = 0;
        each_input(p, image, pixel, [&](int, float v) { sum += v; });
        sums[pixel] = sum / p.real_channels;
    }
    sync_block();
    blur(p, false, sums, middle, blurred);
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS) {
        float sum = 0;
        each_input(p, image, pixel, [&](int, float v) {
            sum += (v - blurred[pixel]) * (v - blurred[pixel]);
        });
        sums[pixel] = sum / p.real_channels;
    }
    float* means = middle + 2 * area;
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS) means[pixel] = blurred[pixel];
    sync_block();
    blur(p, false, sums, middle, blurred);
    double total = 0;
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS) {
        deviations[pixel] = sqrtf(blurred[pixel] + CONTRAST_EPSILON);
        total += deviations[pixel];
    }
    const float mean = float(sum_block(total, reinterpret_cast<double*>(shared)) / area);
    if (threadIdx.x == 0) deviations[area] = mean;
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS)
        each_input(p, image, pixel, [&](int channel, float v) {
            store1(out + (long long)pixel * p.out_channels + channel,
                   (v - means[pixel]) / fmaxf(deviations[pixel], mean));
        });
}

// Of σ, before the root: `along` holds Σ g·y of each pixel.
template <class T>
DEVICE void deviation_gradient(const Contrast<T>& p, const float* deviations, float* along,
                               double* room) {
    const int area = p.height * p.width;
    const float mean = deviations[area];
    double spread = 0;
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS) {
        const float total = -along[pixel] / fmaxf(deviations[pixel], mean);
        const bool own = deviations[pixel] > mean;
        if (!own) spread += total;
        along[pixel] = own ? total : 0;
    }
    const float share = float(sum_block(spread, room) / area);
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS)
        along[pixel] = (along[pixel] + share) / (2 * deviations[pixel]);
    sync_block();
}

// Shared memory: THREADS doubles.
template <class T>
DEVICE void contrast_gradient(const Contrast<T>& p) {
    SHARED(shared);
    const int image = blockIdx.x, area = p.height * p.width;
    const float* deviations = p.deviations + (long long)image * (area + 1);
    const float mean = deviations[area];
    float* along = p.planes + (long long)image * CONTRAST_PLANES * area;
    float *gradients = along + area, *outputs = along + 2 * area, *middle = along + 3 * area;
    float* squares = along + 4 * area;
    const long long first = (long long)image * area * p.out_channels;
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS) {
        float products = 0, gradient = 0, output = 0;
        for (int c = 0; c < p.out_channels; c++) {
            if (p.real[c] < 0) continue;
            const float g = load1(p.gradient + first + (long long)pixel * p.out_channels + c);
            const float y = load1(p.out + first + (long long)pixel * p.out_channels + c);
            products += g * y, gradient += g, output += y;
        }
        along[pixel] = products, gradients[pixel] = gradient, outputs[pixel] = output;
    }
    sync_block();
    deviation_gradient(p, deviations, along, reinterpret_cast<double*>(shared));
    blur(p, true, along, middle, squares);
    const float share = 1.0f / p.real_channels;
    for (int pixel = threadIdx.x; pixel < area; pixel += THREADS) {
        const float divisor = fmaxf(deviations[pixel], mean);
        along[pixel] = -(gradients[pixel] / divisor +
                         2 * outputs[pixel] * divisor * squares[pixel] * share);
    }
    sync_block();
    blur(p, true, along, middle, gradients);
    for (int i = threadIdx.x; i < area * p.out_channels; i += THREADS) {
        const int c = i % p.out_channels, pixel = i / p.out_channels;
        float v = 0;
        if (p.real[c] >= 0) {
            const float divisor = fmaxf(deviations[pixel], mean);
            v = load1(p.gradient + first + i) / divisor +
                2 * load1(p.out + first + i) * divisor * squares[pixel] * share +
                gradients[pixel] * share;
        }
        store1(p.input_gradient + first + i, v);
    }
}
