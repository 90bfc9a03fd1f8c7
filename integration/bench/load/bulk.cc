#include "client.h"
#include "pattern.h"
#include "socket.h"

namespace {

std::vector<char> scratch(Pattern::kLongest);

Order::Kind KindOf(const Options& options) {
  if (options.up && options.down) return Order::kBoth;
  return options.up ? Order::kSink : Order::kSource;
}

class BulkTunnel final : public Tunnel {
 public:
  BulkTunnel(Loop& loop, const Options& options, Measurement& measurement)
      : Tunnel(loop, options.route, {KindOf(options), {}, options.size, 0, 0}),
        measurement_(measurement),
        sends_(options.up) {}

  void Start() { Want(sends_ ? EPOLLIN | EPOLLOUT : EPOLLIN); }

 protected:
  void OnWritable() override {
    const ssize_t sent = Send(fd(), Pattern::At(sent_), Pattern::kLongest);
    if (sent == kGone) Refuse("a tunnel ended");
    if (sent > 0) sent_ += static_cast<uint64_t>(sent);
  }

  void OnReadable() override {
    const ssize_t received = Receive(fd(), scratch.data(), scratch.size());
    if (received == kGone) Refuse("a tunnel ended");
    if (received < 0) return;
    if (!Pattern::Fits(scratch.data(), static_cast<size_t>(received), received_)) measurement_.corrupt++;
    received_ += static_cast<uint64_t>(received);
    measurement_.received += static_cast<uint64_t>(received);
  }

 private:
  Measurement& measurement_;
  bool sends_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

}  // namespace

void Bulk(const Options& options, Measurement& measurement) {
  Loop loop;
  const auto tunnels = OpenAll<BulkTunnel>(
      loop, options.tunnels, [&](size_t) { return std::make_unique<BulkTunnel>(loop, options, measurement); });
  loop.RunUntil(Now() + Nanoseconds(options.pause));
  for (const auto& tunnel : tunnels) tunnel->Start();
  RunLoad(loop, options, measurement);
}
