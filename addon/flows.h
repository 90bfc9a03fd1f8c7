#ifndef HTTP_PROXY_SOCKMAP_FLOWS_H
#define HTTP_PROXY_SOCKMAP_FLOWS_H

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "../bpf/flow.h"
#include "mapping.h"

// The map of flows, in our memory. All of what is mapped is resident, so it is mapped piece by piece, as lanes are
// taken.
class Flows {
 public:
  Flows(int map, uint32_t lanes) : map_(map), lanes_(lanes), pieces_((lanes + kPiece - 1) / kPiece) {}

  // Throws KernelError. Once for each lane before it is used, by one thread at a time.
  void Map(uint32_t lane) {
    std::unique_ptr<Mapping>& piece = pieces_[lane / kPiece];
    if (piece) return;
    const uint32_t first = lane - lane % kPiece;
    const size_t length = sizeof(flow) * size_t{std::min(kPiece, lanes_ - first)};
    piece = std::make_unique<Mapping>("map the flows", map_, length, PROT_READ | PROT_WRITE,
                                      static_cast<off_t>(sizeof(flow) * size_t{first}));
  }

  flow& Of(uint32_t lane) { return reinterpret_cast<flow*>(pieces_[lane / kPiece]->get())[lane % kPiece]; }

 private:
  static constexpr uint32_t kPiece = 2048;  // 256 KiB, a multiple of any page

  int map_;
  uint32_t lanes_;
  std::vector<std::unique_ptr<Mapping>> pieces_;
};

#endif
