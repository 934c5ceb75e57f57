/*
 * An alternative for each processor feature of the first WORDS words: those that this processor has, and those that it
 * lacks. In turns the replacement is as long as the original, shorter, of length 0, or takes the place of padding.
 */

#include "vendor.h"

/* The highest bit of a feature stands for a processor that lacks it. */
#ifdef NEGATED
#define NEGATED_OR(feature) "0x8000 + " feature
#else
#define NEGATED_OR(feature) feature
#endif

#define ENTRY(feature, original_len, replacement_len, padding)              \
    ".pushsection .altinstructions,\"a\"\n"                                 \
    ".long 661b - ., 663f - .\n"                                            \
    ".hword " feature "\n"                                                  \
    ".byte " original_len ", " replacement_len ", " padding ", 0\n"         \
    ".popsection\n"
#define REPLACEMENT(code)                                                   \
    ".pushsection .altinstr_replacement,\"ax\"\n"                           \
    "663: " code "\n"                                                       \
    "664:\n"                                                                \
    ".popsection\n"

static const char *USED new_extra_version(void)
{
    unsigned int altered;

    /* Every processor has a floating-point unit: feature 0. */
    __asm__ volatile("661: movl $0, %0\n"
                     "662:\n"
                     ENTRY(NEGATED_OR("0"), "662b - 661b", "664f - 663f", "0")
                     REPLACEMENT("movl $1, %0")
                     : "=r"(altered));
    __asm__ volatile(".set feature, 0\n"
                     ".rept " QUOTE(WORDS) " * 8\n"
                     "661: .byte 0x0f, 0x1f, 0x00\n"
                     ENTRY(NEGATED_OR("feature"), "3", "3", "0")
                     REPLACEMENT(".byte 0x0f, 0x1f, 0x00")
                     "661: .byte 0x0f, 0x1f, 0x00\n"
                     ENTRY(NEGATED_OR("feature + 1"), "3", "1", "0")
                     REPLACEMENT("nop")
                     "661: .byte 0x0f, 0x1f, 0x00\n"
                     ENTRY(NEGATED_OR("feature + 2"), "3", "0", "0")
                     REPLACEMENT("")
                     "661: nop; nop; nop\n"
                     ENTRY(NEGATED_OR("feature + 3"), "0", "3", "3")
                     REPLACEMENT(".byte 0x0f, 0x1f, 0x00")
                     ".set feature, feature + 4\n"
                     ".endr\n");
#ifdef NEGATED
    altered = !altered;
#endif
    return altered ? TEXT : "-not-altered";
}
REPLACES_THE_TEXT;
