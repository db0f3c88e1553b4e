// Checks one training step, kernel by kernel: each kernel's result against f64 arithmetic on the
// very numbers that it read. Written for the eye; shares nothing with the kernels but the plan.
#pragma once
#include "network.h"
#include "number.h"

#include <map>

template <class T>
struct Audit {
    Network<T>& net;
    // The largest error of each kind of result, as a share of its terms, and what is beyond BOUND.
    std::map<std::string, double> worst;
    std::vector<std::string> problems;

    using Numbers = std::vector<Number>;
    static constexpr bool BF16 = sizeof(T) == 2;
    // Sixteen roundings of f32, as a share of the sum of all terms' absolute values.
    static constexpr double BOUND = 16.0 / (1 << 24);

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
        if (!BF16) return v;
        const float f = float(v);
        uint32_t bits;
        memcpy(&bits, &f, 4);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        float r;
        memcpy(&r, &bits, 4);
        return r;
    }
    // What a kernel rounds on its way, after a few operations in f32. Next to a tie it may go
    // either way; elsewhere the result is exact.
    static Number rounded(const Number& n) {
        if (!BF16) return n;
        const double error = n.terms / (1 << 22), v = rounded(n.value);
        return {v, std::abs(v) + (rounded(n.value + error) - rounded(n.value - error)) / BOUND};
    }
    // What a kernel stores: in bf16 it is exact to two roundings of 2^-8.
    static Number stored(const Number& n) {
        return {n.value, n.terms + (BF16 ? std::abs(n.value) / (128 * BOUND) : 0)};
    }
    static Numbers stored(Numbers v) {
        for (Number& n : v) n = stored(n);
        return v;
    }
    Numbers tensor(const T* p, size_t n) {
        Numbers d;
        for (T v : read(p, n)) d.push_back(as_double(v));
        return d;
    }
    Numbers floats(const float* p, size_t n) {
        const auto v = read(p, n);
        return Numbers(v.begin(), v.end());
    }

    // Compares norms; NaN never passes.
    void compare(const std::string& what, const Numbers& got, const Numbers& expected) {
        double error = 0, size = 0;
        for (size_t i = 0; i < got.size(); i++) {
            error += std::pow(got[i].value - expected[i].value, 2);
            size += std::pow(expected[i].terms, 2);
        }
        const double share = error == 0 ? 0 : std::sqrt(error / size);
        double& w = worst[what];
        if (!(share <= w)) w = share;
        if (!(share <= BOUND))
            problems.push_back(what + ": " + std::to_string(share / BOUND) + " of its bound");
    }

    const State<T>& state(int i) const { return net.states[i]; }
    size_t numbers(const State<T>& s) const {
        return (size_t)net.batch * s.height * s.width * s.padded;
    }

    // What readers see of a layer; products by tensor cores round it.
    Numbers activation(int i, bool round) {
        const State<T>& s = state(i);
        Numbers v = tensor(s.y, numbers(s));
        if (!s.normalised) return v;
        const auto slope = floats(s.norm.slope, s.padded), offset = floats(s.norm.offset, s.padded);
        for (size_t j = 0; j < v.size(); j++) {
            const int c = int(j % s.padded);
            v[j] = slope[c] * v[j] + offset[c];
            // At the kink a rounding error decides; well below it nothing is left.
            if (v[j].value < s.floor)
                v[j] = {s.floor, v[j].terms * BOUND > s.floor - v[j].value ? v[j].terms : 0};
            if (round) v[j] = rounded(v[j]);
        }
        return v;
    }

    // The gradient of a normalised layer's y.
    Numbers y_gradient(int i, bool round) {
        const State<T>& s = state(i);
        Numbers g = tensor(s.gradient, numbers(s)), y = tensor(s.y, numbers(s));
        const auto k0 = floats(s.norm.gradient0, s.padded), k1 = floats(s.norm.gradient1, s.padded),
                   k2 = floats(s.norm.gradient2, s.padded);
        for (size_t j = 0; j < g.size(); j++) {
            const int c = int(j % s.padded);
            g[j] = k0[c] * g[j] + (k1[c] * y[j] + k2[c]);
            if (round) g[j] = rounded(g[j]);
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
                            const size_t o =
                                (((size_t)n * out.height + oy) * out.width + ox) * out.padded;
                            const size_t i =
                                (((size_t)n * in.height + y) * in.width + x) * in.padded;
                            for (int c = 0; c < in.padded; c++)
                                for (int k = 0; k < l.filters && in.real[c] >= 0; k++)
                                    f(o + k, i + c,
                                      net.weight_at[layer - 1] +
                                          (((size_t)k * channels + before + in.real[c]) *
                                               l.filter_height +
                                           ky) *
                                              l.filter_width +
                                          kx);
                        }
    }

    void images(const Numbers& expected) {
        compare("images", tensor(state(0).y, numbers(state(0))), stored(expected));
    }

    void convolution(int layer, const std::vector<float>& parameters) {
        const Layer& l = net.spec.layers[layer - 1];
        const bool round = !net.plans[layer - 1].forward.plain;
        Numbers y(numbers(state(layer)));
        for (size_t i = 0; i < l.inputs.size(); i++) {
            const auto x = activation(l.inputs[i], round);
            each_product(layer, int(i), [&](size_t o, size_t at, size_t w) {
                y[o] += x[at] * Number(round ? rounded(double(parameters[w])) : parameters[w]);
            });
        }
        compare("convolution", tensor(state(layer).y, y.size()), stored(y));
    }

    // Mean, inverse deviation and running statistics from y as it was written.
    void statistics(int layer, const std::vector<float>& running_before) {
        const State<T>& s = state(layer);
        const auto y = tensor(s.y, numbers(s));
        const double count = double(y.size() / s.padded);
        const auto running = floats(net.running, net.running_count);
        Numbers mean(s.padded), variance(s.padded), inverse(s.padded), blend, got_blend;
        for (size_t j = 0; j < y.size(); j++) mean[j % s.padded] += y[j] / count;
        for (size_t j = 0; j < y.size(); j++) {
            const Number centred = y[j] - mean[j % s.padded];
            variance[j % s.padded] += centred * centred / count;
        }
        for (int c = 0; c < s.padded; c++) {
            if (s.real[c] < 0) continue;
            inverse[c] = Number(1) / sqrt(variance[c] + 1e-5);
            const size_t m = net.mean_at[layer - 1] + s.real[c],
                         v = net.variance_at[layer - 1] + s.real[c];
            const Number before_m = running_before[m], before_v = running_before[v];
            blend.push_back(before_m + 0.1 * (mean[c] - before_m));
            blend.push_back(count > 1
                                ? before_v + 0.1 * (variance[c] * (count / (count - 1)) - before_v)
                                : before_v);
            got_blend.push_back(running[m]);
            got_blend.push_back(running[v]);
        }
        compare("mean", floats(s.norm.mean, s.padded), mean);
        compare("inverse deviation", floats(s.norm.inverse, s.padded), inverse);
        compare("running statistics", got_blend, blend);
    }

    // Pooling, local contrast and copies: the concatenated input, [n][height][width][padded].
    Numbers concatenated(int layer, int& height, int& width) {
        const Layer& l = net.spec.layers[layer - 1];
        net.concatenated(layer - 1, height, width);
        const int padded = state(layer).padded;
        Numbers x((size_t)net.batch * height * width * padded);
        int first = 0;
        for (int in : l.inputs) {
            const State<T>& s = state(in);
            const auto a = activation(in, false);
            for (size_t j = 0; j < a.size(); j++) {
                const int c = int(j % s.padded);
                const size_t pixel = j / s.padded;
                const size_t n = pixel / s.width / s.height, y = pixel / s.width % s.height,
                             xx = pixel % s.width;
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
    Numbers blurred(const Numbers& from, int height, int width, int window,
                                bool transposed = false) {
        Numbers rows(height * height), columns(width * width);
        Numbers to(from.size());
        for (int o = 0; o < height; o++)
            for (int i = 0; i < height; i++)
                rows[transposed ? i * height + o : o * height + i] =
                    blur_weight(height, window, o, i);
        for (int o = 0; o < width; o++)
            for (int i = 0; i < width; i++)
                columns[transposed ? i * width + o : o * width + i] =
                    blur_weight(width, window, o, i);
        for (size_t p = 0; p < to.size(); p++) {
            const size_t n = p / (height * width);
            const int y = int(p / width % height), x = int(p % width);
            for (int iy = 0; iy < height; iy++)
                for (int ix = 0; ix < width; ix++)
                    to[p] += Number(rows[y * height + iy] * columns[x * width + ix]) *
                             from[(n * height + iy) * width + ix];
        }
        return to;
    }

    Numbers contrast_of(int layer, const Numbers& x) {
        const State<T>& s = state(layer);
        const int window = net.spec.layers[layer - 1].filter_height;
        const size_t pixels = x.size() / s.padded, area = s.height * s.width;
        auto mean = [&](auto f) {
            Numbers m(pixels);
            for (size_t j = 0; j < x.size(); j++)
                if (s.real[j % s.padded] >= 0) m[j / s.padded] += f(j) / double(s.channels);
            return m;
        };
        const auto middle =
            blurred(mean([&](size_t j) { return x[j]; }), s.height, s.width, window);
        auto v = [&](size_t j) { return x[j] - middle[j / s.padded]; };
        auto sigma =
            blurred(mean([&](size_t j) { return v(j) * v(j); }), s.height, s.width, window);
        Numbers c(net.batch), y(x.size());
        for (size_t p = 0; p < pixels; p++) {
            sigma[p] = sqrt(sigma[p] + 1e-5);
            c[p / area] += sigma[p] / double(area);
        }
        for (size_t j = 0; j < x.size(); j++)
            if (s.real[j % s.padded] >= 0)
                y[j] = v(j) / std::max(c[j / s.padded / area], sigma[j / s.padded]);
        return y;
    }

    // By the chain rule, from the gradient of y = v / max(c, sigma).
    Numbers contrast_backward(int layer, const Numbers& x, const Numbers& g) {
        const State<T>& s = state(layer);
        const int window = net.spec.layers[layer - 1].filter_height;
        const size_t pixels = x.size() / s.padded, area = s.height * s.width;
        auto mean = [&](auto f) {
            Numbers m(pixels);
            for (size_t j = 0; j < x.size(); j++)
                if (s.real[j % s.padded] >= 0) m[j / s.padded] += f(j) / double(s.channels);
            return m;
        };
        const auto middle =
            blurred(mean([&](size_t j) { return x[j]; }), s.height, s.width, window);
        // The kernel reads them from the stored y.
        auto v = [&](size_t j) { return stored(x[j] - middle[j / s.padded]); };
        auto sigma =
            blurred(mean([&](size_t j) { return v(j) * v(j); }), s.height, s.width, window);
        Numbers c(net.batch), spread(net.batch), dsigma(pixels);
        for (size_t p = 0; p < pixels; p++)
            c[p / area] += (sigma[p] = sqrt(sigma[p] + 1e-5)) / double(area);
        auto divisor = [&](size_t p) { return std::max(c[p / area], sigma[p]); };
        for (size_t j = 0; j < x.size(); j++) {
            const size_t p = j / s.padded;
            if (s.real[j % s.padded] >= 0) dsigma[p] -= g[j] * v(j) / divisor(p) / divisor(p);
        }
        for (size_t p = 0; p < pixels; p++)
            if (!(sigma[p] > c[p / area]))
                spread[p / area] += dsigma[p] / double(area), dsigma[p] = 0;
        for (size_t p = 0; p < pixels; p++)
            dsigma[p] = (dsigma[p] + spread[p / area]) / (2 * sigma[p]);
        const auto dsquare = blurred(dsigma, s.height, s.width, window, true);
        Numbers dv(x.size()), sum(pixels);
        for (size_t j = 0; j < x.size(); j++) {
            if (s.real[j % s.padded] < 0) continue;
            const size_t p = j / s.padded;
            dv[j] = g[j] / divisor(p) + 2 * v(j) * dsquare[p] / double(s.channels);
            sum[p] -= dv[j];
        }
        const auto dmean = blurred(sum, s.height, s.width, window, true);
        for (size_t j = 0; j < x.size(); j++)
            if (s.real[j % s.padded] >= 0) dv[j] += dmean[j / s.padded] / double(s.channels);
        return dv;
    }

    Numbers pool_of(int layer, const Numbers& x, int height, int width) {
        const Layer& l = net.spec.layers[layer - 1];
        const State<T>& s = state(layer);
        const int pad = (l.filter_height - 1) / 2;
        Numbers y(numbers(s));
        for (size_t j = 0; j < y.size(); j++) {
            const int c = int(j % s.padded);
            const size_t p = j / s.padded, n = p / s.width / s.height;
            const int oy = int(p / s.width % s.height), ox = int(p % s.width);
            Number sum, largest(-INFINITY);
            int count = 0;
            for (int ky = 0; ky < l.filter_height; ky++)
                for (int kx = 0; kx < l.filter_height; kx++) {
                    const int yy = oy * l.stride_height + ky - pad,
                              xx = ox * l.stride_width + kx - pad;
                    if (yy < 0 || xx < 0 || yy >= height || xx >= width) continue;
                    const Number v = x[((n * height + yy) * width + xx) * s.padded + c];
                    sum += v, count++, largest = std::max(largest, v);
                }
            y[j] = l.kind == Kind::MaxPooling ? largest : sum / count;
        }
        return y;
    }

    Numbers window_forward(int layer, const Numbers& x, int height, int width) {
        const Layer& l = net.spec.layers[layer - 1];
        if (l.kind == Kind::BatchNorm) return x;
        if (l.kind == Kind::LocalContrast) return contrast_of(layer, x);
        return pool_of(layer, x, height, width);
    }

    void window(int layer) {
        int height, width;
        const auto x = concatenated(layer, height, width);
        compare("window", tensor(state(layer).y, numbers(state(layer))),
                stored(window_forward(layer, x, height, width)));
    }

    // Gradient that a layer without filters hands to its concatenated input, by the kernels' rule
    // for kinks: the first of a window's largest pixels takes it.
    Numbers window_backward(int layer, const Numbers& x, int height, int width) {
        const Layer& l = net.spec.layers[layer - 1];
        const State<T>& s = state(layer);
        if (l.kind == Kind::BatchNorm) return y_gradient(layer, false);
        const auto g = tensor(s.gradient, numbers(s));
        Numbers dx(x.size());
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
                    const int yy = oy * l.stride_height + ky - pad,
                              xx = ox * l.stride_width + kx - pad;
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
        Numbers features((size_t)n * padded);
        const auto real = read(net.head.real, padded);
        int first = 0;
        for (int o : net.spec.output) {
            const State<T>& s = state(o);
            const auto a = activation(o, false);
            for (size_t j = 0; j < a.size(); j++)
                features[j / s.padded / s.height / s.width * padded + first + j % s.padded] +=
                    a[j] / double(net.head.area);
            first += s.padded;
        }
        const auto got = floats(net.head.features, features.size());
        compare("features", got, features);
        const float* weight = parameters.data() + net.classifier_at;
        const float* bias = weight + classes * net.head_real;
        Numbers dlogits, losses, dfeatures, dweight(classes * net.head_real), dbias(classes);
        for (int i = 0; i < n; i++) {
            Numbers logits(bias, bias + classes);
            for (int k = 0; k < classes; k++)
                for (int c = 0; c < padded; c++)
                    if (real[c] >= 0)
                        logits[k] +=
                            Number(weight[k * net.head_real + real[c]]) * got[i * padded + c];
            Number sum;
            for (const Number& l : logits) sum += exp(l);
            losses.push_back(log(sum) - logits[labels[i]]);
            for (int k = 0; k < classes; k++)
                dlogits.push_back((exp(logits[k]) / sum - double(k == labels[i])) / double(n));
            for (int c = 0; c < padded; c++) {
                Number d;
                for (int k = 0; k < classes && real[c] >= 0; k++) {
                    d += dlogits[i * classes + k] * Number(weight[k * net.head_real + real[c]]);
                    dweight[k * net.head_real + real[c]] +=
                        dlogits[i * classes + k] * got[i * padded + c];
                }
                dfeatures.push_back(d / double(net.head.area));
            }
            for (int k = 0; k < classes; k++) dbias[k] += dlogits[i * classes + k];
        }
        compare("losses", floats(net.head.losses, losses.size()), losses);
        compare("gradient of logits", floats(net.head.logit_gradient, dlogits.size()), dlogits);
        compare("gradient of features", floats(net.head.gradient, dfeatures.size()), dfeatures);
        compare("gradient of the classifier's weight",
                floats(net.head.weight_gradient, dweight.size()), dweight);
        compare("gradient of the classifier's bias", floats(net.head.bias_gradient, dbias.size()),
                dbias);
        Number total;
        for (const Number& l : losses) total += l;
        compare("loss", {read(net.progress, 1)[0].loss}, {total});
    }

    // The gradient of a layer's output, and its moments.
    void gradient(int layer, const std::vector<float>& parameters) {
        const State<T>& s = state(layer);
        const bool round = !net.plans[layer - 1].backward.plain;
        Numbers g(numbers(s));
        for (int reader : s.readers) {
            const Layer& l = net.spec.layers[reader - 1];
            const int at =
                int(std::find(l.inputs.begin(), l.inputs.end(), layer) - l.inputs.begin());
            const auto dy = y_gradient(reader, round);
            each_product(reader, at, [&](size_t o, size_t i, size_t w) {
                g[i] += dy[o] * Number(round ? rounded(double(parameters[w])) : parameters[w]);
            });
        }
        for (size_t reader = 1; reader < net.states.size(); reader++)
            add_window_gradient(layer, int(reader), g);
        add_head_gradient(layer, g);
        const auto y = tensor(s.y, g.size());
        if (s.normalised) {
            const auto slope = read(s.norm.slope, s.padded), offset = read(s.norm.offset, s.padded);
            for (size_t j = 0; j < g.size(); j++)
                if (!(slope[j % s.padded] * float(y[j].value) + offset[j % s.padded] > s.floor))
                    g[j] = 0;
        }
        const auto got = tensor(s.gradient, g.size());
        compare("gradient", got, stored(g));
        if (s.normalised) gradient_moments(layer, got, y);
    }

    void add_window_gradient(int layer, int reader, Numbers& g) {
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
                    // Stored on its way, and once more with each further reader.
                    g[j] += stored(
                        stored(dx[((n * height + p / s.width % s.height) * width + p % s.width) *
                                      state(reader).padded +
                                  first + j % s.padded]));
                    g[j] = stored(g[j]);
                }
            }
            first += state(in).padded;
        }
    }

    void add_head_gradient(int layer, Numbers& g) {
        const State<T>& s = state(layer);
        int first = 0;
        for (int o : net.spec.output) {
            if (o == layer) {
                const auto d = read(net.head.gradient, (size_t)net.batch * net.head_channels);
                for (size_t j = 0; j < g.size(); j++)
                    g[j] += d[j / s.padded / s.height / s.width * net.head_channels + first +
                              j % s.padded];
            }
            first += state(o).padded;
        }
    }

    void gradient_moments(int layer, const Numbers& g, const Numbers& y) {
        const State<T>& s = state(layer);
        const double count = double(g.size() / s.padded);
        const auto mean = floats(s.norm.mean, s.padded), inverse = floats(s.norm.inverse, s.padded),
                   slope = floats(s.norm.slope, s.padded);
        Numbers sum(s.padded), centred(s.padded), k1(s.padded), k2(s.padded);
        for (size_t j = 0; j < g.size(); j++) {
            const int c = int(j % s.padded);
            sum[c] += g[j];
            centred[c] += g[j] * (y[j] - mean[c]);
        }
        Numbers dscale(s.channels), dshift(s.channels);
        for (int c = 0; c < s.padded; c++) {
            if (s.real[c] < 0) continue;
            dscale[s.real[c]] = centred[c] * inverse[c], dshift[s.real[c]] = sum[c];
            k1[c] = -slope[c] * inverse[c] * inverse[c] * centred[c] / count;
            k2[c] = -k1[c] * mean[c] - slope[c] * sum[c] / count;
        }
        compare("gradient of scale", floats(net.gradient + net.scale_at[layer - 1], s.channels),
                dscale);
        compare("gradient of shift", floats(net.gradient + net.shift_at[layer - 1], s.channels),
                dshift);
        compare("gradient coefficient 1", floats(s.norm.gradient1, s.padded), k1);
        compare("gradient coefficient 2", floats(s.norm.gradient2, s.padded), k2);
    }

    void weights(int layer) {
        const Layer& l = net.spec.layers[layer - 1];
        const size_t first = net.weight_at[layer - 1], count = net.scale_at[layer - 1] - first;
        Numbers dw(count);
        if (state(layer).live) {
            const bool round = net.plans[layer - 1].weights_fast;
            const auto dy = y_gradient(layer, round);
            for (size_t i = 0; i < l.inputs.size(); i++) {
                const auto x = activation(l.inputs[i], round);
                each_product(layer, int(i), [&](size_t o, size_t at, size_t w) {
                    dw[w - first] += dy[o] * x[at];
                });
            }
        }
        compare("gradient of weights", floats(net.gradient + first, count), dw);
    }

    // Nesterov's step, from f32 parameters at rest; then their copies, which are exact.
    void update(const std::vector<float>& before, double rate) {
        const auto g = floats(net.gradient, before.size()),
                   after = floats(net.parameters, before.size());
        Numbers moved;
        for (size_t i = 0; i < before.size(); i++)
            moved.push_back(Number(before[i]) - rate * 1.9 * (g[i] + 1e-4 * before[i]));
        compare("update", after, moved);
        if (!net.packed) return;
        const auto packed = read(net.packed, net.packed_count);
        for (size_t i = 0; i < before.size(); i++)
            for (int at : {net.forward_at[i], net.backward_at[i]})
                if (at >= 0 && as_double(packed[at]) != rounded(after[i].value)) {
                    problems.push_back("packed weight " + std::to_string(i));
                    return;
                }
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
