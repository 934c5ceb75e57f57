//! The tables that a run prints.

use super::contender::Kind;
use super::record::{Record, Run};
use super::step::Step;

/// The functions of an operation that are shown.
const FUNCTIONS: usize = 15;

/// Prints the costs of all operations.
pub fn costs(run: &Run, unit: &str) {
    println!("\n## Costs\n\nMedian (p90) in {unit}.\n");
    println!("| operation | | raw | libxenctrl | ours | ours / raw | ours / libxenctrl |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for step in run.steps() {
        let [raw, libxenctrl, ours] = Kind::ALL.map(|kind| run.find(step, kind).map_or("–".into(), cost));
        let [to_raw, to_libxenctrl] = [Kind::Raw, Kind::Libxenctrl]
            .map(|kind| run.ratio(step, kind).map_or("–".into(), |ratio| format!("{ratio:.2}")));
        let (work, amount) = (step.work.name(), step.amount());
        println!("| {work} | {amount} | {raw} | {libxenctrl} | {ours} | {to_raw} | {to_libxenctrl} |");
    }
}

fn cost(record: &Record) -> String {
    format!("{} ({})", thousands(record.costs.median), thousands(record.costs.p90))
}

pub fn thousands(number: u64) -> String {
    format!("{:.1}", number as f64 / 1000.0)
}

/// Prints the kernel's counts, and the part of hypercalls in the cost of this crate's operations.
pub fn counts(run: &Run, unit: &str) {
    println!("\n## System calls, of these hypercalls, page faults, and memory\n");
    println!(
        "Locked: the most at any moment, with what is kept from call to call. Resident: the most of a process that did"
    );
    println!("nothing else. In hypercalls: {unit}, as a client reports it that times its hypercalls.\n");
    println!("| operation | | | system calls | hypercalls | page faults | locked | resident | in hypercalls |");
    println!("|---|---|---|---:|---:|---:|---:|---:|---:|");
    for record in &run.records {
        let Some(count) = &record.count else { continue };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} KiB | {} KiB | {} |",
            record.step.work.name(),
            record.step.amount(),
            record.contender.name(),
            count.system_calls,
            count.hypercalls,
            record.costs.page_faults,
            count.locked_bytes / 1024,
            count.resident_kib,
            record.in_hypercalls.map_or("–".into(), thousands)
        );
    }
}

/// Prints the instructions of this crate's operations by function.
pub fn profiles(run: &Run) {
    for record in run.records.iter().filter(|record| !record.functions.is_empty()) {
        let own: u64 = record.functions.iter().map(|(_, count)| count).sum();
        let (Step { work, .. }, all) = (record.step, record.costs.median);
        println!("\n## {}, {}: {all} instructions\n", work.name(), record.step.amount());
        println!("{:>9}  the kernel and Xen", all.saturating_sub(own));
        for (function, count) in record.functions.iter().take(FUNCTIONS) {
            println!("{count:>9}  {function}");
        }
        let rest: u64 = record.functions.iter().skip(FUNCTIONS).map(|(_, count)| count).sum();
        println!("{rest:>9}  {} other functions", record.functions.len().saturating_sub(FUNCTIONS));
    }
}
