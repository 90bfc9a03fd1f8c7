#include "client.h"
#include "pace.h"
#include "pattern.h"
#include "socket.h"

namespace {

// Receives messages that begin with the time when they were due.
class Stamped {
 public:
  explicit Stamped(const Options& options) : message_(options.size) {}

  // False when there is nothing more for now.
  bool Receive(int fd, Measurement& measurement) {
    const ssize_t received = ::Receive(fd, message_.data() + filled_, message_.size() - filled_);
    if (received == kGone) Refuse("a tunnel ended");
    if (received < 0) return false;
    filled_ += static_cast<size_t>(received);
    measurement.received += static_cast<uint64_t>(received);
    if (filled_ < message_.size()) return true;

    filled_ = 0;
    uint64_t due;
    memcpy(&due, message_.data(), sizeof due);
    if (memcmp(message_.data() + sizeof due, Pattern::At(sizeof due), message_.size() - sizeof due) != 0)
      measurement.corrupt++;
    measurement.messages++;
    measurement.latency.Add(Now() - due);
    return true;
  }

 private:
  std::vector<char> message_;
  size_t filled_ = 0;
};

class PacedTunnel final : public Tunnel, public Schedule::Paced {
 public:
  PacedTunnel(Loop& loop, const Options& options, Measurement& measurement)
      : Tunnel(loop, options.route, {Order::kEcho, {}, options.size, 0, 0}),
        measurement_(measurement),
        stamped_(options) {}

  void Start(Schedule& schedule, const Options& options, uint64_t interval, uint64_t first) {
    pace_ = std::make_unique<PacedSender>(fd(), options.size, interval, first);
    schedule.Add(first, this);
  }

  uint64_t OnDue(uint64_t now) override {
    if (!pace_->SendDue(now)) Want(EPOLLIN | EPOLLOUT);
    return pace_->NextDue();
  }

 protected:
  void OnWritable() override {
    if (pace_ && pace_->SendDue(Now())) Want(EPOLLIN);
  }

  void OnReadable() override { stamped_.Receive(fd(), measurement_); }

 private:
  Measurement& measurement_;
  Stamped stamped_;
  std::unique_ptr<PacedSender> pace_;
};

class Listening final : public Tunnel {
 public:
  Listening(Loop& loop, const Options& options, Measurement& measurement, const Order& order)
      : Tunnel(loop, options.route, order), measurement_(measurement), stamped_(options) {}

 protected:
  void OnReadable() override { stamped_.Receive(fd(), measurement_); }

 private:
  Measurement& measurement_;
  Stamped stamped_;
};

uint64_t Interval(const Options& options) { return Nanoseconds(static_cast<double>(options.tunnels) / options.rate); }

}  // namespace

void Pace(const Options& options, Measurement& measurement) {
  Loop loop;
  Schedule schedule(loop);
  const auto tunnels = OpenAll<PacedTunnel>(
      loop, options.tunnels, [&](size_t) { return std::make_unique<PacedTunnel>(loop, options, measurement); });
  loop.RunUntil(Now() + Nanoseconds(options.pause));
  const uint64_t begin = Now();
  const uint64_t interval = Interval(options);
  for (size_t index = 0; index < tunnels.size(); index++) {
    tunnels[index]->Start(schedule, options, interval, begin + interval * index / tunnels.size());
  }
  RunLoad(loop, options, measurement);
}

void FanOut(const Options& options, Measurement& measurement) {
  Loop loop;
  const uint64_t interval = Interval(options);
  // Opening so many takes a while, and all begin together.
  const uint64_t begin = Now() + kSecond / 2 + options.tunnels * 1'500'000;
  const auto tunnels = OpenAll<Listening>(loop, options.tunnels, [&](size_t index) {
    const Order order{Order::kPace, {}, options.size, interval, begin + interval * index / options.tunnels};
    return std::make_unique<Listening>(loop, options, measurement, order);
  });
  if (Now() > begin) Refuse("the tunnels did not open before the first message was due");
  loop.RunUntil(begin);
  RunLoad(loop, options, measurement);
}
