#include "relay.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "insist.h"
#include "kernel_error.h"
#include "without_signals.h"

namespace {

// What epoll gives back: a tunnel's number and its end, or one of these two. Tunnels are numbered from 1.
constexpr uint64_t kBell = 0;
constexpr uint64_t kWakeups = 1;
constexpr int kEvents = 256;

constexpr const char* kRegister = "watch the sockets";

uint64_t Tag(uint32_t id, End end) { return uint64_t{id} << 1 | static_cast<uint64_t>(end); }

void AddToEpoll(int epoll, int fd, uint32_t events, uint64_t tag, const char* step) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  Check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), step, "epoll_ctl");
}

}  // namespace

Relay::Relay(uint32_t capacity, std::string pins, std::function<void()> notify)
    : capacity_(capacity),
      pins_(std::move(pins)),
      notify_(std::move(notify)),
      epoll_(Check(epoll_create1(EPOLL_CLOEXEC), "start the relay", "epoll_create1")),
      bell_(Check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "start the relay", "eventfd")) {
  AddToEpoll(epoll_.get(), bell_.get(), EPOLLIN, kBell, "start the relay");
}

Relay::~Relay() { Stop(Leftovers::kAbandon); }

std::pair<uint32_t, std::shared_ptr<TunnelCounters>> Relay::Add(Engine engine, Socket client, Socket upstream,
                                                                Tunnel::Limits limits) {
  const char* step = "duplicate the sockets";
  Fd client_fd(Check(fcntl(client.fd, F_DUPFD_CLOEXEC, 3), step, "fcntl"));
  Fd upstream_fd(Check(fcntl(upstream.fd, F_DUPFD_CLOEXEC, 3), step, "fcntl"));
  const int client_number = client_fd.get();
  const int upstream_number = upstream_fd.get();

  auto tunnel = std::make_unique<Tunnel>(++last_id_, std::move(client_fd), std::move(client.head),
                                         std::move(upstream_fd), std::move(upstream.head), limits);
  if (engine != Engine::kSplice) {
    Admit(*tunnel, client_number, upstream_number,
          engine == Engine::kSockmap ? Lane::Eagerness::kAtOnce : Lane::Eagerness::kIfItPays);
  }
  try {
    // What can be refused is asked for here, where it can be undone. Reported once at the most, and to nobody, until
    // the thread says what it wants to hear of.
    AddToEpoll(epoll_.get(), client_number, EPOLLONESHOT, Tag(tunnel->id, End::kClient), kRegister);
    AddToEpoll(epoll_.get(), upstream_number, EPOLLONESHOT, Tag(tunnel->id, End::kUpstream), kRegister);
  } catch (const KernelError&) {
    // Node's descriptors would keep it there.
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, client_number, nullptr);
    for (const End end : {End::kClient, End::kUpstream}) {
      if (tunnel->From(end).id()) sockmap_->Release(*tunnel->From(end).id());
    }
    throw;
  }

  if (!thread_.joinable()) {
    // Signals are Node's business, and the thread inherits that.
    const WithoutSignals without_signals;
    thread_ = std::thread(&Relay::Run, this);
    pthread_setname_np(thread_.native_handle(), "sockmap-relay");
  }

  BoundBuffers(client_number, upstream_number, false);
  BoundBuffers(upstream_number, client_number, false);
  // Until everything is delivered, see Tunnel::Conclude.
  ResetOnClose(client_number, true);
  ResetOnClose(upstream_number, true);
  const uint32_t id = tunnel->id;
  auto counters = tunnel->counters();
  Say({Command::Kind::kAdd, id, std::move(tunnel), End::kClient, {}});
  return {id, std::move(counters)};
}

void Relay::Admit(Tunnel& tunnel, int client, int upstream, Lane::Eagerness eagerness) {
  if (!sockmap_) {
    auto sockmap = std::make_unique<Sockmap>(pins_.empty() ? Maps::Create(capacity_) : Maps::Open(pins_));
    AddToEpoll(epoll_.get(), sockmap->wakeups().fd(), EPOLLIN, kWakeups, kRegister);
    // The thread may be starting a tunnel of another engine.
    const std::lock_guard<std::mutex> lock(mutex_);
    sockmap_ = std::move(sockmap);
  }

  const uint32_t there = sockmap_->Admit(client, upstream);
  try {
    const uint32_t back = sockmap_->Admit(upstream, client);
    sockmap_->FlowOf(there).reverse = back;
    sockmap_->FlowOf(back).reverse = there;
    tunnel.From(End::kUpstream).Admitted(back, eagerness);
  } catch (const KernelError&) {
    sockmap_->Release(there);
    throw;
  }
  tunnel.From(End::kClient).Admitted(there, eagerness);
}

