// An addon that is wrong on purpose, once for each thing that the sanitizers are there to see. If what it does here
// goes unreported, so would the same in ours: `run.js` tries it before every run.
#include <node_api.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <climits>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>

namespace {

// Whatever the compiler could see through would not be done.
volatile int one = 1;
volatile int sink = 0;

void Overflow() {
  auto* bytes = new char[16];
  memset(bytes, 0, 16);
  bytes[16 * one] = 1;
  delete[] bytes;
}

void UseAfterFree() {
  auto* number = new int(one);
  delete number;
  sink = *number;
}

void Undefined() {
  int number = INT_MAX;
  number += one;
  sink = number;
}

void* volatile forgotten = nullptr;

void Leak() {
  forgotten = new char[4321];
  forgotten = nullptr;
}

// As between Node's thread and the relay's.
void Race() {
  int shared = 0;
  std::thread other([&shared] { shared += one; });
  shared += one;
  other.join();
  sink = shared;
}

// The same two threads, which take turns by the means that the relay uses, a mutex and an eventfd: nothing is wrong
// here.
void NoRace() {
  std::mutex mutex;
  int shared = 0;
  const int bell = eventfd(0, EFD_CLOEXEC);
  std::thread other([&] {
    uint64_t rings;
    [[maybe_unused]] const ssize_t length = read(bell, &rings, sizeof rings);
    const std::lock_guard<std::mutex> lock(mutex);
    shared += one;
  });
  {
    const std::lock_guard<std::mutex> lock(mutex);
    shared += one;
  }
  const uint64_t ring = 1;
  [[maybe_unused]] const ssize_t written = write(bell, &ring, sizeof ring);
  other.join();
  close(bell);
}

napi_value Do(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  char text[32] = {};
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  napi_get_value_string_utf8(env, argument, text, sizeof text, nullptr);
  const std::string what = text;
  if (what == "overflow") Overflow();
  if (what == "use after free") UseAfterFree();
  if (what == "undefined") Undefined();
  if (what == "leak") Leak();
  if (what == "race") Race();
  if (what == "no race") NoRace();
  return nullptr;
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "do", NAPI_AUTO_LENGTH, Do, nullptr, &function);
  return function;
}
