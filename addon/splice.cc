// A lane in its pipe: source → pipe → destination by splice(2), or by recv and send where reads are small.
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "lane.h"

namespace {

// Splicing a read this small costs more than copying it twice.
constexpr size_t kWorthSplicing = 4096;
constexpr size_t kCopyAtMost = 16 * 1024;

// Where a burst costs the same both ways, as measured by `npm run bench`: up to it, echoes are cheaper in the kernel.
constexpr int64_t kBreakEven = 160 * 1024;
// And for those that came without waiting for an answer, as the bursts of a bulk transfer do whose sender is slower
// than we are. They are larger than this.
constexpr int64_t kUnasked = 64 * 1024;
// After sixteen messages, then.
constexpr int64_t kConvincing = 15 * kBreakEven;
// Of small ones that come often it takes 256: sixteen are over before it shows how many tunnels speak at once.
constexpr int64_t kSmall = kBreakEven / 16;
constexpr std::chrono::milliseconds kOften{10};
// So many sockets that are ready at once share a wake-up of the relay, where each takes one of a kernel worker.
constexpr int kShared = 8;
// But what the relay has to know of so many tunnels does not fit the processor's cache. And where they speak now and
// then, the senders keep the workers' processors busy.
constexpr size_t kCrowd = 1000;
// With more of them, workers do at the same time what the relay does one after the other.
const bool kFewProcessors = std::thread::hardware_concurrency() <= 2;

// After so many reads it is somebody else's turn.
constexpr int kRounds = 8;

constexpr unsigned kFlags = SPLICE_F_NONBLOCK | SPLICE_F_MOVE;

}  // namespace

void Lane::AdvancePipe(Workshop& workshop) {
  for (int round = 0; Deliver(workshop); ++round) {
    if (eof_ || (closing_ && closing_left_ == 0)) return Finish();
    if (round == kRounds) {
      wants_.readable = true;
      return;
    }

    switch (bulk_ ? ReadToPipe(workshop) : ReadByCopy(workshop)) {
      case Got::kData: continue;
      case Got::kShort:
        Pause(workshop);
        if (closing_ || WorthPromoting()) continue;
        wants_.readable = true;
        return;
      case Got::kQuiet:
        Pause(workshop);
        if (!bulk_ || closing_ || !WorthPromoting()) return Quiet(workshop);
        // A splice can stop at urgent data with more behind it. Ask again by recv, which does not.
        bulk_ = false;
        continue;
      case Got::kEof: eof_ = true; continue;
      case Got::kFailed: return;
    }
  }
}

// Whether nothing is left that was read and not accepted. If there is, the destination has said EAGAIN, so that its
// next EPOLLOUT is one to wait for, or the lane has failed.
bool Lane::Deliver(Workshop& workshop) {
  for (;;) {
    Moved moved = FlushOutbox(injecting_ ? counters_.injected : counters_.piped);
    if (moved == Moved::kAll) moved = FlushPipe(workshop);
    if (moved == Moved::kBlocked) wants_.writable = true;
    if (moved != Moved::kAll) return false;

    if (injecting_) EndInjection();
    if (injection_.empty()) return true;
    outbox_ = std::exchange(injection_, {});
    injecting_ = true;
  }
}

// The source has nothing more and everything it sent has been accepted: the moment to move over to the kernel.
void Lane::Quiet(Workshop& workshop) {
  if (closing_) return Finish();
  if (!bulk_ && WorthPromoting() && Promote(workshop)) return;
  wants_.readable = true;
}

// A bulk transfer is cheaper in its pipe, by half, a message in the kernel, and there is no way back. They differ by
// what comes between two pauses: each pause earns, and each byte costs.
void Lane::Pause(const Workshop& workshop) {
  if (burst_ == 0) return;
  credit_ = std::max<int64_t>(0, credit_ + Earned(workshop) - static_cast<int64_t>(burst_));
  answered_ = answers_.Moved();
  paused_at_ = workshop.now;
  burst_ = 0;
}

int64_t Lane::Earned(const Workshop& workshop) const {
  if (burst_ < kWorthSplicing) {
    const bool crowded = workshop.tunnels >= kCrowd;
    if (workshop.ready >= kShared) return kFewProcessors && !crowded ? -kBreakEven : kBreakEven;
    if (workshop.now - paused_at_ < kOften) return kSmall;
    return crowded ? 0 : kBreakEven;
  }

  // Between the last burst and this one there was an answer, and there was none while this one came.
  const bool takes_turns = answered_before_burst_ != answered_ && answered_before_burst_ == answers_.Moved();
  return takes_turns ? kBreakEven : kUnasked;
}

bool Lane::WorthPromoting() const {
  if (!id_ || refused_) return false;
  return credit_ >= kConvincing || (eagerness_ == Eagerness::kAtOnce && !bulk_);
}

Lane::Got Lane::ReadByCopy(Workshop& workshop) {
  const ssize_t length = recv(source_, workshop.scratch.data(), kCopyAtMost, MSG_DONTWAIT);
  if (length == 0) return Got::kEof;
  if (length < 0) {
    if (errno == EINTR) return Got::kData;
    if (errno == EAGAIN) return Got::kQuiet;
    Fail(Failure::kSource, errno);
    return Got::kFailed;
  }

  Received(static_cast<size_t>(length));
  bulk_ = static_cast<size_t>(length) >= kWorthSplicing;
  if (Send(workshop.scratch.data(), static_cast<size_t>(length), counters_.piped) == Moved::kFailed) {
    return Got::kFailed;
  }

  // Before it is promoted, a source is read until EAGAIN all the same: behind urgent data there can be more, and a half
  // read skb would be redirected whole.
  return static_cast<size_t>(length) == kCopyAtMost || !outbox_.empty() || bulk_ ? Got::kData : Got::kShort;
}

Lane::Got Lane::ReadToPipe(Workshop& workshop) {
  if (!pipe_) pipe_ = workshop.pipes.Take();
  if (!pipe_) return ReadByCopy(workshop);

  const ssize_t length = splice(source_, nullptr, pipe_->write_end.get(), nullptr, pipe_->capacity, kFlags);
  if (length > 0) {
    pipe_bytes_ += static_cast<size_t>(length);
    bulk_ = static_cast<size_t>(length) >= kWorthSplicing;
    Received(static_cast<size_t>(length));
    return Got::kData;
  }

  const int error = errno;
  workshop.pipes.GiveBack(std::move(*pipe_));
  pipe_.reset();
  if (length == 0) return Got::kEof;
  if (error == EINTR) return Got::kData;
  if (error == EAGAIN) return Got::kQuiet;
  Fail(Failure::kSource, error);
  return Got::kFailed;
}

Lane::Moved Lane::FlushPipe(Workshop& workshop) {
  while (pipe_bytes_ > 0) {
    const ssize_t length = splice(pipe_->read_end.get(), nullptr, destination_, nullptr, pipe_bytes_, kFlags);
    if (length > 0) {
      pipe_bytes_ -= static_cast<size_t>(length);
      counters_.piped.fetch_add(static_cast<uint64_t>(length), std::memory_order_relaxed);
      continue;
    }
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return Moved::kBlocked;
    Fail(Failure::kDestination, length < 0 ? errno : EPIPE);
    return Moved::kFailed;
  }

  if (pipe_) {
    workshop.pipes.GiveBack(std::move(*pipe_));
    pipe_.reset();
  }
  return Moved::kAll;
}
