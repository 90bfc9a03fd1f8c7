#include "client.h"
#include "pattern.h"
#include "socket.h"

namespace {

constexpr uint64_t kNoLimit = 1 << 30;

class Pushing final : public Tunnel {
 public:
  Pushing(Loop& loop, const Options& options)
      : Tunnel(loop, options.route, {options.up ? Order::kStall : Order::kSource, {}, options.size, 0, 0}),
        sends_(options.up) {}

  uint64_t Sent() const { return sent_; }

 protected:
  void OnOpen() override {
    if (sends_)
      Want(EPOLLOUT);
    else
      Want(0);
  }

  void OnWritable() override {
    const ssize_t sent = Send(fd(), Pattern::At(sent_), Pattern::kLongest);
    if (sent == kGone) Refuse("a tunnel ended");
    if (sent > 0) sent_ += static_cast<uint64_t>(sent);
  }

  void OnReadable() override { Refuse("a tunnel ended"); }

 private:
  bool sends_;
  uint64_t sent_ = 0;
};

}  // namespace

// What a sender gets rid of is what lies in kernels and proxies, as nobody reads it. Up to half a second after the last
// byte.
void Stalled(const Options& options, Measurement& measurement) {
  Loop loop;
  measurement.Begin();
  const uint64_t before = measurement.AskUpstream().sent;
  const auto tunnels =
      OpenAll<Pushing>(loop, options.tunnels, [&](size_t) { return std::make_unique<Pushing>(loop, options); });
  const uint64_t end = Now() + 20 * kSecond;
  uint64_t accepted = 0;
  for (;;) {
    loop.RunUntil(Now() + kSecond / 2);
    uint64_t sent = 0;
    if (options.up) {
      for (const auto& tunnel : tunnels) sent += tunnel->Sent();
    } else {
      sent = measurement.AskUpstream().sent - before;
    }
    const bool is_over = sent == accepted || sent > kNoLimit || Now() > end;
    accepted = sent;
    if (is_over) break;
  }
  measurement.received = accepted;
  measurement.End();
}
