#ifndef SOAK_PLAN_H
#define SOAK_PLAN_H

#include <cstdint>
#include <string>

// What both ends of one tunnel are going to do. It follows from the seed and the number of the tunnel alone.

enum class Kind { kConnect, kUpgrade, kPair, kDirect };
enum class Side : uint8_t { kClient, kUpstream };
inline Side Other(Side side) { return side == Side::kClient ? Side::kUpstream : Side::kClient; }

// Milliseconds and bytes.
struct Direction {
  uint64_t origin = 0;
  uint64_t length = 0;
  uint64_t write_low = 1;  // each write is between these two, small ones as likely as large ones
  uint64_t write_high = 65536;
  double write_pause = 0;         // how likely a pause is after a write,
  uint64_t write_pause_most = 0;  // and how long it is at most
  uint64_t start_delay = 0;
  uint64_t read_most = 65536;  // bytes read at once
  uint64_t read_burst = 0;     // bytes read before a pause; 0: no pauses
  uint64_t read_pause_most = 0;
  uint64_t read_delay = 0;  // before the first read
};

struct Plan {
  uint64_t index = 0;
  Kind kind = Kind::kConnect;
  size_t proxy = 0;
  bool early = false;  // the client writes before it is told that the tunnel is open
  // Both take turns: each message waits for the other's. Whoever loses a wake-up here, waits for ever.
  uint64_t dialogue = 0;  // bytes of a message, 0: none
  bool aborted = false;
  Side aborter = Side::kClient;
  uint64_t abort_after = 0;            // bytes that the aborter has sent,
  uint64_t abort_after_read = 0;       // or has received,
  uint64_t abort_delay = 0;            // then so long
  bool fin_waits[2] = {false, false};  // that end does not send its FIN before it has seen the other's
  uint64_t fin_delay[2] = {0, 0};
  int receive_buffer[2] = {0, 0};  // 0: the system's
  int send_buffer[2] = {0, 0};
  bool no_delay[2] = {false, false};
  bool stalled[2] = {false, false};  // that end reads nothing before it is told to, and the other one writes until then
  Direction from[2];                 // by the side that writes it
};

// `traffic` is `mixed`, one of those for a single rule, or `stalled-` and who does not read, `client`, `upstream`,
// `both`, or `either` by turns, with writes of so many bytes.
Plan MakePlan(const std::string& traffic, uint64_t write, uint64_t seed, uint64_t index, size_t proxies);

const char* NameOf(Kind kind);
const char* NameOf(Side side);
std::string Describe(const Plan& plan);

#endif
