// Plans a convolutional network's training step: sizes, tiles, buffers, and where each parameter
// lies in the packed weights. Must not know the order of launches, nor how results are checked.
#pragma once
#include "backend.h"

#include <algorithm>
#include <cmath>

enum class Kind { Convolution, MaxPooling, AveragePooling, LocalContrast, BatchNorm };

struct Layer {
    Kind kind;
    int filter_height, filter_width, filters, stride_height, stride_width;
    // 0 is the image, i is layer i (from 1).
    std::vector<int> inputs;
};

struct Spec {
    int channels, height, width, classes;
    std::vector<Layer> layers;
    std::vector<int> output;
};

inline int ceil_div(int a, int b) { return (a + b - 1) / b; }
inline int log2_ceil(int n) {
    int log = 0;
    while (1 << log < n) log++;
    return log;
}

// Where a layer's (or the image's) numbers lie.
template <class T>
struct State {
    int channels = 0, height = 0, width = 0;
    // Padded channels; tiles of `columns` columns.
    int padded = 0, tiles = 1, columns = 1;
    std::vector<int> real;
    T *y = nullptr, *gradient = nullptr, *extra = nullptr;
    bool extra_written = false;
    uint16_t* winner = nullptr;
    bool normalised = false, live = false;
    float floor = 0;
    Norm norm{};
    int* device_real = nullptr;
    // Convolutions that read it.
    std::vector<int> readers;
};

// One convolution or gradient, with all that its launch needs.
struct ConvLaunch {
    Conv conv;
    int columns, multiple, tiles;
    Index grid;
    size_t shared;
    bool plain = false;
};

inline Tiling choose_tiling(int images, int height, int width, int pixels, int kh, int kw, int sh,
                            int sw) {
    Tiling best{};
    double least = 1e300;
    const int log_pixels = log2_ceil(pixels);
    for (int lw = 0; lw <= log_pixels && lw <= 5; lw++)
        for (int lh = 0; lw + lh <= log_pixels; lh++) {
            Tiling t{images, height, width, lw, lh, 1 << (log_pixels - lw - lh), 0, 0};
            t.across = ceil_div(width, 1 << lw);
            t.down = ceil_div(height, 1 << lh);
            const double tiles = double(t.across) * t.down * ceil_div(images, t.tile_images);
            const double patch = double(t.tile_images) * (((1 << lh) - 1) * sh + kh) *
                                 (((1 << lw) - 1) * sw + kw);
            const double cost = tiles * (4 * pixels + patch) * (lw < 3 ? 1.3 : 1);
            if (cost < least) least = cost, best = t;
        }
    return best;
}

template <class T>
int patch_bytes(const Tiling& t, const Part<T>& part, int columns) {
    const int rows = ((1 << t.log_height) - 1) * part.stride_height + part.filter_height;
    const int line = ((1 << t.log_width) - 1) * part.stride_width + part.filter_width;
    return (t.tile_images * rows * line | 1) * 16 * columns;
}

template <class T>
struct Plan {
    static constexpr bool FAST = sizeof(T) == 2;
    Backend& backend;
    Spec spec;
    int batch;
    bool force_plain;
    std::vector<State<T>> states;
    std::vector<long long> weight_at, scale_at, shift_at, mean_at, variance_at;
    long long classifier_at = 0, parameter_count = 0, running_count = 0;
    int head_channels = 0, head_real = 0;
    float *parameters, *velocity, *gradient, *running;
    bf16* packed = nullptr;
    std::vector<int> forward_at, backward_at;
    int *device_forward = nullptr, *device_backward = nullptr;
    struct LayerPlan {
        ConvLaunch forward, backward;
        std::vector<Part<T>> parts;
        Part<T>* device_parts = nullptr;
        PlainConv<T> plain_forward{}, plain_backward{};
        // Weight gradients
        bool weights_fast = false;
        WeightGradient weights{};
        Index weights_grid{};
        size_t weights_shared = 0;
        int weights_columns = 0;
        Reduction reduction{};
        std::vector<long long> part_weight;
        Contrast<T> contrast{};
        T* input_gradient = nullptr;
    };
    std::vector<LayerPlan> plans;
    Head<T> head{};
    Images<T> images{};
    Update update{};
    Progress* progress;
    float* partial = nullptr;
    long long partial_size = 0;
    unsigned* counters;

