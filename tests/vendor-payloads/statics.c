/* Static data of all kinds, and the name of a function. The script renames some of it as build tools do: FILE.c#NAME. */

#include "vendor.h"

static unsigned int counter = 3;
static unsigned int zeroed[100];
static unsigned int seldom __attribute__((section(".data.read_mostly"))) = 1;
static unsigned char paged[4096] __attribute__((aligned(4096), section(".bss.page_aligned")));

static unsigned int NOINLINE note(const char *function, unsigned int line)
{
    unsigned int index = HIDDEN(line) % 100;

    zeroed[index] += counter++;
    paged[index] = (unsigned char)function[0];
    return zeroed[index];
}

static unsigned int NOINLINE traced(void)
{
    return note(__func__, __LINE__) + seldom;
}

static const char *USED new_extra_version(void)
{
    static unsigned int calls;

    calls += note(__func__, __LINE__);
    return traced() + calls ? TEXT : "-not-to-be-seen";
}
REPLACES_THE_TEXT;
