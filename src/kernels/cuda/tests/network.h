// The launches of a convolutional network's training step, in their order. Must not know how sizes
// are chosen, nor how results are checked.
#pragma once
#include "plan.h"

template <class T>
struct Network : Plan<T> {
    using Plan<T>::Plan;
    using Plan<T>::FAST;
    using Plan<T>::backend;
    using Plan<T>::spec;
    using Plan<T>::batch;
    using Plan<T>::states;
    using Plan<T>::parameter_count;
    using Plan<T>::head_channels;
    using Plan<T>::parameters;
    using Plan<T>::gradient;
    using Plan<T>::running;
    using Plan<T>::plans;
    using Plan<T>::head;
    using Plan<T>::images;
    using Plan<T>::update;
    using Plan<T>::progress;
    using Plan<T>::numbers;
    using Plan<T>::gradient_of;
    using Plan<T>::reading;
    int launches = 0;
    // Of an evaluation: [images][classes].
    float* logits = nullptr;

    template <class A>
    void launch(int stream, void (*kernel)(A), Index grid, size_t shared, const A& arguments) {
        launches++;
        backend.launch(stream, kernel, grid, shared, arguments);
    }
    template <class A>
    void each(int stream, void (*kernel)(A), long long threads, size_t shared, const A& arguments) {
        launch(stream, kernel, Index{int((threads + THREADS - 1) / THREADS), 1, 1}, shared,
               arguments);
    }

