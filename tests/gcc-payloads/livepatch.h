/*
 * What the payloads here are written with. They are C, but for the table of replaced functions and the notes, which are
 * assembly: only the assembler knows how long a function became.
 */

/* What follows the version in an entry of .livepatch.funcs: Xen's own state, and from version 2 on an expectation. */
#if VERSION == 1
#define REST ".zero 31\n"
#else
#define REST ".zero 39\n.zero 32\n"
#endif
#define TEXT(number) QUOTED(number)
#define QUOTED(number) #number

/*
 * The entry of .livepatch.funcs (64 bytes, 104 from version 2 on) that makes Xen run `by` instead of `function`. The sixteen bytes are
 * what the function surely has: Xen aligns functions so, and five bytes would be too few where it begins with ENDBR64 (on
 * AArch64 a jump takes four).
 * Stands right after `by`, so that it can say where that ends.
 */
#define REPLACES(function, by)                                              \
    __asm__(".text\n"                                                       \
            "0:\n"                                                          \
            ".pushsection .livepatch.strings,\"a\"\n"                       \
            "1: .asciz \"" #function "\"\n"                                 \
            ".popsection\n"                                                 \
            ".pushsection .livepatch.funcs,\"aw\"\n"                        \
            ".balign 8\n"                                                   \
            ".quad 1b\n"          /* name */                                \
            ".quad " #by "\n"     /* new address */                         \
            ".quad 0\n"           /* old address: by name */                \
            ".long 0b - " #by "\n" /* new size */                           \
            ".long 16\n"          /* old size */                            \
            ".byte " TEXT(VERSION) "\n"                                     \
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

/* On which payload or Xen it goes, and for which Xen it is: given by the script. */
NOTE(".livepatch.depends", DEPENDS);
NOTE(".livepatch.xen_depends", XEN);
