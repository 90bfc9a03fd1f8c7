#include "socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "fail.h"

namespace {

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int Create() {
  const int fd = Check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

ssize_t Outcome(ssize_t result, const char* what) {
  if (result >= 0) return result;
  if (errno == EAGAIN || errno == EINTR) return -1;
  if (errno == ECONNRESET || errno == EPIPE) return kGone;
  Fail(what);
}

}  // namespace

int Listen(uint16_t port) {
  const int fd = Create();
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = Loopback(port);
  Check(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  Check(listen(fd, 4096), "listen");
  return fd;
}

int Accept(int listener) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) Fail("accept");
  const int on = 1;
  if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

int Connect(uint16_t port) {
  const int fd = Create();
  const sockaddr_in address = Loopback(port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 && errno != EINPROGRESS)
    Fail("connect");
  return fd;
}

ssize_t Receive(int fd, void* bytes, size_t size) {
  const ssize_t received = Outcome(recv(fd, bytes, size, 0), "recv");
  return received == 0 ? kGone : received;
}

ssize_t Send(int fd, const void* bytes, size_t size) { return Outcome(send(fd, bytes, size, MSG_NOSIGNAL), "send"); }

void SendAll(int fd, const void* bytes, size_t size) {
  for (size_t sent = 0; sent < size;) {
    const ssize_t now = Send(fd, static_cast<const char*>(bytes) + sent, size - sent);
    if (now == kGone) Refuse("the other side is gone");
    if (now >= 0) {
      sent += static_cast<size_t>(now);
    } else {
      pollfd wait{.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&wait, 1, 1000);
    }
  }
}
