#ifndef HTTP_PROXY_SOCKMAP_TUNNEL_H
#define HTTP_PROXY_SOCKMAP_TUNNEL_H

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "counters.h"
#include "fd.h"
#include "lane.h"
#include "tcp.h"

enum class End : uint8_t { kClient, kUpstream };
inline End Other(End end) { return end == End::kClient ? End::kUpstream : End::kClient; }

// How long peers are given to answer our FIN, and readers to take what is left for them.
constexpr std::chrono::seconds kLinger{2};

// Two sockets and the two lanes between them. Decides what the end of one lane, or the death of one socket, means for
// the rest.
class Tunnel {
 public:
  enum class Ending : uint8_t { kNone, kEnd, kReset, kClosed, kIdle, kLifetime, kHalfClosed };

  // How long it may live and be silent. Zero is for ever.
  struct Limits {
    std::chrono::milliseconds idle{0};         // without a byte either way
    std::chrono::milliseconds lifetime{0};     // whatever it does
    std::chrono::milliseconds half_closed{0};  // without a byte, once one direction has ended
  };

  // Takes over duplicates that nobody else closes.
  Tunnel(uint32_t id, Fd client, std::vector<uint8_t> client_head, Fd upstream, std::vector<uint8_t> upstream_head,
         Limits limits);

  // The events that epoll reported for that end.
  void Handle(End end, uint32_t events, Workshop& workshop);
  // Looks at everything, whatever happened.
  void Advance(Workshop& workshop);
  // Delivers what has arrived so far, then FIN both ways; `why` is what it will have ended by. After that the peers
  // have `linger` to answer with their own. A reader that is too slow to be delivered to is waited for if the tunnel is
  // closed on demand, and reset if its time is up.
  void Close(Workshop& workshop, Ending why, Clock::duration linger);
  void Write(Workshop& workshop, End to, std::vector<uint8_t> bytes);
  // Ends by an RST to both ends, as `by` would have sent it; `error` says why.
  void Reset(std::optional<End> by, int error);
  // What it ended by is carried out, and nothing is left of it after that.
  void Release(Workshop& workshop);

  // What epoll is to report for that end.
  uint32_t InterestIn(End end) const;
  // When to call Tick(), if at all.
  std::optional<Clock::time_point> Alarm() const;
  void Tick(Workshop& workshop, Clock::time_point now);

  // Whether that end's FIN has been passed on since the last call.
  bool TakeHalfClose(End end);
  // Whether what was last given to Write() has been accepted by that end since the last call.
  bool TakeWritten(End to) { return From(Other(to)).TakeInjected(); }

  int fd(End end) const { return (end == End::kClient ? client_ : upstream_).get(); }
  Lane& From(End end) { return end == End::kClient ? client_to_upstream_ : upstream_to_client_; }
  const Lane& From(End end) const { return end == End::kClient ? client_to_upstream_ : upstream_to_client_; }
  const std::shared_ptr<TunnelCounters>& counters() const { return counters_; }

  const uint32_t id;

  // How it ended, and who ended it (nobody: we did).
  Ending ending() const { return ending_; }
  std::optional<End> ended_by() const { return ended_by_; }
  int error() const { return error_; }
  // The last word about each connection, between its end and its release.
  TcpSummary Summary(End end) const { return SummaryOf(fd(end)); }

  // What epoll was told last; the relay's to keep.
  std::optional<uint32_t> watched[2];
  std::optional<Clock::time_point> alarm;

 private:
  // One of the lanes, unless the other one has failed.
  void Advance(Lane& lane, Workshop& workshop);
  // Draws the conclusions from what the lanes have come to.
  void Conclude(Workshop& workshop);
  void EndBy(Ending ending);
  // When silence will have lasted too long, as far as is known now.
  std::optional<Clock::time_point> SilentUntil() const;
  void Hear(Clock::time_point now);
  std::chrono::milliseconds SilenceAllowed() const;
  bool half_closed() const { return client_to_upstream_.done() != upstream_to_client_.done(); }

  // The lanes borrow the descriptors, and write to the counters.
  std::shared_ptr<TunnelCounters> counters_;
  Fd client_;
  Fd upstream_;
  Lane client_to_upstream_;
  Lane upstream_to_client_;

  bool half_closed_[2] = {false, false};
  Ending closing_ = Ending::kNone;  // why it is being closed, if it is
  Clock::duration linger_{};
  std::optional<Clock::time_point> linger_until_;
  std::optional<Clock::time_point> give_up_at_;

  const Limits limits_;
  const Clock::time_point opened_ = Clock::now();
  Clock::time_point last_heard_ = opened_;  // the latest activity known of
  uint64_t acknowledged_ = 0;               // by both peers, when we last looked

  Ending ending_ = Ending::kNone;
  std::optional<End> ended_by_;
  int error_ = 0;
  bool resets_ = false;  // both ends, when it is released
};

#endif
