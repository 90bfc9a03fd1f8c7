#include "relay_wrap.h"

#include <string>

#include "error_code.h"
#include "kernel_error.h"

namespace {

Engine ToEngine(const Napi::Value& value) {
  const std::string name = value.As<Napi::String>();
  if (name == "auto") return Engine::kAuto;
  return name == "sockmap" ? Engine::kSockmap : Engine::kSplice;
}

Relay::Socket ToSocket(const Napi::Value& value) {
  const auto end = value.As<Napi::Object>();
  const auto head = end.Get("head").As<Napi::Uint8Array>();
  return {end.Get("fd").As<Napi::Number>().Int32Value(), {head.Data(), head.Data() + head.ByteLength()}};
}

// None given is none set.
Tunnel::Limits ToLimits(const Napi::Value& value) {
  if (!value.IsObject()) return {};
  const auto limits = value.As<Napi::Object>();
  const auto milliseconds = [&limits](const char* name) {
    const Napi::Value given = limits.Get(name);
    return std::chrono::milliseconds(given.IsNumber() ? given.As<Napi::Number>().Int64Value() : 0);
  };
  return {milliseconds("idleTimeout"), milliseconds("maxLifetime"), milliseconds("halfClosedTimeout")};
}

const char* NameOf(Tunnel::Ending ending) {
  switch (ending) {
    case Tunnel::Ending::kNone: return "";
    case Tunnel::Ending::kEnd: return "end";
    case Tunnel::Ending::kReset: return "reset";
    case Tunnel::Ending::kClosed: return "closed";
    case Tunnel::Ending::kIdle: return "idle";
    case Tunnel::Ending::kLifetime: return "lifetime";
    case Tunnel::Ending::kHalfClosed: return "half-closed";
  }
  return "";
}

const char* NameOf(LaneState state) {
  switch (state) {
    case LaneState::kPipe: return "pipe";
    case LaneState::kKernel: return "kernel";
    case LaneState::kSpilling: return "spilling";
    case LaneState::kDraining: return "draining";
    case LaneState::kDone: return "done";
  }
  return "";
}

Napi::Object ToJavaScript(Napi::Env env, const LaneCounters& lane) {
  const auto piped = static_cast<double>(lane.piped.load(std::memory_order_relaxed));
  const auto spilled = static_cast<double>(lane.spilled.load(std::memory_order_relaxed));
  const auto redirected = static_cast<double>(lane.Redirected());
  auto stats = Napi::Object::New(env);
  stats.Set("state", NameOf(lane.state.load(std::memory_order_relaxed)));
  stats.Set("bytes", redirected + spilled + piped);
  stats.Set("redirected", redirected);
  stats.Set("spilled", spilled);
  stats.Set("piped", piped);
  stats.Set("injected", static_cast<double>(lane.injected.load(std::memory_order_relaxed)));
  stats.Set("promotions", lane.promotions.load(std::memory_order_relaxed));
  stats.Set("spills", lane.spills.load(std::memory_order_relaxed));
  return stats;
}

Napi::Object ToJavaScript(Napi::Env env, const TunnelCounters& counters) {
  auto stats = Napi::Object::New(env);
  stats.Set("clientToUpstream", ToJavaScript(env, counters.client_to_upstream));
  stats.Set("upstreamToClient", ToJavaScript(env, counters.upstream_to_client));
  return stats;
}

End ToEnd(const Napi::Value& value) {
  return value.As<Napi::String>().Utf8Value() == "client" ? End::kClient : End::kUpstream;
}

const char* NameOf(End end) { return end == End::kClient ? "client" : "upstream"; }

}  // namespace

Napi::Function RelayWrap::Define(Napi::Env env) {
  return DefineClass(env, "Relay",
                     {InstanceMethod<&RelayWrap::Add>("add"), InstanceMethod<&RelayWrap::End>("end"),
                      InstanceMethod<&RelayWrap::Reset>("reset"), InstanceMethod<&RelayWrap::Write>("write"),
                      InstanceMethod<&RelayWrap::Stats>("stats"), InstanceMethod<&RelayWrap::Summary>("summary"),
                      InstanceMethod<&RelayWrap::Tune>("tune"), InstanceMethod<&RelayWrap::KeepAlive>("ref"),
                      InstanceMethod<&RelayWrap::LetGo>("unref"), InstanceMethod<&RelayWrap::Close>("close")});
}

