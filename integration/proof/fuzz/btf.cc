// Type information as the kernel gives it, and as it never should: whatever the bytes are, they are read within their
// bounds and in a short time.
#include "../../../addon/btf.h"

#include <cstdlib>

namespace {

constexpr const char* kPaths[] = {"sock.sk_rcvbuf", "sock.sk_backlog.rmem_alloc", "tcp_sock.write_seq", "sock."};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Btf btf(std::vector<uint8_t>(data, data + size));
  for (const char* path : kPaths) {
    const auto offset = btf.OffsetOf(path);
    // Less than a header has no structs in it.
    if (offset && size < 24) abort();
  }
  return 0;
}
