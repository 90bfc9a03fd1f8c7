#ifndef BENCH_LOAD_TUNNEL_H
#define BENCH_LOAD_TUNNEL_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fail.h"
#include "loop.h"
#include "order.h"

// How a tunnel is asked for. Transparent proxies are given an upgrade too, which the upstream answers.
enum class Access { kRaw, kUpgrade, kConnect };

struct Route {
  Access access;
  uint16_t proxy;
  uint16_t upstream;
};

// The client's end: connects, asks for the tunnel, gives the order, and is then up to who derives from it.
class Tunnel : public Handler {
 public:
  Tunnel(Loop& loop, const Route& route, const Order& order);
  ~Tunnel() override;
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  void OnEvents(uint32_t events) final;
  bool IsOpen() const { return state_ == State::kOpen; }

 protected:
  virtual void OnOpen() {}
  virtual void OnReadable() = 0;
  virtual void OnWritable() {}

  void Want(uint32_t events);
  int fd() const { return fd_; }

 private:
  void Ask();
  void HearAnswer();
  void Open();

  enum class State { kConnecting, kAsking, kOpen };

  Loop& loop_;
  Route route_;
  Order order_;
  int fd_;
  uint32_t events_ = 0;
  State state_ = State::kConnecting;
  std::string answer_;
};

// Opens as many, with a bounded number of them on their way at any time. Fails when one does not open.
template <typename Kind>
std::vector<std::unique_ptr<Kind>> OpenAll(Loop& loop, size_t count,
                                           const std::function<std::unique_ptr<Kind>(size_t)>& make) {
  constexpr size_t kOnTheirWay = 32;
  std::vector<std::unique_ptr<Kind>> tunnels;
  size_t open = 0;
  const auto enough = [&](size_t wanted) {
    return [&, wanted] {
      while (open < tunnels.size() && tunnels[open]->IsOpen()) open++;
      return open >= wanted;
    };
  };
  const uint64_t deadline = Now() + 60 * kSecond;
  for (size_t index = 0; index < count; index++) {
    if (index >= kOnTheirWay) loop.RunUntil(deadline, enough(index - kOnTheirWay + 1));
    tunnels.push_back(make(index));
  }
  loop.RunUntil(deadline, enough(count));
  if (open < count) Refuse("the tunnels did not open in time");
  return tunnels;
}

#endif
