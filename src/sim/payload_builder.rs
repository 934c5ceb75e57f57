//! Payloads made to measure: real livepatch files, as a build of Xen's livepatch tools would leave them.

use object::elf;

use super::SimulatedXen;
use crate::BuildId;
use crate::payload::{HookKind, PayloadVersion};
use crate::types::widen::to_u64;
use crate::xen::architecture::Architecture;

mod defect;
mod function;
mod hook;
mod machine;
mod object_file;
#[cfg(test)]
mod tests;

pub use defect::Defect;
pub use function::FunctionPatch;
pub use hook::HookCode;

use function::Code;
use machine::Machine;
use object_file::{ObjectFile, Section, Symbol, Target};

/// Builds livepatch payloads: files that a simulated Xen loads, and a real one too. They are for x86-64, unless
/// [`architecture`](Self::architecture) says otherwise.
///
/// What is not asked for is as Xen wants it, so that a payload with at least one function loads, applies, reverts and
/// applies again. Everything is deterministic: equal builders build equal bytes.
///
/// ```
/// use xen_livepatch::BuildId;
/// use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};
///
/// let xen = BuildId::new([0xab; 20]);
/// let hello = PayloadBuilder::named("hello", &xen)
///     .function(FunctionPatch::returning("xen_extra_version", "-hello"))
///     .metadata("author", Some("we"));
/// let on_top = PayloadBuilder::named("on-top", &xen)
///     .depends_on(hello.build_id())
///     .function(FunctionPatch::returning("xen_extra_version", "-on-top"));
/// assert!(hello.build().starts_with(b"\x7fELF"));
/// assert_ne!(hello.build(), on_top.build());
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is built before `build`"]
pub struct PayloadBuilder {
    architecture: Architecture,
    build_id: BuildId,
    depends: BuildId,
    xen_depends: BuildId,
    version: PayloadVersion,
    functions: Vec<FunctionPatch>,
    read_only_funcs: bool,
    hooks: Vec<(HookKind, HookCode)>,
    modinfo: Option<Vec<u8>>,
    data: Option<Vec<u8>>,
    bss: u64,
    defined: Vec<String>,
    needed: Vec<String>,
    sections: Vec<(String, Vec<u8>)>,
    least_len: usize,
    defects: Vec<(String, Defect)>,
}

impl PayloadBuilder {
    /// A payload with this build-id, which goes on top of `depends` in a Xen with the build-id `xen_depends`.
    pub fn new(build_id: &BuildId, depends: &BuildId, xen_depends: &BuildId) -> Self {
        Self {
            architecture: Architecture::X86_64,
            build_id: build_id.clone(),
            depends: depends.clone(),
            xen_depends: xen_depends.clone(),
            version: PayloadVersion::V2,
            functions: Vec::new(),
            read_only_funcs: false,
            hooks: Vec::new(),
            modinfo: None,
            data: None,
            bss: 0,
            defined: Vec::new(),
            needed: Vec::new(),
            sections: Vec::new(),
            least_len: 0,
            defects: Vec::new(),
        }
    }

    /// A payload that goes on top of this Xen, with a build-id of 20 bytes that follows from the name.
    pub fn named(name: &str, xen: &BuildId) -> Self {
        Self::new(&build_id_of(name), xen, xen)
    }

    /// A payload that goes on top of this simulated Xen, and is made for its release and architecture. One without a
    /// build-id takes none.
    ///
    /// For another Xen: `PayloadBuilder::named(name, &build_id).for_release(version.release())`.
    pub fn for_xen(xen: &SimulatedXen, name: &str) -> Self {
        let build_id = xen.build_id().unwrap_or_else(|| BuildId::new([]));
        Self::named(name, &build_id).for_release((4, xen.release().minor())).architecture(xen.architecture())
    }

    /// Goes on top of the payload (or the Xen) with this build-id: `.livepatch.depends`.
    pub fn depends_on(mut self, build_id: &BuildId) -> Self {
        self.depends = build_id.clone();
        self
    }

    /// The build-id that the payload has.
    #[must_use]
    pub fn build_id(&self) -> &BuildId {
        &self.build_id
    }

    /// Makes it for a release of Xen, given as major and minor number: chooses the layout of its functions, which grew in
    /// 4.14.
    pub fn for_release(self, release: (u16, u16)) -> Self {
        self.payload_version(if release < (4, 14) { PayloadVersion::V1 } else { PayloadVersion::V2 })
    }

