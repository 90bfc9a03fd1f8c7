#ifndef HTTP_PROXY_SOCKMAP_LANE_H
#define HTTP_PROXY_SOCKMAP_LANE_H

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "counters.h"
#include "pipe.h"
#include "sockmap.h"
#include "tcp.h"

using Clock = std::chrono::steady_clock;

// What the lanes of a relay share. Everything in it is used by the relay's thread only.
struct Workshop {
  Sockmap* sockmap = nullptr;
  PipePool pipes;
  std::vector<uint8_t> scratch = std::vector<uint8_t>(256 * 1024);
  // When the relay last heard of something, how many sockets were found ready with it, and of how many tunnels.
  Clock::time_point now;
  int ready = 0;
  size_t tunnels = 0;
};

// One direction of a tunnel: a state machine that moves what arrives at its source to its destination.
//
//   kPipe ──(source quiet, everything delivered)──► kKernel ◄──(caught up)── kSpilling
//     │                                               └──(no room, or FIN)──► │
//     └──────── EOF, everything delivered ──► kDone ◄──(drained)── kDraining ◄┘ EOF
//
// It never blocks and never waits: Advance() does what can be done now, and says in `wants` what has to happen
// before it can do more. Called once too often, it does nothing.
class Lane {
 public:
  // What the lane waits for. Not being read when nothing of it is set, it is done or failed.
  struct Wants {
    bool readable = false;  // EPOLLIN at the source
    bool hangup = false;    // EPOLLRDHUP at the source, and nothing else: with EPOLLIN armed the relay would be
                            // woken for every redirected skb
    bool writable = false;  // EPOLLOUT at the destination
    bool tick = false;      // to be asked again soon: nothing wakes us when a backlog has drained
    bool relief = false;    // to be asked again some time: or when a receive buffer is overdrawn
  };

  enum class Failure : uint8_t { kNone, kSource, kDestination };

  // `answers` are of the other direction.
  Lane(int source, int destination, std::vector<uint8_t> head, LaneCounters& counters, const LaneCounters& answers)
      : source_(source), destination_(destination), outbox_(std::move(head)), counters_(counters), answers_(answers) {}
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // When to move into the kernel, where it may: at the first quiet moment, or once its traffic has shown that it is
  // made of messages.
  enum class Eagerness : uint8_t { kAtOnce, kIfItPays };

  // In the sockmap's books under that number; it may be promoted.
  void Admitted(uint32_t id, Eagerness eagerness) {
    id_ = id;
    eagerness_ = eagerness;
  }
  std::optional<uint32_t> id() const { return id_; }

  void Advance(Workshop& workshop);

  // The source's FIN has been seen. In the kernel nothing else tells that it is time to look.
  void HangUp() { hung_up_ = true; }

  // Ends the lane as if its source had sent FIN after what has arrived so far.
  void Close(Workshop& workshop);

  // Bytes from elsewhere, to go to the destination between those of the source. One call at a time: TakeInjected()
  // says when the destination has accepted them, or never will.
  void Inject(Workshop& workshop, std::vector<uint8_t> bytes);
  bool TakeInjected() { return std::exchange(injected_, false); }

  // Discards what still arrives after Close(), so that closing the socket does not reset what was delivered last.
  // True once the source has ended as well.
  bool Linger(Workshop& workshop);

  // Freezes the counters, gives back the pipe and the place in the sockmap.
  void Release(Workshop& workshop);

  const Wants& wants() const { return wants_; }
  LaneState state() const { return state_; }
  bool done() const { return state_ == LaneState::kDone; }
  bool ended_by_source() const { return eof_; }
  Failure failure() const { return failure_; }
  int error() const { return error_; }

  // How often it has asked to be asked again, with nothing achieved in between.
  uint32_t ticks = 0;

 private:
  enum class Moved { kAll, kBlocked, kFailed };
  enum class Got { kData, kShort, kQuiet, kEof, kFailed };

  void SetState(LaneState state);
  void Fail(Failure whose, int error);
  void Finish();

