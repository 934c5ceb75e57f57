/*
 * Macros for the payloads here. They are C, except for the table of replaced functions and the notes, which are assembly: only
 * the assembler has the size of a function.
 */

/* The rest of an entry of .livepatch.funcs after the version: Xen's own state, and from version 2 on an expectation. */
#if VERSION == 1
#define REST ".zero 31\n"
#else
#define REST ".zero 39\n.zero 32\n"
#endif
#define QUOTE(number) QUOTED(number)
#define QUOTED(number) #number

/* The flags of .livepatch.funcs, which the Xen project's build tools set to "a". */
#ifndef FUNCS_FLAGS
#define FUNCS_FLAGS "aw"
#endif

/* The section of a function: with -ffunction-sections, which makes a section for each, the script defines SECTIONS. */
#ifdef SECTIONS
#define CODE_OF(function) ".pushsection .text." #function ",\"ax\",%progbits\n"
#else
#define CODE_OF(function) ".pushsection .text\n"
#endif

/* The new size. Not every compiler keeps the order of C and assembly, which tells it. */
#ifdef NEW_SIZE
#define SIZE_OF(by) QUOTE(NEW_SIZE)
#else
#define SIZE_OF(by) "0b - " #by
#endif

/* The old address and size. An address of 0 is found by name. */
#ifndef OLD_ADDRESS
#define OLD_ADDRESS 0
#endif
#ifndef OLD_SIZE
#define OLD_SIZE 16
#endif

/*
 * The entry of .livepatch.funcs (64 bytes, 104 from version 2 on) that makes Xen run `by` instead of `function`. The sixteen bytes are
 * what the function surely has: Xen aligns functions so, and five bytes would be too few where it begins with ENDBR64 (on
 * AArch64 a jump takes four).
 * Stands right after `by`, so that it can say where that ends.
 */
#define REPLACES(function, by)                                              \
    __asm__(CODE_OF(by)                                                     \
            "0:\n"                                                          \
            ".popsection\n"                                                 \
            ".pushsection .livepatch.strings,\"a\"\n"                       \
            "1: .asciz \"" #function "\"\n"                                 \
            ".popsection\n"                                                 \
            ".pushsection .livepatch.funcs,\"" FUNCS_FLAGS "\"\n"             \
            ".balign 8\n"                                                   \
            ".quad 1b\n"          /* name */                                \
            ".quad " #by "\n"     /* new address */                         \
            ".quad " QUOTE(OLD_ADDRESS) "\n"                                \
            ".long " SIZE_OF(by) "\n"                                       \
            ".long " QUOTE(OLD_SIZE) "\n"                                   \
            ".byte " QUOTE(VERSION) "\n"                                     \
            REST                                                            \
            ".popsection\n")

/* An entry of .livepatch.hooks.KIND. */
#define HOOK(kind, function)                                                \
    __asm__(".pushsection .livepatch.hooks." #kind ",\"a\"\n"               \
            ".balign 8\n"                                                   \
            ".quad " #function "\n"                                         \
            ".popsection\n")

/* A note that holds a build-id, given as bytes with commas. */
#define STRING(...) #__VA_ARGS__
#define NOTE(section, ...)                                                  \
    __asm__(".pushsection " section ",\"a\",@note\n"                        \
            ".balign 4\n"                                                   \
            ".long 4, 3f - 2f, 3\n"                                         \
            ".asciz \"GNU\"\n"                                              \
            "2: .byte " STRING(__VA_ARGS__) "\n"                            \
            "3: .balign 4\n"                                                \
            ".popsection\n")

/*
 * An entry of .modinfo. Not a C array: that would have a symbol, and no two payloads in a Xen may define the same one.
 */
#define METADATA(text)                                                      \
    __asm__(".pushsection .modinfo,\"a\"\n"                                 \
            ".asciz \"" text "\"\n"                                         \
            ".popsection\n")

/* The payload or Xen it depends on, and the Xen it is for: given by the script, unless that adds them later. */
#ifdef XEN
NOTE(".livepatch.depends", DEPENDS);
NOTE(".livepatch.xen_depends", XEN);
#endif
