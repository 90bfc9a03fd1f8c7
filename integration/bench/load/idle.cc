#include "client.h"
#include "pattern.h"
#include "socket.h"

namespace {

class Quiet final : public Tunnel {
 public:
  Quiet(Loop& loop, const Options& options, Measurement& measurement)
      : Tunnel(loop, options.route, {Order::kEcho, {}, options.size, 0, 0}),
        size_(options.size),
        measurement_(measurement) {}

  bool IsAnswered() const { return received_ == size_; }

 protected:
  void OnOpen() override { SendAll(fd(), Pattern::At(0), size_); }

  void OnReadable() override {
    char bytes[4096];
    const ssize_t received = Receive(fd(), bytes, sizeof bytes);
    if (received == kGone) Refuse("a tunnel ended");
    if (received < 0) return;
    if (!Pattern::Fits(bytes, static_cast<size_t>(received), received_)) measurement_.corrupt++;
    received_ += static_cast<uint64_t>(received);
  }

 private:
  uint64_t size_;
  uint64_t received_ = 0;
  Measurement& measurement_;
};

}  // namespace

void Idle(const Options& options, Measurement& measurement) {
  Loop loop;
  const auto tunnels = OpenAll<Quiet>(loop, options.tunnels,
                                      [&](size_t) { return std::make_unique<Quiet>(loop, options, measurement); });
  size_t answered = 0;
  loop.RunUntil(Now() + 30 * kSecond, [&] {
    while (answered < tunnels.size() && tunnels[answered]->IsAnswered()) answered++;
    return answered == tunnels.size();
  });
  if (answered < tunnels.size()) Refuse("some tunnels did not echo in time");
  RunLoad(loop, options, measurement);
}
