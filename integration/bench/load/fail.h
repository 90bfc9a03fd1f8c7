#ifndef BENCH_LOAD_FAIL_H
#define BENCH_LOAD_FAIL_H

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// A load that goes wrong is worth no numbers: say why, and end the process.
[[noreturn]] inline void Fail(const char* what, int error = errno) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(error));
  exit(1);
}

[[noreturn]] inline void Refuse(const char* why) {
  fprintf(stderr, "load: %s\n", why);
  exit(1);
}

inline int Check(int result, const char* what) {
  if (result < 0) Fail(what);
  return result;
}

#endif
