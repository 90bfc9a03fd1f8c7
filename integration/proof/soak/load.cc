// Both far ends of thousands of tunnels, in one process of its own: it talks to the proxies whose ports it is told on
// its standard input, and says on its standard output, a JSON object a line, what came of each tunnel.
//
//     load seed=1 tunnels=5000 seconds=150 at_once=200 hang=20 traffic=mixed
//
// Standard input: `proxy NAME HTTP_PORT PAIR_PORT` for each (0 0: no proxy, straight to the upstream), then `go`; later
// `opened ADDRESS` when a proxy has a tunnel, `sent` to be told how many bytes were, `begin` if all writing is held,
// and `resume` for those that stall. Each tunnel has a loopback address of its own, which both its far ends use: by
// that all sides know it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <queue>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "tunnel.h"

namespace {

struct Proxy {
  std::string name;
  int http_port;
  int pair_port;
};

struct Alarm {
  Time at;
  uint64_t tunnel;
  Side side;
  bool operator<(const Alarm& other) const { return at > other.at; }
};

std::map<std::string, std::string> arguments{{"seed", "1"},      {"tunnels", "5000"}, {"seconds", "150"},
                                             {"at_once", "200"}, {"hang", "20"},      {"traffic", "mixed"},
                                             {"write", "65536"}, {"held", "0"},       {"resets_allowed", "0"}};
std::vector<Proxy> proxies;
std::unordered_map<uint64_t, std::unique_ptr<Tunnel>> tunnels;
std::priority_queue<Alarm> alarms;
std::vector<uint64_t> finished;  // to be deleted when nobody is in the middle of them
uint64_t started = 0, done = 0, aborts = 0, failures = 0, bytes = 0;
Time give_up_at = -1;
bool going = false;
int epoll = -1;
int listener = -1;

// What epoll gives back: a tunnel's number and its side, or one of these.
constexpr uint64_t kInput = ~0ULL;
constexpr uint64_t kListener = ~0ULL - 1;

uint64_t Number(const char* name) { return strtoull(arguments.at(name).c_str(), nullptr, 10); }

[[noreturn]] void Die(const char* what) {
  perror(what);
  exit(2);
}

void Add(int fd, uint64_t tag, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) Die("epoll_ctl");
}

uint64_t TagOf(const End& end) { return end.tunnel.plan.index << 1 | static_cast<uint64_t>(end.side); }

sockaddr_in Address(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

void Listen() {
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // Nobody but this machine.
  if (setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) < 0) Die("SO_BINDTODEVICE");
  sockaddr_in address = Address("0.0.0.0", 0);
  socklen_t length = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) < 0 || listen(listener, 1024) < 0) Die("listen");
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  load::upstream_port = ntohs(address.sin_port);
  Add(listener, kListener, EPOLLIN);
  printf("{\"listening\":%d}\n", load::upstream_port);
}

void Start() {
  auto tunnel = std::make_unique<Tunnel>(
      MakePlan(arguments["traffic"], Number("write"), Number("seed"), started++, proxies.size()));
  const Proxy& proxy = proxies[tunnel->plan.proxy];
  if (proxy.http_port == 0) {
    // No proxy at all, for comparison.
    tunnel->plan.kind = Kind::kDirect;
    tunnel->opened = true;
  }
  const Plan& plan = tunnel->plan;
  End& client = tunnel->client;
  client.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (client.fd < 0) Die("socket");
  if (plan.receive_buffer[0] > 0) {
    setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &plan.receive_buffer[0], sizeof(int));
  }

  const sockaddr_in own = Address(tunnel->address(), 0);
  const sockaddr_in address = plan.kind == Kind::kDirect
                                  ? Address(tunnel->address(), load::upstream_port)
                                  : Address("127.0.0.1", plan.kind == Kind::kPair ? proxy.pair_port : proxy.http_port);
  if (bind(client.fd, reinterpret_cast<const sockaddr*>(&own), sizeof own) < 0) Die("bind");
  // Over loopback this does not wait for the proxy, only for room in its backlog.
  if (connect(client.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) Die("connect");
  fcntl(client.fd, F_SETFL, O_NONBLOCK);
  tunnels.emplace(plan.index, std::move(tunnel));
  Add(client.fd, TagOf(client), 0);
  client.Begin();
  client.Advance(0);
}

