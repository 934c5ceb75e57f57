/* An instruction that faults, and an entry of .ex_table that leads to .fixup. Both run. */

#include "vendor.h"

static const char *USED new_extra_version(void)
{
    unsigned long seen, nowhere = 1UL << 63;

    __asm__ volatile("1: movq (%1), %0\n"
                     "2:\n"
                     ".pushsection .fixup,\"ax\"\n"
                     "3: movl $1, %k0\n"
                     "jmp 2b\n"
                     ".popsection\n"
                     ".pushsection .ex_table,\"a\"\n"
                     ".balign 4\n"
                     ".long 1b - ., 3b - .\n"
                     ".popsection\n"
                     : "=&r"(seen)
                     : "r"(nowhere));
    return seen == 1 ? TEXT : "-not-fixed-up";
}
REPLACES_THE_TEXT;
