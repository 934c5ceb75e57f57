/* Depends on extra-version, and patches the same function again. */

#include "livepatch.h"

static const char *__attribute__((used)) newer_extra_version(void)
{
    return ".7-again";
}
REPLACES(xen_extra_version, newer_extra_version);

METADATA("name=stacked");
METADATA("on=extra-version");
