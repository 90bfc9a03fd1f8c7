#include "client.h"
#include "pattern.h"
#include "socket.h"

namespace {

std::vector<char> scratch(Pattern::kLongest);

class EchoTunnel final : public Tunnel {
 public:
  EchoTunnel(Loop& loop, const Options& options, Measurement& measurement, size_t index)
      : Tunnel(loop, options.route, {Order::kEcho, {}, options.size, 0, 0}),
        measurement_(measurement),
        size_(options.size),
        // Tunnels are at different places of the pattern, so that one tunnel's bytes do not pass for another's.
        begin_(index * 4099) {}

  void Start() {
    sent_at_ = Now();
    sent_ = received_ = 0;
    OnWritable();
  }

 protected:
  void OnWritable() override {
    while (sent_ < size_) {
      const size_t piece = std::min<size_t>(size_ - sent_, Pattern::kLongest);
      const ssize_t sent = Send(fd(), Pattern::At(begin_ + sent_), piece);
      if (sent == kGone) Refuse("a tunnel ended");
      if (sent < 0) {
        Want(EPOLLIN | EPOLLOUT);
        return;
      }
      sent_ += static_cast<size_t>(sent);
    }
    Want(EPOLLIN);
  }

  void OnReadable() override {
    const ssize_t received = Receive(fd(), scratch.data(), scratch.size());
    if (received == kGone) Refuse("a tunnel ended");
    if (received < 0) return;
    const auto size = static_cast<size_t>(received);
    if (received_ + size > size_ || !Pattern::Fits(scratch.data(), size, begin_ + received_)) measurement_.corrupt++;
    received_ += size;
    measurement_.received += size;
    if (received_ < size_) return;
    measurement_.messages++;
    measurement_.latency.Add(Now() - sent_at_);
    begin_ += size_;
    Start();
  }

 private:
  Measurement& measurement_;
  size_t size_;
  uint64_t begin_;  // of this message
  uint64_t sent_at_ = 0;
  size_t sent_ = 0;
  size_t received_ = 0;
};

}  // namespace

void Echo(const Options& options, Measurement& measurement) {
  Loop loop;
  const auto tunnels = OpenAll<EchoTunnel>(loop, options.tunnels, [&](size_t index) {
    return std::make_unique<EchoTunnel>(loop, options, measurement, index);
  });
  loop.RunUntil(Now() + Nanoseconds(options.pause));
  for (const auto& tunnel : tunnels) tunnel->Start();
  RunLoad(loop, options, measurement);
}
