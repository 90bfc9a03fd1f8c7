#ifndef BENCH_LOAD_LOOP_H
#define BENCH_LOAD_LOOP_H

#include <sys/epoll.h>

#include <cstdint>
#include <functional>

// Nanoseconds of the clock that all processes of a machine share.
uint64_t Now();

constexpr uint64_t kSecond = 1'000'000'000;

class Handler {
 public:
  virtual ~Handler() = default;
  virtual void OnEvents(uint32_t events) = 0;
};

// One thread, one epoll. A handler must not be freed by another one's event, as it may be next in the same batch.
class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void Add(int fd, uint32_t events, Handler* handler);
  void Change(int fd, uint32_t events, Handler* handler);
  void Remove(int fd);

  // Handles events until then, or until the condition holds, which is asked after each batch.
  void RunUntil(
      uint64_t deadline, const std::function<bool()>& done = [] { return false; });

 private:
  int epoll_;
};

// Calls back at an absolute time, to the precision of the kernel's timers, which epoll's timeout does not have.
class Timer : public Handler {
 public:
  Timer(Loop& loop, std::function<void()> expired);
  ~Timer() override;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void Set(uint64_t when);
  void OnEvents(uint32_t events) override;

 private:
  int fd_;
  std::function<void()> expired_;
};

#endif
