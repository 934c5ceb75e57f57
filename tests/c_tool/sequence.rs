//! Fixed commands, with which every run begins: the Xen project's own sequence of tests, and xapi's steps to a patch level.

/// Commands, with the exit status of both tools.
pub const COMMANDS: [(i32, &str); 47] = [
    // The Xen project's.
    (0, "list"),
    (1, "revert hello"),
    (0, "load hello.livepatch"),
    (1, "load hello.livepatch"),
    (0, "list"),
    (0, "revert hello"),
    (0, "unload hello"),
    (1, "unload hello"),
    (0, "load hello.livepatch"),
    (0, "load bye.livepatch"),
    (0, "upload replace replace.livepatch"),
    (0, "replace replace"),
    // It was reverted, and has writable data.
    (1, "apply hello"),
    // It depends on another payload.
    (1, "apply bye"),
    (0, "apply replace"),
    (0, "revert replace"),
    (0, "unload hello"),
    (0, "unload bye"),
    (0, "unload replace"),
    (0, "list"),
    (0, "load nop.livepatch"),
    (0, "revert nop"),
    (0, "apply nop"),
    (1, "unload nop"),
    (0, "revert nop"),
    (0, "unload nop"),
    // xapi's for each level: it unloads the new payload, which it expects to fail unless that is loaded and not applied,
    // uploads it, replaces all others, and unloads those that the list has as CHECKED.
    (1, "unload replace"),
    (0, "upload replace replace.livepatch"),
    (0, "replace replace"),
    (1, "unload debug"),
    (0, "upload debug debug.livepatch"),
    (0, "replace debug"),
    (0, "unload replace"),
    // Two payloads of another origin are replaced by the next one.
    (0, "load hello.livepatch --nodeps"),
    (0, "upload data data.livepatch"),
    (1, "unload nop"),
    (0, "upload nop nop.livepatch"),
    (0, "replace nop"),
    (0, "unload debug"),
    (0, "unload hello"),
    (0, "unload data"),
    // It is there already.
    (1, "unload nop"),
    (1, "upload nop nop.livepatch"),
    // Back to the host without patches.
    (0, "list"),
    (0, "revert nop"),
    (0, "unload nop"),
    (0, "list"),
];