    /// Chooses what the payload is for, and so the code that the builder makes; [`Architecture::X86_64`] unless set, wherever
    /// the builder runs.
    ///
    /// The code of [`FunctionPatch::with_code`] and [`HookCode::from_code`] is the caller's, who has to choose it to match. One of
    /// [`Architecture::Other`], for tests of what refuses it, is like one for x86-64 but for what its header says.
    ///
    /// ```
    /// use xen_livepatch::sim::{FunctionPatch, PayloadBuilder};
    /// use xen_livepatch::{BuildId, Payload, payload::Architecture};
    ///
    /// let hello = PayloadBuilder::named("hello", &BuildId::new([0xab; 20]))
    ///     .architecture(Architecture::AArch64)
    ///     .function(FunctionPatch::returning("xen_extra_version", "-hello"));
    /// assert_eq!(Payload::parse(&hello.build())?.architecture(), Architecture::AArch64);
    /// # Ok::<(), xen_livepatch::Error>(())
    /// ```
    pub fn architecture(mut self, architecture: Architecture) -> Self {
        self.architecture = architecture;
        self
    }

    /// Chooses the function layout; [`PayloadVersion::V2`] unless set.
    pub fn payload_version(mut self, version: PayloadVersion) -> Self {
        self.version = version;
        self
    }

    /// Adds a function to patch.
    pub fn function(mut self, function: FunctionPatch) -> Self {
        self.functions.push(function);
        self
    }

    /// Makes `.livepatch.funcs` read-only: the payload then has no writable section, and may be applied again from
    /// 4.10 on.
    ///
    /// Xen before 4.17.3 and 4.18.1 keeps state in the section all the same, and gets away with it where it patches
    /// with write protection switched off (seen on 4.14).
    pub fn read_only_funcs(mut self) -> Self {
        self.read_only_funcs = true;
        self
    }

    /// Adds a hook. A second one of the same kind makes two pointers in one section, which Xen refuses but for
    /// [`HookKind::Load`] and [`HookKind::Unload`].
    pub fn hook(mut self, kind: HookKind, code: HookCode) -> Self {
        self.hooks.push((kind, code));
        self
    }

    /// Adds `key=value`, or `key` alone, to the metadata.
    pub fn metadata(self, key: &str, value: Option<&str>) -> Self {
        let entry = value.map_or_else(|| format!("{key}\0"), |value| format!("{key}={value}\0"));
        self.modinfo(entry)
    }

    /// Adds bytes to the metadata as they are. Xen refuses metadata that does not end with a NUL.
    pub fn modinfo(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.modinfo.get_or_insert_default().extend(bytes.as_ref());
        self
    }

    /// Adds a `.data` section. From 4.8 on Xen applies such a payload only once: after a revert its data may have
    /// changed, and it has to be uploaded again.
    pub fn writable_data(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.data.get_or_insert_default().extend(bytes.as_ref());
        self
    }

    /// Adds a `.bss` section, which counts as writable data does, and takes no room in the file.
    pub fn bss(mut self, len: u64) -> Self {
        self.bss = len;
        self
    }

    /// Defines a new global symbol, as large as a pointer. No other payload in the same Xen may, nor Xen itself.
    pub fn defines(mut self, symbol: impl Into<String>) -> Self {
        self.defined.push(symbol.into());
        self
    }

    /// Holds a pointer to a symbol that Xen or another payload has to define.
    pub fn needs(mut self, symbol: impl Into<String>) -> Self {
        self.needed.push(symbol.into());
        self
    }

    /// Adds a further section: loaded, read-only, eight-aligned.
    pub fn section(mut self, name: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        self.sections.push((name.into(), contents.into()));
        self
    }

    /// Appends zero bytes to the file until it is this large. A file that is larger already stays as it is.
    pub fn padded_to(mut self, len: usize) -> Self {
        self.least_len = len;
        self
    }

    /// Puts a defect into the sections of this name. Several are put in in the order of the calls.
    ///
    /// Tables have names too: `.symtab`, `.strtab`, `.shstrtab`, and `.rela` before the name of a section for its
    /// relocations. What the file header says is at a fixed place in what [`build`](Self::build) returns.
    ///
    /// ```
    /// # use xen_livepatch::{BuildId, sim::{Defect, PayloadBuilder}};
    /// # let xen = BuildId::new([0xab; 20]);
    /// let unlinkable = PayloadBuilder::named("unlinkable", &xen).defect(".symtab", Defect::Missing).build();
    /// ```
    pub fn defect(mut self, section: impl Into<String>, defect: Defect) -> Self {
        self.defects.push((section.into(), defect));
        self
    }

