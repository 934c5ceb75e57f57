//! The trial of a payload on a Xen, and the totals of all trials.

use core::fmt;

use xen_livepatch::payload::{Architecture, Reapply};
use xen_livepatch::{Error, ErrorKind, Finding, Flags, LivepatchClient, PayloadName, State, UploadOptions};

use super::shape::{Shape, Shapes};

/// A Xen with nothing loaded. On a real one a payload that the check refuses is tried all the same.
pub struct Trial<'a> {
    pub client: &'a LivepatchClient,
    /// Reads Xen's version in dom0, on a real one.
    pub shown: Option<fn() -> String>,
    /// The version text while nothing is applied.
    pub original: String,
}

#[derive(Default)]
pub struct Totals {
    pub tried: usize,
    /// Payloads that the check and Xen accepted, and that were run and unloaded.
    taken: usize,
    /// Payloads that the check refused until their possible findings were accepted.
    accepted: usize,
    /// Payloads that the check refused although Xen accepts and survives them: name, place, and reason.
    refused_wrongly: Vec<String>,
    /// Payloads that the check and Xen refused.
    refused: Vec<String>,
    /// Payloads that Xen alone refused.
    unforeseen: Vec<String>,
    /// Payloads that crashed a simulated Xen. A crash of a real one ends the test.
    pub crashed: Vec<String>,
}

impl Totals {
    pub fn assert_nothing_refused_wrongly(&self) {
        let surprises = [&self.refused_wrongly, &self.refused, &self.unforeseen, &self.crashed].into_iter().flatten();
        assert!(surprises.count() == 0, "{self}");
    }

    pub fn assert_nothing_accepted(&self) {
        assert_eq!(self.accepted, 0, "{self}");
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} payloads tried, {} refused wrongly", self.tried, self.refused_wrongly.len())?;
        write!(f, " ({} taken, {} taken when accepted by name)", self.taken, self.accepted)?;
        for (what, all) in [
            ("refused wrongly", &self.refused_wrongly),
            ("refused by the check and by Xen", &self.refused),
            ("refused by Xen alone", &self.unforeseen),
            ("crashed", &self.crashed),
        ] {
            for one in all {
                write!(f, "\n{what}: {one}")?;
            }
        }
        Ok(())
    }
}

/// The options that accept the findings of a payload, if all are possible ones.
fn accepting(findings: &[Finding]) -> Option<UploadOptions> {
    let possible = findings.iter().all(|finding| !finding.severity.is_certain());
    possible.then(|| findings.iter().map(Finding::kind).fold(UploadOptions::new(), UploadOptions::accept))
}

fn list(findings: &[Finding]) -> String {
    let findings: Vec<String> = findings.iter().map(|finding| format!("{}: {finding}", finding.severity)).collect();
    findings.join("; ")
}

