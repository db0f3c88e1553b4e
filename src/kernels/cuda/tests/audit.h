// Checks one training step, kernel by kernel: each kernel's result against f64 arithmetic on the very
// numbers that it read. Written for the eye; shares nothing with the kernels but the plan.
#pragma once
#include "network.h"

#include <map>

template <class T>
struct Audit {
    Network<T>& net;
    // The largest relative error of each kind of result, and which are beyond their bound.
    std::map<std::string, double> worst;
    std::vector<std::string> problems;

    static constexpr double TENSOR = sizeof(T) == 2 ? 8e-3 : 2e-5;
    static constexpr double NUMBERS = sizeof(T) == 2 ? 2e-3 : 2e-5;

    template <class U>
    std::vector<U> read(const U* p, size_t n) {
        std::vector<U> v(n);
        net.backend.download(v.data(), p, n * sizeof(U));
        return v;
    }
    static double as_double(float v) { return v; }
    static double as_double(bf16 v) {
        uint16_t bits;
        memcpy(&bits, &v, 2);
        const uint32_t wide = uint32_t(bits) << 16;
        float f;
        memcpy(&f, &wide, 4);
        return f;
    }
    static double rounded(double v) {
        if (sizeof(T) == 4) return v;
        const float f = float(v);
        uint32_t bits;
        memcpy(&bits, &f, 4);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        float r;
        memcpy(&r, &bits, 4);
        return r;
    }
    std::vector<double> tensor(const T* p, size_t n) {
        std::vector<double> d;
        for (T v : read(p, n)) d.push_back(as_double(v));
        return d;
    }

    // Compares norms; NaN never passes.
    void compare(const std::string& what, const std::vector<double>& got,
                 const std::vector<double>& expected, double bound, double least = 1e-6) {
        double error = 0, size = 0;
        for (size_t i = 0; i < got.size(); i++) {
            error += (got[i] - expected[i]) * (got[i] - expected[i]);
            size += expected[i] * expected[i];
        }
        const double relative = std::sqrt(error) / (std::sqrt(size) + least);
        double& w = worst[what];
        if (!(relative <= w)) w = relative;
        if (!(relative <= bound)) problems.push_back(what + ": " + std::to_string(relative));
    }

    const State<T>& state(int i) const { return net.states[i]; }
    size_t numbers(const State<T>& s) const { return (size_t)net.batch * s.height * s.width * s.padded; }

    // What readers see of a layer; products round it.
    std::vector<double> activation(int i, bool round = true) {
        const State<T>& s = state(i);
        std::vector<double> v = tensor(s.y, numbers(s));
        if (!s.normalised) return v;
        const auto slope = read(s.norm.slope, s.padded), offset = read(s.norm.offset, s.padded);
        for (size_t j = 0; j < v.size(); j++) {
            const int c = int(j % s.padded);
            v[j] = std::max(double(s.floor), double(slope[c]) * v[j] + offset[c]);
            if (round) v[j] = rounded(v[j]);
        }
        return v;
    }

    // The gradient of a normalised layer's y.
    std::vector<double> y_gradient(int i) {
        const State<T>& s = state(i);
        std::vector<double> g = tensor(s.gradient, numbers(s)), y = tensor(s.y, numbers(s));
        const auto k0 = read(s.norm.gradient0, s.padded), k1 = read(s.norm.gradient1, s.padded),
                   k2 = read(s.norm.gradient2, s.padded);
        for (size_t j = 0; j < g.size(); j++) {
            const int c = int(j % s.padded);
            g[j] = rounded(double(k0[c]) * g[j] + (double(k1[c]) * y[j] + k2[c]));
        }
        return g;
    }

