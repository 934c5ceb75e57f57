/*
 * Indirect calls that Xen makes direct: until 4.20 they are alternatives whose replacement is a call of itself, from 4.21 on
 * they are in .alt_call_sites. One calls the payload's own function, and runs. The other goes through a pointer of Xen, as
 * those of real payloads do, and does not run.
 */

#include "vendor.h"

#ifdef CALL_SITES
#define ALTERNATIVE_CALL                                                    \
    "661: call *%1\n"                                                       \
    ".pushsection .alt_call_sites,\"a\"\n"                                  \
    ".balign 4\n"                                                           \
    ".long 661b - .\n"                                                      \
    ".popsection\n"
#else
/* Feature 93 is that of 64-bit processors. */
#define ALTERNATIVE_CALL                                                    \
    "661: call *%1\n"                                                       \
    "662:\n"                                                                \
    ".pushsection .altinstructions,\"a\"\n"                                 \
    ".long 661b - ., 663f - .\n"                                            \
    ".hword 93\n"                                                           \
    ".byte 662b - 661b, 664f - 663f, 0, 0\n"                                \
    ".popsection\n"                                                         \
    ".pushsection .altinstr_replacement,\"ax\"\n"                           \
    "663: .byte 0xe8; .long -5\n"                                           \
    "664:\n"                                                                \
    ".popsection\n"
#endif

#pragma GCC visibility push(hidden)
extern const char *(*hvm_funcs)(void);
#pragma GCC visibility pop

static const char *USED picked(void)
{
    return TEXT;
}
static const char *(*pick)(void) = picked;

static const char *USED new_extra_version(void)
{
    const char *text;

    __asm__ volatile(ALTERNATIVE_CALL
                     : "=a"(text)
                     : "m"(pick)
                     : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
    if (HIDDEN(0))
        __asm__ volatile(ALTERNATIVE_CALL : "=a"(text) : "m"(hvm_funcs) : "memory");
    return text;
}
REPLACES_THE_TEXT;
