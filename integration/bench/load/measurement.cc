#include "measurement.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>

#include "fail.h"
#include "socket.h"

namespace {

uint64_t OwnCpu() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

double Seconds(uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / kSecond; }

double Microseconds(double nanoseconds) { return nanoseconds / 1000; }

void PrintMemory(const char* name, const Usage& usage) {
  printf(",\"%s\":{\"rss\":%lu,\"descriptors\":%lu,\"slab\":%lu,\"sockets\":%lu,\"available\":%lu}", name, usage.rss,
         usage.descriptors, usage.slab, usage.sockets, usage.available);
}

}  // namespace

Measurement::Measurement(const Options& options)
    : options_(options), upstream_(Connect(options.route.upstream)), idle_(Measure(options.watch)) {}

Measurement::~Measurement() { close(upstream_); }

Report Measurement::AskUpstream() {
  Order order{};
  order.kind = Order::kReport;
  Report report;
  pollfd wait{.fd = upstream_, .events = POLLOUT, .revents = 0};
  poll(&wait, 1, 1000);
  SendAll(upstream_, &order, sizeof order);
  for (size_t filled = 0; filled < sizeof report;) {
    wait.events = POLLIN;
    if (poll(&wait, 1, 10'000) <= 0) Refuse("the upstream does not report");
    const ssize_t received = Receive(upstream_, reinterpret_cast<char*>(&report) + filled, sizeof report - filled);
    if (received == kGone) Refuse("the upstream is gone");
    if (received > 0) filled += static_cast<size_t>(received);
  }
  return report;
}

void Measurement::Begin() {
  reported_before_ = AskUpstream();
  latency.Clear();
  messages = received = 0;
  cpu_before_ = OwnCpu();
  before_ = Measure(options_.watch);
}

void Measurement::End() {
  after_ = Measure(options_.watch);
  cpu_after_ = OwnCpu();
  reported_after_ = AskUpstream();
  corrupt += reported_after_.corrupt;
}

void Measurement::Print() const {
  const double seconds = Seconds(after_.time - before_.time);
  const uint64_t upstream = reported_after_.received - reported_before_.received;
  printf("{\"mode\":\"%s\",\"tunnels\":%zu,\"size\":%u,\"seconds\":%.4f", options_.mode.c_str(), options_.tunnels,
         options_.size, seconds);
  printf(",\"messages\":%lu,\"rate\":%.1f,\"bytes\":%lu,\"bytesPerSecond\":%.0f,\"corrupt\":%lu", messages,
         static_cast<double>(messages) / seconds, received + upstream,
         static_cast<double>(received + upstream) / seconds, corrupt);
  printf(",\"latency\":{\"count\":%lu,\"mean\":%.2f,\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f}",
         latency.Count(), Microseconds(latency.Mean()), Microseconds(static_cast<double>(latency.Quantile(0.5))),
         Microseconds(static_cast<double>(latency.Quantile(0.9))),
         Microseconds(static_cast<double>(latency.Quantile(0.99))),
         Microseconds(static_cast<double>(latency.Quantile(0.999))), Microseconds(static_cast<double>(latency.Max())));
  // Idle time is counted in ticks: of a moment in which nothing was done, there can be more than the moment had.
  const uint64_t machine = after_.machine > before_.machine ? after_.machine - before_.machine : 0;
  printf(",\"cpu\":{\"proxy\":%.6f,\"machine\":%.6f,\"client\":%.6f,\"upstream\":%.6f,\"stolen\":%.3f}",
         Seconds(after_.process - before_.process), Seconds(machine), Seconds(cpu_after_ - cpu_before_),
         Seconds(reported_after_.cpu - reported_before_.cpu), Seconds(after_.stolen - before_.stolen));
  printf(",\"switches\":{\"voluntary\":%lu,\"involuntary\":%lu}", after_.voluntary - before_.voluntary,
         after_.involuntary - before_.involuntary);
  PrintMemory("idle", idle_);
  PrintMemory("loaded", after_);
  printf("}\n");
}
