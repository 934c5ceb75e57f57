/* Several functions in one payload. */

#include "vendor.h"

static const char *USED new_extra_version(void)
{
    return TEXT;
}
REPLACES_THE_TEXT;

static const char *USED new_changeset(void)
{
    return "vendor's changeset";
}
REPLACES(xen_changeset, new_changeset);

static const char *USED new_compile_time(void)
{
    return "12:34:56";
}
REPLACES(xen_compile_time, new_compile_time);

static const char *USED new_compiler(void)
{
    return "vendor's compiler";
}
REPLACES(xen_compiler, new_compiler);
