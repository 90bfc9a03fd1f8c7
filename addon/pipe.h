#ifndef HTTP_PROXY_SOCKMAP_PIPE_H
#define HTTP_PROXY_SOCKMAP_PIPE_H

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "fd.h"

struct Pipe {
  Fd read_end;
  Fd write_end;
  size_t capacity = 0;
};

// Pipes are held only while bytes are in flight. Two of them for each tunnel would cost six descriptors and exhaust
// an unprivileged user's pipe pages (fs.pipe-user-pages-soft) after a few dozen tunnels.
class PipePool {
 public:
  // Giving back must not need memory.
  PipePool() { spare_.reserve(kSpare); }

  // None when the kernel gives no more descriptors: the caller copies instead.
  std::optional<Pipe> Take() {
    if (!spare_.empty()) {
      Pipe pipe = std::move(spare_.back());
      spare_.pop_back();
      return pipe;
    }

    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return std::nullopt;
    Pipe pipe{Fd(ends[0]), Fd(ends[1])};
    // May be refused, or cut down: what counts is the size that we got.
    fcntl(ends[1], F_SETPIPE_SZ, kCapacity);
    const int capacity = fcntl(ends[1], F_GETPIPE_SZ);
    pipe.capacity = capacity > 0 ? static_cast<size_t>(capacity) : 0;
    return pipe;
  }

  // Only an empty pipe: bytes left in it would end up in somebody else's tunnel.
  void GiveBack(Pipe pipe) {
    if (spare_.size() < kSpare) spare_.push_back(std::move(pipe));
  }

 private:
  static constexpr int kCapacity = 512 * 1024;
  static constexpr size_t kSpare = 16;

  std::vector<Pipe> spare_;
};

#endif