    void launch_conv(const ConvLaunch& l, bool gradient) {
        using F = void (*)(Conv);
#define ROW(n) \
    {conv_forward_##n##_1, conv_forward_##n##_2, conv_gradient_##n##_1, conv_gradient_##n##_2}
        static const F kernels[8][4] = {ROW(1), ROW(2), ROW(3), ROW(4),
                                        ROW(5), ROW(6), ROW(7), ROW(8)};
#undef ROW
        launch(0, kernels[l.columns - 1][gradient * 2 + (l.multiple == 2)], l.grid, l.shared,
               l.conv);
    }

    void statistics_of(int index, bool gradient) {
        const State<T>& s = states[index];
        Statistics<T> p{s.y, gradient ? s.gradient : nullptr, (long long)batch * s.height * s.width,
                        s.padded, s.norm};
        const Index grid{s.padded / 8, 1, 1};
        const size_t shared = (THREADS + 1) * 8 * sizeof(double);
        if constexpr (FAST)
            launch(0, gradient ? gradient_statistics_bf16 : statistics_bf16, grid, shared, p);
        else
            launch(0, gradient ? gradient_statistics_f32 : statistics_f32, grid, shared, p);
    }

#define PICK(name) [] { if constexpr (FAST) return name##_bf16; else return name##_f32; }()

    void forward_layer(int index, bool training) {
        auto& plan = plans[index];
        const Layer& l = spec.layers[index];
        State<T>& s = states[index + 1];
        if (l.kind == Kind::Convolution) {
            if (!plan.forward.plain) {
                if constexpr (FAST) {
                    ConvLaunch c = plan.forward;
                    c.conv.training = training;
                    launch_conv(c, false);
                }
                return;
            }
            each(0, PICK(convolve_plain), numbers(s), 0, plan.plain_forward);
        } else if (l.kind == Kind::LocalContrast) {
            plan.contrast.parts = plan.device_parts;
            launch(0, PICK(contrast), Index{batch, 1, 1}, THREADS * 8, plan.contrast);
        } else {
            each_part(index, [&](int first, int in) {
                if (l.kind == Kind::BatchNorm)
                    each(0, PICK(copy), pixels(s) * states[in].padded / 8, 0,
                         copy_of(index, first, in));
                else
                    each(0, PICK(pool), pixels(s) * states[in].padded / 8, 0,
                         pool_of(index, first, in));
            });
        }
        if (s.normalised && training) statistics_of(index + 1, false);
    }

    long long pixels(const State<T>& s) const { return (long long)batch * s.height * s.width; }

    template <class F>
    void each_part(int index, F f) {
        int first = 0;
        for (int in : spec.layers[index].inputs) {
            f(first, in);
            first += states[in].padded;
        }
    }

    void concatenated(int index, int& height, int& width) const {
        height = width = 1;
        for (int in : spec.layers[index].inputs) {
            height = std::max(height, states[in].height);
            width = std::max(width, states[in].width);
        }
    }

    Pool<T> pool_of(int index, int first, int in) {
        const Layer& l = spec.layers[index];
        State<T>& s = states[index + 1];
        Pool<T> p{};
        p.part = reading(in);
        p.images = batch;
        concatenated(index, p.height, p.width);
        p.out_height = s.height, p.out_width = s.width;
        p.size = l.filter_height, p.stride = l.stride_height;
        p.average = l.kind == Kind::AveragePooling;
        p.out = s.y, p.out_channels = s.padded, p.first_channel = first, p.winner = s.winner;
        p.gradient = s.gradient, p.extra = states[in].extra;
        p.accumulate = states[in].extra_written;
        return p;
    }

    Copy<T> copy_of(int index, int first, int in) {
        State<T>& s = states[index + 1];
        Copy<T> p{};
        p.part = reading(in);
        p.images = batch, p.height = s.height, p.width = s.width;
        p.out = s.y, p.out_channels = s.padded, p.first_channel = first;
        p.gradient = s.gradient, p.norm = s.norm, p.extra = states[in].extra;
        p.accumulate = states[in].extra_written;
        return p;
    }

    void forward(bool training) {
        for (size_t i = 0; i < plans.size(); i++) {
            if (!training && states[i + 1].normalised)
                each(0, use_running_statistics, states[i + 1].padded, 0, states[i + 1].norm);
            forward_layer(int(i), training);
        }
        launch(0, PICK(pool_head), Index{batch, POOL_PIECES, 1}, THREADS * 8 * 4, head);
        Head<T> h = head;
        if (!training) h.logits = logits;
        launch(0, PICK(classify), Index{batch, 1, 1}, size_t(spec.classes) * 8, h);
    }

    void backward_layer(int index) {
        auto& plan = plans[index];
        const Layer& l = spec.layers[index];
        State<T>& s = states[index + 1];
        if (!s.live) return;
        if (plan.backward.plain) {
            plan.plain_backward.extra = s.extra_written ? s.extra : nullptr;
            each(0, PICK(gradient_plain), numbers(s), 0, plan.plain_backward);
            if (s.normalised) statistics_of(index + 1, true);
        } else if constexpr (FAST) {
            plan.backward.conv.extra = s.extra_written ? s.extra : nullptr;
            launch_conv(plan.backward, true);
        }
        if (l.kind == Kind::Convolution) {
            weights_of(index);
        } else if (l.kind == Kind::LocalContrast) {
            plan.contrast.parts = plan.device_parts;
            launch(0, PICK(contrast_gradient), Index{batch, 1, 1}, THREADS * 8, plan.contrast);
            // The gradient of the concatenation is handed on as a pooling of size 1 would.
            each_part(index, [&](int first, int in) {
                if (in == 0) return;
                Pool<T> p = pool_of(index, first, in);
                p.size = p.stride = p.average = 1, p.gradient = plan.input_gradient;
                each(0, PICK(pool_gradient), pixels(states[in]) * states[in].padded / 8, 0, p);
                states[in].extra_written = true;
            });
        } else {
            each_part(index, [&](int first, int in) {
                if (in == 0) return;
                const long long n = pixels(states[in]) * states[in].padded / 8;
                if (l.kind == Kind::BatchNorm)
                    each(0, PICK(copy_gradient), n, 0, copy_of(index, first, in));
                else
                    each(0, PICK(pool_gradient), n, 0, pool_of(index, first, in));
                states[in].extra_written = true;
            });
        }
    }

    void weights_of(int index) {
        auto& plan = plans[index];
        backend.order(0, 1);
        if (plan.weights_fast) {
            using F = void (*)(WeightGradient);
            static const F kernels[8] = {weight_gradient_1, weight_gradient_2, weight_gradient_3,
                                         weight_gradient_4, weight_gradient_5, weight_gradient_6,
                                         weight_gradient_7, weight_gradient_8};
            launch(1, kernels[plan.weights_columns - 1], plan.weights_grid, plan.weights_shared,
                   plan.weights);
            launch(1, add_splits,
                   Index{int((plan.reduction.size / 4 + SPLIT_LANES - 1) / SPLIT_LANES), 1, 1},
                   THREADS * 16, plan.reduction);
            return;
        }
        for (Part<T> part : plan.parts) {
            PlainWeights<T> p{};
            p.part = part, p.gradient = gradient_of(index + 1), p.images = batch;
            p.out = gradient + (part.weight - parameters);
            const int taps = part.filter_height * part.filter_width;
            each(1, PICK(weights_plain), (long long)taps * part.channels * states[index + 1].padded,
                 0, p);
        }
    }

    // One training step; capture-safe.
    void step() {
        launches = 0;
        launch(0, PICK(load_images), Index{batch, 1, 1}, THREADS * 8, images);
        forward(true);
        backend.order(0, 1);
        each(1, PICK(head_weights), std::max(head_channels, 1) * (long long)spec.classes, 0, head);
        for (auto& s : states) s.extra_written = false;
        for (int i = int(plans.size()) - 1; i >= 0; i--) backward_layer(i);
        backend.order(1, 0);
        each(0, update_parameters, parameter_count, 0, update);
    }

    void set_parameters(const std::vector<float>& values, const std::vector<float>& stats) {
        backend.upload(parameters, values.data(), values.size() * 4);
        backend.upload(running, stats.data(), stats.size() * 4);
        Progress start{};
        start.first_bad_step = ~0u, start.learning_rate = 0.01f;
        backend.upload(progress, &start, sizeof start);
        each(0, pack_all_parameters, parameter_count, 0, update);
        backend.synchronise();
    }
};
