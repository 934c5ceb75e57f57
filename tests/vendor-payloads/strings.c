/* Short and long texts, for which the compiler makes .rodata.str1.1 and .rodata.str1.8, and a table of jumps in .rodata. */

#include "vendor.h"

static const char *NOINLINE pick(unsigned int number)
{
    switch (number) {
    case 0:
        return TEXT;
    case 1:
        return "a text that is so long that compilers align it, and put it into a section of its own";
    case 2:
        return "%s: %pv of %pd failed at line %d with an error number of %ld, which is not expected\n";
    case 3:
        return "x";
    case 4:
        return "";
    case 5:
        return "d%dv%d";
    default:
        return "another text that is longer than all that is kept where the short ones are kept";
    }
}

static const char *USED new_extra_version(void)
{
    return pick(HIDDEN(0));
}
REPLACES_THE_TEXT;
