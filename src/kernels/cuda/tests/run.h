// One network with random numbers: its data set, its step, and the audit of it.
#pragma once
#include "audit.h"

#include <random>

struct Drawn {
    std::vector<float> parameters, running;
    std::vector<uint8_t> pixels, labels;
    std::vector<Crop> crops;
    std::vector<Number> images;
};

// A data set of `count` images, each batch's crops, and what the first batch must look like.
template <class T>
Drawn draw(Network<T>& net, unsigned seed, int count) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const Spec& spec = net.spec;
    const int area = spec.height * spec.width, upsampled_height = spec.height + 4,
              upsampled_width = spec.width + 4;
    Drawn d;
    for (size_t i = 0; i < net.spec.layers.size(); i++) {
        const long long weights = net.scale_at[i] - net.weight_at[i];
        const int filters = net.states[i + 1].channels;
        const float deviation = weights ? std::sqrt(2.0f * filters / weights) : 0;
        for (long long j = 0; j < weights; j++) d.parameters.push_back(deviation * normal(random));
        for (int j = 0; net.states[i + 1].normalised && j < filters; j++)
            d.parameters.push_back(1 + 0.3f * normal(random));
        for (int j = 0; net.states[i + 1].normalised && j < filters; j++)
            d.parameters.push_back(0.3f * normal(random));
    }
    while ((long long)d.parameters.size() < net.parameter_count)
        d.parameters.push_back(0.3f * normal(random));
    for (long long i = 0; i < net.running_count; i++) d.running.push_back(1);
    for (int i = 0; i < count * spec.channels * area; i++) d.pixels.push_back(uint8_t(random()));
    for (int i = 0; i < count; i++) d.labels.push_back(uint8_t(random() % spec.classes));
    auto positions = [&](int source, int target) {
        std::vector<Position> p;
        for (int i = 0; i < target; i++) {
            const float at =
                std::min(std::max((i + 0.5f) * source / target - 0.5f, 0.0f), source - 1.0f);
            p.push_back({int(at), at - int(at)});
        }
        return p;
    };
    const auto rows = positions(spec.height, upsampled_height),
               columns = positions(spec.width, upsampled_width);
    for (int i = 0; i < net.batch * 64; i++)
        d.crops.push_back({unsigned(random() % count), (unsigned short)(random() % 5),
                           (unsigned short)(random() % 5), (unsigned short)(random() % 2), 0});
    net.images.rows = net.device(rows), net.images.columns = net.device(columns);
    net.images.dataset = net.device(d.pixels), net.images.dataset_labels = net.device(d.labels);
    net.images.crops = net.device(d.crops);
    const int padded = net.states[0].padded;
    for (int i = 0; i < net.batch; i++) {
        const Crop& c = d.crops[i];
        std::vector<Number> v;
        for (int j = 0; j < spec.channels * area; j++) {
            const int y = j / spec.width % spec.height, x0 = j % spec.width,
                      x = c.flip ? spec.width - 1 - x0 : x0;
            const uint8_t* plane =
                d.pixels.data() + ((size_t)c.image * spec.channels + j / area) * area;
            const Position row = rows[c.top + y], column = columns[c.left + x];
            auto mix = [&](int r) {
                const Number a =
                    double(plane[std::min(r, spec.height - 1) * spec.width + column.left]);
                const Number b = double(plane[std::min(r, spec.height - 1) * spec.width +
                                              std::min(column.left + 1, spec.width - 1)]);
                return a + double(column.share) * (b - a);
            };
            v.push_back(mix(row.left) + double(row.share) * (mix(row.left + 1) - mix(row.left)));
        }
        double mean = 0, variance = 0;
        for (const Number& x : v) mean += x.value / v.size();
        for (const Number& x : v) variance += std::pow(x.value - mean, 2) / v.size();
        const double scale = variance < 1e-4 ? 0 : 1 / std::sqrt(variance);
        for (int p = 0; p < area; p++)
            for (int ch = 0; ch < padded; ch++)
                d.images.push_back(ch < spec.channels ? (v[ch * area + p] - mean) * scale
                                                      : Number(0));
    }
    return d;
}

// Runs a step of a network and audits it; returns what is wrong.
template <class T>
std::vector<std::string> audit_step(const Spec& spec, int batch, unsigned seed, bool plain,
                                    std::map<std::string, double>& worst) {
    Backend backend;
    // A small machine, so that a block has several tiles to add up.
    if (seed % 2 == 0) backend.multiprocessors = 3;
    Network<T> net(backend, spec, batch, plain);
    const Drawn d = draw(net, seed, 4);
    net.set_parameters(d.parameters, d.running);
    std::vector<float> running = d.running;
    Audit<T> audit{net, {}, {}};
    if (seed % 3 == 0) {
        // What a step leaves behind must not change the next one.
        net.step();
        backend.synchronise();
        running = audit.read(net.running, running.size());
        const std::vector<float> rest(d.parameters.size(), 0);
        backend.upload(net.velocity, rest.data(), rest.size() * 4);
        net.set_parameters(d.parameters, running);
    }
    net.step();
    backend.synchronise();
    audit.images(d.images);
    std::vector<uint8_t> labels;
    for (int i = 0; i < batch; i++) labels.push_back(d.labels[d.crops[i].image]);
    audit.whole(d.parameters, running, labels, 0.01f);
    for (auto& [what, error] : audit.worst)
        if (!(error <= worst[what])) worst[what] = error;
    return audit.problems;
}

