#ifndef HTTP_PROXY_SOCKMAP_MUTATIONS_H
#define HTTP_PROXY_SOCKMAP_MUTATIONS_H

// Rules that a test switches off to see whether it would notice: one at a time, in a build of its own. A normal build
// has them all, and these constants leave no trace in it.
enum class Mutation {
  kNone,
  kNoDrain,        // FIN is passed on without a wait for what was redirected
  kNoOrder,        // spilled bytes are sent without a wait for what was redirected before them
  kEarlyConsumed,  // the program hears that bytes were delivered when they were only received
  kSlowPromotion,  // nothing is wrong, but there is much time between the last look at a source and its insertion
  kNoKick,         // the same, and nobody looks at what has come in that time
  kSmallRing,      // the ring has one page, and room for 255 wake-ups
  kNoCut,          // the program has no memory to cut off what comes twice
};

#ifdef SOCKMAP_MUTATION
constexpr Mutation kMutation = Mutation::SOCKMAP_MUTATION;
#else
constexpr Mutation kMutation = Mutation::kNone;
#endif

#endif
