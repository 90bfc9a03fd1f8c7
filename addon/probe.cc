#include "probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernel_error.h"
#include "mutations.h"
#include "without_signals.h"

namespace {

// Nothing in here takes more than milliseconds where it works, unless the machine is starved of processors, which must
// not cost a process its engine for good.
constexpr int kPatience = 5000;

// Several times what the sockets hold, which are made small, so that the reader is met asleep, bytes spill, and sends
// are cut short: this is where kernels with the known bugs lose or repeat data.
constexpr size_t kStalledBytes = 4 * 1024 * 1024;
constexpr int kSmallBuffer = 32 * 1024;

constexpr int kMessages = 20;

// Differs from its neighbours and from itself a packet, a page or a buffer later.
uint8_t PatternAt(size_t position) { return static_cast<uint8_t>((position * 0x9e3779b97f4a7c15u) >> 56); }

[[noreturn]] void Mismatch(const std::string& what, const std::string& detail) {
  throw KernelError("pass the self-test: " + what, "", 0, detail);
}

// The far end of a loopback connection, used from this thread while the relay has the near end.
class Peer {
 public:
  explicit Peer(Fd fd) : fd_(std::move(fd)) {}

  // As much of [from, to) of the pattern as is taken without a wait of `patience`; how far it came.
  size_t Send(size_t from, size_t to, int patience, const char* what) {
    std::vector<uint8_t> chunk;
    while (from < to && Ready(POLLOUT, patience)) {
      chunk.clear();
      for (size_t at = from; at < to && chunk.size() < 16384; ++at) chunk.push_back(PatternAt(at));
      const ssize_t sent = send(fd_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) throw KernelError(Step(what), "send", errno);
      if (sent > 0) from += static_cast<size_t>(sent);
    }
    return from;
  }

  // Exactly [from, to) of the pattern.
  void Receive(size_t from, size_t to, const char* what) {
    uint8_t chunk[16384];
    while (from < to) {
      const ssize_t length = ReceiveSome(chunk, std::min(sizeof chunk, to - from), what);
      if (length == 0) Mismatch(what, "the connection ended at byte " + std::to_string(from));
      for (ssize_t index = 0; index < length; ++index, ++from) {
        if (chunk[index] != PatternAt(from)) Mismatch(what, "byte " + std::to_string(from) + " is another one");
      }
    }
  }

  void ReceiveEnd(const char* what) {
    uint8_t byte;
    if (ReceiveSome(&byte, 1, what) != 0) Mismatch(what, "bytes came twice");
  }

  void End() { shutdown(fd_.get(), SHUT_WR); }

 private:
  static std::string Step(const char* what) { return std::string("pass the self-test: ") + what; }

  bool Ready(short events, int patience) {
    pollfd poll_fd{fd_.get(), events, 0};
    return poll(&poll_fd, 1, patience) > 0;
  }

  ssize_t ReceiveSome(uint8_t* bytes, size_t length, const char* what) {
    if (!Ready(POLLIN, kPatience)) Mismatch(what, "bytes or an end are missing");
    const ssize_t received = recv(fd_.get(), bytes, length, MSG_DONTWAIT);
    if (received < 0) throw KernelError(Step(what), "recv", errno);
    return received;
  }

  Fd fd_;
};

struct Connection {
  Peer far;
  Fd near;
};

Connection Connect() {
  const char* step = "connect over loopback for the self-test";
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;

  constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC;
  const Fd listener(Check(socket(AF_INET, kType, 0), step, "socket"));
  // Accepted connections inherit it, and it has to be known before the handshake.
  setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &kSmallBuffer, sizeof kSmallBuffer);
  Check(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), step, "bind");
  Check(listen(listener.get(), 1), step, "listen");
  Check(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), step, "getsockname");

  Fd near(Check(socket(AF_INET, kType, 0), step, "socket"));
  setsockopt(near.get(), SOL_SOCKET, SO_SNDBUF, &kSmallBuffer, sizeof kSmallBuffer);
  Check(connect(near.get(), reinterpret_cast<sockaddr*>(&address), length), step, "connect");
  Check(fcntl(near.get(), F_SETFL, O_NONBLOCK), step, "fcntl");
  Fd far(Check(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), step, "accept4"));
  return {Peer(std::move(far)), std::move(near)};
}

// The relay's events, awaited.
class Events {
 public:
  void Notify() {
    const std::lock_guard<std::mutex> lock(mutex_);
    notified_ = true;
    condition_.notify_one();
  }

  void AwaitClose(Relay& relay) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      const bool in_time =
          condition_.wait_for(lock, std::chrono::milliseconds(kPatience), [this] { return notified_; });
      if (!in_time) Mismatch("both ends closed", "the relay has not noticed");
      notified_ = false;
      for (const Relay::Event& event : relay.TakeEvents()) {
        if (event.type != Relay::Event::Type::kClose) continue;
        if (event.ending != Tunnel::Ending::kEnd) Mismatch("both ends closed", "by a reset");
        return;
      }
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool notified_ = false;
};

// Both directions move over to the kernel once they are quiet, as they are now.
void AwaitPromotion(const TunnelCounters& counters) {
  for (int waited = 0; waited < kPatience; ++waited) {
    if (counters.client_to_upstream.promotions > 0 && counters.upstream_to_client.promotions > 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Mismatch("promotion", "the kernel does not take the sockets");
}

}  // namespace

void Probe(Engine engine, const std::string& pins) {
  // Whatever is missing may be noticed here already, and then nobody would be hurt by it.
  if (kMutation != Mutation::kNone && getenv("SOCKMAP_UNPROBED") != nullptr) return;

  // A poll that is cut short is no kernel that loses bytes.
  const WithoutSignals without_signals;
  Connection client = Connect();
  Connection upstream = Connect();
  Events events;
  Relay relay(1, pins, [&events] { events.Notify(); });

  // Bytes that were read before, and bytes that wait in the socket.
  const size_t waiting = client.far.Send(1, 1000, kPatience, "queued bytes");
  const auto counters = relay.Add(engine, {client.near.get(), {PatternAt(0)}}, {upstream.near.get(), {}}).second;
  upstream.far.Receive(0, waiting, "queued bytes");

  if (engine == Engine::kSockmap) AwaitPromotion(*counters);

  size_t there = waiting;
  size_t back = 0;
  for (int message = 0; message < kMessages; ++message) {
    there = client.far.Send(there, there + 100, kPatience, "messages");
    upstream.far.Receive(there - 100, there, "messages");
    back = upstream.far.Send(back, back + 100, kPatience, "messages");
    client.far.Receive(back - 100, back, "messages");
  }
  if (engine == Engine::kSockmap && counters->upstream_to_client.Redirected() == 0) {
    Mismatch("redirection", "the program was never asked");
  }

  // The reader sleeps until the sender is stuck.
  const size_t stuck = client.far.Send(there, there + kStalledBytes, 20, "stalled reader");
  upstream.far.Receive(there, stuck, "stalled reader");
  there = client.far.Send(stuck, stuck + 100000, kPatience, "after the stall");
  upstream.far.Receive(stuck, there, "after the stall");

  client.far.Send(there, there + 5, kPatience, "half-close");
  client.far.End();
  upstream.far.Receive(there, there + 5, "half-close");
  upstream.far.ReceiveEnd("half-close");
  const size_t late = upstream.far.Send(back, back + 5000, kPatience, "half-close");
  upstream.far.End();
  client.far.Receive(back, late, "half-close");
  client.far.ReceiveEnd("half-close");
  events.AwaitClose(relay);
}