impl Trial<'_> {
    /// Checks a payload for this Xen.
    fn findings(&self, shape: &Shape) -> Vec<Finding> {
        shape.payload.check_against(&self.client.target().unwrap())
    }

    fn place(&self, shape: &Shape) -> String {
        format!("{} on Xen {}", shape.name, self.client.xen_version().unwrap())
    }

    /// Checks a payload that this Xen is known to accept, and counts the result.
    pub fn check(&self, shape: &Shape, totals: &mut Totals) {
        totals.tried += 1;
        let findings = self.findings(shape);
        if findings.is_empty() {
            totals.taken += 1;
        } else if accepting(&findings).is_some() {
            totals.accepted += 1;
        } else {
            totals.refused_wrongly.push(format!("{}: {}", self.place(shape), list(&findings)));
        }
    }

    /// Tries a payload.
    pub fn run(&self, shapes: &Shapes, shape: &Shape, totals: &mut Totals) {
        let (findings, place) = (self.findings(shape), self.place(shape));
        if self.shown.is_some() {
            // The last line if Xen crashes.
            println!("{place}: {}", list(&findings));
        }
        totals.tried += 1;
        match self.all_of(shapes, shape, UploadOptions::new()) {
            Ok(()) => totals.taken += 1,
            Err(error) if matches!(error.kind(), ErrorKind::UnfitPayload { .. }) => {
                self.clean();
                if let Some(options) = accepting(&findings) {
                    match self.all_of(shapes, shape, options) {
                        Ok(()) => totals.accepted += 1,
                        Err(error) => totals.unforeseen.push(format!("{place}: {error}")),
                    }
                } else if self.shown.is_some() {
                    match self.all_of(shapes, shape, UploadOptions::new().unchecked()) {
                        Ok(()) => totals.refused_wrongly.push(format!("{place}: {error}")),
                        Err(unchecked) => totals.refused.push(format!("{place}: {error}; unchecked: {unchecked}")),
                    }
                } else {
                    // The simulated Xen agrees with the check by construction.
                    totals.refused_wrongly.push(format!("{place}: {error}"));
                }
            }
            Err(error) => totals.unforeseen.push(format!("{place}: {error}")),
        }
        self.clean();
        self.expect_shown(None);
    }

    /// Uploads, applies, reverts and unloads a payload, twice if possible, and as a replacement of another.
    ///
    /// # Errors
    /// The first step that fails. Earlier steps are not undone.
    fn all_of(&self, shapes: &Shapes, shape: &Shape, options: UploadOptions) -> Result<(), Error> {
        let release = self.client.xen_version().unwrap().release();
        if let Some(beneath) = shapes.beneath(shape) {
            self.put_beneath(shapes, beneath)?;
        }
        let name = self.upload(shape, options)?;
        self.apply_and_revert(shapes, shape, &name)?;
        let again = self.client.apply(&name, Flags::empty());
        if shape.payload.reapply(release) == Reapply::NeedsReupload {
            let error = again.expect_err("Xen applied again what it must not");
            // On Arm there are other reasons with the same number.
            let is_said = matches!(error.kind(), ErrorKind::ReapplyNeedsReupload | ErrorKind::ActionFailed { .. });
            assert!(is_said && self.client.status(&name)?.state == State::Checked, "{}: {error}", shape.name);
        } else {
            again?;
            self.expect_shown(shape.shows());
            self.client.revert(&name, Flags::empty())?;
        }
        self.client.unload(&name, Flags::empty())?;

        let (replaced, on_xen) = (shapes.replaced(), shapes.beneath(shape).is_none());
        if on_xen && shape.payload.is_replaceable() && replaced.name != shape.name {
            let beneath = self.upload(replaced, UploadOptions::new().unchecked())?;
            self.client.apply(&beneath, Flags::empty())?;
            let name = self.upload(shape, options)?;
            self.client.replace(&name, Flags::empty())?;
            self.expect_shown(shape.shows());
            assert_eq!(self.client.status(&beneath)?.state, State::Checked);
            self.client.revert(&name, Flags::empty())?;
            self.client.unload(&name, Flags::empty())?;
            self.client.unload(&beneath, Flags::empty())?;
        }
        Ok(())
    }

    fn apply_and_revert(&self, shapes: &Shapes, shape: &Shape, name: &PayloadName) -> Result<(), Error> {
        self.client.apply(name, Flags::empty())?;
        let beneath = shapes.beneath(shape).and_then(Shape::shows);
        self.expect_shown(shape.shows().or(beneath.clone()));
        self.client.revert(name, Flags::empty())?;
        self.expect_shown(beneath);
        Ok(())
    }

    /// Applies the payload that another depends on, unchecked: its own trial checks it.
    fn put_beneath(&self, shapes: &Shapes, shape: &Shape) -> Result<(), Error> {
        if let Some(beneath) = shapes.beneath(shape) {
            self.put_beneath(shapes, beneath)?;
        }
        let name = self.upload(shape, UploadOptions::new().unchecked())?;
        self.client.apply(&name, Flags::empty())
    }

    fn upload(&self, shape: &Shape, options: UploadOptions) -> Result<PayloadName, Error> {
        let name = PayloadName::new(&shape.name).unwrap();
        self.client.upload_with(&name, shape.payload.bytes(), options).map(|()| name)
    }

    fn expect_shown(&self, text: Option<String>) {
        let Some(shown) = self.shown else { return };
        assert_eq!(shown(), text.unwrap_or_else(|| self.original.clone()));
    }

    /// Unloads the payloads that a failure has left.
    fn clean(&self) {
        if self.shown.is_some() {
            super::host::clean(self.client);
        } else if self.client.list().is_ok() {
            // The owner of a crashed one reports it.
            super::host::clean_after(self.client, &|| ());
        }
    }
}

/// The architecture of the payloads.
pub fn architecture(shapes: &Shapes) -> Architecture {
    shapes.replaced().payload.architecture()
}
