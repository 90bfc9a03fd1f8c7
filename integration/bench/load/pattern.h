#ifndef BENCH_LOAD_PATTERN_H
#define BENCH_LOAD_PATTERN_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// A stream whose bytes follow from their position, so that loss, repetition and reordering show. Checking all of them
// would cost more than moving them: of each piece, the beginning and the end are compared.
class Pattern {
 public:
  static constexpr size_t kPeriod = 1 << 20;
  static constexpr size_t kLongest = 256 << 10;

  static const char* At(uint64_t position) {
    static const std::vector<char> bytes = Make();
    return bytes.data() + position % kPeriod;
  }

  static bool Fits(const char* piece, size_t length, uint64_t position) {
    const size_t edge = std::min<size_t>(length, 32);
    return memcmp(piece, At(position), edge) == 0 &&
           memcmp(piece + length - edge, At(position + length - edge), edge) == 0;
  }

 private:
  // Longer than its period, so that a piece can begin anywhere.
  static std::vector<char> Make() {
    std::vector<char> bytes(kPeriod + kLongest);
    uint64_t state = 88172645463325252;
    for (size_t index = 0; index < bytes.size(); index++) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      bytes[index] = index < kPeriod ? static_cast<char>(state) : bytes[index - kPeriod];
    }
    return bytes;
  }
};

#endif
