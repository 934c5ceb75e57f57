/* No functions: hooks in place of the actions, which have nothing to do. */

#include "vendor.h"

static unsigned int actions;

static int USED instead(void *payload)
{
    (void)payload;
    actions++;
    return 0;
}
HOOK(apply, instead);
HOOK(revert, instead);