void Relay::Stop(Leftovers leftovers) {
  if (!thread_.joinable()) return;
  leftovers_ = leftovers;
  Say({Command::Kind::kStop, 0, nullptr, End::kClient, {}});
  thread_.join();
}

std::vector<Relay::Event> Relay::TakeEvents() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(events_, {});
}

void Relay::Say(Command command) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    commands_.push_back(std::move(command));
    if (commands_.size() > 1) return;  // the bell has been rung
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(bell_.get(), &one, sizeof one);
}

void Relay::Tell(Event event) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    Insist([&] { events_.push_back(event); });
    if (events_.size() > 1) return;
  }
  notify_();
}

template <typename Work>
void Relay::Attend(Tunnel& tunnel, Work work) {
  try {
    work(tunnel);
  } catch (const std::bad_alloc&) {
    // Its bytes cannot be kept, so its ends must not believe that they were delivered.
    tunnel.Reset(std::nullopt, ENOMEM);
  }
  Settle(tunnel);
}

void Relay::Run() {
  epoll_event events[kEvents];
  while (!stopping_) {
    const int ready = Wait(events, kEvents);
    workshop_.ready = ready;
    workshop_.tunnels = tunnels_.size();
    for (int index = 0; index < ready; ++index) {
      const uint64_t tag = events[index].data.u64;
      if (tag == kBell) {
        uint64_t rings;
        [[maybe_unused]] const ssize_t length = read(bell_.get(), &rings, sizeof rings);
        std::vector<Command> commands;
        {
          const std::lock_guard<std::mutex> lock(mutex_);
          commands.swap(commands_);
        }
        Obey(std::move(commands));
        continue;
      }
      if (tag == kWakeups) {
        HearWakeups();
        continue;
      }

      // It may have ended a moment ago, because of its other end.
      const auto found = tunnels_.find(static_cast<uint32_t>(tag >> 1));
      if (found == tunnels_.end()) continue;
      Attend(*found->second,
             [&](Tunnel& tunnel) { tunnel.Handle(static_cast<End>(tag & 1), events[index].events, workshop_); });
    }
    FireAlarms();
  }

  for (auto& [id, tunnel] : tunnels_) {
    if (leftovers_ == Leftovers::kReset) tunnel->Reset(std::nullopt, 0);
    tunnel->Release(workshop_);
  }
  tunnels_.clear();
}