  // splice.cc: source → pipe → destination.
  void AdvancePipe(Workshop& workshop);
  bool Deliver(Workshop& workshop);
  Got ReadToPipe(Workshop& workshop);
  Got ReadByCopy(Workshop& workshop);
  void Quiet(Workshop& workshop);
  void Pause(const Workshop& workshop);
  int64_t Earned(const Workshop& workshop) const;
  bool WorthPromoting() const;
  Moved FlushPipe(Workshop& workshop);

  // spill.cc: what the program passed, and the way into and out of the kernel.
  bool Promote(Workshop& workshop);
  void AdvanceSpill(Workshop& workshop);
  void AdvanceDrain(Workshop& workshop);
  void Hold(Workshop& workshop);
  bool Broken(Workshop& workshop) const;
  bool CaughtUp(Workshop& workshop) const;
  bool Drained(Workshop& workshop);
  void Publish(Workshop& workshop);
  void PublishUnsentLimit(Workshop& workshop);
  bool BeginInjection(Workshop& workshop);
  void Relieve(Workshop& workshop);
  void Kick();

  // lane.cc: both.
  void Received(size_t length) {
    if (burst_ == 0) answered_before_burst_ = answers_.Moved();
    burst_ += length;
    closing_left_ -= length < closing_left_ ? length : closing_left_;
  }
  Moved Send(const uint8_t* bytes, size_t length, std::atomic<uint64_t>& counter);
  Moved FlushOutbox(std::atomic<uint64_t>& counter);
  // Moves `sent` towards `length`.
  Moved SendFrom(size_t& sent, const uint8_t* bytes, size_t length, std::atomic<uint64_t>& counter);
  void EndInjection();
  void WidenIfItMoves(Workshop& workshop);

  // Tunnels are many and most are idle: what is small stands together.
  const int source_;
  const int destination_;
  std::optional<uint32_t> id_;
  int error_ = 0;
  LaneState state_ = LaneState::kPipe;
  Wants wants_;
  Failure failure_ = Failure::kNone;
  Eagerness eagerness_ = Eagerness::kAtOnce;
  bool wide_ = false;           // its buffers are as large as they become
  bool bulk_ = false;           // the last read was large: splice the next one
  bool refused_ = false;        // the kernel will not have the source in the sockmap any more
  bool hung_up_ = false;        // the source's FIN has been seen
  bool kicked_ = false;         // everything that came before the FIN has had its verdict
  bool eof_ = false;            // and has been read: the source is finished
  bool closing_ = false;        // end at the next quiet moment, or when closing_left_ bytes more have come
  bool injecting_ = false;      // the outbox holds an injection
  bool injected_ = false;       // which is done, and nobody has asked yet
  bool batch_ordered_ = false;  // everything redirected before this batch has been written

  // Bytes that have left the source and not reached the destination: first those in memory, then those in the pipe.
  std::vector<uint8_t> outbox_;
  size_t outbox_sent_ = 0;
  std::optional<Pipe> pipe_;
  size_t pipe_bytes_ = 0;

  std::vector<uint8_t> injection_;  // waits for a moment when nothing is half sent
  size_t closing_left_ = 0;

  uint64_t burst_ = 0;                  // bytes since the last pause
  uint64_t answered_ = 0;               // what the other lane had moved at the last pause,
  uint64_t answered_before_burst_ = 0;  // and when the burst began
  Clock::time_point paused_at_{};
  int64_t credit_ = 0;  // how far the bursts speak for messages, see Pause()

  uint64_t written_before_ = 0;  // what the destination had written when we were promoted
  uint64_t consumed_ = 0;        // passed bytes delivered, as last published
  uint64_t injected_bytes_ = 0;  // since the promotion
  uint64_t batch_ = 0;           // spilled bytes received and not published yet

  uint64_t relieved_ = 0;     // bytes of the batch for which there was room where they were
  uint32_t segments_in_ = 0;  // what the source had received when it was last asked whether it drops what comes,
  uint64_t received_ = 0;     // and how many bytes of that it had taken

  LaneCounters& counters_;
  const LaneCounters& answers_;
};

#endif
