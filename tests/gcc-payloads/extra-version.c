/* One function, and no writable section but the table: may be applied again after a revert. Visible in /sys/hypervisor/version/extra. */

#include "livepatch.h"

static const char *__attribute__((used)) new_extra_version(void)
{
    return ".7-patched";
}
REPLACES(xen_extra_version, new_extra_version);

METADATA("name=extra-version");
METADATA("reversible");
