#ifndef BENCH_LOAD_HISTOGRAM_H
#define BENCH_LOAD_HISTOGRAM_H

#include <algorithm>
#include <cstdint>
#include <vector>

// Counts of durations in buckets that grow with the value, as in HdrHistogram: 128 buckets for each power of two,
// so that what is read from it is less than 1 % too large, at any size and with a fixed cost for each value.
class Histogram {
 public:
  Histogram() : counts_(kBuckets) {}

  void Add(uint64_t value) {
    counts_[Index(value)]++;
    count_++;
    sum_ += static_cast<double>(value);
    max_ = std::max(max_, value);
  }

  void Clear() { *this = Histogram(); }

  // The smallest value that at least this share of the values do not exceed.
  uint64_t Quantile(double share) const {
    const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(share * static_cast<double>(count_) + 0.5));
    uint64_t seen = 0;
    for (size_t index = 0; index < counts_.size(); index++) {
      seen += counts_[index];
      if (seen >= wanted) return std::min(Top(index), max_);
    }
    return max_;
  }

  uint64_t Count() const { return count_; }
  uint64_t Max() const { return max_; }
  double Mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

 private:
  static constexpr int kBits = 7;
  static constexpr size_t kBuckets = (64 - kBits + 1) << kBits;

  // Below 2^8 a value is its own index. Above, its seven bits behind the leading one say which bucket of its power.
  static size_t Index(uint64_t value) {
    if (value >> (kBits + 1) == 0) return value;
    const int shift = 63 - __builtin_clzll(value) - kBits;
    return (static_cast<size_t>(shift) << kBits) + (value >> shift);
  }

  static uint64_t Top(size_t index) {
    if (index >> (kBits + 1) == 0) return index;
    const size_t shift = (index >> kBits) - 1;
    return ((index - (shift << kBits) + 1) << shift) - 1;
  }

  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  uint64_t max_ = 0;
  double sum_ = 0;
};

#endif
