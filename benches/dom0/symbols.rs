//! The functions of a running process, by address.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use nix::unistd::Pid;
use object::{Object, ObjectSymbol, SymbolKind};

/// A file in the memory of a process.
struct Mapping {
    start: u64,
    end: u64,
    /// The address of the beginning of the file.
    base: u64,
    path: String,
}

pub struct Symbols {
    mappings: Vec<Mapping>,
    /// The functions of each file: offset, size and name.
    functions: HashMap<String, Vec<(u64, u64, String)>>,
}

impl Symbols {
    pub fn of(process: Pid) -> Self {
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let (mut mappings, mut functions) = (Vec::new(), HashMap::new());
        let mut bases: HashMap<&str, u64> = HashMap::new();
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (Some(range), Some(path)) = (words.next(), words.nth(4)) else { continue };
            let (start, end) = range.split_once('-').expect("a range of addresses");
            let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
            let base = *bases.entry(path).or_insert(start);
            mappings.push(Mapping { start, end, base, path: path.into() });
        }
        for path in bases.into_keys().filter(|path| path.starts_with('/')) {
            functions.insert(path.to_owned(), of_file(path).unwrap_or_default());
        }
        Self { mappings, functions }
    }

    /// Sums of how often addresses were executed, by function, or by file where it does not name its functions.
    pub fn by_function(&self, addresses: &HashMap<u64, u64>) -> Vec<(String, u64)> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for (address, count) in addresses {
            *sums.entry(self.name(*address)).or_default() += count;
        }
        let mut sorted: Vec<(String, u64)> = sums.into_iter().collect();
        sorted.sort_by(|(a, one), (b, other)| other.cmp(one).then(a.cmp(b)));
        sorted
    }

    fn name(&self, address: u64) -> String {
        let mapping = self.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address));
        let Some(Mapping { base, path, .. }) = mapping else { return "unknown".into() };
        let offset = address - base;
        let functions = self.functions.get(path).map_or(&[][..], Vec::as_slice);
        let before = functions.partition_point(|(start, ..)| *start <= offset);
        match functions[..before].last() {
            Some((start, size, name)) if offset - start < *size => {
                format!("{:#}", rustc_demangle::demangle(name))
            }
            _ => path.rsplit('/').next().unwrap_or_default().into(),
        }
    }
}

fn of_file(path: &str) -> Option<Vec<(u64, u64, String)>> {
    let data = fs::read(path).ok()?;
    let file = object::File::parse(&*data).ok()?;
    let symbols = file.symbols().chain(file.dynamic_symbols());
    let functions = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let mut functions: Vec<(u64, u64, String)> =
        functions.filter_map(|symbol| Some((symbol.address(), symbol.size(), symbol.name().ok()?.into()))).collect();
    functions.sort();
    functions.dedup_by_key(|(start, ..)| *start);
    Some(functions)
}