    Plan(Backend& b, const Spec& s, int n, bool plain)
        : backend(b), spec(s), batch(n), force_plain(plain || !FAST) {
        plan_states();
        plan_parameters();
        allocate();
        plan_layers();
        plan_head();
        finish();
    }

    template <class U>
    U* device(const std::vector<U>& v) {
        U* p = static_cast<U*>(backend.allocate(v.size() * sizeof(U)));
        backend.upload(p, v.data(), v.size() * sizeof(U));
        return p;
    }
    template <class U>
    U* room(size_t n) {
        return static_cast<U*>(backend.allocate(n * sizeof(U)));
    }

    void plan_states() {
        State<T> image;
        image.channels = spec.channels, image.height = spec.height, image.width = spec.width;
        pad(image, {});
        states.push_back(image);
        for (const Layer& l : spec.layers) {
            State<T> s;
            int height = 1, width = 1;
            std::vector<int> real;
            int first = 0;
            for (int i : l.inputs) {
                height = std::max(height, states[i].height);
                width = std::max(width, states[i].width);
                for (int r : states[i].real) real.push_back(r < 0 ? -1 : first + r);
                first += states[i].channels;
            }
            s.height = ceil_div(height, l.stride_height);
            s.width = ceil_div(width, l.stride_width);
            s.channels = l.kind == Kind::Convolution ? l.filters : first;
            if (l.kind == Kind::Convolution) real.clear();
            pad(s, real);
            s.normalised = l.kind == Kind::Convolution || l.kind == Kind::BatchNorm;
            s.floor = l.kind == Kind::Convolution ? 0.0f : -INFINITY;
            states.push_back(s);
        }
        for (int o : spec.output) states[o].live = true;
        for (int i = int(spec.layers.size()); i > 0; i--)
            for (int from : spec.layers[i - 1].inputs)
                if (states[i].live) {
                    states[from].live = true;
                    if (spec.layers[i - 1].kind == Kind::Convolution)
                        states[from].readers.push_back(i);
                }
    }

    void pad(State<T>& s, std::vector<int> real) {
        if (real.empty())
            for (int c = 0; c < s.channels; c++) real.push_back(c);
        const int columns = ceil_div(int(real.size()), 8);
        s.tiles = ceil_div(columns, 8);
        s.columns = ceil_div(columns, s.tiles);
        s.padded = s.tiles * s.columns * 8;
        real.resize(s.padded, -1);
        s.real = real;
    }

    void plan_parameters() {
        for (size_t i = 0; i < spec.layers.size(); i++) {
            const Layer& l = spec.layers[i];
            int channels = 0;
            for (int in : l.inputs) channels += states[in].channels;
            weight_at.push_back(parameter_count);
            if (l.kind == Kind::Convolution)
                parameter_count +=
                    (long long)l.filters * channels * l.filter_height * l.filter_width;
            scale_at.push_back(parameter_count);
            if (states[i + 1].normalised) parameter_count += states[i + 1].channels;
            shift_at.push_back(parameter_count);
            if (states[i + 1].normalised) parameter_count += states[i + 1].channels;
            mean_at.push_back(running_count);
            if (states[i + 1].normalised) running_count += states[i + 1].channels;
            variance_at.push_back(running_count);
            if (states[i + 1].normalised) running_count += states[i + 1].channels;
        }
        for (int o : spec.output) {
            head_channels += states[o].padded;
            head_real += states[o].channels;
        }
        classifier_at = parameter_count;
        parameter_count += (long long)spec.classes * head_real + spec.classes;
        forward_at.assign(parameter_count, -1);
        backward_at.assign(parameter_count, -1);
    }

    size_t numbers(const State<T>& s) const {
        return (size_t)batch * s.height * s.width * s.padded;
    }

