#include "maps.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "../bpf/flow.h"
#include "bpf.h"
#include "btf.h"
#include "kernel_error.h"
#include "mutations.h"
#include "verdict_code.h"

namespace {

const char* const kCreate = "create the maps";
const char* const kPin = "pin the maps";
const char* const kOpen = "open the pinned maps";

// What a pinned set says about itself, so that another version of us does not misread it.
struct Layout {
  uint64_t code;  // stands for the program and the structures that it shares with us
  uint32_t slots;
  uint32_t lanes;  // in each
};

struct Set {
  Fd sources, targets, ids, flows, rings;
  std::vector<Fd> ring;
};

uint64_t HashOfCode() {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const uint64_t instruction : kVerdictCode) hash = (hash ^ instruction) * 0x100000001b3;
  return hash ^ sizeof(flow);
}

// Three records for each lane: it asks once until it has been answered, says once that it moves, and its number may be
// taken over by a successor while the record of the first is still unread. So the ring cannot overflow.
uint32_t RingSize(uint32_t lanes) {
  constexpr uint32_t kRecord = 16;
  uint32_t size = static_cast<uint32_t>(sysconf(_SC_PAGESIZE));
  if (kMutation == Mutation::kSmallRing) return size;
  while (size < 3 * kRecord * lanes) size *= 2;
  return size;
}

// A symbol of the program is a map, or the offset of a field as `struct__field` or `struct__member__field`.
uint64_t OffsetNamed(const Btf& btf, const std::string& symbol) {
  std::string path = symbol;
  for (size_t at; (at = path.find("__")) != std::string::npos;) path.replace(at, 2, ".");
  const auto offset = btf.OffsetOf(path);
  if (!offset) throw KernelError("find the offset of " + path + " in the kernel's BTF", "", 0);
  return *offset;
}

// A 64-bit load is two instructions: the halves of its value are in the upper words of both, and what kind of value
// it is stands in the source register's bits.
void Fill(std::vector<uint64_t>& code, uint32_t instruction, uint64_t value, uint64_t kind) {
  code.at(instruction) |= (value << 32) | (kind << 12);
  code.at(instruction + 1) |= value & 0xffffffff00000000;
}

Fd LoadProgram(const Set& set) {
  std::vector<uint64_t> code(std::begin(kVerdictCode), std::end(kVerdictCode));
  const Btf btf = Btf::OfKernel();
  for (const auto& [instruction, name] : kVerdictSymbols) {
    const std::string symbol = name;
    const int map = symbol == "targets"   ? set.targets.get()
                    : symbol == "ids"     ? set.ids.get()
                    : symbol == "flows"   ? set.flows.get()
                    : symbol == "wakeups" ? set.rings.get()
                                          : -1;
    if (map >= 0) {
      Fill(code, instruction, static_cast<uint64_t>(map), BPF_PSEUDO_MAP_FD);
    } else {
      Fill(code, instruction, OffsetNamed(btf, symbol), 0);
    }
  }
  if (kMutation == Mutation::kNoCut) {
    constexpr uint64_t kCall = uint64_t{BPF_FUNC_skb_adjust_room} << 32 | BPF_JMP | BPF_CALL;
    constexpr uint64_t kFail = uint64_t{static_cast<uint32_t>(-ENOMEM)} << 32 | BPF_ALU64 | BPF_MOV | BPF_K;
    std::replace(code.begin(), code.end(), kCall, kFail);
  }
  return bpf::LoadProgram(std::move(code), kVerdictLicense);
}

Set CreateSet(uint32_t slots, uint32_t lanes_each) {
  static_assert(sizeof(flow) == 128, "two cache lines");
  const uint32_t lanes = slots * lanes_each;
  Set set;
  set.sources = bpf::CreateMap(kCreate, BPF_MAP_TYPE_SOCKMAP, 4, 8, lanes);
  set.targets = bpf::CreateMap(kCreate, BPF_MAP_TYPE_SOCKMAP, 4, 8, lanes);
  set.ids = bpf::CreateMap(kCreate, BPF_MAP_TYPE_HASH, 8, 4, lanes, BPF_F_NO_PREALLOC);
  set.flows = bpf::CreateMap(kCreate, BPF_MAP_TYPE_ARRAY, 4, sizeof(flow), lanes, BPF_F_MMAPABLE);
  for (uint32_t slot = 0; slot < slots; ++slot) {
    set.ring.push_back(bpf::CreateMap(kCreate, BPF_MAP_TYPE_RINGBUF, 0, 0, RingSize(lanes_each)));
  }
  set.rings = bpf::CreateMapOfMaps(kCreate, set.ring[0].get(), slots);
  for (uint32_t slot = 0; slot < slots; ++slot) {
    const uint32_t ring = static_cast<uint32_t>(set.ring[slot].get());
    if (!bpf::Update(set.rings.get(), &slot, &ring)) throw KernelError(kCreate, "bpf", errno);
  }

  // The map keeps the program, so that we need not. A socket takes the program over when it is inserted.
  bpf::Attach(LoadProgram(set).get(), set.sources.get());
  return set;
}