    /// The bytes of the payload.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let machine = Machine::of(self.architecture);
        let mut code = Code::new(machine);
        let mut symbols = self.add_functions(&mut code);
        if self.read_only_funcs {
            code.funcs.flags = elf::SHF_ALLOC;
        }
        let hooks = self.add_hooks(machine, &mut code);

        let mut sections: Vec<Section> =
            [code.text, code.strings, code.funcs].into_iter().filter(|section| !section.is_empty()).collect();
        sections.extend(hooks);
        sections.push(Section::note(".livepatch.depends", self.depends.as_bytes()));
        sections.push(Section::note(".livepatch.xen_depends", self.xen_depends.as_bytes()));
        sections.push(Section::note(".note.gnu.build-id", self.build_id.as_bytes()));
        sections.extend(self.modinfo.clone().map(|modinfo| Section::read_only(".modinfo", 1, modinfo)));
        sections.extend(self.data.clone().map(|data| Section::writable(".data", 8, data)));
        sections.extend((self.bss > 0).then(|| Section::zeroed(".bss", self.bss)));
        sections.extend(self.needed_pointers());
        sections.extend(self.defined_objects(&mut symbols));
        sections.extend(self.sections.iter().map(|(name, contents)| Section::read_only(name, 8, contents.clone())));

        let mut file =
            ObjectFile { architecture: self.architecture, sections, symbols, defects: &self.defects }.write();
        file.resize(file.len().max(self.least_len), 0);
        file
    }

    /// Fills in the functions, and returns their symbols. Xen doesn't take those for new ones, since they stand
    /// where a function's new code does: any number of payloads may patch the same function.
    fn add_functions(&self, code: &mut Code) -> Vec<Symbol> {
        let placed = self.functions.iter().map(|function| (function.name(), code.add(function, self.version)));
        placed
            .filter_map(|(name, placed)| {
                let (name, placed) = (name?.to_owned(), placed?);
                let (kind, bind, section) = (elf::STT_FUNC, elf::STB_LOCAL, ".text");
                Some(Symbol { name, kind, bind, section, value: placed.offset, size: placed.size })
            })
            .collect()
    }

    /// Fills in the hooks' code, and returns the sections that point at it. Hooks have no symbols of their own,
    /// for those would be new ones, and collide when two payloads have the same hook.
    fn add_hooks(&self, machine: &Machine, code: &mut Code) -> Vec<Section> {
        let mut sections = Vec::new();
        for kind in HookKind::ALL {
            let mut section = Section::read_only(kind.section(), 8, Vec::new());
            for (_, hook) in self.hooks.iter().filter(|(of, _)| *of == kind) {
                let target = Target::Section(".text").plus(code.place(&hook.bytes(machine)).offset);
                section.push_pointer(target);
            }
            sections.extend((!section.is_empty()).then_some(section));
        }
        sections
    }

    fn needed_pointers(&self) -> Option<Section> {
        let mut section = Section::read_only(".rodata.needed", 8, Vec::new());
        for symbol in &self.needed {
            section.push_pointer(Target::Undefined(symbol.clone()).plus(0));
        }
        (!section.is_empty()).then_some(section)
    }

    fn defined_objects(&self, symbols: &mut Vec<Symbol>) -> Option<Section> {
        const NAME: &str = ".rodata.defined";
        const SIZE: usize = 8;
        for (name, index) in self.defined.iter().cloned().zip(0..) {
            let (kind, bind) = (elf::STT_OBJECT, elf::STB_GLOBAL);
            let (section, value, size) = (NAME, to_u64(SIZE * index), to_u64(SIZE));
            symbols.push(Symbol { name, kind, bind, section, value, size });
        }
        let contents = vec![0; SIZE * self.defined.len()];
        (!contents.is_empty()).then(|| Section::read_only(NAME, to_u64(SIZE), contents))
    }
}

/// Twenty bytes that follow from a name: FNV-1a, which is the same in every build of this crate, three times over.
fn build_id_of(name: &str) -> BuildId {
    let hash = |part: u8| {
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        [part].into_iter().chain(name.bytes()).fold(0xcbf2_9ce4_8422_2325, fnv)
    };
    let bytes: Vec<u8> = [1, 2, 3].into_iter().flat_map(|part| hash(part).to_be_bytes()).take(20).collect();
    BuildId::new(bytes)
}
