// Audits small networks on a GPU, and times the captured training step of larger ones. Must not know
// how a step is planned or checked.
// usage: step audit N SEED | step time NAME BATCH | step profile NAME BATCH
#include "../../src/kernels/cuda/tests/run.h"

#include <chrono>
#include <cstring>

static Layer convolution(int kh, int kw, int filters, std::vector<int> inputs) {
    return {Kind::Convolution, kh, kw, filters, 1, 1, inputs};
}

static Spec named(const std::string& name) {
    Spec spec{3, 32, 32, 10, {}, {}};
    if (name.rfind("chain", 0) == 0) {
        const int size = name == "chain-7x7-24" ? 7 : 3, filters = name == "chain-7x7-24"   ? 24
                                                                   : name == "chain-3x3-64" ? 64
                                                                                            : 48;
        for (int i = 0; i < 6; i++) spec.layers.push_back(convolution(size, size, filters, {i}));
        spec.output = {6};
        return spec;
    }
    // Fifteen layers with many skip connections, as the paper's v1 has.
    const int heights[] = {3, 3, 5, 3, 5, 3, 3, 7, 5, 3, 7, 7, 5, 5, 7};
    const int widths[] = {3, 3, 3, 5, 5, 3, 7, 5, 3, 7, 3, 5, 5, 7, 5};
    const int filters[] = {36, 48, 36, 36, 48, 48, 48, 48, 36, 36, 36, 36, 36, 48, 48};
    for (int i = 0; i < 15; i++) {
        std::vector<int> inputs;
        for (int j = i == 0 ? 0 : 1; j < i; j++)
            if ((i * 7 + j * 5) % 4 == 0) inputs.push_back(j);
        inputs.push_back(i);
        spec.layers.push_back(convolution(heights[i], widths[i], filters[i], inputs));
    }
    std::vector<bool> read(16, false);
    for (auto& l : spec.layers)
        for (int in : l.inputs) read[in] = true;
    for (int i = 1; i <= 15; i++)
        if (!read[i]) spec.output.push_back(i);
    return spec;
}

static int audit(int networks, unsigned first) {
    std::map<std::string, double> worst[3];
    const char* names[] = {"bf16", "bf16, plain", "f32"};
    int wrong = 0;
    for (unsigned seed = first; seed < first + unsigned(networks); seed++) {
        std::mt19937 random(seed);
        const Spec spec = draw_spec(random, seed % 2);
        const int batch = 1 + int(random() % 3);
        for (int mode = 0; mode < 3; mode++) {
            const auto problems = mode == 2
                                      ? audit_step<float>(spec, batch, seed, true, worst[mode])
                                      : audit_step<bf16>(spec, batch, seed, mode == 1, worst[mode]);
            if (problems.empty()) continue;
            wrong++;
            printf("seed %u, %s: %s\n", seed, names[mode], describe(spec, batch).c_str());
            for (const auto& p : problems) printf("    %s\n", p.c_str());
        }
    }
    for (int mode = 0; mode < 3; mode++)
        for (auto& [what, error] : worst[mode])
            printf("%-12s %-40s %.2e\n", names[mode], what.c_str(), error);
    printf("%d networks, %d wrong\n", networks, wrong);
    return wrong != 0;
}

static void time_step(const std::string& name, int batch, bool replay) {
    const auto begin = std::chrono::steady_clock::now();
    const auto since = [&] {
        return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count();
    };
    const Spec spec = named(name);
    Backend backend;
    Network<bf16> net(backend, spec, batch, false);
    const double planned = since();
    const Drawn d = draw(net, 1, 512);
    net.set_parameters(d.parameters, d.running);
    net.step();
    backend.synchronise();
    if (!replay) {
        net.step();
        backend.synchronise();
        return;
    }
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    check(cudaStreamBeginCapture(backend.streams[0], cudaStreamCaptureModeThreadLocal));
    net.step();
    check(cudaStreamEndCapture(backend.streams[0], &graph));
    check(cudaGraphInstantiate(&exec, graph, 0));
    cudaEvent_t start, end;
    check(cudaEventCreate(&start));
    check(cudaEventCreate(&end));
    std::vector<float> times;
    for (int repeat = 0; repeat < 14; repeat++) {
        Progress p{0, ~0u, 0.001f, 0, 0.0};
        backend.upload(net.progress, &p, sizeof p);
        check(cudaEventRecord(start, backend.streams[0]));
        for (int i = 0; i < 40; i++) check(cudaGraphLaunch(exec, backend.streams[0]));
        check(cudaEventRecord(end, backend.streams[0]));
        check(cudaEventSynchronize(end));
        float ms;
        check(cudaEventElapsedTime(&ms, start, end));
        if (repeat > 3) times.push_back(ms / 40);
    }
    std::sort(times.begin(), times.end());
    Progress p;
    backend.download(&p, net.progress, sizeof p);
    printf(
        "%-14s batch %4d: %d launches, %.4f ms a step (%.4f to %.4f), %.0f images/s, %.1f MB, "
        "planned in %.1f ms, loss %.3f, bad step %u\n",
        name.c_str(), batch, net.launches, times[times.size() / 2], times[0], times.back(),
        batch / times[times.size() / 2] * 1e3, backend.bytes / 1e6, planned,
        p.loss / (40.0 * batch), p.first_bad_step);
}

int main(int count, char** arguments) {
    const std::string what = count > 1 ? arguments[1] : "audit";
    try {
        if (what == "audit")
            return audit(count > 2 ? atoi(arguments[2]) : 4,
                         count > 3 ? unsigned(atoi(arguments[3])) : 1);
        for (int i = 2; i + 1 < count; i += 2)
            time_step(arguments[i], atoi(arguments[i + 1]), what == "time");
    } catch (const std::exception& error) {
        printf("failed: %s\n", error.what());
        return 2;
    }
}
