#include "pace.h"

#include <cstring>

#include "pattern.h"
#include "socket.h"

PacedSender::PacedSender(int fd, uint32_t size, uint64_t interval, uint64_t first)
    : fd_(fd), interval_(interval), due_(first), message_(Pattern::At(0), Pattern::At(0) + size), offset_(size) {}

bool PacedSender::SendDue(uint64_t now) {
  while (offset_ < message_.size() || due_ <= now) {
    if (offset_ == message_.size()) {
      memcpy(message_.data(), &due_, sizeof due_);
      due_ += interval_;
      offset_ = 0;
    }

    const ssize_t sent = Send(fd_, message_.data() + offset_, message_.size() - offset_);
    if (sent < 0) return false;
    offset_ += static_cast<size_t>(sent);
    sent_ += static_cast<uint64_t>(sent);
  }
  return true;
}

void Schedule::Add(uint64_t when, Paced* paced) {
  const bool earliest = due_.empty() || when < due_.top().first;
  due_.emplace(when, paced);
  if (earliest) timer_.Set(when);
}

void Schedule::Wake() {
  const uint64_t now = Now();
  while (!due_.empty() && due_.top().first <= now) {
    Paced* paced = due_.top().second;
    due_.pop();
    const uint64_t next = paced->OnDue(now);
    if (next != 0) due_.emplace(next, paced);
  }
  if (!due_.empty()) timer_.Set(due_.top().first);
}
