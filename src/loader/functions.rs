//! `.livepatch.funcs`: the functions that a payload patches.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::livepatch_functions;
use super::memory::Pointer;
use super::problem::Problem;
use super::problem::function::{FunctionProblem, PointerProblem};
use super::{Linker, Lookup, Progress};
use crate::types::errno::Errno;
use crate::types::widen::to_u64;
use crate::xen::elf::{Section, UNNAMED};
use crate::xen::format::{Expectation, FUNCTION_VERSION, MAX_KEPT, PayloadVersion, RawFunction, SectionName};
use crate::xen::rules;
use crate::xen::symbol_name::SymbolName;

/// The bytes of an `endbr64`.
const ENDBR: u32 = 4;

/// `endbr64`, and the bytes with which Xen overwrites it where it is not needed.
pub(crate) const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const ENDBR64_POISON: [u8; 4] = [0x66, 0x0f, 0x1f, 0x01];

/// The distance from which on a pointer no longer belongs to the symbol of Xen that it is relocated against: code is not patched
/// by another function's symbol, and memory farther away need not be mapped.
const NEAR: u64 = 4096;

/// More bytes than any function of Xen has. Memory past them need not be mapped.
const LONGEST: u64 = 64 << 10;

/// A function of a linked payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct LinkedFunction<'d> {
    /// 0 if it is not known.
    pub(crate) old_address: u64,
    /// `None` if the pointer is NULL, or does not lead to a text.
    pub(crate) name: Option<Cow<'d, [u8]>>,
    /// 0 for no-operations.
    pub(crate) new_address: u64,
    pub(crate) new_size: u32,
    pub(crate) old_size: u32,
    /// An [`Expectation`], enabled or not.
    pub(crate) expectation: [u8; 32],
}

/// An expectation that is not enabled, as of functions of version 1.
const NO_EXPECTATION: [u8; 32] = [0; 32];

/// A symbol and the distance from it; or an empty symbol, and an address.
type CodeKey<'d> = (Cow<'d, [u8]>, i128);

/// The place of old code.
enum OldCode<'d> {
    At(u64),
    /// So many bytes from a symbol whose address is not known.
    From(Cow<'d, [u8]>, i64),
}

pub(super) fn read<'d>(linker: &mut Linker<'_, 'd>) -> Progress<Vec<LinkedFunction<'d>>> {
    let Some(section) = linker.elf.section(SectionName::Funcs) else { return Ok(Vec::new()) };
    let Some((start, bytes)) = linker.loaded(SectionName::Funcs)? else { return Ok(Vec::new()) };
    let second = linker.has(&rules::PAYLOAD_VERSION_2);
    let (expected, entry_size) = if second {
        (PayloadVersion::V2, PayloadVersion::V2_SIZE)
    } else {
        (PayloadVersion::V1, PayloadVersion::V1_SIZE)
    };
    check_writable(linker, section, second)?;
    let several = bytes.len() > entry_size;
    let mut reader = Reader { linker, several, expected, patched: BTreeMap::new() };
    if bytes.len() % entry_size != 0 {
        return reader.odd_size(start, &bytes, entry_size).map(|()| Vec::new());
    }
    let mut functions = Vec::with_capacity(bytes.len() / entry_size);
    let entries = bytes.chunks_exact(entry_size).filter_map(RawFunction::read);
    for (index, raw) in entries.enumerate() {
        let at = start.saturating_add(to_u64(index.saturating_mul(entry_size)));
        match reader.function(index, at, &raw)? {
            Some(function) => functions.push(function),
            // The entries after it have another size, so that they can't be read.
            None => break,
        }
    }
    Ok(functions)
}

/// Some releases write to the section while only code is writable.
fn check_writable(linker: &mut Linker<'_, '_>, section: &Section, keeps_state: bool) -> Progress {
    let always = linker.machine.functions_protected;
    let protected = always || (keeps_state && linker.has(&rules::CODE_ALONE_WRITABLE));
    let harmed = protected && !linker.has(&rules::STATE_ELSEWHERE) && !section.is_writable();
    if harmed { linker.harm(Problem::ReadOnlyFunctions) } else { Ok(()) }
}

/// The first instruction of the old code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstInstruction {
    Endbr,
    Other,
    Unknown,
}

struct Reader<'r, 'a, 'd> {
    linker: &'r mut Linker<'a, 'd>,
    /// False if there is one function only, which no other can patch as well.
    several: bool,
    /// The version that this Xen takes.
    expected: PayloadVersion,
    /// The patches so far by the start of their code: the number of bytes, and the function.
    patched: BTreeMap<CodeKey<'d>, (u32, usize)>,
}

