/* Constant pointers, which position-independent code has in .data.rel.ro, a writable section for Xen. */

#include "vendor.h"

static const char *const texts[] = { "-not-to-be-seen", TEXT, "-nor-this" };

static const char *USED new_extra_version(void)
{
    return texts[HIDDEN(1)];
}
REPLACES_THE_TEXT;
