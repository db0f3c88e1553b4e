// The start and the end of a step: images of a batch are taken from the data set, and parameters
// move against their gradients. Must not know networks.
#pragma once
#include "head.cuh"

// A position of an upsampled row or column: the source's left neighbour, and the right one's share.
struct Position {
    int left;
    float share;
};

// Where in the upsampled image an image of an epoch is cut out, and whether it is flipped.
struct Crop {
    unsigned image;
    unsigned short top, left, flip, unused;
};

template <class T>
struct Images {
    // [images][channels][height][width]
    const uint8_t* dataset;
    const uint8_t* dataset_labels;
    int channels, height, width;
    const Position *rows, *columns;
    // Of one epoch, and the place in it.
    const Crop* crops;
    const Progress* progress;
    int batch, images;
    // Mean and 1/deviation of each channel, or of each image of the data set; neither: of what is
    // cut out.
    const float* statistics;
    const float* image_statistics;
    T* out;
    int out_channels;
    uint8_t* labels;
    // [images][channels · height · width]
    float* room;
};

template <class T>
DEVICE float cropped(const Images<T>& p, const Crop& crop, int index) {
    const int x0 = index % p.width, y = index / p.width % p.height, c = index / p.width / p.height;
    const int x = crop.flip ? p.width - 1 - x0 : x0;
    const Position row = p.rows[crop.top + y], column = p.columns[crop.left + x];
    const uint8_t* plane =
        p.dataset + ((long long)crop.image * p.channels + c) * p.height * p.width;
    const uint8_t* upper = plane + row.left * p.width;
    const uint8_t* lower = plane + smaller(row.left + 1, p.height - 1) * p.width;
    const int beside = smaller(column.left + 1, p.width - 1);
    const float a0 = upper[column.left], a1 = upper[beside];
    const float b0 = lower[column.left], b1 = lower[beside];
    const float a = a0 + column.share * (a1 - a0), b = b0 + column.share * (b1 - b0);
    return a + row.share * (b - a);
}

DEVICE double sum_block(double v, double* room) {
    const int t = threadIdx.x;
    sync_block();
    room[t] = v;
    for (int half = THREADS / 2; half; half /= 2) {
        sync_block();
        if (t < half) room[t] += room[t + half];
    }
    sync_block();
    return room[0];
}

// A block an image. Shared memory: THREADS doubles.
template <class T>
DEVICE void load_images(const Images<T>& p) {
    SHARED(shared);
    double* room = reinterpret_cast<double*>(shared);
    const int t = threadIdx.x, numbers = p.channels * p.height * p.width,
              plane = p.height * p.width;
    const Crop crop = p.crops[(long long)p.progress->step * p.batch + blockIdx.x];
    float* values = p.room + (long long)blockIdx.x * numbers;
    double sum = 0;
    for (int i = t; i < numbers; i += 4 * THREADS) {
        // Several at once, so that their loads are under way together.
        float v[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = i + j * THREADS < numbers ? cropped(p, crop, i + j * THREADS) : 0;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (i + j * THREADS < numbers) values[i + j * THREADS] = v[j];
            sum += v[j];
        }
    }
    float mean = 0, scale = 1;
    if (p.image_statistics) {
        mean = p.image_statistics[2 * (long long)crop.image];
        scale = p.image_statistics[2 * (long long)crop.image + 1];
    } else if (!p.statistics) {
        mean = float(sum_block(sum, room) / numbers);
        double squares = 0;
        for (int i = t; i < numbers; i += THREADS)
            squares += (values[i] - mean) * (values[i] - mean);
        const double variance = sum_block(squares, room) / numbers;
        scale = variance < 1e-4 ? 0.0f : float(1 / sqrt(variance));
    }
    sync_block();
    T* out = p.out + (long long)blockIdx.x * plane * p.out_channels;
    for (int i = t; i < plane * p.out_channels; i += THREADS) {
        const int c = i % p.out_channels, pixel = i / p.out_channels;
        float v = 0;
        if (c < p.channels) {
            if (p.statistics) mean = p.statistics[2 * c], scale = p.statistics[2 * c + 1];
            v = (values[c * plane + pixel] - mean) * scale;
        }
        store1(out + i, v);
    }
    if (t == 0) p.labels[blockIdx.x] = p.dataset_labels[crop.image];
}

// Stochastic gradient descent with Nesterov momentum and weight decay, on f32 numbers; their bf16
// copies go where the convolutions read them.
struct Update {
    float *parameters, *velocity;
    const float* gradient;
    long long count;
    // Of the gradient; `decoupled`: of the parameters themselves, a share of the learning rate.
    float momentum, decay, decoupled;
    // Learning rate of each step of the epoch; null: the progress has it.
    const float* rates;
    bf16* packed;
    // For each parameter its two positions in `packed` (of the forward pass and of the gradient),
    // or -1; null: nothing is packed.
    const int *forward, *backward;
    Progress* progress;
};

DEVICE void pack_parameter(const Update& p, long long i, float value) {
    if (!p.packed) return;
    if (p.forward[i] >= 0) p.packed[p.forward[i]] = to_bf16(value);
    if (p.backward[i] >= 0) p.packed[p.backward[i]] = to_bf16(value);
}

DEVICE void update(const Update& p) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (i >= p.count) return;
    // The step is counted by now.
    const float rate = p.rates ? p.rates[p.progress->step - 1] : p.progress->learning_rate;
    const float decayed = p.gradient[i] + p.decay * p.parameters[i];
    const float velocity = p.momentum * p.velocity[i] + decayed;
    const float parameter = (1 - rate * p.decoupled) * p.parameters[i] -
                            rate * (decayed + p.momentum * velocity);
    p.velocity[i] = velocity;
    p.parameters[i] = parameter;
    pack_parameter(p, i, parameter);
    if (!(parameter - parameter == 0)) min_atomic(&p.progress->first_bad_step, p.progress->step);
}

// A running average of what a step leaves.
struct Average {
    const float* values;
    float* average;
    long long count;
    // How far each step of the epoch moves it.
    const float* shares;
    const Progress* progress;
};

DEVICE void move_average(const Average& p) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (i < p.count)
        p.average[i] += p.shares[p.progress->step - 1] * (p.values[i] - p.average[i]);
}

// Parameters that came from outside.
DEVICE void pack_parameters(const Update& p) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (i < p.count) pack_parameter(p, i, p.parameters[i]);
}

// The coefficients of one layer from its running statistics, a thread a channel.
DEVICE void use_running(const Norm& n) {
    const int channel = blockIdx.x * THREADS + threadIdx.x;
    if (channel >= n.channels) return;
    const int real = n.real[channel];
    float slope = 0, offset = 0;
    if (real >= 0) {
        slope = float(n.scale[real] / sqrt(double(n.running_variance[real]) + double(n.epsilon)));
        offset = n.shift[real] - n.running_mean[real] * slope;
    }
    n.slope[channel] = slope;
    n.offset[channel] = offset;
}