    void allocate() {
        parameters = room<float>(parameter_count);
        velocity = room<float>(parameter_count);
        gradient = room<float>(parameter_count);
        running = room<float>(std::max(1ll, running_count));
        progress = room<Progress>(1);
        counters = room<unsigned>(4096);
        for (size_t i = 0; i < states.size(); i++) {
            State<T>& s = states[i];
            s.y = room<T>(numbers(s));
            s.device_real = device(s.real);
            if (i == 0) continue;
            s.gradient = room<T>(numbers(s));
            const Layer& l = spec.layers[i - 1];
            if (l.kind == Kind::MaxPooling) s.winner = room<uint16_t>(numbers(s));
            if (!s.normalised) continue;
            float* k = room<float>(7 * s.padded);
            Norm& n = s.norm;
            n.slope = k, n.offset = k + s.padded, n.mean = k + 2 * s.padded;
            n.inverse = k + 3 * s.padded, n.gradient0 = k + 4 * s.padded;
            n.gradient1 = k + 5 * s.padded, n.gradient2 = k + 6 * s.padded;
            n.scale = parameters + scale_at[i - 1], n.shift = parameters + shift_at[i - 1];
            n.scale_gradient = gradient + scale_at[i - 1];
            n.shift_gradient = gradient + shift_at[i - 1];
            n.running_mean = running + mean_at[i - 1];
            n.running_variance = running + variance_at[i - 1];
            n.real = s.device_real, n.channels = s.padded;
            n.count = float(double(batch) * s.height * s.width), n.epsilon = 1e-5f;
        }
        // Readers without filters hand gradients on through `extra`.
        for (size_t i = 0; i < spec.layers.size(); i++)
            if (spec.layers[i].kind != Kind::Convolution && states[i + 1].live)
                for (int in : spec.layers[i].inputs)
                    if (in > 0 && !states[in].extra)
                        states[in].extra = room<T>(numbers(states[in]));
    }

    Part<T> reading(int source) const {
        const State<T>& s = states[source];
        Part<T> part{};
        part.x = s.y;
        if (s.normalised) part.k0 = s.norm.slope, part.k1 = s.norm.offset;
        part.floor = s.floor;
        part.channels = s.padded, part.height = s.height, part.width = s.width;
        part.filter_height = part.filter_width = part.stride_height = part.stride_width = 1;
        part.dilation_height = part.dilation_width = part.block = 1;
        part.real = s.device_real;
        return part;
    }

    // The gradient of a convolution's output, as its readers' gradients are made of it.
    Part<T> gradient_of(int layer) const {
        const State<T>& s = states[layer];
        Part<T> part = reading(layer);
        part.x = s.gradient, part.y = s.y;
        part.k0 = s.norm.gradient0, part.k1 = s.norm.gradient1, part.k2 = s.norm.gradient2;
        return part;
    }

    // Chooses tiles and cuts so that two blocks fit on a multiprocessor.
    void plan_conv(ConvLaunch& launch, std::vector<Part<T>>& parts, const State<T>& out) {
        launch.plain = force_plain;
        if (launch.plain) return;
        int kh = 1, kw = 1, sh = 1, sw = 1;
        for (auto& p : parts) {
            kh = std::max(kh, p.filter_height), kw = std::max(kw, p.filter_width);
            sh = std::max(sh, p.stride_height), sw = std::max(sw, p.stride_width);
        }
        launch.columns = out.columns;
        for (int multiple : {2, 1}) {
            launch.multiple = multiple;
            const Tiling t =
                choose_tiling(batch, out.height, out.width, 128 * multiple, kh, kw, sh, sw);
            launch.conv.tiling = t;
            launch.tiles = t.across * t.down * ceil_div(batch, t.tile_images);
            launch.grid = {launch.tiles, out.tiles, 1};
            const bool fits = cut(launch, parts, out.columns * 8);
            if (fits && (multiple == 1 || launch.tiles * out.tiles >= 200)) return;
            if (multiple == 1) launch.plain = !fits;
        }
    }

