#ifndef SOAK_PATTERN_H
#define SOAK_PATTERN_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

// Numbers that follow from a seed alone (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
  }
  double Fraction() { return static_cast<double>(Next() >> 11) / static_cast<double>(1ULL << 53); }
  uint64_t Below(uint64_t limit) { return Next() % limit; }
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }
  bool Chance(double probability) { return Fraction() < probability; }
  // Small ones as likely as large ones.
  uint64_t Logarithmic(double low, double high);

 private:
  uint64_t state_;
};

// Bytes whose value follows from their position, so that one lost, doubled or out of place shows where it happened.
// Streams of different origins never look alike.
class Pattern {
 public:
  // A prime, so that no power of two, no page and no segment size hides a shift.
  static constexpr size_t kPeriod = 1000003;
  static constexpr size_t kLongest = 1024 * 1024;

  // No more than kLongest of them.
  static const uint8_t* At(uint64_t origin, uint64_t position) {
    return Table().data() + (origin + position) % kPeriod;
  }

  // Which position of that stream these bytes have, modulo the period: that tells a loss from a repetition.
  static std::string WhereFrom(uint64_t origin, const uint8_t* bytes, size_t length) {
    const std::vector<uint8_t>& table = Table();
    constexpr size_t kEnough = 16;  // bytes in a row are found in the table once, if at all
    if (length < kEnough) return "too few bytes to tell where they are from";
    const void* found = memmem(table.data(), kPeriod + kEnough, bytes, kEnough);
    if (found == nullptr) return "not of this stream";
    const size_t index = static_cast<size_t>(static_cast<const uint8_t*>(found) - table.data());
    return "byte " + std::to_string((index + kPeriod - origin % kPeriod) % kPeriod) + " modulo " +
           std::to_string(kPeriod) + " of this stream";
  }

 private:
  static const std::vector<uint8_t>& Table() {
    static const std::vector<uint8_t> table = [] {
      std::vector<uint8_t> bytes(kPeriod + kLongest + 16);
      Random random(1);
      for (size_t index = 0; index < kPeriod; ++index) bytes[index] = static_cast<uint8_t>(random.Next());
      for (size_t index = kPeriod; index < bytes.size(); ++index) bytes[index] = bytes[index - kPeriod];
      return bytes;
    }();
    return table;
  }
};

#endif
