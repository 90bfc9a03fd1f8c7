// A lane in the kernel: the way in, what the program passes to us, and the way to its end.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lane.h"
#include "mutations.h"
#include "tcp.h"

namespace {

constexpr int kRounds = 4;

// What may be taken off a receive buffer for one slow reader: on suspicion, and where bytes were dropped. The latter
// has to be bounded too: some senders probe a closed window with a byte, which looks the same.
constexpr uint64_t kEarlyRelief = 512 * 1024;
constexpr uint64_t kRelief = 8 * 1024 * 1024;

}  // namespace

bool Lane::Promote(Workshop& workshop) {
  // Everything that we sent has been accepted, so what is written beyond this was redirected, or spilled by us.
  written_before_ = WrittenExactlyTo(destination_);
  PublishUnsentLimit(workshop);
  if (kMutation == Mutation::kSlowPromotion || kMutation == Mutation::kNoKick) usleep(3000);
  if (!workshop.sockmap->Promote(*id_, source_)) {
    refused_ = true;
    return false;
  }

  counters_.live.store(&workshop.sockmap->FlowOf(*id_), std::memory_order_release);
  counters_.promotions.fetch_add(1, std::memory_order_relaxed);
  SetState(LaneState::kKernel);
  // Inserting does not look at what is queued. Without this, bytes that came since our last recv would wait for
  // the next packet, perhaps for ever.
  if (kMutation != Mutation::kNoKick) Kick();
  wants_.hangup = true;
  return true;
}

void Lane::AdvanceSpill(Workshop& workshop) {
  if (Broken(workshop)) return Fail(Failure::kSource, ENOMEM);
  if (state_ == LaneState::kKernel) {
    const bool caught_up = CaughtUp(workshop);
    if (caught_up && !hung_up_) {
      wants_.hangup = true;
      return;
    }
    if (!caught_up) counters_.spills.fetch_add(1, std::memory_order_relaxed);
    SetState(LaneState::kSpilling);
  }

  for (int round = 0; round < kRounds; ++round) {
    if (batch_ == 0 && !injection_.empty() && !BeginInjection(workshop)) {
      wants_.tick = true;
      return;
    }
    if (injecting_) {
      const Moved moved = FlushOutbox(counters_.injected);
      if (moved == Moved::kBlocked) wants_.writable = true;
      if (moved != Moved::kAll) return;
      EndInjection();
      Publish(workshop);
    }

    if (batch_ > 0) {
      // Receive first, then wait, then send, then publish. The wait comes after the recv because recv can run
      // verdicts, and these may redirect.
      if (!batch_ordered_ && kMutation != Mutation::kNoOrder && !Drained(workshop)) {
        wants_.tick = true;
        return Relieve(workshop);
      }
      batch_ordered_ = true;
      const Moved moved = FlushOutbox(counters_.spilled);
      if (moved == Moved::kBlocked) {
        wants_.writable = true;
        wants_.relief = true;
        return Relieve(workshop);
      }
      if (moved != Moved::kAll) return;
      Publish(workshop);
      // What was given to us meanwhile has its turn before the lane goes back to the kernel, where nobody would look.
      if (!injection_.empty()) continue;
    }

    const bool enough = closing_ && closing_left_ == 0;
    // It may have to wait here, so not much more than what the destination would take.
    const size_t most = wide_ ? workshop.scratch.size() : UnsentLimit(wide_);
    const ssize_t length = enough ? 0 : recv(source_, workshop.scratch.data(), most, MSG_DONTWAIT);
    if (length > 0) {
      batch_ = static_cast<uint64_t>(length);
      Received(batch_);
      outbox_.assign(workshop.scratch.data(), workshop.scratch.data() + length);
      if (kMutation == Mutation::kEarlyConsumed) {
        __atomic_store_n(&workshop.sockmap->FlowOf(*id_).consumed, consumed_ + batch_, __ATOMIC_SEQ_CST);
      }
      continue;
    }
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno != EAGAIN) return Fail(Failure::kSource, errno);

    const bool over = length == 0 || closing_;
    if (over && !kicked_) {
      Kick();
      kicked_ = true;
      continue;
    }

    // Passed bytes that cannot be had yet: a kernel worker brings them when the receive buffer has room, and until then
    // recv says EAGAIN, or even end of file. Or they were announced and are being redirected after all, of which we
    // hear nothing.
    if (!enough && !CaughtUp(workshop)) {
      wants_.readable = length < 0;
      wants_.tick = true;
      return;
    }

    if (over) {
      eof_ = length == 0 && !enough;
      SetState(LaneState::kDraining);
      return AdvanceDrain(workshop);
    }

    SetState(LaneState::kKernel);
    wants_.hangup = true;
    return;
  }

  // The source may have nothing more to say, so what waits here must not wait for it.
  (batch_ > 0 || !injection_.empty() ? wants_.tick : wants_.readable) = true;
}

void Lane::AdvanceDrain(Workshop& workshop) {
  if (Broken(workshop)) return Fail(Failure::kSource, ENOMEM);
  if (kMutation == Mutation::kNoDrain || Drained(workshop)) return Finish();
  wants_.tick = true;
}

// Whether the program had to lose bytes.
bool Lane::Broken(Workshop& workshop) const {
  return __atomic_load_n(&workshop.sockmap->FlowOf(*id_).broken, __ATOMIC_RELAXED) != 0;
}

