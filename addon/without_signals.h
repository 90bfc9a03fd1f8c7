#ifndef HTTP_PROXY_SOCKMAP_WITHOUT_SIGNALS_H
#define HTTP_PROXY_SOCKMAP_WITHOUT_SIGNALS_H

#include <signal.h>

// Signals to this thread wait while it lives, so that no system call gives up because of one.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_;
};

#endif
