#include "bpf.h"

#include <sys/syscall.h>

#include <cstring>
#include <string>

#include "kernel_error.h"
#include "without_signals.h"

namespace bpf {
namespace {

long Call(bpf_cmd command, bpf_attr& attributes) { return syscall(SYS_bpf, command, &attributes, sizeof attributes); }

uint64_t Pointer(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// The verifier's log ends with statistics; the line before them is its complaint.
std::string LastComplaint(const std::string& log) {
  std::string complaint;
  for (size_t start = 0; start < log.size();) {
    size_t end = log.find('\n', start);
    if (end == std::string::npos) end = log.size();
    const std::string line = log.substr(start, end - start);
    if (!line.empty() && line.rfind("processed ", 0) != 0) complaint = line;
    start = end + 1;
  }
  return complaint;
}

}  // namespace

Fd CreateMap(const char* step, bpf_map_type type, uint32_t key_size, uint32_t value_size, uint32_t entries,
             uint32_t flags) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.map_type = type;
  attributes.key_size = key_size;
  attributes.value_size = value_size;
  attributes.max_entries = entries;
  attributes.map_flags = flags;
  return Fd(Check(static_cast<int>(Call(BPF_MAP_CREATE, attributes)), step, "bpf"));
}

Fd CreateMapOfMaps(const char* step, int inner, uint32_t entries) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = entries;
  attributes.inner_map_fd = static_cast<uint32_t>(inner);
  return Fd(Check(static_cast<int>(Call(BPF_MAP_CREATE, attributes)), step, "bpf"));
}

void Pin(const char* step, int map, const std::string& path) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.pathname = Pointer(path.c_str());
  attributes.bpf_fd = static_cast<uint32_t>(map);
  Check(static_cast<int>(Call(BPF_OBJ_PIN, attributes)), step, "bpf");
}

Fd Get(const char* step, const std::string& path) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.pathname = Pointer(path.c_str());
  const int map = static_cast<int>(Call(BPF_OBJ_GET, attributes));
  if (map < 0) throw KernelError(step, "bpf", errno, path);
  return Fd(map);
}

uint32_t ValueSize(int map) {
  bpf_map_info info;
  memset(&info, 0, sizeof info);
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.info.bpf_fd = static_cast<uint32_t>(map);
  attributes.info.info_len = sizeof info;
  attributes.info.info = Pointer(&info);
  return Call(BPF_OBJ_GET_INFO_BY_FD, attributes) == 0 ? info.value_size : 0;
}

bool Lookup(int map, const void* key, void* value) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = Pointer(key);
  attributes.value = Pointer(value);
  return Call(BPF_MAP_LOOKUP_ELEM, attributes) == 0;
}

bool NextKey(int map, const void* key, void* next) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = Pointer(key);
  attributes.next_key = Pointer(next);
  return Call(BPF_MAP_GET_NEXT_KEY, attributes) == 0;
}

bool Update(int map, const void* key, const void* value) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = Pointer(key);
  attributes.value = Pointer(value);
  attributes.flags = BPF_ANY;
  return Call(BPF_MAP_UPDATE_ELEM, attributes) == 0;
}

bool Delete(int map, const void* key) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = Pointer(key);
  return Call(BPF_MAP_DELETE_ELEM, attributes) == 0;
}

Fd LoadProgram(std::vector<uint64_t> code, const char* license) {
  const char* step = "load the verdict program";
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_SK_SKB;
  attributes.expected_attach_type = BPF_SK_SKB_VERDICT;
  attributes.insns = Pointer(code.data());
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.license = Pointer(license);
  memcpy(attributes.prog_name, "tunnel_verdict", sizeof "tunnel_verdict");

  // The verifier gives up with EAGAIN when a signal waits for the thread, and under a profiler one nearly always does.
  const WithoutSignals without_signals;
  const int program = static_cast<int>(Call(BPF_PROG_LOAD, attributes));
  if (program >= 0) return Fd(program);
  const int error = errno;

  // Asking for the log costs time and memory, and what it says matters only now.
  std::string log(64 * 1024, '\0');
  attributes.log_buf = Pointer(log.data());
  attributes.log_size = static_cast<uint32_t>(log.size());
  attributes.log_level = 1;
  Fd unexpected(static_cast<int>(Call(BPF_PROG_LOAD, attributes)));
  // Behind its end may be what the verifier had written and taken back.
  throw KernelError(step, "bpf", error, LastComplaint(log.c_str()));
}

void Attach(int program, int map) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.target_fd = static_cast<uint32_t>(map);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program);
  attributes.attach_type = BPF_SK_SKB_VERDICT;
  Check(static_cast<int>(Call(BPF_PROG_ATTACH, attributes)), "attach the verdict program", "bpf");
}

}  // namespace bpf
