#include "usage.h"

#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "loop.h"

namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The number behind the name.
uint64_t Number(const std::string& text, const char* name) {
  const size_t position = text.find(name);
  return position == std::string::npos ? 0 : strtoull(text.c_str() + position + strlen(name), nullptr, 10);
}

template <typename Visit>
void ForEachEntry(const std::string& path, Visit visit) {
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) return;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') visit(entry->d_name);
  }
  closedir(directory);
}

void MeasureProcess(int process, Usage& usage) {
  const std::string folder = "/proc/" + std::to_string(process);
  ForEachEntry(folder + "/task", [&](const char* task) {
    const std::string path = folder + "/task/" + task;
    usage.process += strtoull(Read(path + "/schedstat").c_str(), nullptr, 10);
    const std::string status = Read(path + "/status");
    usage.voluntary += Number(status, "\nvoluntary_ctxt_switches:");
    usage.involuntary += Number(status, "\nnonvoluntary_ctxt_switches:");
  });
  ForEachEntry(folder + "/fd", [&](const char*) { usage.descriptors++; });
  usage.rss = Number(Read(folder + "/status"), "VmRSS:") * 1024;
}

void MeasureMachine(Usage& usage) {
  const std::string stat = Read("/proc/stat");
  unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
  sscanf(stat.c_str(), "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
         &softirq, &steal);
  const uint64_t tick = kSecond / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  const auto processors = static_cast<uint64_t>(sysconf(_SC_NPROCESSORS_ONLN));
  // Idle time is counted by the clock, the rest by samples, so this is the more precise of the two.
  usage.machine = usage.time * processors - (idle + iowait + steal) * tick;
  usage.stolen = steal * tick;
  const std::string memory = Read("/proc/meminfo");
  usage.slab = Number(memory, "\nSlab:") * 1024;
  usage.available = Number(memory, "\nMemAvailable:") * 1024;
  const std::string sockets = Read("/proc/net/sockstat");
  const size_t tcp = sockets.find("TCP:");
  usage.sockets = tcp == std::string::npos
                      ? 0
                      : Number(sockets.substr(tcp), " mem ") * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Usage Measure(int process) {
  Usage usage{};
  usage.time = Now();
  MeasureMachine(usage);
  if (process != 0) MeasureProcess(process, usage);
  return usage;
}
