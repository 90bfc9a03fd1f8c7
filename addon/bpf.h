#ifndef HTTP_PROXY_SOCKMAP_BPF_H
#define HTTP_PROXY_SOCKMAP_BPF_H

#include <linux/bpf.h>

#include <cstdint>
#include <vector>

#include "fd.h"

// The few commands of bpf(2) that we need, bare: nothing to install, nothing to link.
// All throw KernelError naming the step, unless they return a bool, which leaves the errno to the caller.
namespace bpf {

Fd CreateMap(const char* step, bpf_map_type type, uint32_t key_size, uint32_t value_size, uint32_t entries,
             uint32_t flags = 0);

bool Update(int map, const void* key, const void* value);
bool Delete(int map, const void* key);

// For SK_SKB programs. A refusal by the verifier carries the last line that it had to say.
Fd LoadProgram(std::vector<uint64_t> code, const char* license);
void Attach(int program, int map);

}  // namespace bpf

#endif