uint64_t IndexOf(uint32_t address) { return (ntohl(address) & 0xffffff) - (1 << 16); }

void Accept() {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    sockaddr_in address{};
    socklen_t length = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    const auto found = tunnels.find(IndexOf(address.sin_addr.s_addr));
    if (found == tunnels.end() || found->second->upstream.fd >= 0 || found->second->upstream.over) {
      fprintf(stderr, "a connection for no tunnel\n");
      exit(2);
    }
    Tunnel& tunnel = *found->second;
    End& upstream = tunnel.upstream;
    upstream.fd = fd;
    if (tunnel.plan.receive_buffer[1] > 0) {
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &tunnel.plan.receive_buffer[1], sizeof(int));
    }
    Add(fd, TagOf(upstream), 0);
    upstream.Begin();
    upstream.Advance(0);
  }
}

void Resume();

void Obey(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  words >> word;
  if (word == "proxy") {
    Proxy proxy;
    words >> proxy.name >> proxy.http_port >> proxy.pair_port;
    proxies.push_back(proxy);
  } else if (word == "begin") {
    load::begun = true;
    for (auto& [index, tunnel] : tunnels) {
      tunnel->client.Advance(0);
      tunnel->upstream.Advance(0);
    }
  } else if (word == "go") {
    going = true;
  } else if (word == "resume") {
    Resume();
  } else if (word == "sent") {
    uint64_t sent = 0;
    size_t opened = 0;
    for (const auto& [index, tunnel] : tunnels) {
      sent += tunnel->client.sent + tunnel->upstream.sent;
      if (tunnel->opened && tunnel->upstream.fd >= 0) ++opened;
    }
    printf("{\"sent\":%lu,\"opened\":%zu}\n", sent, opened);
  } else if (word == "opened") {
    std::string address;
    words >> address;
    const auto found = tunnels.find(IndexOf(Address(address, 0).sin_addr.s_addr));
    if (found == tunnels.end()) return;
    Tunnel& tunnel = *found->second;
    tunnel.opened = true;
    tunnel.progress = Now();
    tunnel.client.Advance(0);
    tunnel.upstream.Advance(0);
  }
}

void Resume() {
  load::resumed = true;
  for (auto& [index, tunnel] : tunnels) {
    for (const Side side : {Side::kClient, Side::kUpstream}) {
      tunnel->progress = Now();
      tunnel->plan.from[static_cast<size_t>(side)].length = tunnel->at(side).sent;
    }
  }
  for (auto& [index, tunnel] : tunnels) {
    tunnel->client.Advance(0);
    tunnel->upstream.Advance(0);
  }
}

// False once there is nothing more to come.
bool ReadInput() {
  static std::string input;
  char chunk[65536];
  const ssize_t length = read(0, chunk, sizeof chunk);
  if (length == 0) return false;
  if (length > 0) input.append(chunk, static_cast<size_t>(length));
  for (size_t end; (end = input.find('\n')) != std::string::npos; input.erase(0, end + 1)) {
    Obey(input.substr(0, end));
  }
  return true;
}

void FireAlarms() {
  const Time now = Now();
  while (!alarms.empty() && alarms.top().at <= now) {
    const Alarm alarm = alarms.top();
    alarms.pop();
    const auto found = tunnels.find(alarm.tunnel);
    if (found != tunnels.end()) found->second->at(alarm.side).Advance(0);
  }
}

void LookForHangs() {
  static Time next = 0;
  const Time now = Now();
  if (now < next) return;
  next = now + 500;
  const Time patience = static_cast<Time>(Number("hang")) * 1000;
  for (auto& [index, tunnel] : tunnels) {
    if (now - tunnel->progress > patience) tunnel->Fail("nothing has moved for " + arguments["hang"] + " s");
  }
}

void Bury() {
  for (const uint64_t index : finished) tunnels.erase(index);
  finished.clear();
}

}  // namespace