    // Every product of a convolution: f(output number, input number, weight).
    template <class F>
    void each_product(int layer, int input_index, F f) {
        const Layer& l = net.spec.layers[layer - 1];
        const State<T>&out = state(layer), &in = state(l.inputs[input_index]);
        int channels = 0, before = 0;
        for (size_t i = 0; i < l.inputs.size(); i++) {
            if (int(i) == input_index) before = channels;
            channels += state(l.inputs[i]).channels;
        }
        for (int n = 0; n < net.batch; n++)
            for (int oy = 0; oy < out.height; oy++)
                for (int ox = 0; ox < out.width; ox++)
                    for (int ky = 0; ky < l.filter_height; ky++)
                        for (int kx = 0; kx < l.filter_width; kx++) {
                            const int y = oy * l.stride_height + ky - (l.filter_height - 1) / 2;
                            const int x = ox * l.stride_width + kx - (l.filter_width - 1) / 2;
                            if (y < 0 || x < 0 || y >= in.height || x >= in.width) continue;
                            const size_t o = (((size_t)n * out.height + oy) * out.width + ox) * out.padded;
                            const size_t i = (((size_t)n * in.height + y) * in.width + x) * in.padded;
                            for (int c = 0; c < in.padded; c++)
                                for (int k = 0; k < l.filters && in.real[c] >= 0; k++)
                                    f(o + k, i + c,
                                      net.weight_at[layer - 1] +
                                          (((size_t)k * channels + before + in.real[c]) * l.filter_height + ky) *
                                              l.filter_width + kx);
                        }
    }

    void images(const std::vector<double>& expected) {
        compare("images", tensor(state(0).y, numbers(state(0))), expected, TENSOR);
    }

    void convolution(int layer, const std::vector<float>& parameters) {
        const Layer& l = net.spec.layers[layer - 1];
        std::vector<double> y(numbers(state(layer)), 0);
        for (size_t i = 0; i < l.inputs.size(); i++) {
            const auto x = activation(l.inputs[i]);
            each_product(layer, int(i), [&](size_t o, size_t at, size_t w) {
                y[o] += x[at] * rounded(parameters[w]);
            });
        }
        compare("convolution", tensor(state(layer).y, y.size()), y, TENSOR);
    }

    // Mean, inverse deviation and running statistics from y as it was written.
    void statistics(int layer, const std::vector<float>& running_before) {
        const State<T>& s = state(layer);
        const auto y = tensor(s.y, numbers(s));
        const double count = double(y.size() / s.padded);
        const auto running = read(net.running, net.running_count);
        std::vector<double> mean(s.padded, 0), inverse(s.padded, 0), got_mean, got_inverse, blend, got_blend;
        for (size_t j = 0; j < y.size(); j++) mean[j % s.padded] += y[j] / count;
        std::vector<double> variance(s.padded, 0);
        for (size_t j = 0; j < y.size(); j++)
            variance[j % s.padded] += std::pow(y[j] - mean[j % s.padded], 2) / count;
        for (float v : read(s.norm.mean, s.padded)) got_mean.push_back(v);
        for (float v : read(s.norm.inverse, s.padded)) got_inverse.push_back(v);
        for (int c = 0; c < s.padded; c++) {
            if (s.real[c] < 0) continue;
            inverse[c] = 1 / std::sqrt(variance[c] + 1e-5);
            const size_t m = net.mean_at[layer - 1] + s.real[c], v = net.variance_at[layer - 1] + s.real[c];
            blend.push_back(running_before[m] + 0.1 * (mean[c] - running_before[m]));
            got_blend.push_back(running[m]);
            if (count > 1)
                blend.push_back(running_before[v] + 0.1 * (variance[c] * count / (count - 1) - running_before[v]));
            else
                blend.push_back(running_before[v]);
            got_blend.push_back(running[v]);
        }
        compare("mean", got_mean, mean, NUMBERS);
        compare("inverse deviation", got_inverse, inverse, NUMBERS);
        compare("running statistics", got_blend, blend, NUMBERS);
    }

