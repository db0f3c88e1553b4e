// The end of a network: global average pooling, linear classifier, softmax cross-entropy, and their
// gradients. Must not know convolutions.
#pragma once
#include "norm.cuh"

// Pixels' pieces that the pooling is cut into, so that few images fill the machine.
constexpr int POOL_PIECES = 8;

// A run's place in its data, and what it reports.
struct Progress {
    // Steps of this epoch that are done, and the first one after which a number was not finite
    // (counted from 1; ~0: none).
    unsigned step, first_bad_step;
    float learning_rate;
    // Of an evaluation: images whose label has the largest logit, and images with a logit that is
    // not finite.
    unsigned correct;
    double loss;
    unsigned not_finite, unused;
};

template <class T>
struct Head {
    const Part<T>* parts;
    int part_count;
    int images, classes;
    // Padded channels of all parts side by side; of each the classifier's real one, or -1.
    int channels, real_channels;
    const int* real;
    // Pixels that the parts are padded to.
    float area;
    // [images][POOL_PIECES][channels]
    float* pooled;
    // [classes][real channels] and [classes]
    const float *weight, *bias;
    float *weight_gradient, *bias_gradient;
    const uint8_t* labels;
    // [images][channels], [images][classes], [images]
    float *features, *logit_gradient, *losses;
    // What each pixel of the parts receives: [images][channels].
    float* gradient;
    // Of an evaluation: [images][classes]; null: a training step.
    float* logits;
    // Share of each target that is spread evenly over all classes.
    float smoothing;
    Progress* progress;
};

// Sums of a piece of one part's pixels, for one image.
template <class T>
DEVICE void pool_part(const Part<T>& part, int image, int piece, float* to, float* room) {
    const int pixels = part.height * part.width;
    const int first = int((long long)pixels * piece / POOL_PIECES);
    const int end = int((long long)pixels * (piece + 1) / POOL_PIECES);
    const int t = threadIdx.x;
    for (int column = 0; column < part.channels / 8; column += THREADS) {
        const int columns = smaller(THREADS, part.channels / 8 - column);
        const int groups = THREADS / columns, mine = t % columns, group = t / columns;
        float sum[8] = {};
        if (group < groups) {
            const int channel = (column + mine) * 8;
            float k0[8], k1[8], v[8];
            if (part.k0) {
                load8(part.k0 + channel, k0);
                load8(part.k1 + channel, k1);
            }
            const T* x = part.x + (long long)image * pixels * part.channels + channel;
#pragma unroll 4
            for (int pixel = first + group; pixel < end; pixel += groups) {
                load8(x + (long long)pixel * part.channels, v);
#pragma unroll
                for (int i = 0; i < 8; i++)
                    sum[i] += part.k0 ? fmaxf(k0[i] * v[i] + k1[i], part.floor) : v[i];
            }
        }
        sync_block();
        store8(room + t * 8, sum);
        sync_block();
        for (int i = t; i < columns * 8; i += THREADS) {
            float total = 0;
            for (int g = 0; g < groups; g++) total += room[g * columns * 8 + i];
            to[column * 8 + i] = total;
        }
    }
}

// Grid: images × pieces. Shared memory: THREADS · 8 floats.
template <class T>
DEVICE void pool_head(const Head<T>& p) {
    begin_next_launch();
    SHARED(shared);
    float* to = p.pooled + ((long long)blockIdx.x * POOL_PIECES + blockIdx.y) * p.channels;
    for (int index = 0; index < p.part_count; index++) {
        const Part<T> part = p.parts[index];
        pool_part(part, blockIdx.x, blockIdx.y, to, reinterpret_cast<float*>(shared));
        to += part.channels;
    }
}

DEVICE float sum_warp(float v) {
    for (int mask = 16; mask; mask /= 2) v += shuffle_xor(v, mask);
    return v;
}

