#ifndef HTTP_PROXY_SOCKMAP_RELAY_H
#define HTTP_PROXY_SOCKMAP_RELAY_H

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fd.h"
#include "sockmap.h"
#include "tunnel.h"

// kAuto has the maps of kSockmap, and moves a lane into the kernel once that is known to pay.
enum class Engine : uint8_t { kAuto, kSockmap, kSplice };

// One thread, one epoll: everything that happens to tunnels happens here, and nothing of it touches JavaScript's
// thread. Commands go in through a queue, events come out through another.
class Relay {
 public:
  struct Event {
    enum class Type : uint8_t { kHalfClose, kWritten, kClose } type;
    uint32_t id;
    End end;  // of a half-close; that was written to
    Tunnel::Ending ending;
    std::optional<End> ended_by;
    int error;
    TcpSummary summaries[2];
  };

  // With `pins`, the sockmap engine uses the set of maps that was pinned in that directory, and makes one of its own
  // for `capacity` tunnels otherwise. `notify` is called on the relay's thread when there are events and there were
  // none before.
  Relay(uint32_t capacity, std::string pins, std::function<void()> notify);
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;
  ~Relay();

  struct Socket {
    int fd;  // borrowed: the relay works on a duplicate
    std::vector<uint8_t> head;
  };

  // From its return on the relay owns the traffic. Throws KernelError, and nothing has changed then.
  // Always called from the same thread, as the four below.
  std::pair<uint32_t, std::shared_ptr<TunnelCounters>> Add(Engine engine, Socket client, Socket upstream,
                                                           Tunnel::Limits limits = {});
  // With `linger`, peers are given time to answer the FIN.
  void Close(uint32_t id, bool linger) {
    Say({linger ? Command::Kind::kClose : Command::Kind::kFinish, id, nullptr, End::kClient, {}});
  }
  void Reset(uint32_t id) { Say({Command::Kind::kReset, id, nullptr, End::kClient, {}}); }
  // Bytes to one end, between those of the other. One call at a time for each end: kWritten says when.
  void Write(uint32_t id, End to, std::vector<uint8_t> bytes) {
    Say({Command::Kind::kWrite, id, nullptr, to, std::move(bytes)});
  }
  std::vector<Event> TakeEvents();

  // Ends the thread. What is left is reset, or let go as if the process had ended.
  enum class Leftovers { kReset, kAbandon };
  void Stop(Leftovers leftovers);

 private:
  struct Command {
    enum class Kind : uint8_t { kAdd, kClose, kFinish, kReset, kWrite, kStop } kind;
    uint32_t id;
    std::unique_ptr<Tunnel> tunnel;
    End to;
    std::vector<uint8_t> bytes;
  };

  void Admit(Tunnel& tunnel, int client, int upstream, Lane::Eagerness eagerness);
  void Say(Command command);
  void Run();
  void Obey(std::vector<Command> commands);
  void Start(std::unique_ptr<Tunnel> tunnel);
  // Does something with a tunnel, which may be gone afterwards.
  template <typename Work>
  void Attend(Tunnel& tunnel, Work work);
  // Carries out what a tunnel wants after it was advanced: interest, alarm, events, and its end.
  void Settle(Tunnel& tunnel);
  void Watch(Tunnel& tunnel, End end);
  void Wake(Tunnel& tunnel, std::optional<Clock::time_point> alarm);
  void Tell(Event event);
  int Wait(struct epoll_event* events, int most);
  void FindSockmap();
  void HearWakeups();
  void Note(uint32_t lane, uint32_t tunnel);
  uint32_t TunnelOf(uint32_t lane) const;
  void FireAlarms();

  const uint32_t capacity_;
  const std::string pins_;
  const std::function<void()> notify_;
  Fd epoll_;
  Fd bell_;                           // an eventfd: rung when there is a command
  std::unique_ptr<Sockmap> sockmap_;  // made when it is first needed
  uint32_t last_id_ = 0;

  std::mutex mutex_;  // guards the two queues, and the making of sockmap_
  std::vector<Command> commands_;
  std::vector<Event> events_;

  // The thread's own.
  Workshop workshop_;
  std::unordered_map<uint32_t, std::unique_ptr<Tunnel>> tunnels_;
  std::vector<uint32_t> tunnel_of_lane_;  // from our first lane on; 0 is none
  std::set<std::pair<Clock::time_point, uint32_t>> alarms_;
  bool stopping_ = false;
  Leftovers leftovers_ = Leftovers::kReset;
  std::thread thread_;
};

#endif