    bool cut(ConvLaunch& launch, std::vector<Part<T>>& parts, int n) {
        const Tiling& t = launch.conv.tiling;
        size_t patch = 0;
        int most_chunks = 2;
        const size_t epilogue = epilogue_bytes(launch.columns, launch.multiple);
        for (auto& p : parts) {
            const int all = p.channels / 8, one = patch_bytes(t, p, 1);
            if (one > int(SHARED_LIMIT) - 6 * 1024) return false;
            const int most = std::max(1, std::min({all, (48 * 1024) / one, THREADS}));
            p.block = ceil_div(all, ceil_div(all, most));
            patch = std::max(patch, size_t(one) * p.block);
            most_chunks = std::max(most_chunks, p.block * p.filter_height * p.filter_width + 1);
        }
        const int per_chunk = n * 16 + 4;
        int group = int((SHARED_LIMIT - 64 - patch) / per_chunk) / 2 * 2;
        group = std::min(group, most_chunks / 2 * 2);
        if (group < 2) return false;
        launch.conv.group = group;
        launch.shared =
            std::max(size_t((group * 4 + 15) / 16 * 16 + group * n * 16) + patch, epilogue);
        return launch.shared <= SHARED_LIMIT;
    }

    static long long chunks_of(const Part<T>& p) {
        const int all = p.channels / 8, taps = p.filter_height * p.filter_width;
        long long total = 0;
        for (int first = 0; first < all; first += p.block) {
            const int chunks = std::min(p.block, all - first) * taps;
            total += chunks + chunks % 2;
        }
        return total;
    }

    // Position of a weight: `out` and `in` are padded channels.
    static long long position(const std::vector<Part<T>>& parts, size_t index, int n, int out,
                              int in, int tap) {
        long long total = 0, before = 0;
        for (size_t i = 0; i < parts.size(); i++) {
            if (i == index) before = total;
            total += chunks_of(parts[i]);
        }
        const Part<T>& p = parts[index];
        const int taps = p.filter_height * p.filter_width, column = in / 8;
        const int whole = p.block * taps + p.block * taps % 2;
        const long long chunk =
            before + (long long)(column / p.block) * whole + column % p.block * taps + tap;
        return ((out / n * total + chunk) * n + out % n) * 8 + in % 8;
    }

    long long packed_count = 0;
    std::vector<long long> forward_base, backward_base, forward_size;

    void plan_layers() {
        plans.resize(spec.layers.size());
        forward_base.resize(plans.size());
        forward_size.resize(plans.size());
        backward_base.resize(plans.size());
        for (size_t i = 0; i < plans.size(); i++) plan_forward(int(i));
        for (size_t i = 0; i < plans.size(); i++) plan_backward(int(i));
        if (!force_plain) packed = room<bf16>(packed_count);
        for (size_t i = 0; i < plans.size(); i++) plan_weights(int(i));
        if (partial_size) partial = room<float>(partial_size);
        for (size_t i = 0; i < plans.size(); i++) {
            LayerPlan& p = plans[i];
            p.forward.conv.weight = packed + forward_base[i];
            p.backward.conv.weight = packed + backward_base[i];
            p.weights.partial = partial;
            p.reduction.partial = partial;
        }
    }

