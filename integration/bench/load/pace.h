#ifndef BENCH_LOAD_PACE_H
#define BENCH_LOAD_PACE_H

#include <cstdint>
#include <queue>
#include <vector>

#include "loop.h"

// Messages that are due at fixed times, whether or not the earlier ones went out in time. Each begins with the time
// when it was due, so that a delay counts for all messages that it held up, and not only for the one that was on its
// way.
class PacedSender {
 public:
  PacedSender(int fd, uint32_t size, uint64_t interval, uint64_t first);

  // Sends what is due. False when the socket takes no more for now.
  bool SendDue(uint64_t now);

  uint64_t NextDue() const { return due_; }
  uint64_t Sent() const { return sent_; }

 private:
  int fd_;
  uint64_t interval_;
  uint64_t due_;
  std::vector<char> message_;
  size_t offset_;  // of what is left of the message that is on its way; its end when there is none
  uint64_t sent_ = 0;
};

// Wakes each paced sender when its next message is due.
class Schedule {
 public:
  explicit Schedule(Loop& loop) : timer_(loop, [this] { Wake(); }) {}

  class Paced {
   public:
    virtual ~Paced() = default;
    // Sends, and returns when to be woken again; 0 for never.
    virtual uint64_t OnDue(uint64_t now) = 0;
  };

  void Add(uint64_t when, Paced* paced);

 private:
  void Wake();

  using Entry = std::pair<uint64_t, Paced*>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> due_;
  Timer timer_;
};

#endif
