#include "tcp.h"

#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>

#include "fd.h"
#include "kernel_error.h"

namespace {

// What a source may send ahead has to last for a round trip to it. So the receive buffer of a lane that moves is for
// 10 Gbit/s, within what networks of one building can do with, and about what Linux lets a buffer grow to by itself.
// The kernel allows itself twice what it is set to.
constexpr int kNarrow = 128 * 1024;
constexpr uint64_t kTenGigabits = 1250;  // bytes a microsecond
constexpr uint64_t kLeastWide = 1024 * 1024;
constexpr uint64_t kMostWide = 4 * 1024 * 1024;

// TCP_CLOSE of <netinet/tcp.h>, which cannot be had together with <linux/tcp.h>.
constexpr uint8_t kClosed = 7;

const char* const kStep = "set the options of the connection";

void Set(int fd, int level, int name, const void* value, socklen_t length) {
  Check(setsockopt(fd, level, name, value, length), kStep, "setsockopt");
}

void Set(int fd, int name, int value) { Set(fd, IPPROTO_TCP, name, &value, sizeof value); }

int WideFor(int source) {
  const uint64_t within_round_trip = SummaryOf(source).least_rtt * kTenGigabits;
  return static_cast<int>(std::clamp(within_round_trip, kLeastWide, kMostWide));
}

bool Allowed(const char* sysctl, long wanted) {
  // Not a stream: those are the one part of libstdc++ that is laid out by the C library that it was built with.
  Fd file(open(sysctl, O_RDONLY | O_CLOEXEC));
  char text[32] = {};
  return read(file.get(), text, sizeof text - 1) > 0 && strtol(text, nullptr, 10) >= wanted;
}

}  // namespace

TcpSummary SummaryOf(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return {};
  return {true,
          info.tcpi_state == kClosed,
          info.tcpi_rtt,
          info.tcpi_min_rtt,
          info.tcpi_total_retrans,
          info.tcpi_bytes_acked,
          info.tcpi_bytes_received,
          info.tcpi_data_segs_in,
          info.tcpi_last_data_recv,
          info.tcpi_last_data_sent};
}

// In this order: an acknowledgement that arrives between the two calls makes it less, never more.
uint64_t WrittenTo(int fd) {
  const uint64_t acknowledged = SummaryOf(fd).acknowledged;
  return acknowledged + static_cast<uint64_t>(UnacknowledgedBy(fd));
}

uint64_t WrittenExactlyTo(int fd) {
  for (;;) {
    const uint64_t written = WrittenTo(fd);
    if (written == WrittenTo(fd)) return written;
  }
}

int UnacknowledgedBy(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCOUTQ, &bytes) < 0 ? 0 : bytes;
}

void BoundBuffers(int source, int destination, bool wide) {
  const int unsent = UnsentLimit(wide);
  const int received = wide ? WideFor(source) : kNarrow;
  // Counts what was not sent yet, and so leaves the congestion window, and the throughput over long ways, alone.
  setsockopt(destination, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);

  // Silently cut down to net.core.rmem_max, no longer tuned once it is set, and not to be unset.
  static const bool allowed = Allowed("/proc/sys/net/core/rmem_max", kLeastWide);
  if (setsockopt(source, SOL_SOCKET, SO_RCVBUFFORCE, &received, sizeof received) < 0) {
    if (!allowed) return;
    setsockopt(source, SOL_SOCKET, SO_RCVBUF, &received, sizeof received);
  }
  // Older kernels keep the window below what the buffer was when the connection was made.
  setsockopt(source, IPPROTO_TCP, TCP_WINDOW_CLAMP, &received, sizeof received);
}

void ForgetSoon(int fd) {
  constexpr int kSeconds = 2;  // as long as the relay itself waits for an answer to its FIN
  setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &kSeconds, sizeof kSeconds);
}

void ResetOnClose(int fd, bool reset) {
  const linger linger{reset, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

ReceiveBuffer ReceiveBufferOf(int fd) {
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t length = sizeof memory;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length) < 0) return {};
  return {memory[SK_MEMINFO_RMEM_ALLOC], memory[SK_MEMINFO_RCVBUF]};
}

int PendingErrorOf(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

void SendReset(int fd) {
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  if (connect(fd, &nowhere, sizeof nowhere) < 0) shutdown(fd, SHUT_RDWR);
}

void Apply(const TcpOptions& options, int fd) {
  if (options.keep_alive || options.keep_alive_idle > 0) {
    const int on = options.keep_alive.value_or(true);
    Set(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }
  if (options.no_delay) Set(fd, TCP_NODELAY, *options.no_delay);
  if (options.keep_alive_idle > 0) Set(fd, TCP_KEEPIDLE, options.keep_alive_idle);
  if (options.keep_alive_interval > 0) Set(fd, TCP_KEEPINTVL, options.keep_alive_interval);
  if (options.keep_alive_count > 0) Set(fd, TCP_KEEPCNT, options.keep_alive_count);
  if (options.user_timeout > 0) Set(fd, TCP_USER_TIMEOUT, static_cast<int>(options.user_timeout));
  if (options.pacing_rate > 0) {
    Set(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &options.pacing_rate, sizeof options.pacing_rate);
  }
}
