#ifndef BENCH_LOAD_UPSTREAM_H
#define BENCH_LOAD_UPSTREAM_H

#include <cstdint>

// Serves tunnels until its standard input ends.
[[noreturn]] void RunUpstream(uint16_t port);

#endif
