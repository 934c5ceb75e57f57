//! Recipes of payloads, as data: each makes the same file for both hosts, and is printed in one line.

use super::flaws::{self, Flaw};
use super::host::PATCHED;
use super::random::Random;
use crate::prelude::*;

/// Another function that nothing but dom0's curiosity calls.
pub const ALSO_PATCHED: &str = "xen_changeset";

/// The first instruction of functions that may be called through a pointer, in a Xen built for CET.
const ENDBR64: &[u8] = b"\xf3\x0f\x1e\xfa";

const NOP_ON_ARM: [u8; 4] = [0x1f, 0x20, 0x03, 0xd5];

/// Bytes of a function that are known.
pub const KNOWN: usize = 16;

/// The facts about a host that payloads for it depend on.
#[derive(Clone, Debug)]
pub struct Ingredients {
    pub release: Release,
    pub architecture: Architecture,
    pub xen: BuildId,
    /// The patched function up to the address of its text; empty if that is in its first bytes.
    pub opcode: Vec<u8>,
    /// The first bytes of the other function.
    pub also: [u8; KNOWN],
}

impl Ingredients {
    pub fn is_arm(&self) -> bool {
        self.architecture == Architecture::AArch64
    }
}

/// A build-id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    Xen,
    Payload(u8),
    /// Of nobody, and of another length.
    Odd,
}

impl Id {
    /// The build-id of one of 40 payloads.
    pub fn any(random: &mut Random) -> Self {
        Self::Payload(u8::try_from(random.below(40)).unwrap())
    }

    pub fn bytes(self, xen: &BuildId) -> BuildId {
        match self {
            Self::Xen => xen.clone(),
            Self::Payload(number) => PayloadBuilder::named(&format!("payload {number}"), xen).build_id().clone(),
            Self::Odd => BuildId::new([0x5a; 7]),
        }
    }
}

/// The expectation of a payload about the code that it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    Nothing,
    /// The code as it is when nothing is applied.
    Original,
    /// A jump: that something is applied. On Arm its first bytes have the distance, so there it is no-operations.
    Patched,
    /// Code that is never there.
    Never,
}

/// The change of the other function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    Text,
    /// So many bytes do nothing, of as many or of all that there are.
    Nops(u32, bool),
}

#[allow(clippy::struct_excessive_bools, reason = "each is a property of its own")]
#[derive(Clone, Debug)]
pub struct Recipe {
    pub id: Id,
    pub depends: Id,
    pub xen: Id,
    /// Made for releases of the other payload version.
    pub misfit: bool,
    /// Tells what the patched function returns then; none: no function.
    pub text: Option<u8>,
    pub expects: Expectation,
    /// Patches the other function too.
    pub also: Option<(Also, Expectation)>,
    pub read_only: bool,
    pub data: bool,
    pub bss: u32,
    pub metadata: Vec<u8>,
    pub hooks: Vec<(HookKind, i32)>,
    /// Hooks before its actions take their time, during which Xen does nothing else that it is asked for.
    pub slow: bool,
    pub defines: Vec<u8>,
    pub needs: Vec<u8>,
    pub size: usize,
    pub flaw: Option<Flaw>,
}

/// Results of hooks: success, error numbers with a meaning to Xen or the client, and oddities.
const RESULTS: [i32; 14] = [0, 0, 0, -1, -2, -11, -14, -16, -22, -38, -77, -95, -4095, 5];

/// Some milliseconds: movz w1, #0x900; movk w1, #61, lsl #16; 1: subs w1, w1, #1; b.ne 1b; mov w0, wzr; ret.
const SLOW_ON_ARM: [u32; 6] = [0x5281_2001, 0x72a0_07a1, 0x7100_0421, 0x54ff_ffe1, 0x2a1f_03e0, 0xd65f_03c0];

/// The same: endbr64; mov $4000000,%ecx; 1: dec %ecx; jnz 1b; xor %eax,%eax; ret.
const SLOW: [u8; 16] = [0xf3, 0x0f, 0x1e, 0xfa, 0xb9, 0x00, 0x09, 0x3d, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0x31, 0xc0, 0xc3];

impl Recipe {
    pub fn random(random: &mut Random, id: Id, depends: Id, of: &SimulatedXen, irreversible: bool) -> Self {
        const EXPECTATIONS: [(usize, Expectation); 4] = [
            (70, Expectation::Nothing),
            (15, Expectation::Original),
            (9, Expectation::Patched),
            (6, Expectation::Never),
        ];
        let at_actions =
            [HookKind::PreApply, HookKind::Apply, HookKind::PostApply, HookKind::PreRevert, HookKind::PostRevert];
        let mut hooks = Vec::new();
        if random.percent(6) {
            hooks.push((random.of(&[HookKind::Load, HookKind::Unload]), random.of(&RESULTS)));
        }
        if random.percent(if irreversible { 60 } else { 12 }) {
            let hook = random.of(&at_actions);
            let result = match hook {
                // What refuses to be reverted can't be got rid of.
                HookKind::PreRevert if !irreversible => 0,
                // In place of the apply: what Xen takes for applied must be.
                HookKind::Apply => random.of(&RESULTS[3..]),
                _ => random.of(&RESULTS),
            };
            hooks.push((hook, result));
        }
        let mut metadata = Vec::new();
        for _ in 0..random.weighted(&[(50, 0), (30, 1), (15, 2), (5, 20)]) {
            metadata.extend(random.of(&[&b"key=value\0"[..], b"flag\0", b"\0", b"=\xff\0"]));
        }
        Self {
            id,
            depends,
            xen: if random.percent(3) { Id::Payload(0) } else { Id::Xen },
            misfit: random.percent(2),
            text: (!random.percent(4)).then(|| random.next().to_le_bytes()[0]),
            expects: random.weighted(&EXPECTATIONS),
            also: random.percent(20).then(|| {
                let nops = Also::Nops(u32::try_from(random.below(13)).unwrap(), random.percent(50));
                (random.of(&[Also::Text, nops]), random.weighted(&EXPECTATIONS))
            }),
            read_only: random.percent(10),
            data: random.percent(10),
            bss: if random.percent(6) { random.of(&[1, 4096, 2 << 20, (2 << 20) + 1]) } else { 0 },
            metadata,
            hooks,
            slow: false,
            defines: Self::symbols(random),
            needs: Self::symbols(random),
            size: if random.percent(1) { random.of(&[2 << 20, (2 << 20) + 1, 300_000]) } else { 0 },
            flaw: random.percent(if irreversible { 5 } else { 25 }).then(|| Flaw::random(random, of)),
        }
    }

