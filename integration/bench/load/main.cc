// The load of the benchmarks, on both sides of a proxy:
//
//   load upstream PORT                serves tunnels
//   load burn                         keeps a processor busy
//   load MODE --upstream PORT ...     is the client; prints one line of JSON
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "client.h"
#include "fail.h"
#include "pattern.h"
#include "upstream.h"

uint64_t Nanoseconds(double seconds) { return static_cast<uint64_t>(seconds * kSecond); }

void RunLoad(Loop& loop, const Options& options, Measurement& measurement) {
  loop.RunUntil(Now() + Nanoseconds(options.warmup));
  measurement.Begin();
  loop.RunUntil(Now() + Nanoseconds(options.seconds));
  measurement.End();
}

namespace {

Access AccessNamed(const std::string& name) {
  if (name == "raw") return Access::kRaw;
  if (name == "upgrade") return Access::kUpgrade;
  if (name == "connect") return Access::kConnect;
  Refuse("--access is raw, upgrade or connect");
}

Options Parse(int count, char** words) {
  Options options;
  options.mode = words[1];
  for (int index = 2; index < count; index += 2) {
    const std::string name = words[index];
    if (index + 1 == count) Refuse("an option without a value");
    const std::string value = words[index + 1];
    if (name == "--access")
      options.route.access = AccessNamed(value);
    else if (name == "--proxy")
      options.route.proxy = static_cast<uint16_t>(atoi(value.c_str()));
    else if (name == "--upstream")
      options.route.upstream = static_cast<uint16_t>(atoi(value.c_str()));
    else if (name == "--watch")
      options.watch = atoi(value.c_str());
    else if (name == "--tunnels")
      options.tunnels = strtoull(value.c_str(), nullptr, 10);
    else if (name == "--size")
      options.size = static_cast<uint32_t>(strtoul(value.c_str(), nullptr, 10));
    else if (name == "--seconds")
      options.seconds = atof(value.c_str());
    else if (name == "--warmup")
      options.warmup = atof(value.c_str());
    else if (name == "--pause")
      options.pause = atof(value.c_str());
    else if (name == "--hold")
      options.hold = atof(value.c_str());
    else if (name == "--rate")
      options.rate = atof(value.c_str());
    else if (name == "--direction")
      options.up = value != "down", options.down = value != "up";
    else
      Refuse(("unknown option " + name).c_str());
  }
  if (options.route.upstream == 0) Refuse("--upstream is missing");
  if (options.route.proxy == 0) options.route.proxy = options.route.upstream;
  return options;
}

[[noreturn]] void Burn() {
  for (;;) asm volatile("");
}

}  // namespace

int main(int count, char** words) {
  const std::map<std::string, void (*)(const Options&, Measurement&)> modes = {
      {"echo", Echo},   {"pace", Pace}, {"fanout", FanOut},   {"bulk", Bulk},
      {"setup", SetUp}, {"idle", Idle}, {"stalled", Stalled},
  };
  const std::string mode = count > 1 ? words[1] : "";
  if (mode == "upstream" && count == 3) RunUpstream(static_cast<uint16_t>(atoi(words[2])));
  if (mode == "burn") Burn();
  const auto found = modes.find(mode);
  if (found == modes.end()) Refuse("what? upstream PORT, burn, echo, pace, fanout, bulk, setup, idle or stalled");

  const Options options = Parse(count, words);
  Pattern::At(0);
  Measurement measurement(options);
  found->second(options, measurement);
  measurement.Print();
  // Whatever is still open ends with the process.
  fflush(stdout);
  _Exit(0);
}
