//! The valid payloads of many shapes with which the hunt begins.

use xen_livepatch::BuildId;
use xen_livepatch::payload::{Architecture, HookKind};
use xen_livepatch::sim::{FunctionPatch, HookCode, PayloadBuilder};

use super::fields::function;
use super::image::Image;
use super::random::Random;
use super::tables;

/// Functions of Xen that run only on request of dom0. The hunt patches no others, since it looks for harm to Xen's loader, not
/// for that of wrong code.
pub const HARMLESS: [&str; 7] = [
    "xen_extra_version",
    "xen_changeset",
    "xen_compile_date",
    "xen_compile_time",
    "xen_compiler",
    "xen_deny",
    // The largest. It begins with `endbr64` in builds that have it, since a key on the console calls it.
    "dump_runq",
];

/// Their first bytes: `endbr64` if the build tracks branches, and else `lea text(%rip),%rax`.
pub const ENDBR64: &[u8; 4] = b"\xf3\x0f\x1e\xfa";
const LEA: &[u8; 3] = b"\x48\x8d\x05";

/// Other symbols of Xen, harmless as well, since a mutation may patch them.
const NEEDED: [&str; 3] = ["xen_compiler", "xen_deny", "xen_changeset"];

/// The optional parts of a seed: numbers of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Second,
    Third,
    Hooks,
    MoreHooks,
    Metadata,
    Data,
    Zeros,
    ReadOnly,
    Expectation,
    Defined,
    Needed,
    Alternatives,
    Exceptions,
    Bugs,
    Strings,
    Address,
}

pub struct Seed {
    pub image: Image,
    /// True if Xen runs the payload's own code, so that changes of it are excluded.
    pub runs: bool,
    pub text: String,
    /// The bits of its parts, of which there are 16.
    pub parts: u32,
}

/// The properties of the host.
pub struct Ingredients {
    pub architecture: Architecture,
    pub xen: BuildId,
    pub release: (u16, u16),
    /// True if its functions begin with `endbr64`.
    pub endbr: bool,
    /// True if its alternatives may require that a feature is absent.
    pub turned: bool,
    /// The names and bytes of files that a compiler made for this Xen.
    pub made: Vec<(String, Vec<u8>)>,
}

impl Seed {
    /// Without the parts whose bits are set in `without`.
    pub fn new(random: &mut Random, of: &Ingredients, depends: &BuildId, without: u32) -> Self {
        if !of.made.is_empty() && random.percent(8) {
            let (name, file) = random.of(&of.made);
            let image = Image::read(&file, function::size(of.release));
            let runs = image.sections.iter().any(|section| section.name.starts_with(".livepatch.hooks."));
            return Self { image, runs, text: name, parts: 0 };
        }
        let seed = random.next();
        let mut shape = Shape { random: Random::new(seed), without, has: Vec::new() };
        shape.build(of, depends)
    }
}

struct Shape {
    random: Random,
    without: u32,
    has: Vec<Part>,
}

impl Shape {
    /// Decides if it has a part. A random number is drawn in any case, so that everything else stays the same without the part.
    fn has(&mut self, part: Part, percent: usize) -> bool {
        let has = self.random.percent(percent) && self.without & (1 << part as u32) == 0;
        if has {
            self.has.push(part);
        }
        has
    }