    void plan_forward(int index) {
        LayerPlan& plan = plans[index];
        const Layer& l = spec.layers[index];
        State<T>& s = states[index + 1];
        int channels = 0;
        for (int in : l.inputs) channels += states[in].channels;
        const int taps = l.filter_height * l.filter_width;
        int first = 0;
        for (int in : l.inputs) {
            Part<T> part = reading(in);
            if (l.kind == Kind::Convolution) {
                part.filter_height = l.filter_height, part.filter_width = l.filter_width;
                part.pad_height = (l.filter_height - 1) / 2;
                part.pad_width = (l.filter_width - 1) / 2;
                part.stride_height = l.stride_height, part.stride_width = l.stride_width;
                part.weight = parameters + weight_at[index] + first * taps;
                part.weight_filter = channels * taps, part.weight_channel = taps;
                plan.part_weight.push_back(weight_at[index] + first * taps);
            }
            plan.parts.push_back(part);
            first += states[in].channels;
        }
        if (l.kind == Kind::LocalContrast) plan_contrast(index);
        if (l.kind != Kind::Convolution) {
            plan.device_parts = device(plan.parts);
            return;
        }
        if constexpr (FAST) plan_conv(plan.forward, plan.parts, s);
        else plan.forward.plain = true;
        plan.device_parts = device(plan.parts);
        PlainConv<T>& plain = plan.plain_forward;
        plain.parts = plan.device_parts, plain.part_count = int(plan.parts.size());
        plain.images = batch, plain.height = s.height, plain.width = s.width;
        plain.out = s.y, plain.out_channels = s.padded, plain.real = s.device_real;
        if constexpr (FAST) if (!plan.forward.plain) {
            Conv& c = plan.forward.conv;
            c.parts = plan.device_parts, c.part_count = int(plan.parts.size());
            c.out = s.y, c.out_channels = s.padded, c.norm = s.norm, c.training = 1;
            c.counters = counters;
            c.moments = room<float>((size_t)plan.forward.tiles * s.padded * 2);
            const int n = s.columns * 8;
            long long total = 0;
            for (auto& p : plan.parts) total += chunks_of(p);
            c.weight_tile = total * n * 8;
            forward_base[index] = packed_count;
            forward_size[index] = c.weight_tile * s.tiles;
            for (size_t p = 0; p < plan.parts.size(); p++) {
                const State<T>& in = states[l.inputs[p]];
                for (int slot = 0; slot < in.padded; slot++)
                    for (int f = 0; f < l.filters && in.real[slot] >= 0; f++)
                        for (int tap = 0; tap < taps; tap++)
                            forward_at[plan.part_weight[p] +
                                       ((long long)f * channels + in.real[slot]) * taps + tap] =
                                int(packed_count +
                                    position(plan.parts, p, n, f, slot, tap));
            }
            packed_count += forward_size[index];
        }
    }

    // The gradient of layer `index`'s output from its readers.
    void plan_backward(int index) {
        State<T>& s = states[index + 1];
        if (!s.live) return;
        LayerPlan& plan = plans[index];
        std::vector<Part<T>> parts;
        std::vector<long long> weights;
        for (int reader : s.readers) {
            const Layer& l = spec.layers[reader - 1];
            const size_t at =
                std::find(l.inputs.begin(), l.inputs.end(), index + 1) - l.inputs.begin();
            const Part<T>& forward = plans[reader - 1].parts[at];
            Part<T> part = gradient_of(reader);
            part.filter_height = l.filter_height, part.filter_width = l.filter_width;
            part.pad_height = l.filter_height - 1 - forward.pad_height;
            part.pad_width = l.filter_width - 1 - forward.pad_width;
            part.dilation_height = l.stride_height, part.dilation_width = l.stride_width;
            part.weight = forward.weight;
            part.weight_filter = forward.weight_channel;
            part.weight_channel = forward.weight_filter;
            parts.push_back(part);
            weights.push_back(plans[reader - 1].part_weight[at]);
        }
        if constexpr (FAST) plan_conv(plan.backward, parts, s);
        else plan.backward.plain = true;
        Part<T>* device_parts = device(parts);
        PlainConv<T>& plain = plan.plain_backward;
        plain.parts = device_parts, plain.part_count = int(parts.size());
        plain.images = batch, plain.height = s.height, plain.width = s.width;
        plain.out = s.gradient, plain.out_channels = s.padded, plain.real = s.device_real;
        plain.normalised = s.normalised, plain.floor = s.floor, plain.y = s.y;
        plain.extra = s.extra, plain.norm = s.norm;
        if constexpr (FAST) if (!plan.backward.plain) {
            Conv& c = plan.backward.conv;
            c.parts = device_parts, c.part_count = int(parts.size());
            c.out = s.gradient, c.out_channels = s.padded, c.norm = s.norm;
            c.normalised = s.normalised, c.floor = s.floor, c.y = s.y, c.extra = s.extra;
            c.counters = counters;
            c.moments = room<float>((size_t)plan.backward.tiles * s.padded * 2);
            const int n = s.columns * 8;
            long long total = 0;
            for (auto& p : parts) total += chunks_of(p);
            c.weight_tile = total * n * 8;
            backward_base[index] = packed_count;
            for (size_t p = 0; p < parts.size(); p++) {
                const Layer& l = spec.layers[s.readers[p] - 1];
                const int taps = l.filter_height * l.filter_width;
                for (int slot = 0; slot < s.padded; slot++)
                    for (int f = 0; f < l.filters && s.real[slot] >= 0; f++)
                        for (int tap = 0; tap < taps; tap++)
                            backward_at[weights[p] + (long long)f * parts[p].weight_channel +
                                        (long long)s.real[slot] * taps + tap] =
                                int(packed_count +
                                    position(parts, p, n, slot, f, taps - 1 - tap));
            }
            packed_count += c.weight_tile * s.tiles;
        }
    }