    // Pooling, local contrast and copies: the concatenated input, [n][height][width][padded].
    std::vector<double> concatenated(int layer, int& height, int& width) {
        const Layer& l = net.spec.layers[layer - 1];
        net.concatenated(layer - 1, height, width);
        const int padded = state(layer).padded;
        std::vector<double> x((size_t)net.batch * height * width * padded, 0);
        int first = 0;
        for (int in : l.inputs) {
            const State<T>& s = state(in);
            const auto a = activation(in, false);
            for (size_t j = 0; j < a.size(); j++) {
                const int c = int(j % s.padded);
                const size_t pixel = j / s.padded;
                const size_t n = pixel / s.width / s.height, y = pixel / s.width % s.height, xx = pixel % s.width;
                x[((n * height + y) * width + xx) * padded + first + c] = a[j];
            }
            first += s.padded;
        }
        return x;
    }

    // Weight of input pixel `i` in output pixel `o` of one direction's blur.
    static double blur_weight(int size, int window, int o, int i) {
        const int radius = (window - 1) / 2;
        auto inside = [&](int p) { return p >= o - radius && p < o + window - radius; };
        auto weight = [&](int p) { return std::exp(-0.5 * std::pow((p - o) / (window / 4.0), 2)); };
        double sum = 0;
        for (int p = 0; p < size; p++)
            if (inside(p)) sum += weight(p);
        return inside(i) ? weight(i) / sum : 0;
    }

    // Both directions' blur of pictures, or its transpose.
    std::vector<double> blurred(const std::vector<double>& from, int height, int width, int window,
                                bool transposed = false) {
        std::vector<double> rows(height * height), columns(width * width), to(from.size(), 0);
        for (int o = 0; o < height; o++)
            for (int i = 0; i < height; i++)
                rows[transposed ? i * height + o : o * height + i] = blur_weight(height, window, o, i);
        for (int o = 0; o < width; o++)
            for (int i = 0; i < width; i++)
                columns[transposed ? i * width + o : o * width + i] = blur_weight(width, window, o, i);
        for (size_t p = 0; p < to.size(); p++) {
            const size_t n = p / (height * width);
            const int y = int(p / width % height), x = int(p % width);
            for (int iy = 0; iy < height; iy++)
                for (int ix = 0; ix < width; ix++)
                    to[p] += rows[y * height + iy] * columns[x * width + ix] * from[(n * height + iy) * width + ix];
        }
        return to;
    }

    std::vector<double> contrast_of(int layer, const std::vector<double>& x) {
        const State<T>& s = state(layer);
        const int window = net.spec.layers[layer - 1].filter_height;
        const size_t pixels = x.size() / s.padded, area = s.height * s.width;
        auto mean = [&](auto f) {
            std::vector<double> m(pixels, 0);
            for (size_t j = 0; j < x.size(); j++)
                if (s.real[j % s.padded] >= 0) m[j / s.padded] += f(j) / s.channels;
            return m;
        };
        const auto middle = blurred(mean([&](size_t j) { return x[j]; }), s.height, s.width, window);
        auto v = [&](size_t j) { return x[j] - middle[j / s.padded]; };
        auto sigma = blurred(mean([&](size_t j) { return v(j) * v(j); }), s.height, s.width, window);
        std::vector<double> c(net.batch, 0), y(x.size(), 0);
        for (size_t p = 0; p < pixels; p++) {
            sigma[p] = std::sqrt(sigma[p] + 1e-5);
            c[p / area] += sigma[p] / area;
        }
        for (size_t j = 0; j < x.size(); j++)
            if (s.real[j % s.padded] >= 0)
                y[j] = v(j) / std::max(c[j / s.padded / area], sigma[j / s.padded]);
        return y;
    }

