#include "btf.h"

#include <linux/btf.h>

#include <cstring>
#include <utility>

#include "fd.h"
#include "kernel_error.h"

namespace {

constexpr const char* kPath = "/sys/kernel/btf/vmlinux";

// Kinds that <linux/btf.h> of older systems does not name yet.
constexpr uint32_t kFloat = 16;
constexpr uint32_t kDeclTag = 17;
constexpr uint32_t kTypeTag = 18;
constexpr uint32_t kEnum64 = 19;

// Anonymous structs nest a few levels deep in the kernel; more is a loop in broken data. Depth alone does not bound
// what a struct of a hundred anonymous members of its own type costs: so many members are looked at for one path, of
// which the kernel's structs have hundreds.
constexpr int kMaxDepth = 16;
constexpr uint32_t kMaxMembers = 10'000;

// How many bytes follow the type's three words, or none for a kind that we do not know and cannot step over.
std::optional<size_t> Trailing(uint32_t kind, size_t members) {
  switch (kind) {
    case BTF_KIND_PTR:
    case BTF_KIND_FWD:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_CONST:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_FUNC:
    case kFloat:
    case kTypeTag: return 0;
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case kDeclTag: return 4;
    case BTF_KIND_ARRAY: return 12;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
    case BTF_KIND_DATASEC:
    case kEnum64: return 12 * members;
    case BTF_KIND_ENUM:
    case BTF_KIND_FUNC_PROTO: return 8 * members;
    default: return std::nullopt;
  }
}

std::pair<std::string_view, std::string_view> SplitAtDot(std::string_view path) {
  const size_t dot = path.find('.');
  if (dot == std::string_view::npos) return {path, {}};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

}  // namespace

struct Btf::Type {
  std::string_view name;
  uint32_t kind;
  bool bitfields;  // whether a member's offset shares its word with a width
  uint32_t members;
  size_t first_member;
};

Btf Btf::OfKernel() {
  const char* step = "read the kernel's BTF";
  Fd file(Check(open(kPath, O_RDONLY | O_CLOEXEC), step, "open"));
  std::vector<uint8_t> bytes;
  uint8_t chunk[65536];
  for (;;) {
    const int length = Check(static_cast<int>(read(file.get(), chunk, sizeof chunk)), step, "read");
    if (length == 0) return Btf(std::move(bytes));
    bytes.insert(bytes.end(), chunk, chunk + length);
  }
}

Btf::Btf(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {
  btf_header header;
  if (bytes_.size() < sizeof header) return;
  memcpy(&header, bytes_.data(), sizeof header);
  if (header.magic != BTF_MAGIC || header.hdr_len < sizeof header) return;

  const uint64_t types = uint64_t{header.hdr_len} + header.type_off;
  const uint64_t types_end = types + header.type_len;
  const uint64_t strings = uint64_t{header.hdr_len} + header.str_off;
  const uint64_t strings_end = strings + header.str_len;
  if (types_end > bytes_.size() || strings_end > bytes_.size()) return;
  strings_ = strings;
  strings_end_ = strings_end;

  for (uint64_t position = types; position + sizeof(btf_type) <= types_end;) {
    const Type type = At(position);
    const auto trailing = Trailing(type.kind, type.members);
    if (!trailing || type.first_member + *trailing > types_end) return;
    types_.push_back(position);
    position = type.first_member + *trailing;
  }
}

std::optional<uint32_t> Btf::OffsetOf(std::string_view path) const {
  const auto [structure, fields] = SplitAtDot(path);
  uint32_t left = kMaxMembers;
  for (const size_t position : types_) {
    const Type type = At(position);
    if (type.kind != BTF_KIND_STRUCT || type.name != structure) continue;
    const auto bits = BitOffsetIn(type, fields, 0, left);
    // In one word, as the program has it.
    if (bits && *bits % 8 == 0 && *bits / 8 <= UINT32_MAX) return static_cast<uint32_t>(*bits / 8);
  }
  return std::nullopt;
}

std::optional<uint64_t> Btf::BitOffsetIn(const Type& type, std::string_view path, int depth, uint32_t& left) const {
  if (depth > kMaxDepth) return std::nullopt;

  const auto [field, rest] = SplitAtDot(path);
  for (uint32_t member = 0; member < type.members; ++member) {
    if (left == 0) return std::nullopt;
    --left;
    const size_t position = type.first_member + size_t{12} * member;
    const std::string_view name = Name(Word(position));
    const uint32_t id = Word(position + 4);
    const uint64_t offset = type.bitfields ? Word(position + 8) & 0xffffff : Word(position + 8);
    if (name == field && rest.empty()) return offset;
    if ((name != field && !name.empty()) || id == 0 || id > types_.size()) continue;

    const Type inner = At(types_[id - 1]);
    if (inner.kind != BTF_KIND_STRUCT && inner.kind != BTF_KIND_UNION) continue;
    const auto within = BitOffsetIn(inner, name.empty() ? path : rest, depth + 1, left);
    if (within) return offset + *within;
  }
  return std::nullopt;
}

Btf::Type Btf::At(size_t position) const {
  const uint32_t info = Word(position + 4);
  return Type{Name(Word(position)), (info >> 24) & 0x1f, (info >> 31) != 0, info & 0xffff, position + sizeof(btf_type)};
}

std::string_view Btf::Name(uint32_t offset) const {
  const size_t start = strings_ + offset;
  if (start >= strings_end_) return {};
  const auto* text = reinterpret_cast<const char*>(bytes_.data() + start);
  return {text, strnlen(text, strings_end_ - start)};
}

uint32_t Btf::Word(size_t position) const {
  uint32_t word;
  memcpy(&word, bytes_.data() + position, sizeof word);
  return word;
}
