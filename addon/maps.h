#ifndef HTTP_PROXY_SOCKMAP_MAPS_H
#define HTTP_PROXY_SOCKMAP_MAPS_H

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "fd.h"

// One set of maps with the verdict program attached, and the slot of it that is ours: a ring, and a range of lanes.
// What the maps are for is said in bpf/flow.h.
struct Maps {
  // A set of our own. Needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON. Throws KernelError naming the step.
  static Maps Create(uint32_t tunnels);

  // A free slot of the set that SetUp() has pinned there. Needs no capability from Linux 5.19 on. The slot is ours
  // until `lock` is closed, by us or by the end of the process.
  static Maps Open(const std::string& directory);

  // How a set that several processes share is divided, and who may use it.
  struct Shares {
    uint32_t slots;
    uint32_t tunnels;  // in each
    uid_t user;
    gid_t group;
  };

  // Pins a set in `directory`/maps, which has to be a bpffs, and makes the lock files in `directory`/slots. Replaces
  // what is there; whoever uses that keeps it.
  static void SetUp(const std::string& directory, const Shares& shares);

  Fd sources;
  Fd targets;
  Fd ids;
  Fd flows;
  Fd ring;
  uint32_t ring_size = 0;
  Fd lock;  // of a shared set

  uint32_t slot = 0;
  uint32_t first_lane = 0;
  uint32_t lanes = 0;
  uint32_t lanes_in_all = 0;
};

#endif
