#include <napi.h>

#include <string>

#include "../bpf/flow.h"
#include "kernel_error.h"
#include "probe.h"
#include "relay_wrap.h"

namespace {

Napi::Value ProbeEngine(const Napi::CallbackInfo& info) {
  const std::string engine = info[0].As<Napi::String>();
  try {
    const std::string pins = info[1].IsString() ? info[1].As<Napi::String>().Utf8Value() : "";
    Probe(engine == "sockmap" ? Engine::kSockmap : Engine::kSplice, pins);
    return info.Env().Undefined();
  } catch (const KernelError& error) {
    return Describe(info.Env(), error);
  }
}

// At a descriptor that Node holds. An object would cost more than the question: each tunnel is asked as it ends.
TcpSummary LookInto(const Napi::CallbackInfo& info) {
  const TcpSummary summary = SummaryOf(info[0].As<Napi::Number>().Int32Value());
  auto into = info[1].As<Napi::Float64Array>();
  into[0] = summary.rtt / 1000.0;
  into[1] = summary.retransmits;
  return summary;
}

Napi::Value Look(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), LookInto(info).known); }

void Bound(const Napi::CallbackInfo& info) {
  BoundBuffers(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::Number>().Int32Value(),
               info[2].As<Napi::Boolean>());
}

// The same, and what has gone wrong with it and nobody has been told yet. A connection that has been reset is closed.
Napi::Value Failure(const Napi::CallbackInfo& info) {
  const bool closed = LookInto(info).closed;
  return Napi::Number::New(info.Env(), closed ? PendingErrorOf(info[0].As<Napi::Number>().Int32Value()) : 0);
}

void Abort(const Napi::CallbackInfo& info) { SendReset(info[0].As<Napi::Number>().Int32Value()); }

void Tune(const Napi::CallbackInfo& info) {
  try {
    Apply(ToTcpOptions(info[1]), info[0].As<Napi::Number>().Int32Value());
  } catch (const KernelError& error) {
    throw ToJavaScript(info.Env(), error);
  }
}

// For root, once: see Maps::SetUp.
void SetUp(const Napi::CallbackInfo& info) {
  const auto given = info[1].As<Napi::Object>();
  const auto number = [&given](const char* name) { return given.Get(name).As<Napi::Number>().Uint32Value(); };
  try {
    Maps::SetUp(info[0].As<Napi::String>(), {number("slots"), number("tunnels"), number("user"), number("group")});
  } catch (const KernelError& error) {
    throw ToJavaScript(info.Env(), error);
  }
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("probe", Napi::Function::New<ProbeEngine>(env, "probe"));
  exports.Set("look", Napi::Function::New<Look>(env, "look"));
  exports.Set("bound", Napi::Function::New<Bound>(env, "bound"));
  exports.Set("moves", FLOW_MOVES);
  exports.Set("failure", Napi::Function::New<Failure>(env, "failure"));
  exports.Set("abort", Napi::Function::New<Abort>(env, "abort"));
  exports.Set("tune", Napi::Function::New<Tune>(env, "tune"));
  exports.Set("setUp", Napi::Function::New<SetUp>(env, "setUp"));
  exports.Set("Relay", RelayWrap::Define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(sockmap, Init)