RelayWrap::RelayWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<RelayWrap>(info) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  const uint32_t capacity = options.Get("capacity").As<Napi::Number>().Uint32Value();
  const Napi::Value pins = options.Get("pins");
  notifier_ = ThreadSafe::New(env, info[1].As<Napi::Function>(), "http-proxy-sockmap", 0, 1, this);
  notifier_.Unref(env);
  try {
    relay_ = std::make_unique<Relay>(capacity, pins.IsString() ? pins.As<Napi::String>().Utf8Value() : "",
                                     [this] { notifier_.NonBlockingCall(); });
  } catch (const KernelError& error) {
    notifier_.Release();
    throw ToJavaScript(env, error);
  }

  // Hooks run from the last to the first: the thread has ended before its notifier goes.
  napi_add_env_cleanup_hook(env, reinterpret_cast<void (*)(void*)>(OnTeardown), this);
}

RelayWrap::~RelayWrap() {
  napi_remove_env_cleanup_hook(Env(), reinterpret_cast<void (*)(void*)>(OnTeardown), this);
  Stop(Relay::Leftovers::kAbandon);
}

// A worker or the process ends: as if it had been killed, but for the thread, which must not outlive its environment.
void RelayWrap::OnTeardown(RelayWrap* wrap) { wrap->Stop(Relay::Leftovers::kAbandon); }

void RelayWrap::Stop(Relay::Leftovers leftovers) {
  if (!relay_) return;
  relay_->Stop(leftovers);
  notifier_.Release();
  // Its descriptors and maps go now, not when the garbage collector finds the time.
  relay_.reset();
}

void RelayWrap::Close(const Napi::CallbackInfo&) {
  Stop(Relay::Leftovers::kReset);
  undelivered_.clear();
  if (!counters_.empty()) Unref();
  counters_.clear();
}

Napi::Value RelayWrap::Add(const Napi::CallbackInfo& info) {
  if (!relay_) throw Napi::Error::New(info.Env(), "The relay is closed");
  try {
    auto [id, counters] = relay_->Add(ToEngine(info[0]), ToSocket(info[1]), ToSocket(info[2]), ToLimits(info[3]));
    // Who forgets about us while tunnels are open does not mean to cut them.
    if (counters_.empty()) Ref();
    counters_.emplace(id, std::move(counters));
    return Napi::Number::New(info.Env(), id);
  } catch (const KernelError& error) {
    throw ToJavaScript(info.Env(), error);
  }
}

void RelayWrap::End(const Napi::CallbackInfo& info) {
  const bool linger = !info[1].IsBoolean() || info[1].As<Napi::Boolean>();
  if (relay_) relay_->Close(info[0].As<Napi::Number>().Uint32Value(), linger);
}

void RelayWrap::Reset(const Napi::CallbackInfo& info) {
  if (relay_) relay_->Reset(info[0].As<Napi::Number>().Uint32Value());
}

void RelayWrap::Write(const Napi::CallbackInfo& info) {
  if (!relay_) return;
  const auto bytes = info[2].As<Napi::Uint8Array>();
  relay_->Write(info[0].As<Napi::Number>().Uint32Value(), ToEnd(info[1]),
                {bytes.Data(), bytes.Data() + bytes.ByteLength()});
}

Napi::Value RelayWrap::Stats(const Napi::CallbackInfo& info) {
  const auto found = counters_.find(info[0].As<Napi::Number>().Uint32Value());
  if (found == counters_.end()) return info.Env().Undefined();
  return ToJavaScript(info.Env(), *found->second);
}

template <typename Work>
void RelayWrap::WithDescriptor(const Napi::CallbackInfo& info, Work work) {
  const auto found = counters_.find(info[0].As<Napi::Number>().Uint32Value());
  if (found == counters_.end()) return;
  TunnelCounters& counters = *found->second;
  const std::lock_guard<std::mutex> lock(counters.mutex);
  const int fd = ToEnd(info[1]) == ::End::kClient ? counters.client : counters.upstream;
  if (fd >= 0) work(fd);
}

Napi::Value RelayWrap::Summary(const Napi::CallbackInfo& info) {
  TcpSummary summary;
  WithDescriptor(info, [&summary](int fd) { summary = SummaryOf(fd); });
  return ToJavaScript(info.Env(), summary);
}

void RelayWrap::Tune(const Napi::CallbackInfo& info) {
  const TcpOptions options = ToTcpOptions(info[2]);
  try {
    WithDescriptor(info, [&options](int fd) { Apply(options, fd); });
  } catch (const KernelError& error) {
    throw ToJavaScript(info.Env(), error);
  }
}

