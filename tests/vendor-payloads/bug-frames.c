/*
 * Bug frames of all kinds. On x86-64 the first two are run: a function that Xen calls in place of an instruction, and a warning,
 * which goes to Xen's console. A bug and a failed assertion would crash Xen. There is only one warning: its text contains Xen's
 * version, so that each would cause the next.
 */

#include "vendor.h"

#ifdef __aarch64__

#define STOP ".inst 0xd4200020\n"
#define FRAME(kind)                                                         \
    "1: " STOP                                                              \
    ".pushsection .rodata.str,\"aMS\",%%progbits,1\n"                       \
    "2: .asciz \"common/version.c\"\n"                                      \
    "3: .asciz \"text != NULL\"\n"                                          \
    ".popsection\n"                                                         \
    ".pushsection .bug_frames." #kind ",\"a\",%%progbits\n"                 \
    "4: .p2align 2\n"                                                       \
    ".long 1b - 4b, 2b - 4b, 3b - 4b\n"                                     \
    ".hword 21, 0\n"                                                        \
    ".popsection\n"

static const char *USED new_extra_version(void)
{
    /* Not run: Xen 4.17 accepts the name of the file only in its own image. */
    if (HIDDEN(0) == 3)
        __asm__ volatile(FRAME(1) : :);
    if (HIDDEN(0) == 1)
        __asm__ volatile(FRAME(2) : :);
    if (HIDDEN(0) == 2)
        __asm__ volatile(FRAME(3) : :);
    return TEXT;
}

#else

#define FRAME(kind, pointer, more)                                          \
    "1: ud2\n"                                                              \
    ".pushsection .rodata.str1.1,\"aMS\",@progbits,1\n"                     \
    "2: .asciz \"common/version.c\"\n"                                      \
    "3: .asciz \"text != NULL\"\n"                                          \
    ".popsection\n"                                                         \
    ".pushsection .bug_frames." #kind ",\"a\",@progbits\n"                  \
    ".p2align 2\n"                                                          \
    "4: .long 1b - 4b + (1 << 24)\n"                                        \
    ".long " pointer " - 4b + (21 << 24)\n"                                 \
    more                                                                    \
    ".popsection\n"

static unsigned int noted, warned;

static void USED note(void *registers)
{
    (void)registers;
    noted++;
}

static const char *USED new_extra_version(void)
{
    unsigned int before = noted;

    __asm__ volatile(FRAME(0, "note", "") : : : "memory");
    if (!warned) {
        warned = 1;
        __asm__ volatile(FRAME(1, "2b", "") : : : "memory");
    }
    if (HIDDEN(0) == 1)
        __asm__ volatile(FRAME(2, "2b", ""));
    if (HIDDEN(0) == 2)
        __asm__ volatile(FRAME(3, "2b", ".long 0, 3b - 4b\n"));
    return noted > before ? TEXT : "-not-noted";
}

#endif
REPLACES_THE_TEXT;
