/* A function that returns another text, and nothing else. */

#include "vendor.h"

static const char *USED new_extra_version(void)
{
    return TEXT;
}
REPLACES_THE_TEXT;
