#ifndef BENCH_LOAD_ORDER_H
#define BENCH_LOAD_ORDER_H

#include <cstdint>

// The first bytes that a client sends in an open tunnel: what the upstream shall do with it.
// No kind is 'G': what begins with GET is an upgrade, which is answered, and the order comes after it.
struct Order {
  enum Kind : uint8_t {
    kEcho = 'e',    // send each message back when it has come whole
    kSink = 's',    // read
    kSource = 'f',  // send
    kBoth = 'b',    // read and send
    kPace = 'p',    // send messages on a schedule, each with the time when it was due
    kStall = 'z',   // do not read
    kReport = 'r',  // answer with a Report
  };

  Kind kind;
  uint8_t unused[3];
  uint32_t size;      // of a message
  uint64_t interval;  // between two messages of a tunnel, in nanoseconds
  uint64_t first;     // when the first one is due
};

// What the upstream has done so far, in all of its tunnels.
struct Report {
  uint64_t received;  // bytes, of kSink and kBoth
  uint64_t sent;      // bytes, of kSource, kBoth and kPace
  uint64_t corrupt;   // pieces that were not what was sent
  uint64_t cpu;       // nanoseconds, of the process
};

#endif
