// Included before all else where a binary for other machines is built (prebuild.js), and by nothing else. It keeps what
// a recent compiler takes from recent libraries out of the binary, so that it loads wherever Node itself does.
#include <bits/c++config.h>

// Of glibc 2.30, and not in musl. Without them, libstdc++ waits by the system's clock and looks again.
#undef _GLIBCXX_USE_PTHREAD_COND_CLOCKWAIT
#undef _GLIBCXX_USE_PTHREAD_MUTEX_CLOCKLOCK

// Of GCC 11. It is a kind of the other.
#define __throw_bad_array_new_length __throw_bad_alloc

#ifdef __GLIBC__
// Of glibc 2.32. Node always has threads.
#include <sys/single_threaded.h>
inline constexpr char kNeverSingleThreaded = 0;
#define __libc_single_threaded kNeverSingleThreaded

// Since glibc 2.32 and 2.34 these two have another version, because they moved from one library to another.
#ifdef __x86_64__
__asm__(".symver pthread_sigmask,pthread_sigmask@GLIBC_2.2.5");
__asm__(".symver pthread_setname_np,pthread_setname_np@GLIBC_2.12");
#else
__asm__(".symver pthread_sigmask,pthread_sigmask@GLIBC_2.17");
__asm__(".symver pthread_setname_np,pthread_setname_np@GLIBC_2.17");
#endif
#else
// musl, with headers of a libstdc++ that was configured for glibc: its name for the same type.
#define __locale_t locale_t
#endif
