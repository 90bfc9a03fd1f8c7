#include "sockmap.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "bpf.h"
#include "insist.h"
#include "kernel_error.h"
#include "tcp.h"

namespace {

const char* const kAdmit = "admit the tunnel to the maps";

// So many lanes are released before one of them is taken again, where there are others.
constexpr size_t kResting = 2048;

uint64_t CookieOf(int fd) {
  uint64_t cookie;
  socklen_t length = sizeof cookie;
  Check(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length), kAdmit, "getsockopt(SO_COOKIE)");
  return cookie;
}

// The kernel takes Unix sockets too, but the program reads the state of a TCP destination.
void CheckTcp(int fd) {
  int protocol = 0;
  socklen_t length = sizeof protocol;
  Check(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length), kAdmit, "getsockopt(SO_PROTOCOL)");
  if (protocol != IPPROTO_TCP) throw KernelError(kAdmit, "", EOPNOTSUPP, "it has an end that is not TCP");
}

}  // namespace

Sockmap::Sockmap(Maps maps)
    : maps_(std::move(maps)),
      flows_(maps_.flows.get(), maps_.lanes_in_all),
      wakeups_(std::move(maps_.ring), maps_.ring_size),
      untouched_(maps_.lanes),
      cookies_(new uint64_t[maps_.lanes]) {}

// Another lane comes before those that were released not long ago.
void Sockmap::Extend() {
  if (untouched_ == 0 || free_.size() >= kResting) return;
  const uint32_t lane = maps_.first_lane + maps_.lanes - untouched_;
  flows_.Map(lane);
  free_.push_front(lane);
  --untouched_;
}

uint32_t Sockmap::Admit(int source, int destination) {
  CheckTcp(source);
  const uint64_t cookie = CookieOf(source);
  const std::lock_guard<std::mutex> lock(mutex_);
  Extend();
  if (free_.empty()) {
    throw KernelError(kAdmit, "", ENOSPC, "they hold " + std::to_string(maps_.lanes / 2) + " tunnels");
  }

  const uint32_t lane = free_.front();
  memset(&FlowOf(lane), 0, sizeof(flow));
  FlowOf(lane).slot = maps_.slot;
  const uint64_t socket = static_cast<uint64_t>(destination);
  if (!bpf::Update(maps_.targets.get(), &lane, &socket)) throw KernelError(kAdmit, "bpf", errno);
  if (!bpf::Update(maps_.ids.get(), &cookie, &lane)) {
    const int error = errno;
    bpf::Delete(maps_.targets.get(), &lane);
    throw KernelError(kAdmit, "bpf", error);
  }

  // What was passed, and not received yet, does not count as unread when the socket is closed: the kernel sends a FIN
  // where a reset is due, and whoever finds our window shut would not hear more for a minute.
  ForgetSoon(source);
  cookies_[lane - maps_.first_lane] = cookie;
  free_.pop_front();
  return lane;
}

bool Sockmap::Promote(uint32_t lane, int source) {
  const uint64_t socket = static_cast<uint64_t>(source);
  return bpf::Update(maps_.sources.get(), &lane, &socket);
}

void Sockmap::Release(uint32_t lane) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // First the id: whatever the program is still asked is then passed.
  bpf::Delete(maps_.ids.get(), &cookies_[lane - maps_.first_lane]);
  bpf::Delete(maps_.sources.get(), &lane);
  bpf::Delete(maps_.targets.get(), &lane);
  Insist([&] { free_.push_back(lane); });
}
