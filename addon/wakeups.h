#ifndef HTTP_PROXY_SOCKMAP_WAKEUPS_H
#define HTTP_PROXY_SOCKMAP_WAKEUPS_H

#include <linux/bpf.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "bpf.h"
#include "mapping.h"

// The ring in which the verdict program names the lanes that need the relay. One consumer.
// https://docs.kernel.org/bpf/ringbuf.html
class Wakeups {
 public:
  Wakeups(Fd map, uint32_t size)
      : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))),
        size_(size),
        map_(std::move(map)),
        consumer_("map the wake-up ring", map_.get(), page_, PROT_READ | PROT_WRITE, 0),
        // The kernel would map the data twice in a row, for records that wrap. Ours are of one size that divides it.
        producer_("map the wake-up ring", map_.get(), page_ + size_t{size_}, PROT_READ, static_cast<off_t>(page_)) {}

  // Readable when there are records.
  int fd() const { return map_.get(); }

  template <typename Visit>
  void Consume(Visit visit) {
    auto* position = reinterpret_cast<unsigned long*>(consumer_.get());
    const auto* end = reinterpret_cast<const unsigned long*>(producer_.get());
    const char* data = producer_.get() + page_;

    unsigned long consumed = __atomic_load_n(position, __ATOMIC_RELAXED);
    while (consumed < __atomic_load_n(end, __ATOMIC_SEQ_CST)) {
      const char* record = data + (consumed & (size_ - 1));
      const uint32_t length = __atomic_load_n(reinterpret_cast<const uint32_t*>(record), __ATOMIC_ACQUIRE);
      if (length & BPF_RINGBUF_BUSY_BIT) return;  // its commit makes us readable again

      visit(*reinterpret_cast<const uint32_t*>(record + BPF_RINGBUF_HDR_SZ));
      consumed += kRecord;
      __atomic_store_n(position, consumed, __ATOMIC_SEQ_CST);
    }
  }

 private:
  static constexpr uint32_t kRecord = BPF_RINGBUF_HDR_SZ + 8;  // a lane number, rounded up to 8

  size_t page_;
  uint32_t size_;
  Fd map_;
  Mapping consumer_;
  Mapping producer_;
};

#endif
