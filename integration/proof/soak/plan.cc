#include "plan.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "pattern.h"

uint64_t Random::Logarithmic(double low, double high) {
  return static_cast<uint64_t>(std::llround(low * std::pow(high / low, Fraction())));
}

namespace {

constexpr uint64_t kKilobyte = 1024;
constexpr uint64_t kMegabyte = 1024 * 1024;

uint64_t Length(Random& random) {
  const double dice = random.Fraction();
  if (dice < 0.08) return 0;
  if (dice < 0.80) return random.Logarithmic(1, 256 * kKilobyte);
  if (dice < 0.96) return random.Logarithmic(256 * kKilobyte, 4 * kMegabyte);
  return random.Logarithmic(4 * kMegabyte, 64 * kMegabyte);
}

void Writes(Random& random, Direction& direction) {
  const double dice = random.Fraction();
  if (dice < 0.15) {
    // A system call for each byte: not many of them.
    direction.write_low = direction.write_high = 1;
    direction.length = std::min<uint64_t>(direction.length, random.Logarithmic(1, 8000));
  } else if (dice < 0.40) {
    direction.write_low = 1;
    direction.write_high = 400;
    direction.length = std::min<uint64_t>(direction.length, random.Logarithmic(1, 300000));
  } else if (dice < 0.85) {
    direction.write_low = 100;
    direction.write_high = 65536;
  } else {
    direction.write_low = 65536;
    direction.write_high = kMegabyte;
  }
}

// Pauses are what makes a lane quiet, and so lets it into the kernel, in the midst of traffic. No more than some twenty
// in a stream.
void Pauses(Random& random, Direction& direction) {
  if (random.Chance(0.6)) {
    const double mean = std::max(1.0, std::sqrt(static_cast<double>(direction.write_low) * direction.write_high));
    const double writes = std::max(1.0, static_cast<double>(direction.length) / mean);
    direction.write_pause = std::min(0.5, 20 / writes);
    direction.write_pause_most = random.Logarithmic(1, 150);
  }
  if (random.Chance(0.3)) direction.start_delay = random.Below(60);
}

void Reads(Random& random, Direction& direction) {
  const double dice = random.Fraction();
  if (dice < 0.5) {
    direction.read_most = random.Chance(0.3) ? random.Logarithmic(1000, 65536) : 262144;
    return;
  }

  if (dice < 0.8) {
    // Slow: a little, and a short pause.
    direction.read_burst = std::max<uint64_t>(1000, direction.length / random.Between(10, 100));
    direction.read_pause_most = random.Between(2, 40);
  } else {
    // Bursty: much, and a long pause.
    direction.read_burst = std::max<uint64_t>(20000, direction.length / random.Between(2, 6));
    direction.read_pause_most = random.Between(100, 600);
    direction.read_delay = random.Below(600);
  }
  direction.read_most = std::min<uint64_t>(direction.read_burst, random.Logarithmic(1000, 262144));
}

void Ends(Random& random, Plan& plan) {
  if (random.Chance(0.15)) {
    plan.aborted = true;
    plan.aborter = random.Chance(0.5) ? Side::kClient : Side::kUpstream;
    const size_t aborter = static_cast<size_t>(plan.aborter);
    plan.abort_after = random.Below(plan.from[aborter].length + 1);
    plan.abort_after_read = random.Below(plan.from[1 - aborter].length + 1);
    if (random.Chance(0.5)) (random.Chance(0.5) ? plan.abort_after : plan.abort_after_read) = 0;
    plan.abort_delay = random.Chance(0.5) ? 0 : random.Below(50);
    return;
  }

  // Who half-closes first, and whether the other direction goes on after that.
  if (random.Chance(0.4)) plan.fin_waits[random.Below(2)] = true;
  for (uint64_t& delay : plan.fin_delay) {
    if (random.Chance(0.2)) delay = random.Below(100);
  }
}

// Everything that the issue of a proxy's trust asks about.
void Mixed(Random& random, Plan& plan) {
  const double dice = random.Fraction();
  plan.kind = dice < 0.5 ? Kind::kConnect : dice < 0.75 ? Kind::kPair : Kind::kUpgrade;
  plan.early = random.Chance(0.5);
  if (random.Chance(0.25)) plan.dialogue = random.Logarithmic(1, 20000);
  const uint64_t messages = random.Between(3, 60);
  for (Direction& direction : plan.from) {
    if (plan.dialogue > 0) {
      direction.length = messages * plan.dialogue;
      direction.write_low = 1 + plan.dialogue / random.Between(1, 10);
      direction.write_high = direction.write_low + plan.dialogue;
    } else {
      direction.length = Length(random);
      Writes(random, direction);
    }
    Pauses(random, direction);
    Reads(random, direction);
  }
  Ends(random, plan);
  for (int side = 0; side < 2; ++side) {
    // A window below the segments of the loopback device is worth some kilobytes a second: for little data only.
    const double least = plan.from[1 - side].length > 20000 ? 131072 : 4096;
    if (random.Chance(0.2)) plan.receive_buffer[side] = static_cast<int>(random.Logarithmic(least, 524288));
    plan.no_delay[side] = random.Chance(0.5);
  }
}

// Bytes right before a FIN, redirected, to a reader that is too slow for them to be written at once. They come when the
// tunnel has been promoted, which is later where there are many.
void LastWords(Random& random, Plan& plan) {
  plan.kind = Kind::kConnect;
  for (Direction& direction : plan.from) {
    direction.start_delay = random.Between(150, 400);
    direction.length = random.Logarithmic(1000, 200000);
    direction.write_low = 100;
    direction.write_high = 4000;
    direction.write_pause = 0.2;
    direction.write_pause_most = 5;
  }
  for (bool& no_delay : plan.no_delay) no_delay = true;
}

// Messages and answers, from the first moment on.
void Dialogue(Random& random, Plan& plan) {
  plan.kind = random.Chance(0.5) ? Kind::kConnect : Kind::kPair;
  plan.early = true;
  plan.dialogue = random.Logarithmic(1, 3000);
  const uint64_t messages = random.Between(20, 60);
  for (Direction& direction : plan.from) {
    direction.length = messages * plan.dialogue;
    direction.write_low = plan.dialogue;
    direction.write_high = plan.dialogue;
  }
  for (bool& no_delay : plan.no_delay) no_delay = true;
}

// Small messages until the reader is far behind, and again when it has caught up: in and out of the kernel's hands.
void SlowReaders(Random& random, Plan& plan) {
  plan.kind = Kind::kConnect;
  for (Direction& direction : plan.from) {
    direction.length = random.Logarithmic(2 * kMegabyte, 12 * kMegabyte);
    direction.write_low = 500;
    direction.write_high = 30000;
    direction.write_pause = 0.02;
    direction.write_pause_most = 3;
    direction.read_most = random.Logarithmic(4000, 100000);
    direction.read_burst = direction.length / random.Between(10, 60);
    direction.read_pause_most = random.Between(20, 60);
    direction.read_delay = random.Below(300);
  }
  for (int side = 0; side < 2; ++side) plan.receive_buffer[side] = static_cast<int>(random.Logarithmic(131072, 524288));
}

// Much in one direction, as fast as it can be written, soon after a pause in which the lane has come into the kernel;
// in the other one a little, and a FIN in the midst of it.
void Bulk(Random& random, Plan& plan) {
  plan.kind = Kind::kConnect;
  const size_t sender = random.Below(2);
  Direction& much = plan.from[sender];
  much.length = random.Logarithmic(8 * kMegabyte, 64 * kMegabyte);
  much.write_low = 65536;
  much.write_high = kMegabyte;
  much.start_delay = random.Below(300);
  much.read_most = 262144;
  Direction& little = plan.from[1 - sender];
  little.length = random.Logarithmic(1000, 200000);
  little.write_low = 100;
  Reads(random, little);
}

// Who may write, writes as fast as it can.
void Stalled(const std::string& reader, uint64_t write, Plan& plan) {
  plan.kind = Kind::kConnect;
  for (const Side side : {Side::kClient, Side::kUpstream}) {
    const size_t which = static_cast<size_t>(side);
    if (reader == "either" ? plan.index % 2 != which : reader != "both" && reader != NameOf(side)) continue;
    plan.stalled[which] = true;
    Direction& way = plan.from[1 - which];
    way.length = 1ULL << 40;
    way.write_low = way.write_high = write;
    way.read_most = 262144;
    plan.no_delay[1 - which] = write < 1000;
  }
}

}  // namespace

