#ifndef HTTP_PROXY_SOCKMAP_MAPPING_H
#define HTTP_PROXY_SOCKMAP_MAPPING_H

#include <sys/mman.h>

#include <cstddef>
#include <utility>

#include "kernel_error.h"

// Owns a piece of memory that a BPF map shares with us.
class Mapping {
 public:
  Mapping(const char* step, int fd, size_t length, int protection, off_t offset)
      : length_(length), address_(mmap(nullptr, length, protection, MAP_SHARED, fd, offset)) {
    if (address_ == MAP_FAILED) throw KernelError(step, "mmap", errno);
  }
  Mapping(Mapping&& other) noexcept : length_(other.length_), address_(std::exchange(other.address_, MAP_FAILED)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(length_, other.length_);
    std::swap(address_, other.address_);
    return *this;
  }
  ~Mapping() {
    if (address_ != MAP_FAILED) munmap(address_, length_);
  }

  char* get() const { return static_cast<char*>(address_); }

 private:
  size_t length_;
  void* address_;
};

#endif
