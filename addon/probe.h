#ifndef HTTP_PROXY_SOCKMAP_PROBE_H
#define HTTP_PROXY_SOCKMAP_PROBE_H

#include <string>

#include "relay.h"

// Whether an engine works here is found by using it: a relay of its own carries loopback connections, and every byte
// is looked at. Vendors backport, so versions tell nothing. Takes well under a second, and throws KernelError naming
// what failed. `pins` as for the relay.
void Probe(Engine engine, const std::string& pins);

#endif
