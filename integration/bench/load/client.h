#ifndef BENCH_LOAD_CLIENT_H
#define BENCH_LOAD_CLIENT_H

#include "measurement.h"

// Each is one kind of load, and fills in the measurement.
void Echo(const Options& options, Measurement& measurement);     // one message in flight in each tunnel
void Pace(const Options& options, Measurement& measurement);     // echo at a fixed rate, whatever the answers do
void FanOut(const Options& options, Measurement& measurement);   // the upstream sends at a fixed rate
void Bulk(const Options& options, Measurement& measurement);     // as much as fits
void SetUp(const Options& options, Measurement& measurement);    // open, one echo, close, and again
void Idle(const Options& options, Measurement& measurement);     // open, one echo, and then nothing
void Stalled(const Options& options, Measurement& measurement);  // send to one who does not read

// The time in which a load runs, warm-up first.
void RunLoad(Loop& loop, const Options& options, Measurement& measurement);
uint64_t Nanoseconds(double seconds);

#endif