// Softmax of one image's logits, in place of which the gradient stands afterwards. One thread.
DEVICE float cross_entropy(const float* logits, int classes, int label, int images,
                           float smoothing, float* gradient) {
    float largest = logits[0];
    for (int k = 1; k < classes; k++) largest = fmaxf(largest, logits[k]);
    float sum = 0;
    for (int k = 0; k < classes; k++) sum += expf(logits[k] - largest);
    float loss = label < classes ? logf(sum) - (logits[label] - largest) : INFINITY;
    const float everywhere = smoothing / classes;
    if (smoothing > 0) {
        float all = 0;
        for (int k = 0; k < classes; k++) all += logf(sum) - (logits[k] - largest);
        loss = (1 - smoothing) * loss + everywhere * all;
    }
    for (int k = 0; k < classes; k++) {
        const float target = k == label ? 1 - smoothing + everywhere : everywhere;
        gradient[k] = (expf(logits[k] - largest) / sum - target) / images;
    }
    return loss;
}

// A block an image. Shared memory: 2 · classes floats.
template <class T>
DEVICE void classify(const Head<T>& p) {
    begin_next_launch();
    SHARED(shared);
    float* logits = reinterpret_cast<float*>(shared);
    float* gradient = logits + p.classes;
    const int image = blockIdx.x, t = threadIdx.x;
    const float* pooled = p.pooled + (long long)image * POOL_PIECES * p.channels;
    float* features = p.features + (long long)image * p.channels;
    for (int c = t; c < p.channels; c += THREADS) {
        float sum = 0;
#pragma unroll
        for (int piece = 0; piece < POOL_PIECES; piece++) sum += pooled[piece * p.channels + c];
        features[c] = sum / p.area;
    }
    sync_block();
    for (int k = t / 32; k < p.classes; k += THREADS / 32) {
        float sum = 0;
        for (int c = t % 32; c < p.channels; c += 32)
            if (p.real[c] >= 0) sum += features[c] * p.weight[k * p.real_channels + p.real[c]];
        sum = sum_warp(sum);
        if (t % 32 == 0) logits[k] = sum + p.bias[k];
    }
    sync_block();
    if (p.logits) {
        for (int k = t; k < p.classes; k += THREADS) p.logits[image * p.classes + k] = logits[k];
        return;
    }
    if (t == 0)
        p.losses[image] = cross_entropy(logits, p.classes, p.labels[image], p.images, p.smoothing,
                                        gradient);
    sync_block();
    for (int k = t; k < p.classes; k += THREADS)
        p.logit_gradient[image * p.classes + k] = gradient[k];
    for (int c = t; c < p.channels; c += THREADS) {
        float sum = 0;
        if (p.real[c] >= 0)
            for (int k = 0; k < p.classes; k++)
                sum += gradient[k] * p.weight[k * p.real_channels + p.real[c]];
        p.gradient[(long long)image * p.channels + c] = sum / p.area;
    }
}

// Counts which images of an evaluation are right, a thread an image (of equal logits the first one
// counts); and the step. One block.
template <class T>
DEVICE void judge(const Head<T>& p) {
    for (int image = threadIdx.x; image < p.images; image += THREADS) {
        const float* logits = p.logits + image * p.classes;
        int best = 0;
        bool finite = true;
        for (int k = 0; k < p.classes; k++) {
            if (logits[k] > logits[best]) best = k;
            if (!(logits[k] - logits[k] == 0)) finite = false;
        }
        if (best == p.labels[image]) add_atomic(&p.progress->correct, 1);
        if (!finite) add_atomic(&p.progress->not_finite, 1);
    }
    if (threadIdx.x == 0) p.progress->step++;
}

// Gradients of the classifier's numbers, a thread each; the first thread adds up the loss.
template <class T>
DEVICE void head_weights(const Head<T>& p) {
    const int i = blockIdx.x * THREADS + threadIdx.x, k = i / p.channels, c = i % p.channels;
    if (k < p.classes && p.real[c] >= 0) {
        float sum = 0;
#pragma unroll 8
        for (int image = 0; image < p.images; image++)
            sum += p.logit_gradient[image * p.classes + k] *
                   p.features[(long long)image * p.channels + c];
        p.weight_gradient[k * p.real_channels + p.real[c]] = sum;
    }
    if (i < p.classes) {
        float sum = 0;
        for (int image = 0; image < p.images; image++)
            sum += p.logit_gradient[image * p.classes + i];
        p.bias_gradient[i] = sum;
    }
    if (i == 0) {
        double sum = 0;
        for (int image = 0; image < p.images; image++) sum += p.losses[image];
        p.progress->loss += sum;
        p.progress->step++;
        if (!(sum - sum == 0)) min_atomic(&p.progress->first_bad_step, p.progress->step);
    }
}
