#ifndef HTTP_PROXY_SOCKMAP_BPF_H
#define HTTP_PROXY_SOCKMAP_BPF_H

#include <linux/bpf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "fd.h"

// The few commands of bpf(2) that we need, bare: nothing to install, nothing to link.
// All throw KernelError naming the step, unless they return a bool, which leaves the errno to the caller.
namespace bpf {

Fd CreateMap(const char* step, bpf_map_type type, uint32_t key_size, uint32_t value_size, uint32_t entries,
             uint32_t flags = 0);

// Whose values are maps like `inner`.
Fd CreateMapOfMaps(const char* step, int inner, uint32_t entries);

void Pin(const char* step, int map, const std::string& path);
Fd Get(const char* step, const std::string& path);
uint32_t ValueSize(int map);

bool Lookup(int map, const void* key, void* value);
bool NextKey(int map, const void* key, void* next);

template <typename Key, typename Visit>
void ForEachKey(int map, Visit visit) {
  Key key;
  for (bool more = NextKey(map, nullptr, &key); more; more = NextKey(map, &key, &key)) visit(key);
}

bool Update(int map, const void* key, const void* value);
bool Delete(int map, const void* key);

// For SK_SKB programs. A refusal by the verifier carries the last line that it had to say.
Fd LoadProgram(std::vector<uint64_t> code, const char* license);
void Attach(int program, int map);

}  // namespace bpf

#endif