// A network from the space's limits, most of them small enough for the emulator.
inline Spec draw_spec(std::mt19937& random, bool windows) {
    auto pick = [&](std::vector<int> v) { return v[random() % v.size()]; };
    Spec spec;
    spec.channels = pick({1, 3, 3, 3, 4, 9});
    spec.height = 4 + int(random() % 14), spec.width = 4 + int(random() % 14);
    spec.classes = pick({2, 3, 10, 11});
    const int layers = 1 + int(random() % 4);
    for (int i = 1; i <= layers; i++) {
        Layer l{};
        const int kind = windows ? int(random() % 8) : 7;
        l.kind = kind < 4 ? Kind(kind + 1) : Kind::Convolution;
        l.filter_height = pick({1, 2, 3, 3, 3, 5, 7}), l.filter_width = pick({1, 2, 3, 3, 3, 5, 7});
        l.filters = pick({1, 3, 8, 12, 20, 24, 36, 40, 48, 50, 56, 64, 70});
        l.stride_height = pick({1, 1, 1, 2, 3}), l.stride_width = pick({1, 1, 1, 2, 3});
        if (l.kind != Kind::Convolution) {
            l.filter_height = l.filter_width = pick({1, 2, 3, 4, 5});
            l.stride_width = l.stride_height;
            if (l.kind == Kind::LocalContrast) l.filter_height = pick({3, 5, 9});
            if (l.kind == Kind::LocalContrast || l.kind == Kind::BatchNorm)
                l.stride_height = l.stride_width = 1;
            l.filters = 0;
        }
        for (int in = i == 1 ? 0 : int(random() % 2); in < i; in++)
            if (in == i - 1 || random() % 2) l.inputs.push_back(in);
        spec.layers.push_back(l);
    }
    for (int i = 1; i <= layers; i++)
        if (i == layers || random() % 3 == 0) spec.output.push_back(i);
    return spec;
}

// Networks at the space's limits, each as small as its limit lets it be.
inline std::vector<Spec> limits() {
    auto convolution = [](int kh, int kw, int filters, int sh, int sw, std::vector<int> inputs) {
        return Layer{Kind::Convolution, kh, kw, filters, sh, sw, inputs};
    };
    std::vector<Spec> specs;
    // The largest filters, alone and with the largest strides.
    specs.push_back({3,
                     12,
                     9,
                     10,
                     {convolution(31, 31, 9, 1, 1, {0}), convolution(31, 31, 3, 8, 8, {1})},
                     {2}});
    // The most filters, read again.
    specs.push_back(
        {1, 4, 5, 3, {convolution(1, 1, 4096, 1, 1, {0}), convolution(1, 1, 5, 1, 1, {1})}, {2}});
    // Many inputs of different sizes.
    Spec many{3, 9, 8, 10, {}, {}};
    for (int i = 0; i < 14; i++) {
        std::vector<int> inputs;
        for (int j = 0; j <= i; j++) inputs.push_back(j);
        many.layers.push_back(
            convolution(3, 1 + i % 3, 2 + i % 5, i == 2 ? 2 : 1, i == 4 ? 3 : 1, inputs));
    }
    many.output = {14};
    specs.push_back(many);
    // Local contrast behind a convolution, with windows that reach over all edges.
    specs.push_back({3,
                     6,
                     8,
                     10,
                     {convolution(3, 3, 12, 1, 1, {0}),
                      {Kind::LocalContrast, 5, 5, 0, 1, 1, {1}},
                      {Kind::LocalContrast, 9, 9, 0, 1, 1, {1, 2}}},
                     {3}});
    // A layer that nobody reads, one pixel, two classes.
    specs.push_back(
        {1, 1, 1, 2, {convolution(1, 1, 1, 1, 1, {0}), convolution(3, 3, 2, 8, 8, {0})}, {2}});
    return specs;
}

inline std::string describe(const Spec& spec, int batch) {
    std::string s = std::to_string(batch) + " images " + std::to_string(spec.channels) + "x" +
                    std::to_string(spec.height) + "x" + std::to_string(spec.width);
    for (const Layer& l : spec.layers) {
        s += "; kind " + std::to_string(int(l.kind)) + " " + std::to_string(l.filter_height) + "x" +
             std::to_string(l.filter_width) + " filters " + std::to_string(l.filters) +
             " strides " + std::to_string(l.stride_height) + "," + std::to_string(l.stride_width) +
             " of";
        for (int i : l.inputs) s += " " + std::to_string(i);
    }
    s += "; output";
    for (int o : spec.output) s += " " + std::to_string(o);
    return s;
}
