/* Several functions in one payload, and another of which only the name is known. */

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

static const char *USED new_compile_by(void)
{
    return "vendor";
}
REPLACES(xen_compile_by, new_compile_by);

static const char *USED new_compile_domain(void)
{
    return "vendor.example";
}
REPLACES(xen_compile_domain, new_compile_domain);

static const char *USED new_compiler(void)
{
    return "vendor's compiler";
}
REPLACES(xen_compiler, new_compiler);
