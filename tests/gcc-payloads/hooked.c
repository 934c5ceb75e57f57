/*
 * Two functions, all hooks except those in place of an action, data and zeroed data, which stay changed after a revert: it must be
 * uploaded again. Its pre- and post-hooks veto nothing, but prevent a replace. Visible in /sys/hypervisor/properties/changeset
 * and /sys/hypervisor/compilation/compiler.
 */

#include "livepatch.h"

static int hooked_loads = 1;
static int hooked_actions;

static const char *__attribute__((used)) new_changeset(void)
{
    return "patched changeset";
}
REPLACES(xen_changeset, new_changeset);

static const char *__attribute__((used)) new_compiler(void)
{
    return "patched compiler";
}
REPLACES(xen_compiler, new_compiler);

/* Xen calls these by address: they begin with endbr64 (see the script), which it requires if it enforces CET. */
static void __attribute__((used)) hooked_load(void)
{
    hooked_loads++;
}
HOOK(load, hooked_load);
HOOK(unload, hooked_load);

static int __attribute__((used)) hooked_before(void *payload)
{
    (void)payload;
    hooked_actions++;
    return 0;
}
HOOK(preapply, hooked_before);
HOOK(prerevert, hooked_before);

static void __attribute__((used)) hooked_after(void *payload)
{
    (void)payload;
    hooked_actions++;
}
HOOK(postapply, hooked_after);
HOOK(postrevert, hooked_after);

METADATA("name=hooked");
