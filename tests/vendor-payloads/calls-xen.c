/* Calls of Xen's own functions, and data that Xen writes to. */

#include "vendor.h"

#pragma GCC visibility push(hidden)
int snprintf(char *to, unsigned long size, const char *format, ...);
unsigned long strlen(const char *text);
#pragma GCC visibility pop

static char text[16];

static const char *USED new_extra_version(void)
{
    snprintf(text, sizeof(text), "%.*s%s", (int)HIDDEN(1), TEXT, &TEXT[1]);
    return strlen(text) ? text : "-not-to-be-seen";
}
REPLACES_THE_TEXT;
