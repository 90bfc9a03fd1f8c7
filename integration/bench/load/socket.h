#ifndef BENCH_LOAD_SOCKET_H
#define BENCH_LOAD_SOCKET_H

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

// TCP on the loopback address, non-blocking and without Nagle's delay, as proxies and WebSocket servers have it.
int Listen(uint16_t port);
int Accept(int listener);    // -1 when nobody waits
int Connect(uint16_t port);  // in progress

// What recv and send say, but -1 only for "not now"; `kGone` when the other side has ended or reset.
constexpr ssize_t kGone = -2;
ssize_t Receive(int fd, void* bytes, size_t size);
ssize_t Send(int fd, const void* bytes, size_t size);

// All of it, by waiting: for the few bytes at the beginning of a tunnel.
void SendAll(int fd, const void* bytes, size_t size);

#endif
