#include "tunnel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "pattern.h"

namespace {

// After so many calls it is somebody else's turn.
constexpr int kRounds = 8;

// How a tunnel's pauses come about, apart from its plan: the order of events is the kernel's anyway.
Random chance(7);

}  // namespace

Time Now() {
  using std::chrono::duration_cast;
  return duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Tunnel::Tunnel(Plan plan) : plan(plan), client(*this, Side::kClient), upstream(*this, Side::kUpstream) {}

std::string Tunnel::address() const {
  const uint64_t index = plan.index;
  return "127." + std::to_string(1 + (index >> 16)) + "." + std::to_string(index >> 8 & 255) + "." +
         std::to_string(index & 255);
}

void Tunnel::Fail(const std::string& what) {
  if (failed) return;
  failed = true;
  load::Failed(*this, what);
}

End::~End() { Close(); }

const Direction& End::out() const { return tunnel.plan.from[static_cast<size_t>(side)]; }
const Direction& End::in() const { return tunnel.plan.from[static_cast<size_t>(Other(side))]; }

void End::Begin() {
  const Plan& plan = tunnel.plan;
  const size_t which = static_cast<size_t>(side);
  const int on = 1;
  if (plan.no_delay[which]) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const Time now = Now();
  tunnel.progress = now;
  write_at = now + static_cast<Time>(out().start_delay);
  read_at = now + static_cast<Time>(in().read_delay);
  burst_left = in().read_burst;
  if (write_at > now) Wake(write_at);
  if (read_at > now) Wake(read_at);

  heading = (plan.kind == Kind::kConnect || plan.kind == Kind::kUpgrade) &&
            (side == Side::kClient || plan.kind == Kind::kUpgrade);
  if (heading && side == Side::kClient) {
    const std::string target = tunnel.address() + ":" + std::to_string(load::upstream_port);
    const std::string request =
        plan.kind == Kind::kConnect
            ? "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n"
            : "GET / HTTP/1.1\r\nHost: " + target +
                  "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    // The first bytes of the stream may come glued to the head.
    const bool glued = plan.early && out().length > 0 && write_at <= now && load::begun;
    const ssize_t length = send(fd, request.data(), request.size(), MSG_NOSIGNAL | (glued ? MSG_MORE : 0));
    if (length != static_cast<ssize_t>(request.size())) tunnel.Fail("the request could not be sent");
  }
}

void End::Advance(uint32_t events) {
  if (fd < 0 || tunnel.failed) return;
  const Time now = Now();
  // No pause is kept when there is an error or everything has ended: epoll would go on telling us.
  if (events & (EPOLLERR | EPOLLHUP)) read_at = now;
  if (events & EPOLLOUT) write_blocked = false;

  const auto reading = [&] {
    return !over && !eof &&
           (heading || (now >= read_at && (load::resumed || !tunnel.plan.stalled[static_cast<size_t>(side)])));
  };
  if (reading() && !Read()) return;
  Write();
  if (fd < 0 || tunnel.failed) return;
  Finish();
  if (fd < 0 || tunnel.failed) return;

  load::Watch(*this, (reading() ? EPOLLIN : 0U) | (write_blocked ? EPOLLOUT : 0U));
}

// False when there is nothing more to do for this end.
bool End::Read() {
  static uint8_t buffer[Pattern::kLongest];
  for (int round = 0; round < kRounds; ++round) {
    if (heading) {
      if (!ReadHead()) return fd >= 0 && !tunnel.failed;
      continue;
    }

    const uint64_t most = in().read_burst > 0 ? std::min(in().read_most, burst_left) : in().read_most;
    const ssize_t length = recv(fd, buffer, std::max<uint64_t>(1, most), MSG_DONTWAIT);
    if (length < 0) {
      if (errno == EAGAIN || errno == EINTR) return true;
      SawReset(errno, "recv");
      return false;
    }

    tunnel.progress = Now();
    if (length == 0) {
      eof = true;
      const End& other = tunnel.at(Other(side));
      if (tunnel.plan.aborted && tunnel.plan.aborter != side && !other.fin) {
        tunnel.Fail(std::string("the ") + NameOf(side) + " got EOF where RST belongs");
      } else if (!other.fin) {
        tunnel.Fail(std::string("the ") + NameOf(side) + " got an EOF that nobody had sent");
      } else if (received != in().length) {
        tunnel.Fail(std::string("the ") + NameOf(side) + " got EOF after " + std::to_string(received) + " of " +
                    std::to_string(in().length) + " bytes");
      }
      return !tunnel.failed;
    }

    if (!Take(buffer, static_cast<size_t>(length))) return false;
    if (in().read_burst == 0) continue;
    burst_left -= std::min<uint64_t>(burst_left, static_cast<uint64_t>(length));
    if (burst_left == 0) {
      burst_left = in().read_burst;
      read_at = Now() + static_cast<Time>(chance.Below(in().read_pause_most + 1));
      Wake(read_at);
      return true;
    }
  }
  return true;
}

bool End::Take(const uint8_t* bytes, size_t length) {
  const uint8_t* expected = Pattern::At(in().origin, received);
  if (memcmp(bytes, expected, length) != 0) {
    size_t index = 0;
    while (bytes[index] == expected[index]) ++index;
    tunnel.Fail(std::string("the ") + NameOf(side) + " got a wrong byte " + std::to_string(received + index) +
                ": it is " + Pattern::WhereFrom(in().origin, bytes + index, length - index));
    return false;
  }
  received += length;
  const End& other = tunnel.at(Other(side));
  if (received > other.sent) {
    tunnel.Fail(std::string("the ") + NameOf(side) + " got bytes that nobody had sent");
    return false;
  }
  return true;
}

// True once it is complete. What comes after it is the stream.
bool End::ReadHead() {
  char byte;
  const ssize_t length = recv(fd, &byte, 1, MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (length < 0) {
    SawReset(errno, "recv");
    return false;
  }
  if (length == 0) {
    tunnel.Fail(std::string("the ") + NameOf(side) + " got EOF instead of a head: " + head.substr(0, 40));
    return false;
  }
  head += byte;
  if (head.size() < 4 || head.compare(head.size() - 4, 4, "\r\n\r\n") != 0) return ReadHead();

  heading = false;
  tunnel.progress = Now();
  if (side == Side::kClient) {
    const std::string status = tunnel.plan.kind == Kind::kConnect ? "HTTP/1.1 200 " : "HTTP/1.1 101 ";
    if (head.rfind(status, 0) != 0) tunnel.Fail("the answer was " + head.substr(0, head.find('\r')));
    return !tunnel.failed;
  }

  const std::string answer =
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Accept: x\r\n\r\n";
  const bool glued = out().length > 0 && Now() >= write_at && tunnel.plan.dialogue == 0;
  send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | (glued ? MSG_MORE : 0));
  return true;
}

void End::Write() {
  if (write_blocked || fin || !load::begun) return;
  if (heading && (side == Side::kUpstream || !tunnel.plan.early)) return;
  for (int round = 0; round < kRounds && sent < out().length; ++round) {
    const Time now = Now();
    if (now < write_at) return;

    uint64_t limit = out().length;
    if (const uint64_t message = tunnel.plan.dialogue; message > 0) {
      // The client begins.
      limit = std::min(limit, (received / message + (side == Side::kClient ? 1 : 0)) * message);
    }
    const uint64_t wanted =
        chance.Logarithmic(static_cast<double>(out().write_low), static_cast<double>(out().write_high));
    const uint64_t most = std::min<uint64_t>({limit - sent, wanted, Pattern::kLongest});
    if (most == 0) return;

    const ssize_t length = send(fd, Pattern::At(out().origin, sent), most, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return SawReset(errno, "send");
      write_blocked = true;
      return;
    }

    tunnel.progress = now;
    sent += static_cast<uint64_t>(length);
    if (chance.Chance(out().write_pause)) {
      write_at = now + static_cast<Time>(chance.Below(out().write_pause_most + 1));
      return Wake(write_at);
    }
  }
  if (sent < out().length) Wake(Now());
}

void End::Finish() {
  if (!tunnel.opened || heading) return;
  const Plan& plan = tunnel.plan;
  const size_t which = static_cast<size_t>(side);
  const Time now = Now();
  if (plan.aborted) {
    if (plan.aborter != side || sent < plan.abort_after || received < plan.abort_after_read) {
      // The other end closes normally, as far as it comes.
      if (plan.aborter == side) return;
    } else {
      if (abort_at < 0) {
        abort_at = now + static_cast<Time>(plan.abort_delay);
        Wake(abort_at);
      }
      if (now >= abort_at) Abort();
      return;
    }
  }

  if (!fin && sent == out().length && (!plan.fin_waits[which] || eof)) {
    if (fin_at < 0) {
      fin_at = now + static_cast<Time>(plan.fin_delay[which]);
      if (fin_at > now) Wake(fin_at);
    }
    if (now >= fin_at) {
      fin = true;
      tunnel.progress = now;
      shutdown(fd, SHUT_WR);
    }
  }
  if (fin && eof) {
    over = true;
    Close();
    if (tunnel.at(Other(side)).over) load::Over(tunnel);
  }
}

void End::Abort() {
  const linger reset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  tunnel.aborted = true;
  tunnel.progress = Now();
  Close();
  over = true;
}

void End::SawReset(int error, const char* call) {
  const bool by_proxy = load::resets_allowed && !tunnel.aborted;
  // Who has been sent a FIN, whether it has read up to it or not, and then a reset, is told that the pipe is broken.
  if (by_proxy && error == EPIPE && tunnel.at(Other(side)).fin) error = ECONNRESET;
  if (!tunnel.aborted && !by_proxy) {
    return tunnel.Fail(std::string("the ") + NameOf(side) + " got an error of " + call +
                       " that nobody had caused: " + strerror(error));
  }
  if (error != ECONNRESET) {
    return tunnel.Fail(std::string("the ") + NameOf(side) + " got, instead of a reset, at " + call + ": " +
                       strerror(error));
  }

  // What is left in its receive buffer has to be right as well.
  static uint8_t buffer[65536];
  if (!heading) {
    for (ssize_t length; (length = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0;) {
      if (!Take(buffer, static_cast<size_t>(length))) return;
    }
  }
  over = true;
  Close();
  tunnel.reset |= by_proxy;
  if (!by_proxy || tunnel.at(Other(side)).over) load::Over(tunnel);
}

void End::Close() {
  if (fd >= 0) close(fd);
  fd = -1;
}

void End::Wake(Time at) { load::WakeAt(*this, at); }
