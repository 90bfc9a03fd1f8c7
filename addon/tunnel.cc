#include "tunnel.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace {

constexpr std::chrono::milliseconds kTick{10};

// How soon to ask again whether a backlog has drained: usually it takes microseconds, unless the peer is slow.
Clock::duration TickDelay(uint32_t ticks) {
  if (ticks < 4) return Clock::duration::zero();
  return std::min<Clock::duration>(std::chrono::microseconds(50) * (1 << std::min(ticks - 4, 10u)),
                                   std::chrono::milliseconds(10));
}

// How soon to look whether a receive buffer is overdrawn: it happens while a reader begins to stall, and rarely later.
Clock::duration ReliefDelay(uint32_t ticks) {
  return std::min<Clock::duration>(std::chrono::milliseconds(10) * (1 << std::min(ticks, 10u)),
                                   std::chrono::seconds(1));
}

}  // namespace

Tunnel::Tunnel(uint32_t id, Fd client, std::vector<uint8_t> client_head, Fd upstream,
               std::vector<uint8_t> upstream_head, Limits limits)
    : id(id),
      counters_(std::make_shared<TunnelCounters>()),
      client_(std::move(client)),
      upstream_(std::move(upstream)),
      client_to_upstream_(client_.get(), upstream_.get(), std::move(client_head), counters_->client_to_upstream,
                          counters_->upstream_to_client),
      upstream_to_client_(upstream_.get(), client_.get(), std::move(upstream_head), counters_->upstream_to_client,
                          counters_->client_to_upstream),
      limits_(limits) {
  counters_->client = client_.get();
  counters_->upstream = upstream_.get();
}

void Tunnel::Handle(End end, uint32_t events, Workshop& workshop) {
  workshop.now = last_heard_ = Clock::now();
  if (events & EPOLLERR) {
    const int error = PendingErrorOf(fd(end));
    return Reset(end, error ? error : ECONNRESET);
  }

  if (events & (EPOLLRDHUP | EPOLLHUP)) From(end).HangUp();
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) Advance(From(end), workshop);
  if (events & (EPOLLOUT | EPOLLHUP)) Advance(From(Other(end)), workshop);
  Conclude(workshop);
}

void Tunnel::Advance(Workshop& workshop) {
  Advance(client_to_upstream_, workshop);
  Advance(upstream_to_client_, workshop);
  Conclude(workshop);
}

// A lane that fails has taken the error from a socket that both have. To the other one this socket would look like one
// that has ended, and it would send a FIN where a reset belongs.
void Tunnel::Advance(Lane& lane, Workshop& workshop) {
  if (client_to_upstream_.failure() == Lane::Failure::kNone && upstream_to_client_.failure() == Lane::Failure::kNone) {
    lane.Advance(workshop);
  }
}

void Tunnel::Close(Workshop& workshop, Ending why, Clock::duration linger) {
  if (closing_ != Ending::kNone) return;
  closing_ = why;
  linger_ = linger;
  if (why != Ending::kClosed) give_up_at_ = Clock::now() + kLinger;
  client_to_upstream_.Close(workshop);
  if (client_to_upstream_.failure() == Lane::Failure::kNone) upstream_to_client_.Close(workshop);
  Conclude(workshop);
}

void Tunnel::Write(Workshop& workshop, End to, std::vector<uint8_t> bytes) {
  From(Other(to)).Inject(workshop, std::move(bytes));
  Conclude(workshop);
}

void Tunnel::Reset(std::optional<End> by, int error) {
  if (ending_ != Ending::kNone) return;
  EndBy(Ending::kReset);
  resets_ = true;
  ended_by_ = by;
  error_ = error;
}

void Tunnel::EndBy(Ending ending) {
  ending_ = ending;
  if (ending != Ending::kEnd) ended_by_.reset();
}

void Tunnel::Conclude(Workshop& workshop) {
  if (ending_ != Ending::kNone) return;

  for (const End end : {End::kClient, End::kUpstream}) {
    const Lane& lane = From(end);
    if (lane.failure() == Lane::Failure::kSource) return Reset(end, lane.error());
    if (lane.failure() == Lane::Failure::kDestination) return Reset(Other(end), lane.error());
    if (lane.done() && lane.ended_by_source() && !ended_by_) ended_by_ = end;
  }

  if (!client_to_upstream_.done() || !upstream_to_client_.done()) return;
  if (!linger_until_) {
    // Whoever closes them now, what is in their send buffers still goes out, and a FIN after it.
    ResetOnClose(client_.get(), false);
    ResetOnClose(upstream_.get(), false);
  }
  if (closing_ == Ending::kNone) return EndBy(Ending::kEnd);

  const bool client_ended = client_to_upstream_.Linger(workshop);
  const bool upstream_ended = upstream_to_client_.Linger(workshop);
  if (!linger_until_) linger_until_ = Clock::now() + linger_;
  if ((client_ended && upstream_ended) || Clock::now() >= *linger_until_) EndBy(closing_);
}

