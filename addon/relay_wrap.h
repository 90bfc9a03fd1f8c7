#ifndef HTTP_PROXY_SOCKMAP_RELAY_WRAP_H
#define HTTP_PROXY_SOCKMAP_RELAY_WRAP_H

#include <napi.h>

#include <deque>
#include <memory>
#include <unordered_map>

#include "relay.h"

// The relay as JavaScript sees it. Arguments were checked in TypeScript.
class RelayWrap : public Napi::ObjectWrap<RelayWrap> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit RelayWrap(const Napi::CallbackInfo& info);
  ~RelayWrap() override;

 private:
  Napi::Value Add(const Napi::CallbackInfo& info);
  void End(const Napi::CallbackInfo& info);
  void Reset(const Napi::CallbackInfo& info);
  void Write(const Napi::CallbackInfo& info);
  Napi::Value Stats(const Napi::CallbackInfo& info);
  Napi::Value Summary(const Napi::CallbackInfo& info);
  void Tune(const Napi::CallbackInfo& info);
  void KeepAlive(const Napi::CallbackInfo& info);
  void LetGo(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  void Stop(Relay::Leftovers leftovers);
  void Deliver(Napi::Env env, Napi::Function on_event);
  // Does something with the descriptor of an end, if the relay has it still.
  template <typename Work>
  void WithDescriptor(const Napi::CallbackInfo& info, Work work);

  static void OnNotified(Napi::Env env, Napi::Function on_event, RelayWrap* wrap, void*);
  using ThreadSafe = Napi::TypedThreadSafeFunction<RelayWrap, void, OnNotified>;
  static void OnTeardown(RelayWrap* wrap);

  // The relay's thread calls the notifier, so it goes first.
  ThreadSafe notifier_;
  std::unique_ptr<Relay> relay_;  // none once it was stopped

  std::unordered_map<uint32_t, std::shared_ptr<TunnelCounters>> counters_;
  std::deque<Relay::Event> undelivered_;
};

// Throws it into JavaScript with `step`, `code`, `errno` and `syscall`.
Napi::Error ToJavaScript(Napi::Env env, const KernelError& error);
// `undefined` where it is not TCP. Milliseconds.
Napi::Value ToJavaScript(Napi::Env env, const TcpSummary& summary);
TcpOptions ToTcpOptions(const Napi::Value& value);
Napi::Object Describe(Napi::Env env, const KernelError& error);

#endif