Plan MakePlan(const std::string& traffic, uint64_t write, uint64_t seed, uint64_t index, size_t proxies) {
  Random random(seed * 0x100000001b3 + index);
  Plan plan;
  plan.index = index;
  plan.proxy = index % proxies;
  for (Direction& direction : plan.from) direction.origin = random.Below(Pattern::kPeriod);
  if (traffic == "last-words")
    LastWords(random, plan);
  else if (traffic == "dialogue")
    Dialogue(random, plan);
  else if (traffic == "slow-readers")
    SlowReaders(random, plan);
  else if (traffic == "bulk")
    Bulk(random, plan);
  else if (traffic.rfind("stalled-", 0) == 0)
    Stalled(traffic.substr(8), write, plan);
  else
    Mixed(random, plan);
  return plan;
}

const char* NameOf(Kind kind) {
  switch (kind) {
    case Kind::kConnect: return "connect";
    case Kind::kUpgrade: return "upgrade";
    case Kind::kPair: return "pair";
    case Kind::kDirect: return "direct";
  }
  return "";
}

const char* NameOf(Side side) { return side == Side::kClient ? "client" : "upstream"; }

std::string Describe(const Plan& plan) {
  std::ostringstream text;
  text << "#" << plan.index << " " << NameOf(plan.kind) << (plan.early ? " early" : "");
  if (plan.dialogue > 0) text << " dialogue of " << plan.dialogue;
  if (plan.aborted) {
    text << " aborted by the " << NameOf(plan.aborter) << " after " << plan.abort_after << " written and "
         << plan.abort_after_read << " read";
  }
  for (const Side side : {Side::kClient, Side::kUpstream}) {
    const Direction& way = plan.from[static_cast<size_t>(side)];
    text << "; from the " << NameOf(side) << ": " << way.length << " bytes in writes of " << way.write_low << ".."
         << way.write_high << ", pauses " << way.write_pause << " of up to " << way.write_pause_most << " ms; read by "
         << way.read_most;
    if (way.read_burst > 0) text << " with a pause of up to " << way.read_pause_most << " ms each " << way.read_burst;
  }
  return text.str();
}
