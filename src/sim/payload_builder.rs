//! A builder of live-patch payloads like those that Xen's livepatch build tools make.

use object::elf;

use super::SimulatedXen;
use super::machine::Machine;
use crate::BuildId;
use crate::payload::{HookKind, PayloadVersion};
use crate::types::to_u64;
use crate::xen::Architecture;

mod function;
mod object_file;

pub use function::FunctionPatch;

use function::Code;
pub use object_file::Defect;
use object_file::{Section, Symbol, Target};

/// A builder of live-patch payloads that both a simulated and a real Xen load. They are for x86-64 unless
/// [`architecture`](Self::architecture) is set.
///
/// The defaults suit Xen: a payload with at least one function loads, applies, reverts and applies again. Equal builders
/// build equal bytes.
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
#[must_use = "`build` returns the payload"]
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
    /// A payload with this build-id that depends on `depends`, for the Xen with the build-id `xen_depends`.
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

    /// A payload that depends on this Xen. Its build-id of 20 bytes is derived from the name.
    pub fn named(name: &str, xen: &BuildId) -> Self {
        Self::new(&build_id_of(name), xen, xen)
    }

    /// A payload that depends on this simulated Xen, for its release and architecture. A Xen without a build-id accepts no
    /// payload.
    ///
    /// For another Xen: `PayloadBuilder::named(name, &build_id).for_release(version.release())`.
    pub fn for_xen(xen: &SimulatedXen, name: &str) -> Self {
        let build_id = xen.build_id().unwrap_or_else(|| BuildId::new([]));
        Self::named(name, &build_id).for_release((4, xen.release().minor())).architecture(xen.architecture())
    }

    /// Sets the build-id of the payload or Xen that this one depends on: `.livepatch.depends`.
    pub fn depends_on(mut self, build_id: &BuildId) -> Self {
        self.depends = build_id.clone();
        self
    }

    /// Returns the build-id of the payload.
    #[must_use]
    pub fn build_id(&self) -> &BuildId {
        &self.build_id
    }

    /// Sets the layout of the functions to that of a release, given as major and minor number. It grew in 4.14.
    pub fn for_release(self, release: (u16, u16)) -> Self {
        self.payload_version(if release < (4, 14) { PayloadVersion::V1 } else { PayloadVersion::V2 })
    }

    /// Sets the architecture, and so the code that the builder makes. The default is [`Architecture::X86_64`], wherever the
    /// builder runs.
    ///
    /// The code of [`FunctionPatch::with_code`] and [`HookCode::from_code`] has to match it. A payload for
    /// [`Architecture::Other`] differs from one for x86-64 in its header only.
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

    /// Sets the layout of the functions; [`PayloadVersion::V2`] by default.
    pub fn payload_version(mut self, version: PayloadVersion) -> Self {
        self.version = version;
        self
    }

    /// Adds a function to patch.
    pub fn function(mut self, function: FunctionPatch) -> Self {
        self.functions.push(function);
        self
    }

    /// Makes `.livepatch.funcs` read-only. Without any writable section a payload may be applied again from 4.10 on.
    ///
    /// Xen before 4.17.3 and 4.18.1 still writes to the section. That works if it patches with write protection switched off
    /// (seen on 4.14).
    pub fn read_only_funcs(mut self) -> Self {
        self.read_only_funcs = true;
        self
    }

    /// Adds a hook. Xen accepts several of the same kind only for [`HookKind::Load`] and [`HookKind::Unload`].
    pub fn hook(mut self, kind: HookKind, code: HookCode) -> Self {
        self.hooks.push((kind, code));
        self
    }

    /// Adds `key=value`, or `key` alone, to the metadata.
    pub fn metadata(self, key: &str, value: Option<&str>) -> Self {
        let entry = value.map_or_else(|| format!("{key}\0"), |value| format!("{key}={value}\0"));
        self.modinfo(entry)
    }

    /// Adds raw bytes to the metadata. Xen refuses metadata that does not end with a NUL.
    pub fn modinfo(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.modinfo.get_or_insert_default().extend(bytes.as_ref());
        self
    }

    /// Adds bytes to the `.data` section. From 4.8 on Xen applies such a payload only once: it may have changed its data, so
    /// after a revert it has to be uploaded again.
    pub fn writable_data(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.data.get_or_insert_default().extend(bytes.as_ref());
        self
    }

    /// Adds a `.bss` section, which is writable data, but takes no room in the file.
    pub fn bss(mut self, len: u64) -> Self {
        self.bss = len;
        self
    }

    /// Defines a new global symbol, as large as a pointer. Xen refuses it if Xen or a loaded payload defines it, too.
    pub fn defines(mut self, symbol: impl Into<String>) -> Self {
        self.defined.push(symbol.into());
        self
    }

    /// Adds a pointer to a symbol that Xen or another payload has to define.
    pub fn needs(mut self, symbol: impl Into<String>) -> Self {
        self.needed.push(symbol.into());
        self
    }

    /// Adds another section: loaded, read-only, aligned to 8 bytes.
    pub fn section(mut self, name: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        self.sections.push((name.into(), contents.into()));
        self
    }

    /// Pads the file with zeros to at least this size.
    pub fn padded_to(mut self, len: usize) -> Self {
        self.least_len = len;
        self
    }

    /// Adds a defect to the sections of this name. Several defects are applied in the order of the calls.
    ///
    /// Tables have names, too: `.symtab`, `.strtab`, `.shstrtab`, and `.rela` before the name of a section for its
    /// relocations. The file header is at a fixed place in the result of [`build`](Self::build).
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

    /// Returns the bytes of the payload.
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
        let needed = self.needed.iter().map(|symbol| Target::Undefined(symbol.clone()).plus(0));
        sections.extend(Section::pointers(".rodata.needed", machine, needed));
        sections.extend(self.defined_objects(&mut symbols));
        sections.extend(self.sections.iter().map(|(name, contents)| Section::read_only(name, 8, contents.clone())));

        let mut file = object_file::write(self.architecture, sections, &symbols, &self.defects);
        file.resize(file.len().max(self.least_len), 0);
        file
    }

    /// Adds the functions, and returns their symbols. Any number of payloads may define these, since Xen counts no symbol as
    /// new whose address is that of a function's replacement.
    fn add_functions(&self, code: &mut Code) -> Vec<Symbol> {
        let functions = self.functions.iter();
        functions
            .filter_map(|function| {
                let placed = code.add(function, self.version)?;
                let name = function.name.clone()?;
                let (kind, bind, section) = (elf::STT_FUNC, elf::STB_LOCAL, ".text");
                Some(Symbol { name, kind, bind, section, value: placed.offset, size: placed.size })
            })
            .collect()
    }

    /// Adds the hooks' code, and returns the sections that point to it. Hooks get no symbols, which would be new ones, and
    /// collide where two payloads have the same hook.
    fn add_hooks(&self, machine: &Machine, code: &mut Code) -> Vec<Section> {
        let of_kind = |kind| {
            let hooks = self.hooks.iter().filter(move |(of, _)| *of == kind);
            let targets = hooks.map(|(_, hook)| Target::Section(".text").plus(code.place(&hook.bytes(machine)).offset));
            Section::pointers(kind.section(), machine, targets)
        };
        HookKind::ALL.into_iter().filter_map(of_kind).collect()
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

/// The code of a hook, which Xen runs around an action.
#[derive(Clone, Debug)]
#[must_use]
pub struct HookCode(HookBody);

#[derive(Clone, Debug)]
enum HookBody {
    Returns(i32),
    Bytes(Vec<u8>),
}

impl HookCode {
    /// A hook that only returns this number: 0 for success, a negative error number to refuse the action. Xen ignores it for
    /// kinds of hooks that return nothing.
    ///
    /// The code is `endbr64; mov $result,%eax; ret` on x86-64, where a CPU that tracks indirect branches requires the
    /// `endbr64`. On Arm it is `movz w0, #low; movk w0, #high, lsl #16; ret`.
    pub fn returns(result: i32) -> Self {
        Self(HookBody::Returns(result))
    }

    /// A hook with this machine code, called as a C function with a pointer to Xen's `struct payload` (on load and unload,
    /// without arguments).
    pub fn from_code(code: impl Into<Vec<u8>>) -> Self {
        Self(HookBody::Bytes(code.into()))
    }

    fn bytes(&self, machine: &Machine) -> Vec<u8> {
        match &self.0 {
            HookBody::Returns(result) => (machine.returning_number)(*result),
            HookBody::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// Twenty bytes derived from a name: three hashes with FNV-1a, which is the same in every build of this crate.
fn build_id_of(name: &str) -> BuildId {
    let hash = |part: u8| {
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        [part].into_iter().chain(name.bytes()).fold(0xcbf2_9ce4_8422_2325, fnv)
    };
    let bytes: Vec<u8> = [1, 2, 3].into_iter().flat_map(|part| hash(part).to_be_bytes()).take(20).collect();
    BuildId::new(bytes)
}
