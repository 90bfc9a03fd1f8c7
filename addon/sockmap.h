#ifndef HTTP_PROXY_SOCKMAP_SOCKMAP_H
#define HTTP_PROXY_SOCKMAP_SOCKMAP_H

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "flows.h"
#include "maps.h"
#include "wakeups.h"

// The bookkeeping of the lanes that are in the maps.
class Sockmap {
 public:
  // Throws KernelError.
  explicit Sockmap(Maps maps);

  // Takes a lane from `source` to `destination`: its destination becomes a target, its source gets an id. Nothing
  // is redirected yet. Throws KernelError, with everything undone. Any thread.
  uint32_t Admit(int source, int destination);

  // From here on the program decides about what arrives at `source`. False with errno set if the kernel refuses:
  // EOPNOTSUPP when a FIN has come or gone.
  bool Promote(uint32_t lane, int source);

  // Throws away what the destination has been handed and has not written yet: drain first. Any thread.
  void Release(uint32_t lane);

  flow& FlowOf(uint32_t lane) { return flows_.Of(lane); }
  Wakeups& wakeups() { return wakeups_; }
  // Lanes of a shared set that are before it belong to other processes, as do those beyond our last one.
  uint32_t first_lane() const { return maps_.first_lane; }

 private:
  void Extend();

  // Torn down from the last to the first: memory before the map it belongs to.
  Maps maps_;
  Flows flows_;
  Wakeups wakeups_;
  std::mutex mutex_;  // guards those below
  // First in, first out: a verdict that is still running for a released lane must not meet its successor.
  std::deque<uint32_t> free_;
  uint32_t untouched_;                   // the last so many of our lanes are free too, and have no memory yet
  std::unique_ptr<uint64_t[]> cookies_;  // by lane, from our first one on
};

#endif
