#ifndef HTTP_PROXY_SOCKMAP_FD_H
#define HTTP_PROXY_SOCKMAP_FD_H

#include <fcntl.h>
#include <unistd.h>

#include <utility>

// Owns one descriptor. Move-only, because a descriptor with two owners is closed twice, and the second close hits
// whichever connection was given that number next. A plain `int fd` elsewhere is borrowed for the call.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { Close(); }

  // Node may close its own descriptor at any moment, so the relay works on a duplicate. From 3 up: never a closed
  // stdin, stdout or stderr.
  static Fd Duplicate(int fd) { return Fd(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

#endif