    void plan_weights(int index) {
        if constexpr (FAST) {
            LayerPlan& plan = plans[index];
            const Layer& l = spec.layers[index];
            State<T>& s = states[index + 1];
            if (l.kind != Kind::Convolution || plan.forward.plain || !s.live) return;
            WeightGradient& w = plan.weights;
            w.gradient = gradient_of(index + 1);
            w.tiling = choose_tiling(batch, s.height, s.width, GRADIENT_PIXELS, l.filter_height,
                                     l.filter_width, l.stride_height, l.stride_width);
            const int taps = l.filter_height * l.filter_width;
            const int own = patch_bytes(w.tiling, w.gradient, s.columns);
            std::vector<ChunkGroup> groups;
            int chunk_base = 0;
            size_t most = 0;
            for (size_t p = 0; p < plan.parts.size(); p++) {
                const Part<T>& part = plan.parts[p];
                const int one = patch_bytes(w.tiling, part, 1), all = part.channels / 8;
                const int fit = (int(SHARED_LIMIT) - own) / one;
                if (fit < 1) return;
                for (int first = 0; first < all; first += part.block) {
                    const int count = std::min(part.block, all - first);
                    group_chunks(groups, int(p), first, count, taps, std::min(fit, THREADS),
                                 chunk_base);
                    chunk_base += count * taps + count * taps % 2;
                }
            }
            for (auto& g : groups)
                most = std::max(most,
                                size_t(patch_bytes(w.tiling, plan.parts[g.part], 1)) * g.columns);
            w.parts = plan.device_parts;
            w.groups = device(groups);
            const int tiles =
                w.tiling.across * w.tiling.down * ceil_div(batch, w.tiling.tile_images);
            w.splits = std::max(1, std::min(tiles, backend.multiprocessors / int(groups.size() * s.tiles)));
            w.partial_tile = plan.forward.conv.weight_tile;
            w.partial_split = forward_size[index];
            plan.weights_grid = {int(groups.size()), w.splits, s.tiles};
            plan.weights_shared = own + most;
            plan.weights_columns = s.columns;
            plan.weights_fast = true;
            partial_size = std::max(partial_size, w.partial_split * w.splits);
            std::vector<int> parameter(forward_size[index], -1);
            const long long end = scale_at[index];
            for (long long i = weight_at[index]; i < end; i++)
                parameter[forward_at[i] - forward_base[index]] = int(i);
            plan.reduction.splits = w.splits;
            plan.reduction.size = forward_size[index];
            plan.reduction.parameter = device(parameter);
            plan.reduction.gradient = gradient;
        }
    }

    // Cuts a block of columns into groups of chunks that a block of threads has room for, in its
    // registers and, with `fit` columns, in shared memory.
    static void group_chunks(std::vector<ChunkGroup>& groups, int part, int first, int count,
                             int taps, int fit, int base) {
        const int all = count * taps;
        const int most = std::min(GROUP_CHUNKS, std::max(taps, (fit - 1) * taps + 1));
        const int each = ceil_div(all, ceil_div(all, most));
        for (int chunk = 0; chunk < all;) {
            const int column = chunk / taps;
            int here = std::min(each, all - chunk);
            here = std::min(here, (column + fit) * taps - chunk);
            const int columns = (chunk + here - 1) / taps - column + 1;
            groups.push_back({part, first + column, columns, chunk % taps, here, base + chunk});
            chunk += here;
        }
    }