bool Lane::CaughtUp(Workshop& workshop) const {
  return __atomic_load_n(&workshop.sockmap->FlowOf(*id_).passed, __ATOMIC_SEQ_CST) == consumed_;
}

// Whether the destination has written everything that came before: the backlog of what was redirected is nowhere to
// be seen, but closing or shutting down a socket that has one throws it away.
bool Lane::Drained(Workshop& workshop) {
  const uint64_t redirected = __atomic_load_n(&workshop.sockmap->FlowOf(*id_).redirected, __ATOMIC_ACQUIRE);
  return WrittenTo(destination_) - written_before_ >= redirected + consumed_ + injected_bytes_;
}

void Lane::Publish(Workshop& workshop) {
  consumed_ += batch_;
  batch_ = 0;
  relieved_ = 0;
  batch_ordered_ = false;
  ticks = 0;
  const bool held = closing_ || injecting_ || !injection_.empty();
  // Before the next look at `passed`, as the program adds to that before it looks at this: one of us sees the other.
  __atomic_store_n(&workshop.sockmap->FlowOf(*id_).consumed, held ? consumed_ | FLOW_HELD : consumed_,
                   __ATOMIC_SEQ_CST);
}

// For the program, which looks at the destination as TCP itself would.
void Lane::PublishUnsentLimit(Workshop& workshop) {
  __atomic_store_n(&workshop.sockmap->FlowOf(*id_).unsent_limit, static_cast<uint32_t>(UnsentLimit(wide_)),
                   __ATOMIC_RELAXED);
}

// From here on the program passes everything.
void Lane::Hold(Workshop& workshop) {
  __atomic_store_n(&workshop.sockmap->FlowOf(*id_).consumed, consumed_ | FLOW_HELD, __ATOMIC_SEQ_CST);
  // Takes the socket's lock, as a verdict does: one that is being made now is finished after this.
  Kick();
  SetState(LaneState::kSpilling);
}

// False as long as redirected bytes are under way, among which these must not end up.
bool Lane::BeginInjection(Workshop& workshop) {
  if (!Drained(workshop)) return false;
  outbox_ = std::exchange(injection_, {});
  injecting_ = true;
  injected_bytes_ += outbox_.size();
  // Known before they are written, or the program would see more room than there is.
  __atomic_store_n(&workshop.sockmap->FlowOf(*id_).injected, injected_bytes_, __ATOMIC_RELEASE);
  return true;
}

// For a lane whose reader is slow. What is passed while redirected bytes wait for a kernel worker is not charged until
// the worker comes to it, so that the window stays open, and the receive buffer ends up holding more than it may, by
// what a sender manages to send in that time: ten megabytes and more where every processor has something else to do.
// Then TCP drops what still comes, and takes back the window that it had announced. What the sender had sent into it
// makes the acknowledgements that follow look as if they were from elsewhere: they are dropped as well, and the other
// lane stands still for as long as this one does. So take off what is there.
//
// A buffer is often a segment more than full, which alone drops nothing. What tells is that segments come and no byte
// of them is received: once there is room for these, the sender keeps to its window. But then it waits for a
// retransmission, and the other lane with it. So act on suspicion first: a slow reader takes that much again and again,
// and for one that has stalled it is not much.
void Lane::Relieve(Workshop& workshop) {
  const TcpSummary now = SummaryOf(source_);
  const bool came = std::exchange(segments_in_, now.segments_in) != now.segments_in;
  const bool drops = std::exchange(received_, now.received) == now.received && came;
  // With nothing to be acknowledged there is no other lane to hold up, and a full buffer is what stops the sender.
  if (UnacknowledgedBy(source_) == 0) return;
  const auto [charged, limit] = ReceiveBufferOf(source_);
  if (!drops && charged <= limit) return;

  // Once it is half empty the window is open, if it is large. Where it is closed after all, all of it has to go. What
  // is more than the buffer may hold takes no more memory with us than it does there, and does not come again.
  const uint64_t overdrawn = drops && charged > limit ? charged - limit : 0;
  const uint64_t excess = drops ? charged : charged - limit / 2;
  const uint64_t allowance = drops ? kRelief : kEarlyRelief;
  // No more than what is there now: the sender fills it again as fast as we take it off.
  const uint64_t most = std::min(excess, overdrawn + allowance - std::min(relieved_, allowance));
  outbox_.reserve(outbox_.size() + most);
  uint64_t taken = 0;
  while (taken < most) {
    const size_t size = std::min<uint64_t>(most - taken, workshop.scratch.size());
    const ssize_t length = recv(source_, workshop.scratch.data(), size, MSG_DONTWAIT);
    if (length <= 0) break;
    taken += static_cast<uint64_t>(length);
    batch_ += static_cast<uint64_t>(length);
    Received(static_cast<size_t>(length));
    outbox_.insert(outbox_.end(), workshop.scratch.data(), workshop.scratch.data() + length);
  }
  relieved_ += taken - std::min(taken, overdrawn);
}

// Makes the kernel ask for a verdict about everything that is queued, without taking any of it.
void Lane::Kick() {
  const int low_water_mark = 1;
  setsockopt(source_, SOL_SOCKET, SO_RCVLOWAT, &low_water_mark, sizeof low_water_mark);
}
