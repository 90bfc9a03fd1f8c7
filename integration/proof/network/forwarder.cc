// A cable in user space: two TUN devices, each in a network namespace of its own, and between them everything that can
// happen to a packet on its way. It says `ready` when both devices are there, goes on until its standard input ends,
// and says then what it did.
//
// forwarder NAMESPACE DEVICE NAMESPACE DEVICE [WORD=NUMBER]...

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <queue>
#include <random>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// Times are milliseconds, chances are in a thousand.
std::map<std::string, double> options = {
    {"delay", 0},
    {"jitter", 0},   // more than the delay, at random, in order
    {"reorder", 0},  // goes ahead of those that are under way
    {"duplicate", 0},
    {"loss", 0},
    {"corrupt", 0},    // one byte is changed
    {"overlap", 0},    // repeats the last bytes of the segment before, as a sender does whose segments have become
                       // shorter
    {"least", 0},      // bytes that a segment must have for that
    {"rate", 0},       // bytes a second; 0 is as many as will
    {"queue", 65536},  // bytes that wait for their turn; more are lost
    {"seed", 1},
};

struct Counts {
  unsigned packets = 0, reordered = 0, duplicated = 0, lost = 0, corrupted = 0, overlapped = 0, overflowed = 0;
  unsigned fins = 0;  // of those that were overlapped: nothing else in them was new
} counts;

struct Packet {
  Clock::time_point due;
  uint64_t number;  // Those that are due at the same time stay in order.
  std::vector<uint8_t> bytes;
  bool operator<(const Packet& other) const {
    return std::tie(other.due, other.number) < std::tie(due, number);  // The queue has the largest first.
  }
};

std::mt19937 generator;

bool Happens(const char* what) { return std::uniform_real_distribution<>(0, 1000)(generator) < options[what]; }

microseconds Milliseconds(double number) { return microseconds(static_cast<int64_t>(number * 1000)); }

[[noreturn]] void Fail(const char* what) {
  perror(what);
  exit(1);
}

// The segments of one direction, to make them overlap.
class Segments {
 public:
  // Puts the end of the segment before in front of one that follows it. Returns whether it did.
  bool Extend(std::vector<uint8_t>& packet, bool wanted) {
    const size_t ip = packet[0] >> 4 == 4 ? (packet[0] & 15) * 4 : 40;
    const bool tcp = packet.size() >= ip + 20 && (ip == 40 ? packet[6] : packet[9]) == IPPROTO_TCP;
    if (!tcp) return false;
    const size_t header = ip + (packet[ip + 12] >> 4) * 4;
    const bool fin = packet[ip + 13] & 1;
    if (header >= packet.size() && !fin) return false;
    // The addresses are always the same.
    auto& last = last_[Load(&packet[ip])];
    const uint32_t sequence = Load(&packet[ip + 4]);
    std::vector<uint8_t> payload(packet.begin() + header, packet.end());
    bool extended = false;
    if (wanted && payload.size() >= options["least"] && sequence == last.next && !last.payload.empty()) {
      const size_t length = std::uniform_int_distribution<size_t>(1, last.payload.size())(generator);
      packet.insert(packet.begin() + header, last.payload.end() - length, last.payload.end());
      Store(&packet[ip + 4], sequence - length);
      Seal(packet, ip);
      extended = true;
      counts.fins += payload.empty();
    }
    last.next = sequence + payload.size();
    last.payload = std::move(payload);
    return extended;
  }

 private:
  struct Last {
    uint32_t next = 0;
    std::vector<uint8_t> payload;
  };

  static uint32_t Load(const uint8_t* at) {
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return ntohl(number);
  }

  static void Store(uint8_t* at, uint32_t number) {
    number = htonl(number);
    memcpy(at, &number, sizeof number);
  }

  // Lengths and checksums.
  static void Seal(std::vector<uint8_t>& packet, size_t ip) {
    const size_t tcp = packet.size() - ip;
    const bool four = packet[0] >> 4 == 4;
    Store16(&packet[four ? 2 : 4], four ? packet.size() : tcp);
    if (four) {
      Store16(&packet[10], 0);
      Store16(&packet[10], ~Fold(Sum(packet.data(), ip)));
    }
    Store16(&packet[ip + 16], 0);
    const size_t addresses = four ? 12 : 8;
    Store16(&packet[ip + 16],
            ~Fold(Sum(&packet[addresses], four ? 2 * 4 : 2 * 16) + IPPROTO_TCP + tcp + Sum(&packet[ip], tcp)));
  }

  static void Store16(uint8_t* at, uint32_t number) {
    at[0] = static_cast<uint8_t>(number >> 8);
    at[1] = static_cast<uint8_t>(number);
  }

  static uint64_t Sum(const uint8_t* bytes, size_t length) {
    uint64_t sum = 0;
    for (size_t index = 0; index < length; ++index) sum += index % 2 ? bytes[index] : bytes[index] << 8;
    return sum;
  }

