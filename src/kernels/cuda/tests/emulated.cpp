// Steps of random networks on the emulator, audited kernel by kernel. Arguments: how many, the first
// seed, and how many of them with layers without filters.
#include "run.h"

#include <chrono>

int main(int count, char** arguments) {
    const int networks = count > 1 ? atoi(arguments[1]) : 12;
    const unsigned first = count > 2 ? unsigned(atoi(arguments[2])) : 1;
    std::map<std::string, double> worst[3];
    const char* names[] = {"bf16", "bf16, plain", "f32"};
    bool wrong = false;
    for (int i = 0; i < networks; i++) {
        const unsigned seed = first + unsigned(i);
        std::mt19937 random(seed);
        const Spec spec = draw_spec(random, i % 2);
        const int batch = 1 + int(random() % 3);
        for (int mode = 0; mode < 3; mode++) {
            if (mode == 1 && i % 4) continue;
            if (mode && getenv("FAST")) continue;
            const auto start = std::chrono::steady_clock::now();
            const auto problems = mode == 2 ? audit_step<float>(spec, batch, seed, true, worst[mode])
                                            : audit_step<bf16>(spec, batch, seed, mode == 1, worst[mode]);
            if (getenv("VERBOSE"))
                printf("%u %s %.2f s: %s\n", seed, names[mode],
                       std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
                       describe(spec, batch).c_str());
            fflush(stdout);
            if (problems.empty()) continue;
            wrong = true;
            printf("seed %u, %s: %s\n", seed, names[mode], describe(spec, batch).c_str());
            for (const auto& p : problems) printf("    %s\n", p.c_str());
        }
        if (wrong && !getenv("GO_ON")) break;
    }
    for (int mode = 0; mode < 3; mode++)
        for (auto& [what, error] : worst[mode])
            if (getenv("VERBOSE")) printf("%-12s %-40s %.2e\n", names[mode], what.c_str(), error);
    printf(wrong ? "WRONG\n" : "%d networks: right\n", networks);
    return wrong;
}