    /// One that gets in and is applied and reverted, slowly.
    pub fn slow(random: &mut Random, id: Id, depends: Id, of: &SimulatedXen) -> Self {
        Self {
            xen: Id::Xen,
            misfit: false,
            expects: Expectation::Nothing,
            also: None,
            hooks: Vec::new(),
            slow: true,
            defines: Vec::new(),
            needs: Vec::new(),
            flaw: None,
            ..Self::random(random, id, depends, of, false)
        }
    }

    fn symbols(random: &mut Random) -> Vec<u8> {
        let count = random.weighted(&[(85, 0), (12, 1), (3, 2)]);
        (0..count).map(|_| random.next().to_le_bytes()[0] % 5).collect()
    }

    pub fn build(&self, of: &Ingredients) -> Vec<u8> {
        let [id, depends, xen] = [self.id, self.depends, self.xen].map(|id| id.bytes(&of.xen));
        let old = of.release < Release::V4_14.at(0);
        let version = if old == self.misfit { PayloadVersion::V2 } else { PayloadVersion::V1 };
        let mut builder = PayloadBuilder::new(&id, &depends, &xen)
            .architecture(of.architecture)
            .payload_version(version)
            .padded_to(self.size);
        builder = builder.bss(self.bss.into());
        if let Some(text) = self.text {
            builder = builder.function(self.function(text, of));
        }
        if let Some((also, expects)) = self.also {
            let function = match also {
                Also::Text => FunctionPatch::returning(ALSO_PATCHED, "another"),
                Also::Nops(count, exact) => {
                    // Fewer than ENDBR64 has are more than Xen survives.
                    let count = if of.also.starts_with(ENDBR64) { count.max(4) } else { count };
                    let function = FunctionPatch::nop(ALSO_PATCHED, count);
                    if exact { function.old_size(count.max(1)) } else { function }
                }
            };
            builder = builder.function(match expects {
                Expectation::Nothing => function,
                Expectation::Original => function.expecting(&of.also),
                Expectation::Patched if of.is_arm() => function.expecting(&NOP_ON_ARM),
                Expectation::Patched => function.expecting(b"\xe9"),
                // No more than there is of the function, so that it is this that Xen refuses.
                Expectation::Never if of.is_arm() => function.expecting(&[0xcc; 4]),
                Expectation::Never => function.expecting(&[0xcc]),
            });
        }
        if self.read_only {
            builder = builder.read_only_funcs();
        }
        if self.data {
            builder = builder.writable_data([1; 8]);
        }
        if !self.metadata.is_empty() {
            builder = builder.modinfo(&self.metadata);
        }
        for (hook, result) in &self.hooks {
            builder = builder.hook(*hook, HookCode::returns(*result));
        }
        for hook in [HookKind::PreApply, HookKind::PreRevert].into_iter().filter(|_| self.slow) {
            builder = builder.hook(hook, HookCode::from_code(slow(of)));
        }
        for number in &self.defines {
            builder = builder.defines(symbol(*number));
        }
        for number in &self.needs {
            builder = builder.needs(symbol(*number));
        }
        match &self.flaw {
            Some(flaw) => flaws::build(flaw, builder, of),
            None => builder.build(),
        }
    }

    fn function(&self, text: u8, of: &Ingredients) -> FunctionPatch {
        let function = FunctionPatch::returning(PATCHED, format!("-text {text}"));
        match self.expects {
            Expectation::Nothing => function,
            Expectation::Never if of.is_arm() => function.expecting(&[0xcc; 4]),
            Expectation::Never => function.expecting(b"\xcc"),
            Expectation::Original if of.is_arm() => function,
            Expectation::Patched if of.is_arm() => function.expecting(&NOP_ON_ARM),
            // With ENDBR64 in front or without.
            Expectation::Original => match <&[u8; 7]>::try_from(&of.opcode[..]) {
                Ok(opcode) => function.expecting(opcode),
                Err(_) => function.expecting(&[of.opcode[0], of.opcode[1], of.opcode[2]]),
            },
            Expectation::Patched => match <&[u8; 7]>::try_from(&of.opcode[..]) {
                Ok([a, b, c, d, ..]) => function.expecting(&[*a, *b, *c, *d, 0xe9]),
                Err(_) => function.expecting(b"\xe9"),
            },
        }
    }
}

fn slow(of: &Ingredients) -> Vec<u8> {
    if of.is_arm() { SLOW_ON_ARM.into_iter().flat_map(u32::to_le_bytes).collect() } else { SLOW.to_vec() }
}

/// Symbols that payloads define for others, one that Xen has, and one that nobody has.
fn symbol(number: u8) -> String {
    match number {
        3 => "printk".into(),
        4 => "nobody_has_this".into(),
        number => format!("new_symbol_{number}"),
    }
}