    // By the chain rule, from the gradient of y = v / max(c, sigma).
    std::vector<double> contrast_backward(int layer, const std::vector<double>& x, const std::vector<double>& g) {
        const State<T>& s = state(layer);
        const int window = net.spec.layers[layer - 1].filter_height;
        const size_t pixels = x.size() / s.padded, area = s.height * s.width;
        auto mean = [&](auto f) {
            std::vector<double> m(pixels, 0);
            for (size_t j = 0; j < x.size(); j++)
                if (s.real[j % s.padded] >= 0) m[j / s.padded] += f(j) / s.channels;
            return m;
        };
        const auto middle = blurred(mean([&](size_t j) { return x[j]; }), s.height, s.width, window);
        auto v = [&](size_t j) { return x[j] - middle[j / s.padded]; };
        auto sigma = blurred(mean([&](size_t j) { return v(j) * v(j); }), s.height, s.width, window);
        std::vector<double> c(net.batch, 0), spread(net.batch, 0), dsigma(pixels, 0);
        for (size_t p = 0; p < pixels; p++) c[p / area] += (sigma[p] = std::sqrt(sigma[p] + 1e-5)) / area;
        auto divisor = [&](size_t p) { return std::max(c[p / area], sigma[p]); };
        for (size_t j = 0; j < x.size(); j++) {
            const size_t p = j / s.padded;
            if (s.real[j % s.padded] >= 0) dsigma[p] -= g[j] * v(j) / divisor(p) / divisor(p);
        }
        for (size_t p = 0; p < pixels; p++)
            if (!(sigma[p] > c[p / area])) spread[p / area] += dsigma[p] / area, dsigma[p] = 0;
        for (size_t p = 0; p < pixels; p++) dsigma[p] = (dsigma[p] + spread[p / area]) / (2 * sigma[p]);
        const auto dsquare = blurred(dsigma, s.height, s.width, window, true);
        std::vector<double> dv(x.size(), 0), sum(pixels, 0);
        for (size_t j = 0; j < x.size(); j++) {
            if (s.real[j % s.padded] < 0) continue;
            const size_t p = j / s.padded;
            dv[j] = g[j] / divisor(p) + 2 * v(j) * dsquare[p] / s.channels;
            sum[p] -= dv[j];
        }
        const auto dmean = blurred(sum, s.height, s.width, window, true);
        for (size_t j = 0; j < x.size(); j++)
            if (s.real[j % s.padded] >= 0) dv[j] += dmean[j / s.padded] / s.channels;
        return dv;
    }

    std::vector<double> pool_of(int layer, const std::vector<double>& x, int height, int width) {
        const Layer& l = net.spec.layers[layer - 1];
        const State<T>& s = state(layer);
        const int pad = (l.filter_height - 1) / 2;
        std::vector<double> y(numbers(s), 0);
        for (size_t j = 0; j < y.size(); j++) {
            const int c = int(j % s.padded);
            const size_t p = j / s.padded, n = p / s.width / s.height;
            const int oy = int(p / s.width % s.height), ox = int(p % s.width);
            double sum = 0, largest = -INFINITY;
            int count = 0;
            for (int ky = 0; ky < l.filter_height; ky++)
                for (int kx = 0; kx < l.filter_height; kx++) {
                    const int yy = oy * l.stride_height + ky - pad, xx = ox * l.stride_width + kx - pad;
                    if (yy < 0 || xx < 0 || yy >= height || xx >= width) continue;
                    const double v = x[((n * height + yy) * width + xx) * s.padded + c];
                    sum += v, count++, largest = std::max(largest, v);
                }
            y[j] = l.kind == Kind::MaxPooling ? largest : sum / count;
        }
        return y;
    }

    std::vector<double> window_forward(int layer, const std::vector<double>& x, int height, int width) {
        const Layer& l = net.spec.layers[layer - 1];
        if (l.kind == Kind::BatchNorm) return x;
        if (l.kind == Kind::LocalContrast) return contrast_of(layer, x);
        return pool_of(layer, x, height, width);
    }

    void window(int layer) {
        int height, width;
        const auto x = concatenated(layer, height, width);
        compare("window", tensor(state(layer).y, numbers(state(layer))),
                window_forward(layer, x, height, width), TENSOR);
    }