/// An entry that is being checked.
struct Entry<'e, 'd> {
    index: usize,
    name: Option<Cow<'d, [u8]>>,
    old: Pointer,
    new: Pointer,
    old_size: u32,
    new_size: u32,
    /// The one that Xen checks, if it is enabled.
    expectation: Option<Expectation<'e>>,
}

impl<'d> Reader<'_, '_, 'd> {
    /// Reports functions that are not a whole number of entries, mostly because they have another version.
    fn odd_size(&mut self, start: u64, bytes: &[u8], entry_size: usize) -> Progress {
        let expected = self.expected;
        let found = bytes.get(FUNCTION_VERSION).map_or(expected, |version| PayloadVersion::from_raw(*version));
        // Entries of an unknown version have no known size.
        let entry_size = found.entry_size().unwrap_or(entry_size);
        let problem = if bytes.len() % entry_size == 0 {
            let name = self.linker.memory.pointer(start.saturating_add(to_u64(RawFunction::NAME)));
            Problem::Version { function: self.called(self.text(name).as_deref(), Pointer::Null), expected, found }
        } else {
            Problem::FunctionsSize { size: to_u64(bytes.len()), entry_size: to_u64(entry_size) }
        };
        self.linker.refuse(Errno::EINVAL, problem)
    }

    fn function(&mut self, index: usize, at: u64, raw: &RawFunction<'_>) -> Progress<Option<LinkedFunction<'d>>> {
        let field = |offset: usize| at.saturating_add(to_u64(offset));
        let name = self.linker.memory.pointer(field(RawFunction::NAME));
        let expectation = raw.expectation.unwrap_or(&NO_EXPECTATION);
        let entry = Entry {
            index,
            name: self.text(name),
            old: self.linker.memory.pointer_or(field(RawFunction::OLD_ADDRESS), || raw.old_address),
            new: self.linker.memory.pointer(field(RawFunction::NEW_ADDRESS)),
            old_size: raw.old_size,
            new_size: raw.new_size,
            expectation: Expectation::read(expectation).filter(|_| self.linker.has(&rules::EXPECTATIONS)),
        };
        let plain = RawFunction::PLAIN.into_iter().take(if raw.expectation.is_some() { 3 } else { 1 });
        let relocated = plain.map(|part| (field(part.start), to_u64(part.len())));
        if relocated.into_iter().any(|(start, len)| !self.linker.memory.is_known(start, len)) {
            self.harm(&entry, FunctionProblem::Relocated)?;
        }
        let (expected, found) = (self.expected, PayloadVersion::from_raw(raw.version));
        if found != expected {
            let problem = Problem::Version { function: self.name_of(&entry), expected, found };
            return self.linker.refuse(Errno::EOPNOTSUPP, problem).map(|()| None);
        }
        let nops = self.linker.has(&rules::NOP_PATCHES);
        if nops && entry.old_size == 0 {
            self.refuse(&entry, Errno::EINVAL, FunctionProblem::NoOldSize)?;
        } else if !nops && entry.new == Pointer::Null {
            self.refuse(&entry, Errno::EINVAL, FunctionProblem::NoNewCode)?;
        } else if !nops && entry.new_size == 0 {
            self.refuse(&entry, Errno::EINVAL, FunctionProblem::NoNewSize)?;
        }
        self.check_name(&entry, name)?;
        // Newer releases find the old code first, since the room that a jump needs depends on it.
        let find_first = self.linker.has(&rules::ENDBR_AWARE);
        if !find_first {
            self.check_sizes(&entry, FirstInstruction::Unknown)?;
        }
        let old = self.old_code(&entry)?;
        let old_address = if let Some(OldCode::At(address)) = old { Some(address) } else { None };
        let first = self.first_instruction(&entry, old_address);
        if find_first {
            self.check_sizes(&entry, first)?;
        }
        self.check_distance(&entry, old_address, raw.new_address)?;
        self.check_new_code(&entry)?;
        self.check_nops(&entry, first)?;
        // Some releases keep the state of a function in its entry.
        if raw.applied != 0 && self.linker.has(&rules::PAYLOAD_VERSION_2) && !self.linker.has(&rules::STATE_ELSEWHERE) {
            self.harm(&entry, FunctionProblem::MarkedAsApplied)?;
        }
        self.check_expectation(&entry)?;
        self.check_twice(&entry, old, first)?;
        if entry.name.as_deref().is_some_and(livepatch_functions::contain) {
            self.linker.may_harm(Problem::PatchesLivePatching { function: self.name_of(&entry) })?;
        }
        Ok(Some(LinkedFunction {
            old_address: old_address.unwrap_or(0),
            new_address: raw.new_address,
            new_size: entry.new_size,
            old_size: entry.old_size,
            expectation: *expectation,
            name: entry.name,
        }))
    }

    #[cold]
    fn problem(&self, entry: &Entry<'_, 'd>, problem: FunctionProblem) -> Problem {
        Problem::Function { index: entry.index, function: self.name_of(entry), problem }
    }

    fn refuse(&mut self, entry: &Entry<'_, 'd>, errno: Errno, problem: FunctionProblem) -> Progress {
        self.linker.refuse(errno, self.problem(entry, problem))
    }

    fn harm(&mut self, entry: &Entry<'_, 'd>, problem: FunctionProblem) -> Progress {
        self.linker.harm(self.problem(entry, problem))
    }

    /// The text in the payload to which a pointer leads, up to its NUL, which is in the same section.
    fn text(&self, name: Pointer) -> Option<Cow<'d, [u8]>> {
        let Pointer::Own { section, address } = name else { return None };
        let (_, rest) = self.linker.rest_of(section, address)?;
        self.linker.memory.text(address, address.saturating_add(rest))
    }

