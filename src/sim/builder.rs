//! A builder of simulated hosts.

use core::time::Duration;

use super::console::Console;
use super::faults::Faults;
use super::host::{Host, Support};
use super::settings::{Access, Settings};
use super::xen_memory::Image;
use super::{Release, SimulatedXen};
use crate::types::{BuildId, to_usize};
use crate::xen::Architecture;

/// Bytes of the console ring, Xen's own default.
const CONSOLE_SIZE: usize = 16 * 1024;

/// A builder of [`SimulatedXen`]s with settings of their own.
#[derive(Clone, Debug)]
#[must_use]
pub struct HostBuilder {
    /// Its memory is made at last, since it depends on other settings.
    host: Host,
    extra_version: String,
    support: Option<Support>,
    symbols: Vec<(String, Vec<u8>)>,
}

impl HostBuilder {
    pub(super) fn new(release: Release) -> Self {
        // 20 bytes like those of SHA-1, different for each series.
        let [minor, _] = release.minor().to_le_bytes();
        let id = (0..20_u8).map(|at| at.wrapping_mul(37) ^ minor.wrapping_mul(11)).collect();
        let host = Host {
            release,
            architecture: Architecture::X86_64,
            build_id: Some(id),
            compile_date: date_of(release),
            changeset: String::new(),
            image: Image::default(),
            payloads: Vec::new(),
            applied: Vec::new(),
            list_version: 1,
            next_id: 0,
            work: None,
            hook: None,
            console: Console::new(CONSOLE_SIZE),
            support: Support::Full,
            settings: Settings { quiesce_time: Duration::from_micros(100), ..Settings::default() },
            crashed: None,
            faults: Faults::default(),
        };
        Self { host, extra_version: release.extra_version(), support: None, symbols: Vec::new() }
    }

    /// Sets the architecture; [`Architecture::X86_64`] by default, and for architectures on which no Xen live-patches.
    ///
    /// Xen 4.7 has no live patching on Arm, and answers as with [`Support::NoLivepatch`].
    ///
    /// ```
    /// use xen_livepatch::payload::Architecture;
    /// use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
    /// use xen_livepatch::{Action, Flags, Release};
    ///
    /// let xen = SimulatedXen::builder(Release::V4_20).architecture(Architecture::AArch64).build();
    /// let fix = PayloadBuilder::for_xen(&xen, "fix").function(FunctionPatch::returning("xen_extra_version", "-fixed"));
    /// xen.other_upload("fix", &fix.build())?;
    /// xen.other_action("fix", Action::Apply, Flags::empty())?;
    /// # Ok::<(), xen_livepatch::Errno>(())
    /// ```
    pub fn architecture(mut self, architecture: Architecture) -> Self {
        self.host.architecture = match architecture {
            Architecture::AArch64 => architecture,
            _ => Architecture::X86_64,
        };
        self
    }

    /// Sets Xen's build-id, or removes it.
    pub fn build_id(mut self, id: Option<BuildId>) -> Self {
        self.host.build_id = id.map(|id| id.as_bytes().to_vec());
        self
    }

    /// Sets the text after `4.MINOR` in the version of Xen.
    pub fn extra_version(self, text: impl Into<String>) -> Self {
        Self { extra_version: text.into(), ..self }
    }

    /// Sets the time at which Xen was compiled (`XENVER_compile_info`), as `date` prints it; the day of the release by default.
    pub fn compile_date(mut self, text: impl Into<String>) -> Self {
        self.host.compile_date = text.into();
        self
    }

    /// Sets the last commit of Xen's source (`XENVER_changeset`), such as `Mon Dec 18 13:01:04 2023 +0100 git:949a4aad41`. It is
    /// empty by default, as in a build outside git.
    pub fn changeset(mut self, text: impl Into<String>) -> Self {
        self.host.changeset = text.into();
        self
    }

    /// Sets the size of the console ring in bytes.
    pub fn console_size(mut self, bytes: usize) -> Self {
        self.host.console = Console::new(bytes);
        self
    }

    /// Sets the privileges of the caller.
    pub fn access(mut self, access: Access) -> Self {
        self.host.settings.access = access;
        self
    }

    /// Sets the parts that this Xen was built with.
    pub fn support(self, support: Support) -> Self {
        Self { support: Some(support), ..self }
    }

    /// Adds a function or variable of Xen with these bytes, for payloads to refer to, patch, and have expectations of.
    pub fn symbol(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.symbols.push((name.into(), bytes.into()));
        self
    }

    /// Returns the host.
    #[must_use]
    pub fn build(self) -> SimulatedXen {
        let mut host = self.host;
        // Xen 4.7 has live patching only on x86.
        let none = host.architecture == Architecture::AArch64 && host.release.series() < (4, 8);
        let built = if none { Support::NoLivepatch } else { Support::Full };
        host.support = self.support.unwrap_or(built);
        host.image = Host::image(host.release, host.architecture, &self.extra_version);
        for (name, bytes) in &self.symbols {
            host.image.add_symbol(name.as_bytes(), bytes);
        }
        SimulatedXen::from_host(host)
    }
}

/// The day of a release, as `date` prints it; empty if it is not known.
fn date_of(release: Release) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const WEEKDAYS: [&str; 7] = ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"];
    let Some(date) = release.day() else { return String::new() };
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    // Zeller's congruence, in which a year begins in March.
    let (shifted, of_year) = if month < 3 { (month + 12, year - 1) } else { (month, year) };
    let number = day + 13 * (shifted + 1) / 5 + of_year + of_year / 4 - of_year / 100 + of_year / 400;
    let weekday = WEEKDAYS.get(to_usize(number % 7)).expect("there are seven");
    let name = MONTHS.get(to_usize(month - 1)).expect("days in the table of releases have a month");
    format!("{weekday} {name} {day:2} 12:00:00 UTC {year}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_xen_was_compiled_on_the_day_of_its_release() {
        assert_eq!(date_of(Release::V4_17.at(3)), "Mon Dec 18 12:00:00 UTC 2023");
        assert_eq!(date_of(Release::V4_18.at(0)), "Thu Nov 16 12:00:00 UTC 2023");
        assert_eq!(date_of(Release::V4_14.at(4)), "Mon Jan 31 12:00:00 UTC 2022");
        assert_eq!(date_of(Release::V4_22), "Wed Jul 29 12:00:00 UTC 2026");
        assert_eq!(date_of(Release::V4_17.at(99)), "");
    }
}
