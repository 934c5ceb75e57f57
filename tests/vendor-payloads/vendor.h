/*
 * Sources of payloads in the shape of vendors' ones: compiled with a section for each function and variable, as by Xen's own
 * build tools, and with a read-only .livepatch.funcs.
 *
 * Each replaces xen_extra_version by a function that returns TEXT, which dom0 reads in /sys/hypervisor/version/extra, and
 * has TEXT in its metadata (shows=TEXT). A function that returns another text has failed.
 */

#include "../gcc-payloads/livepatch.h"

#define USED __attribute__((used))
#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif

/* A value that is unknown to the compiler. */
#define HIDDEN(value)                                                       \
    ({                                                                      \
        unsigned int hidden = (value);                                      \
        __asm__ volatile("" : "+r"(hidden));                                \
        hidden;                                                             \
    })

#define REPLACES_THE_TEXT                                                   \
    REPLACES(xen_extra_version, new_extra_version);                         \
    METADATA("shows=" TEXT)

/* Needed by every payload, since the table of functions and its strings are assembly. */
#ifdef SHAPE
METADATA("shape=" SHAPE);
#endif
#ifdef WORDS
METADATA("words=" QUOTE(WORDS));
#endif
#ifdef SINCE
METADATA("since=" SINCE);
#endif
#ifdef BEFORE
METADATA("before=" BEFORE);
#endif