void Tunnel::Release(Workshop& workshop) {
  if (resets_) {
    SendReset(client_.get());
    SendReset(upstream_.get());
  }
  client_to_upstream_.Release(workshop);
  upstream_to_client_.Release(workshop);
  {
    const std::lock_guard<std::mutex> lock(counters_->mutex);
    counters_->client = counters_->upstream = -1;
  }
  client_.Close();
  upstream_.Close();
}

uint32_t Tunnel::InterestIn(End end) const {
  const Lane& from = From(end);
  const Lane& to = From(Other(end));
  uint32_t events = 0;
  if (from.wants().readable) events |= EPOLLIN;
  if (from.wants().hangup) events |= EPOLLRDHUP;
  if (to.wants().writable) events |= EPOLLOUT;

  // EPOLLHUP cannot be masked, and once it is on it is on for good. As long as we cannot read it away, hear of it once.
  if (!from.wants().readable) events |= EPOLLET;
  return events;
}

std::optional<Clock::time_point> Tunnel::Alarm() const {
  std::optional<Clock::time_point> alarm;
  const auto at_the_latest = [&alarm](Clock::time_point time) { alarm = alarm ? std::min(*alarm, time) : time; };

  for (const Lane* lane : {&client_to_upstream_, &upstream_to_client_}) {
    if (lane->wants().tick) at_the_latest(Clock::now() + TickDelay(lane->ticks));
    if (lane->wants().relief) at_the_latest(Clock::now() + ReliefDelay(lane->ticks));
  }
  if (closing_ != Ending::kNone) {
    if (linger_until_) {
      at_the_latest(*linger_until_);
    } else if (give_up_at_) {
      at_the_latest(*give_up_at_);
    }
    return alarm;
  }
  if (limits_.lifetime.count() > 0) at_the_latest(opened_ + limits_.lifetime);
  if (const auto silent = SilentUntil()) at_the_latest(*silent);
  return alarm;
}

void Tunnel::Tick(Workshop& workshop, Clock::time_point now) {
  for (Lane* lane : {&client_to_upstream_, &upstream_to_client_}) {
    if (!lane->wants().tick && !lane->wants().relief) continue;
    Advance(*lane, workshop);
    lane->ticks = lane->wants().tick || lane->wants().relief ? lane->ticks + 1 : 0;
  }
  Conclude(workshop);
  if (ending_ != Ending::kNone) return;

  if (closing_ != Ending::kNone) {
    if (linger_until_ || !give_up_at_ || now < *give_up_at_) return;
    EndBy(closing_);
    // What was cut off must look complete neither to its reader nor to its writer. Closing a socket whose unread bytes
    // are in a psock does not send a reset by itself, as it does otherwise.
    resets_ = true;
    return;
  }

  if (limits_.lifetime.count() > 0 && now >= opened_ + limits_.lifetime) {
    return Close(workshop, Ending::kLifetime, kLinger);
  }

  const auto silent = SilentUntil();
  if (!silent || now < *silent) return;
  Hear(now);
  if (now < *SilentUntil()) return;
  if (half_closed()) {
    // The other end had its time. What it has sent so far is still delivered, and it is not asked for more.
    Close(workshop, Ending::kHalfClosed, Clock::duration::zero());
  } else {
    Close(workshop, Ending::kIdle, kLinger);
  }
}

std::chrono::milliseconds Tunnel::SilenceAllowed() const {
  if (!half_closed() || limits_.half_closed.count() == 0) return limits_.idle;
  return limits_.idle.count() == 0 ? limits_.half_closed : std::min(limits_.idle, limits_.half_closed);
}

std::optional<Clock::time_point> Tunnel::SilentUntil() const {
  const auto allowed = SilenceAllowed();
  if (allowed.count() == 0) return std::nullopt;
  return last_heard_ + allowed;
}

// Nothing tells us of the bytes that the kernel redirects, so TCP is asked when it matters. Bytes that wait for a slow
// reader arrive nowhere for a while; then what counts is whether the reader takes any.
void Tunnel::Hear(Clock::time_point now) {
  const TcpSummary client = SummaryOf(client_.get());
  const TcpSummary upstream = SummaryOf(upstream_.get());
  for (const TcpSummary& summary : {client, upstream}) {
    // TCP counts in ticks of up to ten milliseconds, and cuts off the rest: rather late than early.
    if (summary.known) {
      const auto silence = std::chrono::milliseconds(summary.last_received) - kTick;
      last_heard_ = std::max(last_heard_, now - std::max(silence, std::chrono::milliseconds::zero()));
    }
  }

  const uint64_t acknowledged = client.acknowledged + upstream.acknowledged;
  const bool taken = acknowledged != std::exchange(acknowledged_, acknowledged);
  if (taken && UnacknowledgedBy(client_.get()) + UnacknowledgedBy(upstream_.get()) > 0) {
    last_heard_ = std::max(last_heard_, now - SilenceAllowed() * 9 / 10);
  }
}

bool Tunnel::TakeHalfClose(End end) {
  bool& taken = half_closed_[static_cast<size_t>(end)];
  if (taken || !From(end).done() || !From(end).ended_by_source()) return false;
  taken = true;
  return true;
}
