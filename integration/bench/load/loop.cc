#include "loop.h"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <utility>

#include "fail.h"

uint64_t Now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

Loop::Loop() : epoll_(Check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {}

Loop::~Loop() { close(epoll_); }

void Loop::Add(int fd, uint32_t events, Handler* handler) {
  epoll_event event{.events = events, .data = {.ptr = handler}};
  Check(epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void Loop::Change(int fd, uint32_t events, Handler* handler) {
  epoll_event event{.events = events, .data = {.ptr = handler}};
  Check(epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event), "epoll_ctl");
}

void Loop::Remove(int fd) { Check(epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr), "epoll_ctl"); }

void Loop::RunUntil(uint64_t deadline, const std::function<bool()>& done) {
  epoll_event events[256];
  while (!done()) {
    const uint64_t now = Now();
    if (now >= deadline) return;
    const uint64_t milliseconds = (deadline - now) / 1'000'000 + 1;
    const int timeout = milliseconds > INT_MAX ? -1 : static_cast<int>(milliseconds);
    const int count = epoll_wait(epoll_, events, 256, timeout);
    if (count < 0 && errno != EINTR) Fail("epoll_wait");
    for (int index = 0; index < count; index++)
      static_cast<Handler*>(events[index].data.ptr)->OnEvents(events[index].events);
  }
}

Timer::Timer(Loop& loop, std::function<void()> expired)
    : fd_(Check(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create")),
      expired_(std::move(expired)) {
  loop.Add(fd_, EPOLLIN, this);
}

Timer::~Timer() { close(fd_); }

void Timer::Set(uint64_t when) {
  itimerspec time{};
  time.it_value.tv_sec = static_cast<time_t>(when / kSecond);
  time.it_value.tv_nsec = static_cast<long>(when % kSecond);
  Check(timerfd_settime(fd_, TFD_TIMER_ABSTIME, &time, nullptr), "timerfd_settime");
}

void Timer::OnEvents(uint32_t) {
  uint64_t times;
  if (read(fd_, &times, sizeof times) > 0) expired_();
}
