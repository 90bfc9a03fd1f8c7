#ifndef HTTP_PROXY_SOCKMAP_INSIST_H
#define HTTP_PROXY_SOCKMAP_INSIST_H

#include <unistd.h>

#include <new>

#include "kernel_error.h"

// Books that have to be kept. They are small, and there is nobody who could be told that they are not: wait for memory,
// ours or the kernel's.
template <typename Work>
void Insist(Work work) {
  for (;;) {
    try {
      return work();
    } catch (const std::bad_alloc&) {
    } catch (const KernelError&) {
    }
    usleep(1000);
  }
}

#endif
