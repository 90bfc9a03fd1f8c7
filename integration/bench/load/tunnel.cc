#include "tunnel.h"

#include <sys/socket.h>
#include <unistd.h>

#include "fail.h"
#include "socket.h"

Tunnel::Tunnel(Loop& loop, const Route& route, const Order& order)
    : loop_(loop), route_(route), order_(order), fd_(Connect(route.proxy)) {
  events_ = EPOLLOUT;
  loop_.Add(fd_, events_, this);
}

Tunnel::~Tunnel() { close(fd_); }

void Tunnel::Want(uint32_t events) {
  if (events == events_) return;
  events_ = events;
  loop_.Change(fd_, events, this);
}

void Tunnel::OnEvents(uint32_t events) {
  switch (state_) {
    case State::kConnecting: Ask(); return;
    case State::kAsking: HearAnswer(); return;
    case State::kOpen: break;
  }
  // Reading can end in being freed, so it comes last.
  if (events & EPOLLOUT) OnWritable();
  if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) OnReadable();
}

void Tunnel::Ask() {
  int error;
  socklen_t length = sizeof error;
  Check(getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length), "getsockopt");
  if (error != 0) Fail("connect", error);
  if (route_.access == Access::kRaw) {
    Open();
    return;
  }

  const std::string target = "127.0.0.1:" + std::to_string(route_.upstream);
  const std::string request = route_.access == Access::kConnect
                                  ? "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n"
                                  : "GET / HTTP/1.1\r\nHost: " + target +
                                        "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  SendAll(fd_, request.data(), request.size());
  state_ = State::kAsking;
  Want(EPOLLIN);
}

void Tunnel::HearAnswer() {
  char bytes[4096];
  const ssize_t received = Receive(fd_, bytes, sizeof bytes);
  if (received == kGone) Refuse("the proxy ended the connection instead of opening a tunnel");
  if (received < 0) return;
  answer_.append(bytes, static_cast<size_t>(received));
  const size_t end = answer_.find("\r\n\r\n");
  if (end == std::string::npos) return;
  if (answer_.compare(8, 4, route_.access == Access::kConnect ? " 200" : " 101") != 0) Refuse(answer_.c_str());
  // The upstream says nothing before it has its order.
  if (end + 4 != answer_.size()) Refuse("bytes behind the answer");
  answer_ = {};
  Open();
}

void Tunnel::Open() {
  SendAll(fd_, &order_, sizeof order_);
  state_ = State::kOpen;
  Want(EPOLLIN);
  OnOpen();
}