void RelayWrap::KeepAlive(const Napi::CallbackInfo& info) {
  if (relay_) notifier_.Ref(info.Env());
}

void RelayWrap::LetGo(const Napi::CallbackInfo& info) {
  if (relay_) notifier_.Unref(info.Env());
}

void RelayWrap::OnNotified(Napi::Env env, Napi::Function on_event, RelayWrap* wrap, void*) {
  // Without an environment it is being torn down, and the wrap with it.
  if (env != nullptr && wrap->relay_) wrap->Deliver(env, on_event);
}

void RelayWrap::Deliver(Napi::Env env, Napi::Function on_event) {
  for (const Relay::Event& event : relay_->TakeEvents()) undelivered_.push_back(event);

  while (!undelivered_.empty()) {
    const Relay::Event event = undelivered_.front();
    undelivered_.pop_front();

    const Napi::HandleScope scope(env);
    auto object = Napi::Object::New(env);
    object.Set("id", event.id);
    if (event.type == Relay::Event::Type::kHalfClose) {
      object.Set("type", "half-close");
      object.Set("end", NameOf(event.end));
    } else if (event.type == Relay::Event::Type::kWritten) {
      object.Set("type", "written");
      object.Set("end", NameOf(event.end));
    } else {
      object.Set("type", "close");
      object.Set("reason", NameOf(event.ending));
      object.Set("by", event.ended_by ? NameOf(*event.ended_by) : "proxy");
      object.Set("code", ErrorCode(event.error));
      object.Set("errno", event.error);
      const auto counters = counters_.find(event.id);
      object.Set("stats", ToJavaScript(env, *counters->second));
      object.Set("client", ToJavaScript(env, event.summaries[0]));
      object.Set("upstream", ToJavaScript(env, event.summaries[1]));
      counters_.erase(counters);
      if (counters_.empty()) Unref();
    }

    try {
      on_event.Call({object});
    } catch (const Napi::Error&) {
      // What one listener throws must not cost the other tunnels their events.
      if (!undelivered_.empty() && relay_) notifier_.NonBlockingCall();
      throw;
    }
    // A listener may have closed us.
    if (!relay_) return;
  }
}

Napi::Value ToJavaScript(Napi::Env env, const TcpSummary& summary) {
  if (!summary.known) return env.Undefined();
  auto object = Napi::Object::New(env);
  object.Set("rtt", summary.rtt / 1000.0);
  object.Set("retransmits", summary.retransmits);
  object.Set("lastReceived", summary.last_received);
  object.Set("lastSent", summary.last_sent);
  return object;
}

TcpOptions ToTcpOptions(const Napi::Value& value) {
  const auto given = value.As<Napi::Object>();
  const auto number = [&given](const char* name) {
    const Napi::Value value = given.Get(name);
    return value.IsNumber() ? value.As<Napi::Number>().Int64Value() : 0;
  };
  const auto flag = [&given](const char* name) -> std::optional<bool> {
    const Napi::Value value = given.Get(name);
    if (!value.IsBoolean()) return std::nullopt;
    return value.As<Napi::Boolean>().Value();
  };
  TcpOptions options;
  options.keep_alive = flag("keepAlive");
  options.no_delay = flag("noDelay");
  options.keep_alive_idle = static_cast<int>(number("keepAliveIdle"));
  options.keep_alive_interval = static_cast<int>(number("keepAliveInterval"));
  options.keep_alive_count = static_cast<int>(number("keepAliveCount"));
  options.user_timeout = static_cast<uint32_t>(number("userTimeout"));
  options.pacing_rate = static_cast<uint64_t>(number("pacingRate"));
  return options;
}

Napi::Object Describe(Napi::Env env, const KernelError& error) {
  auto object = Napi::Object::New(env);
  object.Set("step", error.step);
  object.Set("message", error.what());
  object.Set("code", ErrorCode(error.error));
  object.Set("errno", error.error);
  object.Set("syscall", error.syscall);
  return object;
}

Napi::Error ToJavaScript(Napi::Env env, const KernelError& error) {
  auto thrown = Napi::Error::New(env, error.what());
  thrown.Set("step", Napi::String::New(env, error.step));
  thrown.Set("code", Napi::String::New(env, ErrorCode(error.error)));
  thrown.Set("errno", Napi::Number::New(env, error.error));
  thrown.Set("syscall", Napi::String::New(env, error.syscall));
  return thrown;
}
