#include <memory>

#include "client.h"
#include "pattern.h"
#include "socket.h"

namespace {

// Lives for one echo, or for two with a time of silence between them, and makes its successor.
class ShortLived final : public Tunnel {
 public:
  ShortLived(Loop& loop, const Options& options, Measurement& measurement)
      : Tunnel(loop, options.route, {Order::kEcho, {}, options.size, 0, 0}),
        loop_(loop),
        options_(options),
        measurement_(measurement) {}

 protected:
  void OnOpen() override { SendAll(fd(), Pattern::At(0), options_.size); }

  void OnReadable() override {
    char bytes[4096];
    const ssize_t received = Receive(fd(), bytes, sizeof bytes);
    if (received == kGone) Refuse("a tunnel ended");
    if (received < 0) return;
    if (!Pattern::Fits(bytes, static_cast<size_t>(received), received_)) measurement_.corrupt++;
    received_ += static_cast<uint64_t>(received);
    if (received_ < options_.size) return;
    measurement_.received += received_;
    if (options_.hold > 0 && !silence_) return Hold();
    measurement_.messages++;
    measurement_.latency.Add(Now() - begin_);
    new ShortLived(loop_, options_, measurement_);
    delete this;
  }

 private:
  void Hold() {
    received_ = 0;
    silence_ = std::make_unique<Timer>(loop_, [this] { SendAll(fd(), Pattern::At(0), options_.size); });
    silence_->Set(Now() + Nanoseconds(options_.hold));
  }

  Loop& loop_;
  const Options& options_;
  Measurement& measurement_;
  uint64_t begin_ = Now();
  uint64_t received_ = 0;
  std::unique_ptr<Timer> silence_;
};

}  // namespace

void SetUp(const Options& options, Measurement& measurement) {
  Loop loop;
  // The last ones are left to the end of the process.
  for (size_t index = 0; index < options.tunnels; index++) new ShortLived(loop, options, measurement);
  RunLoad(loop, options, measurement);
}
