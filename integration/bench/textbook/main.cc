// The SOCKMAP splice as it is in talks and articles: one map, a program that redirects all that comes, and user space
// that waits for the end. There is no room check, so a reader that stalls costs the kernel whatever the sender sends;
// a FIN is redirected like data; and what comes last can be lost. It is here to show what leaving all that out gains.
//
//   textbook PORT UPSTREAM
#include <linux/bpf.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <iterator>

#include "../load/fail.h"
#include "../load/loop.h"
#include "../load/socket.h"

namespace {

Loop loop;
int map = -1;

long Bpf(bpf_cmd command, bpf_attr& attributes) { return syscall(SYS_bpf, command, &attributes, sizeof attributes); }

// The cookie of a socket -> the socket that its bytes go to.
int CreateMap() {
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_SOCKHASH;
  attributes.key_size = 8;
  attributes.value_size = 8;
  attributes.max_entries = 65536;
  return Check(static_cast<int>(Bpf(BPF_MAP_CREATE, attributes)), "create the map");
}

// return bpf_sk_redirect_hash(skb, &map, &cookie, 0) with the cookie of the socket that the bytes came to.
void AttachProgram() {
  constexpr uint8_t kCall = BPF_JMP | BPF_CALL;
  constexpr uint8_t kMove = BPF_ALU64 | BPF_MOV;
  const bpf_insn code[] = {
      {.code = kMove | BPF_X, .dst_reg = 6, .src_reg = 1, .off = 0, .imm = 0},
      {.code = kCall, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_get_socket_cookie},
      {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 10, .src_reg = 0, .off = -8, .imm = 0},
      {.code = kMove | BPF_X, .dst_reg = 1, .src_reg = 6, .off = 0, .imm = 0},
      {.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_FD, .off = 0, .imm = map},
      {.code = 0, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = kMove | BPF_X, .dst_reg = 3, .src_reg = 10, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 3, .src_reg = 0, .off = 0, .imm = -8},
      {.code = kMove | BPF_K, .dst_reg = 4, .src_reg = 0, .off = 0, .imm = 0},
      {.code = kCall, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_sk_redirect_hash},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_SK_SKB;
  load.expected_attach_type = BPF_SK_SKB_VERDICT;
  load.insns = reinterpret_cast<uintptr_t>(code);
  load.insn_cnt = std::size(code);
  load.license = reinterpret_cast<uintptr_t>("GPL");
  bpf_attr attach{};
  attach.target_fd = static_cast<uint32_t>(map);
  attach.attach_bpf_fd = static_cast<uint32_t>(Check(static_cast<int>(Bpf(BPF_PROG_LOAD, load)), "load the program"));
  attach.attach_type = BPF_SK_SKB_VERDICT;
  Check(static_cast<int>(Bpf(BPF_PROG_ATTACH, attach)), "attach the program");
}

void SendWhatComesTo(int source, int destination) {
  uint64_t cookie;
  socklen_t length = sizeof cookie;
  Check(getsockopt(source, SOL_SOCKET, SO_COOKIE, &cookie, &length), "getsockopt");
  const uint64_t value = static_cast<uint64_t>(destination);
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = reinterpret_cast<uintptr_t>(&cookie);
  attributes.value = reinterpret_cast<uintptr_t>(&value);
  Check(static_cast<int>(Bpf(BPF_MAP_UPDATE_ELEM, attributes)), "insert a socket");
}

class Pair final : public Handler {
 public:
  explicit Pair(int client, uint16_t upstream) : client_(client), upstream_(Connect(upstream)) {
    loop.Add(upstream_, EPOLLOUT, this);
  }

  ~Pair() override {
    close(client_);
    close(upstream_);
  }

  void OnEvents(uint32_t) override {
    if (joined_) {
      delete this;
      return;
    }

    joined_ = true;
    SendWhatComesTo(client_, upstream_);
    SendWhatComesTo(upstream_, client_);
    // What the client had sent before that.
    char early[4096];
    const ssize_t received = Receive(client_, early, sizeof early);
    if (received > 0) SendAll(upstream_, early, static_cast<size_t>(received));
    loop.Change(upstream_, EPOLLRDHUP, this);
    loop.Add(client_, EPOLLRDHUP, &client_end_);
  }

 private:
  // One of the two is enough to free both, so the client's end only passes it on.
  class ClientEnd final : public Handler {
   public:
    explicit ClientEnd(Pair* pair) : pair_(pair) {}
    void OnEvents(uint32_t) override { shutdown(pair_->upstream_, SHUT_RDWR); }

   private:
    Pair* pair_;
  };

  int client_;
  int upstream_;
  bool joined_ = false;
  ClientEnd client_end_{this};
};

class Listener final : public Handler {
 public:
  Listener(int fd, uint16_t upstream) : fd_(fd), upstream_(upstream) { loop.Add(fd, EPOLLIN, this); }

  void OnEvents(uint32_t) override {
    for (int client = Accept(fd_); client >= 0; client = Accept(fd_)) new Pair(client, upstream_);
  }

 private:
  int fd_;
  uint16_t upstream_;
};

}  // namespace

int main(int count, char** words) {
  if (count != 3) Refuse("textbook PORT UPSTREAM");
  map = CreateMap();
  AttachProgram();
  const Listener listener(Listen(static_cast<uint16_t>(atoi(words[1]))), static_cast<uint16_t>(atoi(words[2])));
  for (;;) loop.RunUntil(UINT64_MAX);
}
