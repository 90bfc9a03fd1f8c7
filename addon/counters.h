#ifndef HTTP_PROXY_SOCKMAP_COUNTERS_H
#define HTTP_PROXY_SOCKMAP_COUNTERS_H

#include <atomic>
#include <cstdint>
#include <mutex>

#include "../bpf/flow.h"

enum class LaneState : uint8_t { kPipe, kKernel, kSpilling, kDraining, kDone };

// What JavaScript may ask about a lane while the relay is at work on it: written by the relay, read by both.
struct LaneCounters {
  std::atomic<LaneState> state{LaneState::kPipe};
  std::atomic<uint64_t> piped{0};
  std::atomic<uint64_t> spilled{0};
  std::atomic<uint64_t> injected{0};
  std::atomic<uint32_t> promotions{0};
  std::atomic<uint32_t> spills{0};

  // While the lane is in the sockmap its flow knows what was redirected; afterwards it belongs to another.
  std::atomic<const flow*> live{nullptr};
  std::atomic<uint64_t> settled{0};

  uint64_t Redirected() const {
    const flow* flow = live.load(std::memory_order_acquire);
    return flow ? __atomic_load_n(&flow->redirected, __ATOMIC_RELAXED) : settled.load(std::memory_order_relaxed);
  }

  // All of the source's bytes that the destination has accepted.
  uint64_t Moved() const {
    return piped.load(std::memory_order_relaxed) + spilled.load(std::memory_order_relaxed) + Redirected();
  }
};

struct TunnelCounters {
  LaneCounters client_to_upstream;
  LaneCounters upstream_to_client;

  // The relay's descriptors, for whoever asks about the connections, or sets an option of theirs. They belong to the
  // tunnel, which makes them -1, with the mutex held, before it closes them. One mutex does for all: it is never held
  // for long, and of each it would be a quarter of this.
  static inline std::mutex mutex;
  int client = -1;
  int upstream = -1;
};

#endif
