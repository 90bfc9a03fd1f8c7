#include "sockmap.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "bpf.h"
#include "btf.h"
#include "kernel_error.h"
#include "verdict_code.h"

namespace {

const char* const kMaps = "create the maps";
const char* const kAdmit = "admit the tunnel to the maps";

uint64_t CookieOf(int fd) {
  uint64_t cookie;
  socklen_t length = sizeof cookie;
  Check(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length), kAdmit, "getsockopt(SO_COOKIE)");
  return cookie;
}

// The kernel takes Unix sockets too, but the program reads the state of a TCP destination.
void CheckTcp(int fd) {
  int protocol = 0;
  socklen_t length = sizeof protocol;
  Check(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length), kAdmit, "getsockopt(SO_PROTOCOL)");
  if (protocol != IPPROTO_TCP) throw KernelError(kAdmit, "", EOPNOTSUPP, "it has an end that is not TCP");
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

}  // namespace

Sockmap::Sockmap(uint32_t tunnels)
    : lanes_(2 * tunnels),
      sources_(bpf::CreateMap(kMaps, BPF_MAP_TYPE_SOCKMAP, 4, 8, lanes_)),
      targets_(bpf::CreateMap(kMaps, BPF_MAP_TYPE_SOCKMAP, 4, 8, lanes_)),
      ids_(bpf::CreateMap(kMaps, BPF_MAP_TYPE_HASH, 8, 4, lanes_, BPF_F_NO_PREALLOC)),
      flows_(bpf::CreateMap(kMaps, BPF_MAP_TYPE_ARRAY, 4, sizeof(flow), lanes_, BPF_F_MMAPABLE)),
      flows_memory_("map the flows", flows_.get(), sizeof(flow) * size_t{lanes_}, PROT_READ | PROT_WRITE, 0),
      wakeups_(lanes_),
      cookies_(lanes_) {
  static_assert(sizeof(flow) == 128, "two cache lines");

  std::vector<uint64_t> code(std::begin(kVerdictCode), std::end(kVerdictCode));
  const Btf btf = Btf::OfKernel();
  for (const auto& [instruction, name] : kVerdictSymbols) {
    const std::string symbol = name;
    const int map = symbol == "targets"   ? targets_.get()
                    : symbol == "ids"     ? ids_.get()
                    : symbol == "flows"   ? flows_.get()
                    : symbol == "wakeups" ? wakeups_.fd()
                                          : -1;
    if (map >= 0) {
      Fill(code, instruction, static_cast<uint64_t>(map), BPF_PSEUDO_MAP_FD);
    } else {
      Fill(code, instruction, OffsetNamed(btf, symbol), 0);
    }
  }

  // The map keeps the program, so that we need not. A socket takes the program over when it is inserted.
  bpf::Attach(bpf::LoadProgram(std::move(code), kVerdictLicense).get(), sources_.get());

  for (uint32_t lane = 0; lane < lanes_; ++lane) free_.push_back(lane);
}

uint32_t Sockmap::Admit(int source, int destination) {
  CheckTcp(source);
  const uint64_t cookie = CookieOf(source);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.empty()) {
    throw KernelError(kAdmit, "", ENOSPC, "they hold " + std::to_string(lanes_ / 2) + " tunnels");
  }

  const uint32_t lane = free_.front();
  memset(&FlowOf(lane), 0, sizeof(flow));
  const uint64_t socket = static_cast<uint64_t>(destination);
  if (!bpf::Update(targets_.get(), &lane, &socket)) throw KernelError(kAdmit, "bpf", errno);
  if (!bpf::Update(ids_.get(), &cookie, &lane)) {
    const int error = errno;
    bpf::Delete(targets_.get(), &lane);
    throw KernelError(kAdmit, "bpf", error);
  }

  cookies_[lane] = cookie;
  free_.pop_front();
  return lane;
}

bool Sockmap::Promote(uint32_t lane, int source) {
  const uint64_t socket = static_cast<uint64_t>(source);
  return bpf::Update(sources_.get(), &lane, &socket);
}

void Sockmap::Release(uint32_t lane) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // First the id: whatever the program is still asked is then passed.
  bpf::Delete(ids_.get(), &cookies_[lane]);
  bpf::Delete(sources_.get(), &lane);
  bpf::Delete(targets_.get(), &lane);
  free_.push_back(lane);
}
