#ifndef SOAK_TUNNEL_H
#define SOAK_TUNNEL_H

#include <cstdint>
#include <memory>
#include <string>

#include "plan.h"

// Milliseconds of the monotonic clock.
using Time = int64_t;
Time Now();

struct Tunnel;

// One end of a tunnel: it writes its own stream and compares what it reads with the other's.
struct End {
  End(Tunnel& tunnel, Side side) : tunnel(tunnel), side(side) {}
  ~End();

  Tunnel& tunnel;
  const Side side;
  int fd = -1;
  bool heading = false;  // waits for the head of an answer, or of a request
  bool over = false;     // saw all that it had to see
  std::string head;

  uint64_t sent = 0;
  uint64_t received = 0;
  bool fin = false;  // has been sent
  bool eof = false;  // has been received
  bool write_blocked = false;
  Time write_at = 0;  // not before
  Time read_at = 0;
  Time fin_at = -1;
  Time abort_at = -1;
  uint64_t burst_left = 0;
  uint32_t interest = ~0U;

  // All that can be done now.
  void Advance(uint32_t events);
  // The connection is there.
  void Begin();

 private:
  const Direction& out() const;
  const Direction& in() const;
  bool Read();
  bool ReadHead();
  bool Take(const uint8_t* bytes, size_t length);
  void Write();
  void Finish();
  void Abort();
  void SawReset(int error, const char* call);
  void Close();
  void Wake(Time at);
};

struct Tunnel {
  explicit Tunnel(Plan plan);
  Plan plan;
  End client, upstream;
  bool opened = false;   // the proxy says that it has it
  bool aborted = false;  // the aborter has done it
  bool failed = false;
  bool reset = false;  // by the proxy
  Time progress = Now();

  End& at(Side side) { return side == Side::kClient ? client : upstream; }
  std::string address() const;  // its own, of both far ends
  void Fail(const std::string& what);
};

// What the rest of the program does for a tunnel.
namespace load {
void Watch(End& end, uint32_t interest);
void WakeAt(End& end, Time at);
void Over(Tunnel& tunnel);
void Failed(Tunnel& tunnel, const std::string& what);
extern int upstream_port;
extern bool begun;    // nobody writes before that
extern bool resumed;  // those that stalled are to read now
// A tunnel may be reset for no reason of its own: both ends have to see that, and what they got before has to be right.
extern bool resets_allowed;
}  // namespace load

#endif
