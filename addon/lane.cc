#include "lane.h"

#include <sys/socket.h>

#include <cerrno>

#include "tcp.h"

namespace {

// A lane that is told to close while its source never pauses stops after this much: what a receive buffer holds.
constexpr size_t kClosingLimit = 32 * 1024 * 1024;

}  // namespace

void Lane::Advance(Workshop& workshop) {
  wants_ = {};
  switch (state_) {
    case LaneState::kPipe: AdvancePipe(workshop); return WidenIfItMoves(workshop);
    case LaneState::kKernel:
    case LaneState::kSpilling: AdvanceSpill(workshop); return WidenIfItMoves(workshop);
    case LaneState::kDraining: return AdvanceDrain(workshop);
    case LaneState::kDone: return;
  }
}

void Lane::Close(Workshop& workshop) {
  if (closing_ || done()) return;
  closing_ = true;
  closing_left_ = kClosingLimit;
  if (state_ == LaneState::kKernel || state_ == LaneState::kSpilling) {
    // There has to be an end to what is drained.
    Hold(workshop);
  }
  Advance(workshop);
}

void Lane::Inject(Workshop& workshop, std::vector<uint8_t> bytes) {
  if (closing_ || state_ == LaneState::kDraining || state_ == LaneState::kDone) {
    injected_ = true;  // as writes after the end are: too late
    return;
  }
  injection_ = std::move(bytes);
  if (state_ == LaneState::kKernel || state_ == LaneState::kSpilling) Hold(workshop);
  Advance(workshop);
}

bool Lane::Linger(Workshop& workshop) {
  wants_ = {};
  if (eof_) return true;
  for (int round = 0; round < 16; ++round) {
    const ssize_t length = recv(source_, workshop.scratch.data(), workshop.scratch.size(), MSG_DONTWAIT);
    if (length > 0) continue;
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) break;
    eof_ = true;
    return true;
  }
  wants_.readable = true;
  return false;
}

void Lane::Release(Workshop& workshop) {
  if (id_) {
    counters_.settled.store(counters_.Redirected(), std::memory_order_relaxed);
    counters_.live.store(nullptr, std::memory_order_release);
    workshop.sockmap->Release(*id_);
    id_.reset();
  }
  if (pipe_ && pipe_bytes_ == 0) workshop.pipes.GiveBack(std::move(*pipe_));
  pipe_.reset();
}

void Lane::SetState(LaneState state) {
  state_ = state;
  counters_.state.store(state, std::memory_order_relaxed);
}

void Lane::Fail(Failure whose, int error) {
  failure_ = whose;
  error_ = error;
  wants_ = {};
}

void Lane::Finish() {
  // A destination that has died meanwhile says so by an error of its own.
  shutdown(destination_, SHUT_WR);
  SetState(LaneState::kDone);
  wants_ = {};
}

// A lane that has never moved much has no use for large buffers, and would fill them if its reader stalls.
void Lane::WidenIfItMoves(Workshop& workshop) {
  if (wide_ || counters_.Moved() < FLOW_MOVES) return;
  wide_ = true;
  BoundBuffers(source_, destination_, wide_);
  if (id_) PublishUnsentLimit(workshop);
}

void Lane::EndInjection() {
  injecting_ = false;
  injected_ = true;
}

Lane::Moved Lane::Send(const uint8_t* bytes, size_t length, std::atomic<uint64_t>& counter) {
  size_t sent = 0;
  const Moved moved = SendFrom(sent, bytes, length, counter);
  if (moved == Moved::kBlocked) {
    outbox_.assign(bytes + sent, bytes + length);
    outbox_sent_ = 0;
  }
  return moved;
}

Lane::Moved Lane::FlushOutbox(std::atomic<uint64_t>& counter) {
  const Moved moved = SendFrom(outbox_sent_, outbox_.data(), outbox_.size(), counter);
  if (moved == Moved::kAll) {
    // An idle tunnel keeps no buffer.
    outbox_ = {};
    outbox_sent_ = 0;
  }
  return moved;
}

Lane::Moved Lane::SendFrom(size_t& sent, const uint8_t* bytes, size_t length, std::atomic<uint64_t>& counter) {
  while (sent < length) {
    const ssize_t now = send(destination_, bytes + sent, length - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (now >= 0) {
      sent += static_cast<size_t>(now);
      counter.fetch_add(static_cast<uint64_t>(now), std::memory_order_relaxed);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return Moved::kBlocked;
    Fail(Failure::kDestination, errno);
    return Moved::kFailed;
  }
  return Moved::kAll;
}
