#include "upstream.h"

#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "loop.h"
#include "order.h"
#include "pace.h"
#include "pattern.h"
#include "socket.h"

namespace {

Loop loop;
Schedule schedule(loop);
Report totals;
std::vector<char> scratch(Pattern::kLongest);

uint64_t Cpu() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

// One tunnel: an upgrade where the client asks for it, an order, and what was ordered.
class Served final : public Handler, public Schedule::Paced {
 public:
  explicit Served(int fd) : fd_(fd) { loop.Add(fd_, EPOLLIN, this); }
  ~Served() override { close(fd_); }

  void OnEvents(uint32_t events) override {
    bool alive = true;
    if (events & EPOLLIN) alive = Read();
    if (alive && (events & EPOLLOUT)) alive = Write();
    if (alive && (events & (EPOLLERR | EPOLLHUP)) && !(events & (EPOLLIN | EPOLLOUT))) alive = false;
    if (!alive) Close();
  }

  uint64_t OnDue(uint64_t now) override {
    if (closed_) {
      delete this;
      return 0;
    }

    const uint64_t before = pace_->Sent();
    if (!pace_->SendDue(now)) loop.Change(fd_, EPOLLIN | EPOLLOUT, this);
    totals.sent += pace_->Sent() - before;
    return pace_->NextDue();
  }

 private:
  // The schedule knows a paced tunnel, and frees it when it comes to it: with no event left that would be told to it.
  void Close() {
    if (pace_ == nullptr) {
      delete this;
    } else if (!closed_) {
      closed_ = true;
      loop.Remove(fd_);
    }
  }

  bool Read() {
    if (!ordered_) return Greet();
    if (order_.kind == Order::kEcho) return Collect();
    const ssize_t received = Receive(fd_, scratch.data(), scratch.size());
    return received != kGone && (received < 0 || Took(scratch.data(), static_cast<size_t>(received)));
  }

  bool Greet() {
    char bytes[4096];
    const ssize_t received = Receive(fd_, bytes, sizeof bytes);
    if (received < 0) return received != kGone;
    head_.append(bytes, static_cast<size_t>(received));
    if (head_[0] == 'G') {
      const size_t end = head_.find("\r\n\r\n");
      if (end == std::string::npos) return true;
      SendAll(fd_, kSwitching, sizeof kSwitching - 1);
      head_.erase(0, end + 4);
    }
    return head_.size() < sizeof order_ || Obey();
  }

  bool Obey() {
    memcpy(&order_, head_.data(), sizeof order_);
    const std::string rest = head_.substr(sizeof order_);
    head_.clear();
    if (order_.kind == Order::kReport) {
      totals.cpu = Cpu();
      SendAll(fd_, &totals, sizeof totals);
      return true;
    }

    ordered_ = true;
    switch (order_.kind) {
      case Order::kEcho: message_.resize(order_.size); break;
      case Order::kSource:
      case Order::kBoth: loop.Change(fd_, EPOLLIN | EPOLLOUT, this); break;
      case Order::kStall: loop.Change(fd_, 0, this); break;
      case Order::kPace:
        pace_ = std::make_unique<PacedSender>(fd_, order_.size, order_.interval, order_.first);
        schedule.Add(order_.first, this);
        break;
      default: break;
    }
    return rest.empty() || Took(rest.data(), rest.size());
  }

  // Bytes that came behind the order, or to be read and forgotten.
  bool Took(const char* bytes, size_t size) {
    if (order_.kind == Order::kEcho) {
      memcpy(message_.data(), bytes, size);
      filled_ = size;
      return filled_ < message_.size() || Write();
    }
    if (!Pattern::Fits(bytes, size, received_)) totals.corrupt++;
    received_ += size;
    totals.received += size;
    return true;
  }

  bool Collect() {
    const ssize_t received = Receive(fd_, message_.data() + filled_, message_.size() - filled_);
    if (received < 0) return received != kGone;
    filled_ += static_cast<size_t>(received);
    return filled_ < message_.size() || Write();
  }

  bool Write() {
    if (order_.kind == Order::kEcho) return Answer();
    if (pace_) {
      const uint64_t before = pace_->Sent();
      if (pace_->SendDue(Now())) loop.Change(fd_, EPOLLIN, this);
      totals.sent += pace_->Sent() - before;
      return true;
    }

    const ssize_t sent = Send(fd_, Pattern::At(sent_), Pattern::kLongest);
    if (sent < 0) return sent != kGone;
    sent_ += static_cast<uint64_t>(sent);
    totals.sent += static_cast<uint64_t>(sent);
    return true;
  }

  bool Answer() {
    const ssize_t sent = Send(fd_, message_.data() + answered_, filled_ - answered_);
    if (sent == kGone) return false;
    if (sent > 0) answered_ += static_cast<size_t>(sent);
    const bool all = answered_ == filled_;
    if (all) filled_ = answered_ = 0;
    if (all == waiting_) {
      waiting_ = !all;
      loop.Change(fd_, waiting_ ? EPOLLOUT : EPOLLIN, this);
    }
    return true;
  }

  static constexpr char kSwitching[] =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

  int fd_;
  std::string head_;
  bool ordered_ = false;
  Order order_{};
  std::vector<char> message_;
  size_t filled_ = 0;
  size_t answered_ = 0;
  bool waiting_ = false;  // for room to answer in
  uint64_t received_ = 0;
  uint64_t sent_ = 0;
  std::unique_ptr<PacedSender> pace_;
  bool closed_ = false;
};

class Listener final : public Handler {
 public:
  explicit Listener(int fd) : fd_(fd) { loop.Add(fd, EPOLLIN, this); }

  void OnEvents(uint32_t) override {
    for (int fd = Accept(fd_); fd >= 0; fd = Accept(fd_)) new Served(fd);
  }

 private:
  int fd_;
};

class Stdin final : public Handler {
 public:
  Stdin() { loop.Add(STDIN_FILENO, EPOLLIN, this); }

  void OnEvents(uint32_t) override {
    char byte;
    if (read(STDIN_FILENO, &byte, 1) <= 0) _exit(0);
  }
};

}  // namespace

void RunUpstream(uint16_t port) {
  const int fd = Listen(port);
  Listener listener(fd);
  Stdin standard_input;
  Pattern::At(0);
  for (;;) loop.RunUntil(UINT64_MAX);
}
