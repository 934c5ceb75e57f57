//! The tables that a run prints.

use super::contender::Kind;
use super::record::Run;
use super::step::Step;

/// The functions of an operation that are shown.
const FUNCTIONS: usize = 15;

/// Prints the costs of all operations.
pub fn costs(run: &Run, unit: &str) {
    println!("\n## Costs\n\nMedians in {unit}.\n");
    println!("| operation | | raw | libxenctrl | ours | ours / raw | ours / libxenctrl |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for step in run.steps() {
        let [raw, libxenctrl, ours] =
            Kind::ALL.map(|kind| run.find(step, kind).map_or("–".into(), |record| thousands(record.median)));
        let [to_raw, to_libxenctrl] = [Kind::Raw, Kind::Libxenctrl]
            .map(|kind| run.ratio(step, kind).map_or("–".into(), |ratio| format!("{ratio:.2}")));
        let (work, amount) = (step.work.name(), step.amount());
        println!("| {work} | {amount} | {raw} | {libxenctrl} | {ours} | {to_raw} | {to_libxenctrl} |");
    }
}

pub fn thousands(number: u64) -> String {
    format!("{:.1}", number as f64 / 1000.0)
}

/// Prints the instructions of this crate's operations by function.
pub fn profiles(run: &Run) {
    for record in run.records.iter().filter(|record| !record.functions.is_empty()) {
        let own: u64 = record.functions.iter().map(|(_, count)| count).sum();
        let (Step { work, .. }, all) = (record.step, record.median);
        println!("\n## {}, {}: {all} instructions\n", work.name(), record.step.amount());
        println!("{:>9}  the kernel and Xen", all.saturating_sub(own));
        for (function, count) in record.functions.iter().take(FUNCTIONS) {
            println!("{count:>9}  {function}");
        }
        let rest: u64 = record.functions.iter().skip(FUNCTIONS).map(|(_, count)| count).sum();
        println!("{rest:>9}  {} other functions", record.functions.len().saturating_sub(FUNCTIONS));
    }
}