int Relay::Wait(epoll_event* events, int most) {
  if (alarms_.empty()) return epoll_wait(epoll_.get(), events, most, -1);

  const auto left = std::max(alarms_.begin()->first - Clock::now(), Clock::duration::zero());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  timespec timeout{seconds.count(), static_cast<long>((left - seconds).count())};
  const long ready = syscall(SYS_epoll_pwait2, epoll_.get(), events, most, &timeout, nullptr, 0);
  if (ready >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(ready);

  // Before Linux 5.11, and where a sandbox does not know the call.
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return epoll_wait(epoll_.get(), events, most, static_cast<int>(milliseconds));
}

void Relay::Obey(std::vector<Command> commands) {
  for (Command& command : commands) {
    if (command.kind == Command::Kind::kStop) {
      stopping_ = true;
      continue;
    }
    if (command.kind == Command::Kind::kAdd) {
      Start(std::move(command.tunnel));
      continue;
    }

    // Its `close` may be on its way to JavaScript.
    const auto found = tunnels_.find(command.id);
    if (found == tunnels_.end()) continue;
    Attend(*found->second, [&](Tunnel& tunnel) {
      if (command.kind == Command::Kind::kClose) tunnel.Close(workshop_, Tunnel::Ending::kClosed, kLinger);
      if (command.kind == Command::Kind::kFinish) tunnel.Close(workshop_, Tunnel::Ending::kClosed, {});
      if (command.kind == Command::Kind::kReset) tunnel.Reset(std::nullopt, 0);
      if (command.kind == Command::Kind::kWrite) tunnel.Write(workshop_, command.to, std::move(command.bytes));
    });
  }
}

void Relay::Start(std::unique_ptr<Tunnel> owned) {
  Tunnel& tunnel = *owned;
  Insist([&] { tunnels_[tunnel.id]; });
  tunnels_[tunnel.id] = std::move(owned);
  FindSockmap();
  for (const End end : {End::kClient, End::kUpstream}) {
    if (tunnel.From(end).id()) Note(*tunnel.From(end).id(), tunnel.id);
  }

  Attend(tunnel, [this](Tunnel& owned) { owned.Advance(workshop_); });
}

void Relay::FindSockmap() {
  if (workshop_.sockmap != nullptr) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  workshop_.sockmap = sockmap_.get();
}

void Relay::HearWakeups() {
  // A pinned ring can hold what somebody else has left, before we have a lane.
  FindSockmap();
  if (workshop_.sockmap == nullptr) return;
  workshop_.sockmap->wakeups().Consume([this](uint32_t lane) {
    const auto found = tunnels_.find(TunnelOf(lane));
    if (found == tunnels_.end()) return;
    Attend(*found->second, [this](Tunnel& tunnel) { tunnel.Advance(workshop_); });
  });
}

void Relay::Note(uint32_t lane, uint32_t tunnel) {
  const size_t index = lane - workshop_.sockmap->first_lane();
  // Lanes are taken from the first one on.
  if (index >= tunnel_of_lane_.size()) Insist([&] { tunnel_of_lane_.resize(index + 1); });
  tunnel_of_lane_[index] = tunnel;
}

uint32_t Relay::TunnelOf(uint32_t lane) const {
  const size_t index = lane - workshop_.sockmap->first_lane();
  return index < tunnel_of_lane_.size() ? tunnel_of_lane_[index] : 0;
}

void Relay::FireAlarms() {
  if (alarms_.empty()) return;
  const Clock::time_point now = Clock::now();
  std::vector<uint32_t> due;
  while (!alarms_.empty() && alarms_.begin()->first <= now) {
    Insist([&] { due.push_back(alarms_.begin()->second); });
    alarms_.erase(alarms_.begin());
  }
  for (const uint32_t id : due) {
    Tunnel& tunnel = *tunnels_.at(id);
    tunnel.alarm.reset();
    Attend(tunnel, [this, now](Tunnel& due_now) { due_now.Tick(workshop_, now); });
  }
}

void Relay::Settle(Tunnel& tunnel) {
  for (const End end : {End::kClient, End::kUpstream}) {
    if (tunnel.TakeHalfClose(end)) {
      Tell({Event::Type::kHalfClose, tunnel.id, end, Tunnel::Ending::kNone, std::nullopt, 0, {}});
    }
    if (tunnel.TakeWritten(end)) {
      Tell({Event::Type::kWritten, tunnel.id, end, Tunnel::Ending::kNone, std::nullopt, 0, {}});
    }
  }

  if (tunnel.ending() == Tunnel::Ending::kNone) {
    Watch(tunnel, End::kClient);
    Watch(tunnel, End::kUpstream);
    Wake(tunnel, tunnel.Alarm());
    return;
  }

  Wake(tunnel, std::nullopt);
  for (const End end : {End::kClient, End::kUpstream}) {
    // Closing a duplicate does not take it out of epoll as long as Node holds the other.
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, tunnel.fd(end), nullptr);
    if (tunnel.From(end).id()) Note(*tunnel.From(end).id(), 0);
  }
  const Event close{Event::Type::kClose,
                    tunnel.id,
                    End::kClient,
                    tunnel.ending(),
                    tunnel.ended_by(),
                    tunnel.error(),
                    {tunnel.Summary(End::kClient), tunnel.Summary(End::kUpstream)}};
  tunnel.Release(workshop_);
  Tell(close);
  tunnels_.erase(tunnel.id);
}

void Relay::Watch(Tunnel& tunnel, End end) {
  std::optional<uint32_t>& watched = tunnel.watched[static_cast<size_t>(end)];
  const uint32_t interest = tunnel.InterestIn(end);
  if (watched == interest) return;
  watched = interest;

  epoll_event event{};
  event.events = interest;
  event.data.u64 = Tag(tunnel.id, end);
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, tunnel.fd(end), &event);
}

void Relay::Wake(Tunnel& tunnel, std::optional<Clock::time_point> alarm) {
  // The earlier one stays: events of the other lane must not put it off for ever.
  if (tunnel.alarm == alarm || (tunnel.alarm && alarm && *tunnel.alarm < *alarm)) return;
  if (tunnel.alarm) alarms_.erase({*tunnel.alarm, tunnel.id});
  if (alarm) Insist([&] { alarms_.emplace(*alarm, tunnel.id); });
  tunnel.alarm = alarm;
}
