#ifndef HTTP_PROXY_SOCKMAP_TCP_H
#define HTTP_PROXY_SOCKMAP_TCP_H

#include <cstddef>
#include <cstdint>
#include <optional>

// What the kernel tells about a connection, tcp(7). All zero where it is not TCP.
struct TcpSummary {
  bool known = false;
  bool closed = false;         // reset, or ended both ways
  uint32_t rtt = 0;            // smoothed, in microseconds,
  uint32_t least_rtt = 0;      // and the shortest of the last minutes
  uint32_t retransmits = 0;    // segments sent again, in all
  uint64_t acknowledged = 0;   // bytes
  uint64_t received = 0;       // bytes, and
  uint32_t segments_in = 0;    // segments with data, whether there was room for them or not
  uint32_t last_received = 0;  // milliseconds since data arrived,
  uint32_t last_sent = 0;      // and since some was sent
};

TcpSummary SummaryOf(int fd);

// What a socket's user has written, and the kernel accepted, give or take a constant. The first may be too little by
// what is acknowledged while it asks; the second is for when nobody writes.
uint64_t WrittenTo(int fd);
uint64_t WrittenExactlyTo(int fd);

// Bytes that the peer has not acknowledged yet, sent or not.
int UnacknowledgedBy(int fd);

// Bounds how much may wait in the kernel for a stalled reader, on either side of the relay. The receive buffer of
// whoever reads as fast as the relay is grown to the system's maximum, and the send buffer with the congestion window,
// until the reader stops and all of it becomes a queue. A lane is narrow until it has shown that it moves (FLOW_MOVES),
// and wide from then on. The receive buffer is left to the system, which bounds it by tcp_rmem, where we may not set it
// to a MiB. Does nothing to what is not TCP.
void BoundBuffers(int source, int destination, bool wide);

// What the destination may hold then and not have sent yet.
constexpr int UnsentLimit(bool wide) { return (wide ? 512 : 128) * 1024; }

// Has the kernel forget the connection a few seconds after it was closed without its peer having ended, and answer what
// comes then with a reset. It does so at once where bytes are unread, and after a minute otherwise.
void ForgetSoon(int fd);

// Whether the connection ends with an RST when its last descriptor is closed, by whomever: it may be the kernel,
// because the process was killed. What was cut off then does not look complete to anybody.
void ResetOnClose(int fd, bool reset);

// What its receive buffer is charged for, and how much it may be. It can be more.
struct ReceiveBuffer {
  size_t charged = 0;
  size_t limit = 0;
};
ReceiveBuffer ReceiveBufferOf(int fd);

// The errno of a reset, say, that no call on this socket has reported yet. It is taken from it.
int PendingErrorOf(int fd);

// An RST, whoever else holds the socket: SO_LINGER acts only on the last close, and Node has a descriptor too. A Unix
// socket knows no reset; it is shut down.
void SendReset(int fd);

struct TcpOptions {
  std::optional<bool> keep_alive;
  std::optional<bool> no_delay;
  // Seconds, and a number of probes; 0 leaves it as it is.
  int keep_alive_idle = 0;
  int keep_alive_interval = 0;
  int keep_alive_count = 0;
  // Milliseconds that sent bytes may stay unacknowledged before the peer counts as dead; 0 leaves it as it is.
  uint32_t user_timeout = 0;
  // Bytes per second towards the peer; 0 leaves it as it is.
  uint64_t pacing_rate = 0;
};

// Throws KernelError.
void Apply(const TcpOptions& options, int fd);

#endif
