#ifndef HTTP_PROXY_SOCKMAP_KERNEL_ERROR_H
#define HTTP_PROXY_SOCKMAP_KERNEL_ERROR_H

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

// What the kernel refused: the step that we were at, the call, and its errno. Without a call that failed (a self-test
// found other bytes than it sent), `syscall` is empty and `error` 0.
class KernelError : public std::runtime_error {
 public:
  KernelError(std::string step, std::string syscall, int error, const std::string& detail = "")
      : std::runtime_error(Describe(step, syscall, error, detail)),
        step(std::move(step)),
        syscall(std::move(syscall)),
        error(error) {}

  std::string step;
  std::string syscall;
  int error;

 private:
  static std::string Describe(const std::string& step, const std::string& syscall, int error,
                              const std::string& detail) {
    std::string text = "Could not " + step;
    if (error != 0) text += std::string(": ") + strerror(error);
    if (!syscall.empty()) text += " (" + syscall + ")";
    if (!detail.empty()) text += ": " + detail;
    return text;
  }
};

// For calls that answer -1 and set errno.
inline int Check(int result, const char* step, const char* syscall) {
  if (result < 0) throw KernelError(step, syscall, errno);
  return result;
}

#endif