    // Gradient that a layer without filters hands to its concatenated input, by the kernels' rule
    // for kinks: the first of a window's largest pixels takes it.
    std::vector<double> window_backward(int layer, const std::vector<double>& x, int height, int width) {
        const Layer& l = net.spec.layers[layer - 1];
        const State<T>& s = state(layer);
        if (l.kind == Kind::BatchNorm) return y_gradient(layer);
        const auto g = tensor(s.gradient, numbers(s));
        std::vector<double> dx(x.size(), 0);
        if (l.kind == Kind::LocalContrast) {
            return contrast_backward(layer, x, g);
        }
        const int pad = (l.filter_height - 1) / 2;
        for (size_t j = 0; j < g.size(); j++) {
            const int c = int(j % s.padded);
            const size_t p = j / s.padded, n = p / s.width / s.height;
            const int oy = int(p / s.width % s.height), ox = int(p % s.width);
            std::vector<size_t> seen;
            for (int ky = 0; ky < l.filter_height; ky++)
                for (int kx = 0; kx < l.filter_height; kx++) {
                    const int yy = oy * l.stride_height + ky - pad, xx = ox * l.stride_width + kx - pad;
                    if (yy >= 0 && xx >= 0 && yy < height && xx < width)
                        seen.push_back(((n * height + yy) * width + xx) * s.padded + c);
                }
            size_t best = seen[0];
            for (size_t at : seen) {
                if (x[at] > x[best]) best = at;
                if (l.kind == Kind::AveragePooling) dx[at] += g[j] / double(seen.size());
            }
            if (l.kind == Kind::MaxPooling) dx[best] += g[j];
        }
        return dx;
    }

    void head(const std::vector<float>& parameters, const std::vector<uint8_t>& labels) {
        const int n = net.batch, classes = net.spec.classes, padded = net.head_channels;
        std::vector<double> features((size_t)n * padded, 0);
        const auto real = read(net.head.real, padded);
        int first = 0;
        for (int o : net.spec.output) {
            const State<T>& s = state(o);
            const auto a = activation(o, false);
            for (size_t j = 0; j < a.size(); j++)
                features[j / s.padded / s.height / s.width * padded + first + j % s.padded] += a[j] / net.head.area;
            first += s.padded;
        }
        std::vector<double> got;
        for (float f : read(net.head.features, features.size())) got.push_back(f);
        compare("features", got, features, NUMBERS);
        const float* weight = parameters.data() + net.classifier_at;
        const float* bias = weight + classes * net.head_real;
        std::vector<double> dlogits, losses, dfeatures, dweight(classes * net.head_real, 0), dbias(classes, 0);
        for (int i = 0; i < n; i++) {
            std::vector<double> logits(bias, bias + classes);
            for (int k = 0; k < classes; k++)
                for (int c = 0; c < padded; c++)
                    if (real[c] >= 0) logits[k] += weight[k * net.head_real + real[c]] * got[i * padded + c];
            double sum = 0;
            for (double l : logits) sum += std::exp(l);
            losses.push_back(std::log(sum) - logits[labels[i]]);
            for (int k = 0; k < classes; k++) dlogits.push_back((std::exp(logits[k]) / sum - (k == labels[i])) / n);
            for (int c = 0; c < padded; c++) {
                double d = 0;
                for (int k = 0; k < classes && real[c] >= 0; k++) {
                    d += dlogits[i * classes + k] * weight[k * net.head_real + real[c]];
                    dweight[k * net.head_real + real[c]] += dlogits[i * classes + k] * got[i * padded + c];
                }
                dfeatures.push_back(d / net.head.area);
            }
            for (int k = 0; k < classes; k++) dbias[k] += dlogits[i * classes + k];
        }
        check("losses", net.head.losses, losses);
        check("gradient of logits", net.head.logit_gradient, dlogits);
        check("gradient of features", net.head.gradient, dfeatures);
        check("gradient of the classifier's weight", net.head.weight_gradient, dweight);
        check("gradient of the classifier's bias", net.head.bias_gradient, dbias);
        double total = 0;
        for (double l : losses) total += l;
        compare("loss", {read(net.progress, 1)[0].loss}, {total}, NUMBERS);
    }