    /// The name of a function in a finding.
    #[cold]
    fn name_of(&self, entry: &Entry<'_, 'd>) -> SymbolName {
        self.called(entry.name.as_deref(), entry.old)
    }

    fn called(&self, name: Option<&[u8]>, old: Pointer) -> SymbolName {
        match (name.filter(|name| !name.is_empty()), old) {
            (Some(name), _) => SymbolName::new(name),
            (None, Pointer::Number(address)) => SymbolName::new(format!("{address:#x}")),
            (None, Pointer::Foreign { symbol, .. }) => SymbolName::new(self.symbol_name(symbol)),
            _ => SymbolName::new("(no name)"),
        }
    }

    fn symbol_name(&self, number: usize) -> &'d [u8] {
        let symbol = self.linker.elf.symbols.get(number);
        symbol.and_then(|symbol| self.linker.elf.symbol_name(symbol)).unwrap_or(UNNAMED)
    }

    /// Xen reads the name where there is no address, and prints it on debug key `x` in any case.
    fn check_name(&mut self, entry: &Entry<'_, 'd>, name: Pointer) -> Progress {
        match name {
            Pointer::Null if entry.old == Pointer::Null => self.harm(entry, FunctionProblem::Nameless),
            Pointer::Null => Ok(()),
            Pointer::Own { .. } if entry.name.is_some() => Ok(()),
            Pointer::Foreign { offset, .. } if offset.unsigned_abs() < NEAR => Ok(()),
            _ => self.harm(entry, FunctionProblem::StrayName),
        }
    }

    /// The place of the old code, if there is one.
    fn old_code(&mut self, entry: &Entry<'_, 'd>) -> Progress<Option<OldCode<'d>>> {
        match entry.old {
            Pointer::Null => {
                let Some(name) = &entry.name else { return Ok(None) };
                match self.linker.host.symbol(name) {
                    Lookup::Found(address) => self.foreign_code(entry, address),
                    Lookup::Unknown => Ok(Some(OldCode::From(name.clone(), 0))),
                    Lookup::Absent => self.refuse(entry, Errno::ENOENT, FunctionProblem::Unknown).map(|()| None),
                }
            }
            Pointer::Number(address) => {
                let image = self.linker.machine.image(self.linker.release);
                if !image.contains(&address) && self.reads_old_code(entry, address) {
                    return self.harm(entry, FunctionProblem::NotInXen { found: address }).map(|()| None);
                }
                if self.linker.machine.is_unaligned(address) {
                    self.harm(entry, FunctionProblem::OldAddress(PointerProblem::Unaligned))?;
                }
                Ok(Some(OldCode::At(address)))
            }
            Pointer::Foreign { symbol, offset } => {
                if offset.unsigned_abs() >= NEAR {
                    self.harm(entry, FunctionProblem::OldAddress(PointerProblem::Far))?;
                } else if self.linker.machine.is_unaligned(offset.unsigned_abs()) {
                    self.harm(entry, FunctionProblem::OldAddress(PointerProblem::Unaligned))?;
                }
                match self.linker.values.get(symbol).filter(|value| value.known) {
                    Some(value) => self.foreign_code(entry, value.number.wrapping_add_signed(offset)),
                    None => Ok(Some(OldCode::From(self.symbol_name(symbol).into(), offset))),
                }
            }
            Pointer::Own { address, .. } => {
                self.harm(entry, FunctionProblem::OwnCode).map(|()| Some(OldCode::At(address)))
            }
            Pointer::Mangled => self.harm(entry, FunctionProblem::OldAddress(PointerProblem::Mangled)).map(|()| None),
        }
    }

    /// Old code of Xen or of another payload.
    fn foreign_code(&mut self, entry: &Entry<'_, 'd>, address: u64) -> Progress<Option<OldCode<'d>>> {
        let Linker { machine, release, host, .. } = *self.linker;
        let outside = host.knows_addresses() && !machine.image(release).contains(&address);
        if outside && !machine.patches_payloads && self.reads_old_code(entry, address) {
            self.harm(entry, FunctionProblem::OtherPayload)?;
        }
        Ok(Some(OldCode::At(address)))
    }

    /// Returns true if Xen reads or writes the old code at an address: it does unless it first finds that it is too far from
    /// the new code.
    fn reads_old_code(&self, entry: &Entry<'_, 'd>, address: u64) -> bool {
        let Pointer::Own { address: new, .. } = entry.new else { return true };
        self.reads_first_instruction()
            || !self.linker.has(&rules::DISTANCE_CHECKED)
            || self.linker.machine.reaches(address, new)
    }

    fn reads_first_instruction(&self) -> bool {
        self.linker.machine.has_endbr && self.linker.has(&rules::ENDBR_AWARE)
    }

    fn first_instruction(&self, entry: &Entry<'_, 'd>, old: Option<u64>) -> FirstInstruction {
        if !self.reads_first_instruction() {
            return FirstInstruction::Other;
        }
        let poison = self.linker.has(&rules::ENDBR_POISON);
        let is_endbr = |code: &[u8]| code == ENDBR64 || (poison && code == ENDBR64_POISON);
        let expected = entry.expectation.and_then(|expectation| expectation.bytes.get(..4));
        let there = old.and_then(|address| self.linker.host.code(address, 4));
        match there.or(expected) {
            Some(code) if is_endbr(code) => FirstInstruction::Endbr,
            Some(_) => FirstInstruction::Other,
            None => FirstInstruction::Unknown,
        }
    }

    fn check_sizes(&mut self, entry: &Entry<'_, 'd>, first: FirstInstruction) -> Progress {
        let &Entry { old_size, new_size: found, new, .. } = entry;
        let (machine, nop) = (self.linker.machine, new == Pointer::Null);
        let room = |needed| (old_size < needed).then_some(FunctionProblem::OldSizeTooSmall { found: old_size, needed });
        if !self.linker.has(&rules::NOP_PATCHES) {
            return match room(machine.jump) {
                Some(problem) => self.refuse(entry, Errno::EINVAL, problem),
                None => Ok(()),
            };
        }
        if nop && found > MAX_KEPT {
            return self.refuse(entry, Errno::EOPNOTSUPP, FunctionProblem::NopTooLong { found });
        }
        if nop && found % machine.instruction != 0 {
            return self.refuse(entry, Errno::EOPNOTSUPP, FunctionProblem::NopPartial { found });
        }
        let problem = if nop && machine.nops_checked {
            (old_size < found).then_some(FunctionProblem::NopPastEnd { found, old_size })
        } else {
            room(if first == FirstInstruction::Endbr { machine.jump + ENDBR } else { machine.jump })
        };
        match problem.filter(|_| old_size > 0) {
            Some(problem) => self.refuse(entry, Errno::EINVAL, problem),
            None => Ok(()),
        }
    }

    fn check_distance(&mut self, entry: &Entry<'_, 'd>, old: Option<u64>, new: u64) -> Progress {
        let checked = self.linker.has(&rules::DISTANCE_CHECKED) && entry.new != Pointer::Null;
        let own = matches!(entry.new, Pointer::Own { .. }) || self.linker.host.knows_addresses();
        let far = old.is_some_and(|old| !self.linker.machine.reaches(old, new));
        if checked && own && far { self.refuse(entry, Errno::EOVERFLOW, FunctionProblem::TooFar) } else { Ok(()) }
    }

    fn check_new_code(&mut self, entry: &Entry<'_, 'd>) -> Progress {
        let problem = code_problem(self.linker, entry.new);
        if let Some(problem) = problem.filter(|problem| *problem != PointerProblem::Null) {
            return self.harm(entry, FunctionProblem::NewAddress(problem));
        }
        // Xen would run into the code that follows, or write memory from the caches that is not mapped.
        let rest = match entry.new {
            Pointer::Own { section, address } => self.linker.rest_of(section, address).map_or(0, |(_, rest)| rest),
            Pointer::Foreign { .. } if self.linker.machine.flushes_new_code => LONGEST,
            _ => return Ok(()),
        };
        if u64::from(entry.new_size) <= rest {
            return Ok(());
        }
        self.harm(entry, FunctionProblem::NewSize { found: entry.new_size })
    }

    /// Reports no-operations that Xen counts wrongly.
    fn check_nops(&mut self, entry: &Entry<'_, 'd>, first: FirstInstruction) -> Progress {
        let found = entry.new_size;
        if entry.new != Pointer::Null || !self.linker.has(&rules::NOP_PATCHES) {
            return Ok(());
        }
        if found < ENDBR && first != FirstInstruction::Other {
            return self.harm(entry, FunctionProblem::NopTooShort { found });
        }
        let old_size = entry.old_size;
        if !self.linker.machine.nops_checked && found > old_size {
            return self.harm(entry, FunctionProblem::NopPastEnd { found, old_size });
        }
        Ok(())
    }

    /// Reports problems for which Xen refuses to apply the payload.
    fn check_expectation(&mut self, entry: &Entry<'_, 'd>) -> Progress {
        let Some(Expectation { reserved, len, .. }) = entry.expectation else { return Ok(()) };
        let (found, old_size) = (u32::from(len), entry.old_size);
        let (errno, problem) = if reserved != 0 {
            (Errno::EINVAL, FunctionProblem::ExpectationReserved { found: reserved })
        } else if found > old_size && old_size > 0 {
            (Errno::ERANGE, FunctionProblem::ExpectationPastEnd { found, old_size })
        } else {
            return Ok(());
        };
        self.linker.refuse_to_apply(errno, self.problem(entry, problem))
    }

    /// Reports code that two functions patch: a revert restores copies in the order of the patches, and the copy of the second
    /// contains the first.
    ///
    /// An `endbr64` stays, and a jump comes after it; no-operations fill the rest of their size.
    fn check_twice(&mut self, entry: &Entry<'_, 'd>, old: Option<OldCode<'d>>, first: FirstInstruction) -> Progress {
        if !self.several {
            return Ok(());
        }
        let jump = self.linker.machine.jump;
        let (begins, shift) = match first {
            FirstInstruction::Endbr => (ENDBR, ENDBR),
            FirstInstruction::Other => (0, 0),
            // Either is possible. If old code has no room for both, Xen refuses it where it begins with `endbr64`.
            FirstInstruction::Unknown if (1..jump + ENDBR).contains(&entry.old_size) => (0, 0),
            FirstInstruction::Unknown => (0, ENDBR),
        };
        let ends = if entry.new == Pointer::Null { entry.new_size } else { jump + shift };
        let (symbol, at) = match old.filter(|_| ends > begins) {
            Some(OldCode::At(address)) => (Cow::default(), i128::from(address)),
            Some(OldCode::From(symbol, offset)) => (symbol, i128::from(offset)),
            None => return Ok(()),
        };
        let start = at.saturating_add(i128::from(begins));
        let (end, len) = (at.saturating_add(i128::from(ends)), ends.saturating_sub(begins));
        // The nearest one that begins before the end: it overlaps if it runs past the start.
        let nearest =
            self.patched.range(..(symbol.clone(), end)).next_back().filter(|((other, _), _)| *other == symbol);
        let overlapping = nearest.filter(|((_, at), (len, _))| at.saturating_add(i128::from(*len)) > start);
        let first = overlapping.map(|(_, (_, index))| *index);
        self.patched.insert((symbol, start), (len, entry.index));
        first.map_or(Ok(()), |first| self.harm(entry, FunctionProblem::Twice { first }))
    }
}

/// The problem of a pointer to code that Xen runs.
pub(super) fn code_problem(linker: &Linker<'_, '_>, pointer: Pointer) -> Option<PointerProblem> {
    match pointer {
        Pointer::Null => Some(PointerProblem::Null),
        Pointer::Number(number) => Some(PointerProblem::Number(number)),
        Pointer::Mangled => Some(PointerProblem::Mangled),
        Pointer::Foreign { offset, .. } => (offset.unsigned_abs() >= NEAR).then_some(PointerProblem::Far),
        Pointer::Own { section, address } => {
            match linker.rest_of(section, address).filter(|(section, _)| section.is_executable()) {
                Some(_) if linker.machine.is_unaligned(address) => Some(PointerProblem::Unaligned),
                Some(_) => None,
                None => Some(PointerProblem::NotCode),
            }
        }
    }
}
