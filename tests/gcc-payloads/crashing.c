/*
 * A patch that crashes Xen: a harmless function, and a hook with an invalid instruction, which Xen runs while it applies the
 * payload, with all processors at rest.
 */

#include "livepatch.h"

static const char *__attribute__((used)) new_changeset(void)
{
    return "never seen";
}
REPLACES(xen_changeset, new_changeset);

static void __attribute__((used)) crashing_load(void)
{
    __builtin_trap();
}
HOOK(load, crashing_load);
