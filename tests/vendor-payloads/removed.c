/*
 * An alternative that removes an instruction. The only replacement has length 0, so the section of replacements is empty.
 */

#include "vendor.h"

static const char *USED new_extra_version(void)
{
    unsigned int altered = 1;

    /* Feature 0, which every processor has. */
    __asm__ volatile("661: movl $0, %0\n"
                     "662:\n"
                     ".pushsection .altinstructions,\"a\"\n"
                     ".long 661b - ., 663f - .\n"
                     ".hword 0\n"
                     ".byte 662b - 661b, 0, 0, 0\n"
                     ".popsection\n"
                     ".pushsection .altinstr_replacement,\"ax\"\n"
                     "663:\n"
                     ".popsection\n"
                     : "+r"(altered));
    return altered ? TEXT : "-not-altered";
}
REPLACES_THE_TEXT;