    fn build(&mut self, of: &Ingredients, depends: &BuildId) -> Seed {
        let id = BuildId::new(self.random.next().to_be_bytes().repeat(2));
        let mut builder =
            PayloadBuilder::new(&id, depends, &of.xen).architecture(of.architecture).for_release(of.release);
        let arm = of.architecture == Architecture::AArch64;
        let strided = of.release < (4, 14);
        let hooks_alone = self.random.percent(4) && !strided;
        let mut runs = false;

        let first = self.random.below(HARMLESS.len());
        let expects = self.has(Part::Expectation, 12) && !strided;
        let count = if hooks_alone {
            0
        } else {
            1 + usize::from(self.has(Part::Second, 25)) + usize::from(self.has(Part::Third, 8))
        };
        for number in 0..count {
            let function = self.function(HARMLESS[(first + number) % HARMLESS.len()], arm);
            // On Arm their first bytes depend on their addresses.
            builder = builder.function(match (expects && !arm, of.endbr) {
                (true, true) => function.expecting(ENDBR64),
                (true, false) => function.expecting(LEA),
                _ => function,
            });
        }
        let around = [
            HookKind::Load,
            HookKind::Unload,
            HookKind::PreApply,
            HookKind::PostApply,
            HookKind::PreRevert,
            HookKind::PostRevert,
        ];
        let around = if strided { &around[..2] } else { &around[..] };
        if self.has(Part::Hooks, 22) || hooks_alone {
            builder = builder.hook(self.random.of(around), HookCode::returns(0));
            runs = true;
        }
        let (more, hook) = (self.has(Part::MoreHooks, 10), self.random.of(around));
        if more {
            // Two of a kind are refused but for these.
            builder = builder.hook(HookKind::Load, HookCode::returns(1)).hook(HookKind::Load, HookCode::returns(2));
            if hook != HookKind::Load && !runs {
                builder = builder.hook(hook, HookCode::returns(0));
            }
            runs = true;
        }
        if hooks_alone && self.random.percent(30) {
            // In place of the action: good for a payload without functions alone.
            builder = builder.hook(HookKind::Apply, HookCode::returns(0)).hook(HookKind::Revert, HookCode::returns(0));
        }
        builder = self.contents(builder);
        let mut image = Image::read(&builder.build(), function::size(of.release));
        if self.has(Part::Address, 20) {
            by_address(&mut image, first, count);
        }
        self.tables(&mut image, of.turned);
        let parts = self.has.iter().fold(0, |parts, part| parts | 1 << *part as u32);
        Seed { image, runs, parts, text: format!("{count} from {}, with {:?}", HARMLESS[first], self.has) }
    }

    fn function(&mut self, name: &str, arm: bool) -> FunctionPatch {
        let function = match self.random.below(10) {
            0..6 => FunctionPatch::returning(name, "hunted"),
            6 | 7 if arm => FunctionPatch::with_code(name, [0xe0, 0x03, 0x1f, 0x2a, 0xc0, 0x03, 0x5f, 0xd6]),
            6 | 7 => FunctionPatch::with_code(name, [0x90, 0x31, 0xc0, 0xc3]),
            _ if arm => FunctionPatch::nop(name, self.random.of(&[4, 8, 12, 16])),
            _ => FunctionPatch::nop(name, self.random.of(&[4, 5, 8, 9, 12, 16])),
        };
        if self.random.percent(15) { function.old_size(self.random.of(&[20, 24, 31, 4096])) } else { function }
    }

    fn contents(&mut self, mut builder: PayloadBuilder) -> PayloadBuilder {
        if self.has(Part::Metadata, 30) {
            builder = builder.metadata("name", Some("hunted")).metadata("flag", None);
        }
        if self.has(Part::Data, 12) {
            builder = builder.writable_data(vec![7; self.random.of(&[1, 8, 100, 4096])]);
        }
        let zeros = self.random.of(&[1, 8, 4096, 70_000]);
        if self.has(Part::Zeros, 12) {
            builder = builder.bss(zeros);
        }
        if self.has(Part::ReadOnly, 10) {
            builder = builder.read_only_funcs();
        }
        if self.has(Part::Defined, 12) {
            builder = builder.defines("hunted_symbol").defines("another_hunted_symbol");
        }
        if self.has(Part::Needed, 20) {
            builder = builder.needs(self.random.of(&NEEDED)).needs("xen_deny");
        }
        builder
    }

    fn tables(&mut self, image: &mut Image, turned: bool) {
        if self.has(Part::Alternatives, 18) {
            tables::alternatives(image, &mut self.random, turned);
        }
        if self.has(Part::Exceptions, 14) && !image.is_arm() {
            tables::exceptions(image, &mut self.random);
        }
        if self.has(Part::Bugs, 14) {
            tables::bugs(image, &mut self.random);
        }
        if self.has(Part::Strings, 15) {
            tables::strings(image);
        }
    }
}

/// Gives functions addresses, so that Xen does not look up their names.
fn by_address(image: &mut Image, first: usize, count: usize) {
    for number in 0..count {
        let symbol = image.undefined(HARMLESS[(first + number) % HARMLESS.len()]);
        let at = number * image.function_size + function::OLD_ADDRESS.0;
        image.relocate(".livepatch.funcs", at, image.pointer(), symbol, 0);
    }
}