namespace load {

int upstream_port = 0;
bool begun = true;
bool resumed = false;
bool resets_allowed = false;

void Watch(End& end, uint32_t interest) {
  if (end.interest == interest) return;
  end.interest = interest;
  epoll_event event{};
  event.events = interest;
  event.data.u64 = TagOf(end);
  if (epoll_ctl(epoll, EPOLL_CTL_MOD, end.fd, &event) < 0) Die("epoll_ctl");
}

void WakeAt(End& end, Time at) { alarms.push({at, end.tunnel.plan.index, end.side}); }

static void Report(const char* verdict, Tunnel& tunnel, const std::string& what) {
  const Plan& plan = tunnel.plan;
  printf(
      "{\"%s\":\"%s\",\"proxy\":\"%s\",\"kind\":\"%s\",\"aborter\":\"%s\",\"reset\":%s,\"opened\":%s,\"sent\":[%lu,%lu]"
      ","
      "\"received\":[%lu,%lu],\"fin\":[%d,%d],\"eof\":[%d,%d],\"what\":\"%s\",\"plan\":\"%s\"}\n",
      verdict, tunnel.address().c_str(), proxies[plan.proxy].name.c_str(), NameOf(plan.kind),
      tunnel.aborted ? NameOf(plan.aborter) : "nobody", tunnel.reset ? "true" : "false",
      tunnel.opened ? "true" : "false", tunnel.client.sent, tunnel.upstream.sent, tunnel.client.received,
      tunnel.upstream.received, tunnel.client.fin, tunnel.upstream.fin, tunnel.client.eof, tunnel.upstream.eof,
      what.c_str(), *verdict == 'f' ? Describe(plan).c_str() : "");
}

void Over(Tunnel& tunnel) {
  ++done;
  if (tunnel.aborted) ++aborts;
  bytes += tunnel.client.received + tunnel.upstream.received;
  Report("done", tunnel, "");
  finished.push_back(tunnel.plan.index);
}

void Failed(Tunnel& tunnel, const std::string& what) {
  ++failures;
  Report("failed", tunnel, what);
  // Nothing new, and time for whoever wants to look at it.
  if (give_up_at < 0) give_up_at = Now() + 3000;
}

}  // namespace load

int main(int count, char** words) {
  for (int index = 1; index < count; ++index) {
    const std::string word = words[index];
    const size_t equals = word.find('=');
    if (equals == std::string::npos || arguments.count(word.substr(0, equals)) == 0) {
      fprintf(stderr, "unknown: %s\n", words[index]);
      return 2;
    }
    arguments[word.substr(0, equals)] = word.substr(equals + 1);
  }
  load::begun = Number("held") == 0;
  load::resets_allowed = Number("resets_allowed") != 0;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);

  epoll = epoll_create1(EPOLL_CLOEXEC);
  Listen();
  while (!going) {
    if (!ReadInput()) return 2;
  }
  fcntl(0, F_SETFL, O_NONBLOCK);
  Add(0, kInput, EPOLLIN);

  const Time begin = Now();
  const uint64_t most = Number("tunnels");
  const Time until = begin + static_cast<Time>(Number("seconds")) * 1000;
  epoll_event events[256];
  for (bool more = true; more || !tunnels.empty();) {
    more = started < most && Now() < until && failures == 0;
    // A few at a time, so that those that are there do not wait for those that come.
    for (int few = 0; more && few < 4 && tunnels.size() < Number("at_once"); ++few) {
      Start();
      more = started < most;
    }
    if (give_up_at >= 0 && Now() >= give_up_at) break;

    Time wait = more && tunnels.size() < Number("at_once") ? 0 : 500;
    if (!alarms.empty()) wait = std::max<Time>(0, std::min(wait, alarms.top().at - Now()));
    const int ready = epoll_wait(epoll, events, 256, static_cast<int>(wait));
    for (int index = 0; index < ready; ++index) {
      const uint64_t tag = events[index].data.u64;
      if (tag == kInput) {
        if (!ReadInput()) return 2;
      } else if (tag == kListener) {
        Accept();
      } else {
        const auto found = tunnels.find(tag >> 1);
        if (found != tunnels.end()) found->second->at(static_cast<Side>(tag & 1)).Advance(events[index].events);
      }
    }
    FireAlarms();
    LookForHangs();
    Bury();
  }

  printf("{\"tunnels\":%lu,\"aborts\":%lu,\"failures\":%lu,\"bytes\":%lu,\"milliseconds\":%ld}\n", done, aborts,
         failures, bytes, static_cast<long>(Now() - begin));
  return failures == 0 ? 0 : 1;
}