    void plan_contrast(int index) {
        LayerPlan& plan = plans[index];
        State<T>& s = states[index + 1];
        const int window = spec.layers[index].filter_height;
        auto table = [&](int size) {
            std::vector<float> weights(size * window, 0);
            const int radius = (window - 1) / 2;
            for (int at = 0; at < size; at++) {
                double sum = 0;
                auto weight = [&](int i) {
                    return exp(-0.5 * pow((i - radius) / (window / 4.0), 2));
                };
                for (int i = 0; i < window; i++)
                    if (at - radius + i >= 0 && at - radius + i < size) sum += weight(i);
                for (int i = 0; i < window; i++)
                    if (at - radius + i >= 0 && at - radius + i < size)
                        weights[at * window + i] = float(weight(i) / sum);
            }
            return device(weights);
        };
        Contrast<T>& c = plan.contrast;
        c.part_count = int(plan.parts.size());
        c.images = batch, c.height = s.height, c.width = s.width, c.window = window;
        c.rows = table(s.height), c.columns = table(s.width);
        c.out = s.y, c.out_channels = s.padded, c.real = s.device_real;
        c.real_channels = s.channels;
        c.deviations = room<float>((size_t)batch * (s.height * s.width + 1));
        c.planes = room<float>((size_t)batch * CONTRAST_PLANES * s.height * s.width);
        c.gradient = s.gradient;
        plan.input_gradient = room<T>(numbers(s));
        c.input_gradient = plan.input_gradient;
    }

    void plan_head() {
        std::vector<Part<T>> parts;
        std::vector<int> real;
        int first = 0, height = 1, width = 1;
        for (int o : spec.output) {
            parts.push_back(reading(o));
            for (int r : states[o].real) real.push_back(r < 0 ? -1 : first + r);
            first += states[o].channels;
            height = std::max(height, states[o].height), width = std::max(width, states[o].width);
        }
        head.parts = device(parts), head.part_count = int(parts.size());
        head.images = batch, head.classes = spec.classes;
        head.channels = head_channels, head.real_channels = head_real, head.real = device(real);
        head.area = float(height) * width;
        head.pooled = room<float>((size_t)batch * POOL_PIECES * head_channels);
        head.weight = parameters + classifier_at;
        head.bias = head.weight + spec.classes * head_real;
        head.weight_gradient = gradient + classifier_at;
        head.bias_gradient = head.weight_gradient + spec.classes * head_real;
        images.labels = room<uint8_t>(batch);
        head.labels = images.labels;
        head.features = room<float>((size_t)batch * head_channels);
        head.logit_gradient = room<float>(batch * spec.classes);
        head.losses = room<float>(batch);
        head.gradient = room<float>((size_t)batch * head_channels);
        head.progress = progress;
        int at = 0;
        for (int o : spec.output) {
            if (o > 0) {
                plans[o - 1].backward.conv.head = head.gradient + at;
                plans[o - 1].backward.conv.head_channels = head_channels;
                plans[o - 1].plain_backward.head = head.gradient + at;
                plans[o - 1].plain_backward.head_channels = head_channels;
            }
            at += states[o].padded;
        }
    }

    void finish() {
        update.parameters = parameters, update.velocity = velocity, update.gradient = gradient;
        update.count = parameter_count, update.momentum = 0.9f, update.decay = 1e-4f;
        update.packed = packed, update.progress = progress;
        if (packed) update.forward = device(forward_at), update.backward = device(backward_at);
        images.channels = spec.channels, images.height = spec.height, images.width = spec.width;
        images.progress = progress, images.batch = batch, images.images = batch;
        images.out = states[0].y, images.out_channels = states[0].padded;
        images.room = room<float>((size_t)batch * spec.channels * spec.height * spec.width);
    }
};
