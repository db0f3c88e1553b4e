// Steps of random networks on the emulator, audited kernel by kernel; then of networks at the
// space's limits. Arguments: how many, and the first seed, with which the limits are left out.
#include "run.h"

#include <chrono>

static std::map<std::string, double> worst[3];
static const char* const names[] = {"bf16", "bf16, plain", "f32"};

// Whether a network's step is right, in one of three ways.
static bool right(const Spec& spec, int batch, unsigned seed, int mode) {
    const auto start = std::chrono::steady_clock::now();
    const auto problems = mode == 2 ? audit_step<float>(spec, batch, seed, true, worst[mode])
                                    : audit_step<bf16>(spec, batch, seed, mode == 1, worst[mode]);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (getenv("VERBOSE") || !problems.empty())
        printf("seed %u, %s, %.2f s: %s\n", seed, names[mode], seconds,
               describe(spec, batch).c_str());
    for (const auto& p : problems) printf("    %s\n", p.c_str());
    fflush(stdout);
    return problems.empty();
}

int main(int count, char** arguments) {
    const int networks = count > 1 ? atoi(arguments[1]) : 12;
    const unsigned first = count > 2 ? unsigned(atoi(arguments[2])) : 1;
    bool wrong = false;
    for (int i = 0; i < networks && !wrong; i++) {
        const unsigned seed = first + unsigned(i);
        std::mt19937 random(seed);
        const Spec spec = draw_spec(random, seed % 2);
        const int batch = 1 + int(random() % 3);
        for (int mode = 0; mode < 3; mode++)
            if (mode != 1 || i % 4 == 0) wrong = !right(spec, batch, seed, mode) || wrong;
    }
    if (count <= 2 && !wrong)
        for (const Spec& spec : limits())
            for (int mode : {0, 2}) wrong = !right(spec, 1, 3, mode) || wrong;
    for (int mode = 0; mode < 3; mode++)
        for (auto& [what, error] : worst[mode])
            if (getenv("VERBOSE")) printf("%-12s %-40s %.2e\n", names[mode], what.c_str(), error);
    if (!wrong) printf("%d random networks: right\n", networks);
    return wrong;
}
