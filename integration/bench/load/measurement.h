#ifndef BENCH_LOAD_MEASUREMENT_H
#define BENCH_LOAD_MEASUREMENT_H

#include <cstdint>
#include <string>

#include "histogram.h"
#include "order.h"
#include "tunnel.h"
#include "usage.h"

struct Options {
  std::string mode;
  Route route{Access::kRaw, 0, 0};
  int watch = 0;  // the process of the proxy
  size_t tunnels = 1;
  uint32_t size = 64;
  double seconds = 1;
  double warmup = 0.5;
  double pause = 0;  // between the tunnels being open and the load
  double hold = 0;   // that a short-lived tunnel is silent, between two echoes
  double rate = 0;   // messages a second, of all tunnels together
  bool up = true;
  bool down = true;
};

// One stretch of time, seen from all sides. What it makes is one line of JSON.
class Measurement {
 public:
  explicit Measurement(const Options& options);
  ~Measurement();
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;

  void Begin();
  void End();

  // Both by the upstream's own account, up to now.
  Report AskUpstream();

  // All that is counted between Begin and End.
  Histogram latency;
  uint64_t messages = 0;
  uint64_t received = 0;  // bytes, by the client
  uint64_t corrupt = 0;

  void Print() const;

 private:
  const Options& options_;
  int upstream_;
  Usage idle_;  // before there were any tunnels
  Usage before_{};
  Usage after_{};
  Report reported_before_{};
  Report reported_after_{};
  uint64_t cpu_before_ = 0;
  uint64_t cpu_after_ = 0;
};

#endif
