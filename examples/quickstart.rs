//! The life of a live patch, step by step, on a simulated Xen, or with `--real` on that of this machine.
//!
//!     cargo run --example quickstart
//!     cargo in-xen --example quickstart -- --real      # on a real Xen, booted for this
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the output is what this example is for")]

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use xen_livepatch::payload::Architecture;
use xen_livepatch::sim::{FunctionPatch, PayloadBuilder, SimulatedXen};
use xen_livepatch::{
    ActionOptions, BuildId, EnsureError, Flags, LivepatchClient, PayloadName, QuiesceTimeout, Release, Result, Wanted,
};

/// The function that the patches of this story replace: it returns the end of Xen's version.
const PATCHED: &str = "xen_extra_version";

/// Shows the life of a live patch, step by step, on a simulated Xen
#[derive(Parser)]
struct Arguments {
    /// Patch the Xen that this machine runs on (needs root in dom0, and nothing loaded)
    #[arg(long, conflicts_with = "xen")]
    real: bool,
    /// The release to simulate, such as 4.17
    #[arg(long, value_name = "VERSION", default_value = "4.20")]
    xen: Release,
}

fn main() -> ExitCode {
    let Arguments { real, xen } = Arguments::parse();
    // A simulated Xen is for x86-64 by default.
    let machine = if real { Architecture::of_this_program() } else { Architecture::X86_64 };
    match run((!real).then_some(xen), machine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            for line in error.error().map_or(&[][..], |error| error.xen_log()) {
                eprintln!("  (XEN) {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(simulated: Option<Release>, machine: Architecture) -> Result<(), EnsureError> {
    Story::begin(connect(simulated)?, machine)?.tell()
}

/// Makes a client of a simulated Xen or of the real device. Everything else is the same for both.
fn connect(simulated: Option<Release>) -> Result<LivepatchClient> {
    // Emulated and overcommitted hosts need longer than 30 ms to stop all their CPUs.
    let patient = ActionOptions::new().quiesce_timeout(QuiesceTimeout::new(Duration::from_secs(1))?).quiesce_retries(5);
    let builder = LivepatchClient::builder().action_defaults(patient);
    match simulated {
        Some(release) => {
            println!("This is a simulated Xen; --real uses the Xen of this machine.\n");
            builder.connect(SimulatedXen::new(release))
        }
        None => builder.open(),
    }
}

struct Story {
    client: LivepatchClient,
    xen: BuildId,
    release: (u16, u16),
    machine: Architecture,
}

impl Story {
    fn begin(client: LivepatchClient, machine: Architecture) -> Result<Self> {
        let (version, xen) = (client.xen_version()?, client.build_id()?);
        println!("Xen {version}, build-id {xen}");
        Ok(Self { client, xen, release: version.release(), machine })
    }

    /// Tells the story, and then removes its payloads, also if it ended early.
    fn tell(self) -> Result<(), EnsureError> {
        if !self.client.list()?.is_empty() {
            println!("Payloads are loaded here already, so this example does nothing.");
            return Ok(self.show_list()?);
        }
        let told = self.chapters();
        let cleared = self.client.ensure(&Wanted::nothing(), |_| ());
        told?;
        cleared?;
        line("unload", format_args!("done; {} payloads are left", self.client.list()?.len()));
        Ok(())
    }

    fn chapters(&self) -> Result<()> {
        chapter("A first patch depends on Xen's own build-id");
        let fix = self.payload("fix");
        let fix_name = self.upload("fix", &fix)?;
        self.did("apply fix", self.client.apply(&fix_name, Flags::empty()))?;

        chapter("The next one depends on the build-id of the one before");
        let more = self.payload("more").depends_on(fix.build_id());
        let more_name = self.upload("more", &more)?;
        self.did("apply more", self.client.apply(&more_name, Flags::empty()))?;

        chapter("Patches can be reverted only from the top");
        refused("revert fix", self.client.revert(&fix_name, Flags::empty()));

        chapter("An action that Xen would silently skip is an error here");
        refused("apply more", self.client.apply(&more_name, Flags::empty()));

        chapter("A debug patch that depends only on Xen can't be applied on top");
        let debug = self.upload("debug", &self.payload("debug"))?;
        refused("apply debug", self.client.apply(&debug, Flags::empty()));

        chapter("NODEPS applies it at any time (from Xen 4.14 on)");
        match self.client.apply(&debug, Flags::NODEPS) {
            Err(error) if self.release < (4, 14) => refused("apply debug, NODEPS", Err(error)),
            applied => {
                self.did("apply debug, NODEPS", applied)?;
                self.show_list()?;
                self.did("revert debug", self.client.revert(&debug, Flags::empty()))?;
            }
        }

        chapter("A cumulative patch replaces all others in one step");
        let all = self.upload("all", &self.payload("all"))?;
        self.did("replace all", self.client.replace(&all, Flags::empty()))?;
        self.show_list()?;

        chapter("And off again");
        self.did("revert all", self.client.revert(&all, Flags::empty()))
    }

    /// Makes a payload that makes Xen's version end in its name. Real payloads come from files: see `upload_file`.
    fn payload(&self, name: &str) -> PayloadBuilder {
        PayloadBuilder::named(name, &self.xen)
            .for_release(self.release)
            .architecture(self.machine)
            .function(FunctionPatch::returning(PATCHED, format!("-{name}")))
            .metadata("made-by", Some("quickstart"))
    }

    fn upload(&self, name: &str, payload: &PayloadBuilder) -> Result<PayloadName> {
        let payload_name = PayloadName::new(name)?;
        self.did(&format!("upload {name}"), self.client.upload(&payload_name, &payload.build()))?;
        Ok(payload_name)
    }

    /// Shows a step that succeeded, and Xen's version now.
    fn did(&self, step: &str, result: Result<()>) -> Result<()> {
        result?;
        line(step, format_args!("done; Xen is {}", self.client.xen_version()?));
        Ok(())
    }

    fn show_list(&self) -> Result<()> {
        for payload in self.client.list()? {
            let (state, metadata) = (payload.status.state, payload.metadata);
            line("  list", format_args!("{:<8} {state:<8} {metadata}", payload.name));
        }
        Ok(())
    }
}

/// Shows a step that must fail, with its error.
fn refused(step: &str, result: Result<()>) {
    match result {
        Ok(()) => line(step, "succeeded, although it should have failed"),
        Err(error) => {
            line(step, format_args!("refused: {}", error.kind()));
            error.xen_log().iter().for_each(|words| line("", format_args!("(XEN) {words}")));
        }
    }
}

fn chapter(title: &str) {
    println!("\n{title}.");
}

fn line(step: &str, outcome: impl Display) {
    println!("  {step:<20} {outcome}");
}
