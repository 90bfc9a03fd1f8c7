#ifndef HTTP_PROXY_SOCKMAP_WAKEUPS_H
#define HTTP_PROXY_SOCKMAP_WAKEUPS_H

#include <linux/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "bpf.h"
#include "insist.h"
#include "mapping.h"

// The ring in which the verdict program names the lanes that need the relay. One consumer.
// https://docs.kernel.org/bpf/ringbuf.html
class Wakeups {
 public:
  Wakeups(Fd map, uint32_t size)
      : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))),
        size_(size),
        map_(std::move(map)),
        consumer_(kMap, map_.get(), page_, PROT_READ | PROT_WRITE, 0),
        producer_(kMap, map_.get(), page_, PROT_READ, static_cast<off_t>(page_)),
        window_(Window(0)) {}

  // Readable when there are records.
  int fd() const { return map_.get(); }

  template <typename Visit>
  void Consume(Visit visit) {
    auto* position = reinterpret_cast<unsigned long*>(consumer_.get());
    const auto* end = reinterpret_cast<const unsigned long*>(producer_.get());

    unsigned long consumed = __atomic_load_n(position, __ATOMIC_RELAXED);
    while (consumed < __atomic_load_n(end, __ATOMIC_SEQ_CST)) {
      const char* record = RecordAt(static_cast<uint32_t>(consumed & (size_ - 1)));
      const uint32_t length = __atomic_load_n(reinterpret_cast<const uint32_t*>(record), __ATOMIC_ACQUIRE);
      if (length & BPF_RINGBUF_BUSY_BIT) return;  // its commit makes us readable again

      visit(*reinterpret_cast<const uint32_t*>(record + BPF_RINGBUF_HDR_SZ));
      consumed += kRecord;
      __atomic_store_n(position, consumed, __ATOMIC_SEQ_CST);
    }
  }

 private:
  static constexpr const char* kMap = "map the wake-up ring";
  static constexpr uint32_t kRecord = BPF_RINGBUF_HDR_SZ + 8;  // a lane number, rounded up to 8
  static constexpr uint32_t kWindow = 64 * 1024;               // a multiple of any page, and of a record

  Mapping Window(uint32_t start) const {
    return Mapping(kMap, map_.get(), std::min(kWindow, size_), PROT_READ, static_cast<off_t>(2 * page_ + start));
  }

  // All of what is mapped is resident, and the ring has room for all lanes at once. So we look at it through a window.
  const char* RecordAt(uint32_t offset) {
    const uint32_t start = offset - offset % kWindow;
    if (start != window_start_) Insist([&] { window_ = Window(start); });
    window_start_ = start;
    return window_.get() + offset % kWindow;
  }

  size_t page_;
  uint32_t size_;
  Fd map_;
  Mapping consumer_;
  Mapping producer_;
  Mapping window_;
  uint32_t window_start_ = 0;
};

#endif