  static uint32_t Fold(uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint32_t>(sum);
  }

  std::map<uint32_t, Last> last_;  // by both ports
};

class Direction {
 public:
  Direction(int from, int to) : from_(from), to_(to) {}

  void Take() {
    uint8_t buffer[65536];
    for (ssize_t length; (length = read(from_, buffer, sizeof buffer)) > 0;) {
      counts.packets++;
      std::vector<uint8_t> bytes(buffer, buffer + length);
      if (Happens("loss")) {
        counts.lost++;
        continue;
      }
      if (segments_.Extend(bytes, Happens("overlap"))) counts.overlapped++;
      if (Happens("corrupt")) {
        counts.corrupted++;
        bytes[std::uniform_int_distribution<size_t>(0, bytes.size() - 1)(generator)] ^= 0x55;
      }
      if (Happens("duplicate")) {
        counts.duplicated++;
        Queue(bytes);
      }
      Queue(std::move(bytes));
    }
  }

  void Deliver() {
    while (!queue_.empty() && queue_.top().due <= Clock::now()) {
      const auto& bytes = queue_.top().bytes;
      // The kernel refuses what is no packet any more, and takes nothing while the device is down. A cable would not
      // mind.
      if (write(to_, bytes.data(), bytes.size()) < 0) counts.lost++;
      queue_.pop();
    }
  }

  // When Deliver() has something to do.
  bool Waits() const { return !queue_.empty(); }
  Clock::time_point Due() const { return queue_.top().due; }

  int from() const { return from_; }

 private:
  void Queue(std::vector<uint8_t> bytes) {
    auto now = Clock::now();
    if (auto rate = options["rate"]; rate > 0) {
      free_ = std::max(free_, now);
      if ((free_ - now).count() / 1e9 * rate > options["queue"]) {
        counts.overflowed++;
        return;
      }
      free_ += microseconds(static_cast<int64_t>(bytes.size() / rate * 1e6));
      now = free_;
    }
    auto due = now + Milliseconds(options["delay"]);
    if (Happens("reorder")) {
      counts.reordered += !queue_.empty();
      due = now;
    } else {
      due += Milliseconds(options["jitter"] * std::uniform_real_distribution<>(0, 1)(generator));
      due = last_ = std::max(last_, due);
    }
    queue_.push({due, number_++, std::move(bytes)});
  }

  const int from_, to_;
  std::priority_queue<Packet> queue_;
  Segments segments_;
  uint64_t number_ = 0;
  Clock::time_point last_, free_;
};

// A TUN device is made in the namespace of whoever opens it, and can be used from any.
int Open(const std::string& name, const char* device) {
  int there = open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC);
  if (there < 0 || setns(there, CLONE_NEWNET) < 0) Fail(name.c_str());
  close(there);
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0) Fail("/dev/net/tun");
  ifreq request = {};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  strncpy(request.ifr_name, device, sizeof request.ifr_name - 1);
  if (ioctl(tun, TUNSETIFF, &request) < 0) Fail("TUNSETIFF");
  return tun;
}

}  // namespace

int main(int count, char** words) {
  if (count < 5) return 2;
  for (auto word = words + 5; word < words + count; word++) {
    std::string text = *word;
    auto equals = text.find('=');
    if (equals == std::string::npos || !options.count(text.substr(0, equals))) return 2;
    options[text.substr(0, equals)] = atof(text.c_str() + equals + 1);
  }
  generator.seed(static_cast<unsigned>(options["seed"]));

  int one = Open(words[1], words[2]), other = Open(words[3], words[4]);
  Direction directions[] = {{one, other}, {other, one}};
  puts("ready");
  fflush(stdout);

  for (;;) {
    auto due = Clock::time_point::max();
    for (auto& direction : directions) {
      if (direction.Waits()) due = std::min(due, direction.Due());
    }
    timespec rest = {}, *patience = nullptr;
    if (due != Clock::time_point::max()) {
      auto wait = std::max<int64_t>(0, std::chrono::nanoseconds(due - Clock::now()).count());
      rest = {wait / 1'000'000'000, wait % 1'000'000'000};
      patience = &rest;
    }
    pollfd watched[] = {{one, POLLIN, 0}, {other, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    if (ppoll(watched, 3, patience, nullptr) < 0) Fail("ppoll");
    if (watched[2].revents) break;
    for (auto& direction : directions) {
      direction.Take();
      direction.Deliver();
    }
  }

  printf(
      "{\"packets\": %u, \"reordered\": %u, \"duplicated\": %u, \"lost\": %u, \"corrupted\": %u, \"overlapped\": %u, "
      "\"overflowed\": %u, \"fins\": %u}\n",
      counts.packets, counts.reordered, counts.duplicated, counts.lost, counts.corrupted, counts.overlapped,
      counts.overflowed, counts.fins);
}