std::string RingName(uint32_t slot) { return "ring-" + std::to_string(slot); }

// Whoever had the slot before us may have been killed. Its sockets left the maps by themselves; their ids did not.
void Reclaim(const Maps& maps) {
  std::vector<uint64_t> stale;
  bpf::ForEachKey<uint64_t>(maps.ids.get(), [&](uint64_t cookie) {
    uint32_t lane;
    if (!bpf::Lookup(maps.ids.get(), &cookie, &lane)) return;
    if (lane >= maps.first_lane && lane < maps.first_lane + maps.lanes) stale.push_back(cookie);
  });
  for (const uint64_t cookie : stale) bpf::Delete(maps.ids.get(), &cookie);
}

}  // namespace

Maps Maps::Create(uint32_t tunnels) {
  Set set = CreateSet(1, 2 * tunnels);
  Maps maps;
  maps.sources = std::move(set.sources);
  maps.targets = std::move(set.targets);
  maps.ids = std::move(set.ids);
  maps.flows = std::move(set.flows);
  maps.ring = std::move(set.ring[0]);
  maps.lanes = maps.lanes_in_all = 2 * tunnels;
  maps.ring_size = RingSize(maps.lanes);
  return maps;
}

void Maps::SetUp(const std::string& directory, const Shares& shares) {
  const Set set = CreateSet(shares.slots, 2 * shares.tunnels);
  const Fd about = bpf::CreateMap(kCreate, BPF_MAP_TYPE_ARRAY, 4, sizeof(Layout), 1);
  const Layout layout{HashOfCode(), shares.slots, 2 * shares.tunnels};
  const uint32_t zero = 0;
  if (!bpf::Update(about.get(), &zero, &layout)) throw KernelError(kCreate, "bpf", errno);

  const auto pin = [&](const Fd& map, const std::string& name) {
    const std::string path = directory + "/maps/" + name;
    unlink(path.c_str());
    bpf::Pin(kPin, map.get(), path);
    Check(chown(path.c_str(), shares.user, shares.group), kPin, "chown");
    Check(chmod(path.c_str(), 0600), kPin, "chmod");
  };
  pin(set.sources, "sources");
  pin(set.targets, "targets");
  pin(set.ids, "ids");
  pin(set.flows, "flows");
  for (uint32_t slot = 0; slot < shares.slots; ++slot) {
    pin(set.ring[slot], RingName(slot));
    const std::string path = directory + "/slots/" + std::to_string(slot);
    const Fd file(Check(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), kPin, "open"));
    Check(fchown(file.get(), shares.user, shares.group), kPin, "fchown");
  }
  // Last, because it is what makes the set one.
  pin(about, "layout");
}

Maps Maps::Open(const std::string& directory) {
  const auto get = [&](const std::string& name) { return bpf::Get(kOpen, directory + "/maps/" + name); };
  const Fd about = get("layout");
  Layout layout;
  const uint32_t zero = 0;
  // A map of another size would be read beyond our memory.
  if (bpf::ValueSize(about.get()) != sizeof layout || !bpf::Lookup(about.get(), &zero, &layout) ||
      layout.code != HashOfCode()) {
    throw KernelError(kOpen, "", ESTALE, "they were pinned by another version");
  }

  Maps maps;
  for (uint32_t slot = 0; slot < layout.slots && !maps.lock; ++slot) {
    const std::string path = directory + "/slots/" + std::to_string(slot);
    Fd file(Check(open(path.c_str(), O_RDWR | O_CLOEXEC), kOpen, "open"));
    if (flock(file.get(), LOCK_EX | LOCK_NB) < 0) continue;
    maps.lock = std::move(file);
    maps.slot = slot;
  }
  if (!maps.lock) {
    throw KernelError(kOpen, "", EBUSY, "all " + std::to_string(layout.slots) + " slots are taken by other processes");
  }

  maps.sources = get("sources");
  maps.targets = get("targets");
  maps.ids = get("ids");
  maps.flows = get("flows");
  maps.ring = get(RingName(maps.slot));
  maps.lanes = layout.lanes;
  maps.ring_size = RingSize(maps.lanes);
  maps.first_lane = maps.slot * layout.lanes;
  maps.lanes_in_all = layout.slots * layout.lanes;
  Reclaim(maps);
  return maps;
}
