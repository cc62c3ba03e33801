/* Times in 64 steps an octave: percentiles with an error below 1 %. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include "common.h"

#define STEPS 64
#define BUCKETS (40 * STEPS)

struct histogram {
    uint64_t counts[BUCKETS], total;
    int64_t highest_ns;
};

static void record(struct histogram *into, int64_t ns) {
    uint64_t value = ns < 1 ? 1 : (uint64_t)ns;
    int octave = 63 - __builtin_clzll(value);
    int step = octave >= 6 ? (int)(value >> (octave - 6)) & (STEPS - 1) : 0;
    int at = octave * STEPS + step;
    into->counts[at < BUCKETS ? at : BUCKETS - 1]++;
    into->total++;
    if (ns > into->highest_ns) into->highest_ns = ns;
}

static double bucket_ms(int at) {
    double low = (double)(1LL << (at / STEPS));
    return low * (1 + (at % STEPS + 0.5) / STEPS) / 1e6;
}

static double percentile_ms(const struct histogram *of, double share) {
    uint64_t rank = (uint64_t)((double)of->total * share), seen = 0;
    for (int at = 0; at < BUCKETS; at++) {
        seen += of->counts[at];
        if (seen > rank) return bucket_ms(at);
    }
    return (double)of->highest_ns / 1e6;
}

/* Percentiles, and the counts at 8 steps an octave as [upper edge in us, count]. */
static void print_histogram(const char *name, const struct histogram *of) {
    static const struct {
        const char *name;
        double share;
    } SHARES[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}};
    if (!of->total) return;
    for (int at = 0; at < 4; at++)
        printf(",\"%s%s_ms\":%.4f", name, SHARES[at].name, percentile_ms(of, SHARES[at].share));
    printf(",\"%smax_ms\":%.4f,\"%shistogram_us\":[", name, (double)of->highest_ns / 1e6, name);
    const char *comma = "";
    for (int at = 0; at < BUCKETS; at += STEPS / 8) {
        uint64_t sum = 0;
        for (int in = at; in < at + STEPS / 8; in++) sum += of->counts[in];
        if (!sum) continue;
        double low = (double)(1LL << (at / STEPS));
        double edge = low * (1 + (at % STEPS + STEPS / 8.0) / STEPS) / 1e3;
        printf("%s[%.3f,%lu]", comma, edge, sum);
        comma = ",";
    }
    printf("]");
}

#endif
