#ifndef HTTP_PROXY_SOCKMAP_BTF_H
#define HTTP_PROXY_SOCKMAP_BTF_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// The running kernel's own description of its types, from which the offsets of the fields that the verdict program
// reads are taken. https://docs.kernel.org/bpf/btf.html
class Btf {
 public:
  // Reads /sys/kernel/btf/vmlinux. Throws KernelError.
  static Btf OfKernel();

  // Takes any bytes; what does not parse has no structs in it.
  explicit Btf(std::vector<uint8_t> bytes);

  // Of `struct.field` or `struct.member.field`, in bytes from the start of the struct. Looks through anonymous members.
  std::optional<uint32_t> OffsetOf(std::string_view path) const;

 private:
  struct Type;

  Type At(size_t position) const;
  // Looks at no more than `left` members, and counts it down.
  std::optional<uint64_t> BitOffsetIn(const Type& type, std::string_view path, int depth, uint32_t& left) const;
  std::string_view Name(uint32_t offset) const;
  uint32_t Word(size_t position) const;

  std::vector<uint8_t> bytes_;
  size_t strings_ = 0;
  size_t strings_end_ = 0;
  // Types have no fixed size, and are numbered from 1 in the order in which they come.
  std::vector<size_t> types_;
};

#endif
