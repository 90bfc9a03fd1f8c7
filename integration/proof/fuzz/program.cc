// What is done to the program before it is loaded, and to the log of the verifier when it was refused. Both are private
// to their files, which is why these are included whole.
#include <cstdlib>
#include <stdexcept>

#include "../../../addon/bpf.cc"
#include "../../../addon/maps.cc"

namespace {

// Fills in one value somewhere. Where there is a 64-bit load it can be read back as the kernel reads it, nothing else
// is touched, and where there is not room for one it is refused.
void FillIn(const uint8_t* data, size_t size) {
  if (size < 16) return;
  uint32_t instruction;
  uint64_t value;
  memcpy(&instruction, data, 4);
  memcpy(&value, data + 4, 8);
  const uint64_t kind = data[12] & 0xf;
  std::vector<uint64_t> code((size - 13) / 8);
  if (!code.empty()) memcpy(code.data(), data + 13, code.size() * 8);
  if (!code.empty()) instruction %= static_cast<uint32_t>(code.size()) + 2;
  if (instruction + uint64_t{1} < code.size()) {
    // As the compiler leaves it: an opcode and a destination, everything else empty.
    code[instruction] &= 0xfff;
    code[instruction + 1] = 0;
  }

  std::vector<uint64_t> filled = code;
  try {
    Fill(filled, instruction, value, kind);
  } catch (const std::out_of_range&) {
    if (instruction + uint64_t{1} < code.size()) abort();
    return;
  }
  if (instruction + uint64_t{1} >= code.size()) abort();

  if ((filled[instruction] >> 32 | (filled[instruction + 1] >> 32) << 32) != value) abort();
  if ((filled[instruction] >> 12 & 0xf) != kind) abort();
  if ((filled[instruction] & 0xfff) != (code[instruction] & 0xfff)) abort();
  filled[instruction] = code[instruction];
  filled[instruction + 1] = code[instruction + 1];
  if (filled != code) abort();
}

// A complaint is one line of the log.
void Complain(const uint8_t* data, size_t size) {
  const std::string log(reinterpret_cast<const char*>(data), size);
  const std::string complaint = bpf::LastComplaint(log);
  if (complaint.find('\n') != std::string::npos || log.find(complaint) == std::string::npos) abort();
}

// The name of a symbol becomes a path into the type information.
void Name(const uint8_t* data, size_t size) {
  const std::string symbol(reinterpret_cast<const char*>(data), size);
  try {
    OffsetNamed(Btf({}), symbol);
    abort();
  } catch (const KernelError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  switch (data[0] % 3) {
    case 0: FillIn(data + 1, size - 1); break;
    case 1: Complain(data + 1, size - 1); break;
    case 2: Name(data + 1, size - 1); break;
  }
  return 0;
}