    void check(const char* what, const float* p, const std::vector<double>& expected, double least = 1e-6) {
        std::vector<double> got;
        for (float f : read(p, expected.size())) got.push_back(f);
        compare(what, got, expected, 1e-4, least);
    }

    // The gradient of a layer's output, and its moments.
    void gradient(int layer, const std::vector<float>& parameters) {
        const State<T>& s = state(layer);
        std::vector<double> g(numbers(s), 0);
        for (int reader : s.readers) {
            const Layer& l = net.spec.layers[reader - 1];
            const int at = int(std::find(l.inputs.begin(), l.inputs.end(), layer) - l.inputs.begin());
            const auto dy = y_gradient(reader);
            each_product(reader, at, [&](size_t o, size_t i, size_t w) { g[i] += dy[o] * rounded(parameters[w]); });
        }
        for (size_t reader = 1; reader < net.states.size(); reader++) add_window_gradient(layer, int(reader), g);
        add_head_gradient(layer, g);
        const auto y = tensor(s.y, g.size());
        if (s.normalised) {
            const auto slope = read(s.norm.slope, s.padded), offset = read(s.norm.offset, s.padded);
            for (size_t j = 0; j < g.size(); j++)
                if (!(float(slope[j % s.padded]) * float(y[j]) + offset[j % s.padded] > s.floor)) g[j] = 0;
        }
        const auto got = tensor(s.gradient, g.size());
        compare("gradient", got, g, TENSOR * 2);
        if (s.normalised) gradient_moments(layer, got, y);
    }

    void add_window_gradient(int layer, int reader, std::vector<double>& g) {
        const Layer& l = net.spec.layers[reader - 1];
        const State<T>& s = state(layer);
        if (l.kind == Kind::Convolution || !state(reader).live) return;
        int height, width, first = 0;
        for (int in : l.inputs) {
            if (in == layer) {
                const auto x = concatenated(reader, height, width);
                const auto dx = window_backward(reader, x, height, width);
                for (size_t j = 0; j < g.size(); j++) {
                    const size_t p = j / s.padded, n = p / s.width / s.height;
                    g[j] += dx[((n * height + p / s.width % s.height) * width + p % s.width) * state(reader).padded +
                               first + j % s.padded];
                }
            }
            first += state(in).padded;
        }
    }

    void add_head_gradient(int layer, std::vector<double>& g) {
        const State<T>& s = state(layer);
        int first = 0;
        for (int o : net.spec.output) {
            if (o == layer) {
                const auto d = read(net.head.gradient, (size_t)net.batch * net.head_channels);
                for (size_t j = 0; j < g.size(); j++)
                    g[j] += d[j / s.padded / s.height / s.width * net.head_channels + first + j % s.padded];
            }
            first += state(o).padded;
        }
    }

