/*
 * Hooks as Xen's header declares them: a weak pointer for each, in a section of its kind. They count their calls, and set the
 * text that the new function returns.
 */

#include "vendor.h"

#define HOOK_POINTER(kind, type, function)                                  \
    type *__attribute__((weak)) const USED                                  \
        pointer_to_##kind##_##function __attribute__((section(".livepatch.hooks." #kind))) = function

typedef void load_call(void);
typedef int pre_call(void *payload);
typedef void post_call(void *payload);

static struct {
    unsigned int loads, unloads, before, after;
    const char *text;
} state = { .text = "-not-to-be-seen" };

static void at_load(void)
{
    state.loads++;
    state.text = TEXT;
}
HOOK_POINTER(load, load_call, at_load);

static void at_unload(void)
{
    state.unloads++;
}
HOOK_POINTER(unload, load_call, at_unload);

#ifdef ALL_HOOKS
static int before(void *payload)
{
    (void)payload;
    state.before++;
    return 0;
}
HOOK_POINTER(preapply, pre_call, before);
HOOK_POINTER(prerevert, pre_call, before);

static void after(void *payload)
{
    (void)payload;
    state.after++;
}
HOOK_POINTER(postapply, post_call, after);
HOOK_POINTER(postrevert, post_call, after);
#endif

static const char *USED new_extra_version(void)
{
    return state.text;
}
REPLACES_THE_TEXT;
