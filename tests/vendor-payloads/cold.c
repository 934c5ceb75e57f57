/* Unlikely code, which the compiler puts into .text.unlikely: a function, and a part of one. */

#include "vendor.h"

static void NOINLINE __attribute__((cold)) complain(const char *text)
{
    __asm__ volatile("" : : "r"(text) : "memory");
}

static const char *USED new_extra_version(void)
{
    if (HIDDEN(0) == 7) {
        complain("never");
        complain("ever");
        return "-not-to-be-seen";
    }
    return TEXT;
}
REPLACES_THE_TEXT;