    void gradient_moments(int layer, const std::vector<double>& g, const std::vector<double>& y) {
        const State<T>& s = state(layer);
        const double count = double(g.size() / s.padded);
        const auto mean = read(s.norm.mean, s.padded), inverse = read(s.norm.inverse, s.padded);
        std::vector<double> sum(s.padded, 0), centred(s.padded, 0);
        double terms = 0;
        for (size_t j = 0; j < g.size(); j++) {
            const int c = int(j % s.padded);
            sum[c] += g[j];
            centred[c] += g[j] * (y[j] - mean[c]);
            terms += std::abs(g[j] * (y[j] - mean[c])) * inverse[c];
        }
        std::vector<double> dscale(s.channels), dshift(s.channels), k1(s.padded, 0), k2(s.padded, 0), got1, got2;
        const auto slope = read(s.norm.slope, s.padded);
        for (int c = 0; c < s.padded; c++) {
            if (s.real[c] < 0) continue;
            dscale[s.real[c]] = centred[c] * inverse[c], dshift[s.real[c]] = sum[c];
            k1[c] = -slope[c] * inverse[c] * double(inverse[c]) * centred[c] / count;
            k2[c] = -k1[c] * mean[c] - slope[c] * sum[c] / count;
        }
        for (float v : read(s.norm.gradient1, s.padded)) got1.push_back(v);
        for (float v : read(s.norm.gradient2, s.padded)) got2.push_back(v);
        check("gradient of scale", net.gradient + net.scale_at[layer - 1], dscale, 1e-6 + 1e-2 * terms);
        check("gradient of shift", net.gradient + net.shift_at[layer - 1], dshift);
        // Sums that nearly cancel are as exact as their terms are large.
        double factor = 0, mean_size = 1;
        for (int c = 0; c < s.padded; c++) {
            factor = std::max(factor, std::abs(double(slope[c]) * inverse[c]));
            mean_size = std::max(mean_size, std::abs(double(mean[c])));
        }
        const double least = 1e-9 + 1e-2 * factor * terms / count;
        compare("gradient coefficient 1", got1, k1, 1e-3, least);
        compare("gradient coefficient 2", got2, k2, 1e-3, least * mean_size);
    }

    void weights(int layer) {
        const Layer& l = net.spec.layers[layer - 1];
        const size_t first = net.weight_at[layer - 1], count = net.scale_at[layer - 1] - first;
        std::vector<double> dw(count, 0), got;
        if (state(layer).live) {
            const auto dy = y_gradient(layer);
            for (size_t i = 0; i < l.inputs.size(); i++) {
                const auto x = activation(l.inputs[i]);
                each_product(layer, int(i), [&](size_t o, size_t at, size_t w) { dw[w - first] += dy[o] * x[at]; });
            }
        }
        for (float v : read(net.gradient + first, count)) got.push_back(v);
        compare("gradient of weights", got, dw, sizeof(T) == 2 ? (net.plans[layer - 1].weights_fast ? 2e-4 : 8e-3) : 2e-5);
    }

    // Nesterov's step, from f32 parameters at rest.
    void update(const std::vector<float>& before, double rate) {
        const auto g = read(net.gradient, before.size()), after = read(net.parameters, before.size());
        std::vector<double> moved, got;
        for (size_t i = 0; i < before.size(); i++) {
            const double decayed = g[i] + 1e-4 * before[i];
            moved.push_back(-rate * 1.9 * decayed);
            got.push_back(double(after[i]) - before[i]);
        }
        compare("update", got, moved, 2e-3);
        if (!net.packed) return;
        std::vector<double> expected, copies;
        const auto packed = read(net.packed, net.packed_count);
        for (size_t i = 0; i < before.size(); i++)
            for (int at : {net.forward_at[i], net.backward_at[i]})
                if (at >= 0) expected.push_back(rounded(after[i])), copies.push_back(as_double(packed[at]));
        compare("packed weights", copies, expected, 0);
    }

    void whole(const std::vector<float>& parameters, const std::vector<float>& running,
               const std::vector<uint8_t>& labels, double rate) {
        for (int i = 1; i < int(net.states.size()); i++) {
            if (net.spec.layers[i - 1].kind == Kind::Convolution) convolution(i, parameters);
            else window(i);
            if (state(i).normalised) statistics(i, running);
        }
        head(parameters, labels);
        for (int i = int(net.states.size()) - 1; i > 0; i--) {
            if (state(i).live) gradient(i, parameters);
            if (net.spec.layers[i - 1].kind == Kind::Convolution) weights(i);
        }
        update(parameters, rate);
    }
};
