#ifndef BENCH_LOAD_USAGE_H
#define BENCH_LOAD_USAGE_H

#include <cstdint>

// What a process and the machine have used up to now, from /proc. Times are nanoseconds, sizes are bytes.
struct Usage {
  uint64_t time;
  uint64_t process;    // CPU time of all threads of the process
  uint64_t machine;    // CPU time of all processors that were not idle
  uint64_t stolen;     // CPU time that the hypervisor gave to others
  uint64_t voluntary;  // context switches of the process
  uint64_t involuntary;
  uint64_t rss;
  uint64_t descriptors;
  uint64_t slab;       // kernel memory for objects, of the machine
  uint64_t sockets;    // memory in the buffers of TCP sockets that the kernel has accounted, of the network namespace
  uint64_t available;  // memory that could be had, of the machine
};

// The process is 0 where there is none.
Usage Measure(int process);

#endif
