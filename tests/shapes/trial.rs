//! All that is done with a payload on a Xen, and the count of what came of it.

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
pub struct Census {
    pub tried: usize,
    /// Taken by the check and by Xen, run, and got rid of.
    taken: usize,
    /// As the last, but refused by the check until told to accept what is wrong with some Xens of this version.
    accepted: usize,
    /// Refused by the check, though Xen takes and survives them: which, where, and why.
    refused_wrongly: Vec<String>,
    /// Refused by the check, and by Xen.
    refused: Vec<String>,
    /// Taken by the check, and not by Xen.
    unforeseen: Vec<String>,
    /// Not survived by a simulated Xen. A real one takes the test with it.
    pub crashed: Vec<String>,
}

impl Census {
    pub fn assert_nothing_refused_wrongly(&self) {
        let surprises = [&self.refused_wrongly, &self.refused, &self.unforeseen, &self.crashed].into_iter().flatten();
        assert!(surprises.count() == 0, "{self}");
    }
}

impl Census {
    pub fn assert_nothing_accepted(&self) {
        assert_eq!(self.accepted, 0, "{self}");
    }
}

impl fmt::Display for Census {
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

/// Options with which a payload is uploaded of which the check knows only that some point releases that this Xen may be are
/// hurt by it.
fn accepting(findings: &[Finding]) -> Option<UploadOptions> {
    let possible = findings.iter().all(|finding| !finding.severity.is_certain());
    possible.then(|| findings.iter().map(Finding::kind).fold(UploadOptions::new(), UploadOptions::accept))
}

fn list(findings: &[Finding]) -> String {
    let findings: Vec<String> = findings.iter().map(|finding| format!("{}: {finding}", finding.severity)).collect();
    findings.join("; ")
}

impl Trial<'_> {
    /// Has a payload checked for this Xen.
    fn findings(&self, shape: &Shape) -> Vec<Finding> {
        shape.payload.check_against(&self.client.target().unwrap())
    }

    fn place(&self, shape: &Shape) -> String {
        format!("{} on Xen {}", shape.name, self.client.xen_version().unwrap())
    }

    /// Counts whether the check takes a payload of which it is known that this Xen does.
    pub fn check(&self, shape: &Shape, census: &mut Census) {
        census.tried += 1;
        let findings = self.findings(shape);
        if findings.is_empty() {
            census.taken += 1;
        } else if accepting(&findings).is_some() {
            census.accepted += 1;
        } else {
            census.refused_wrongly.push(format!("{}: {}", self.place(shape), list(&findings)));
        }
    }

    /// Tries a payload.
    pub fn run(&self, shapes: &Shapes, shape: &Shape, census: &mut Census) {
        let (findings, place) = (self.findings(shape), self.place(shape));
        if self.shown.is_some() {
            // If it is the end of Xen, this was it.
            println!("{place}: {}", list(&findings));
        }
        census.tried += 1;
        match self.all_of(shapes, shape, UploadOptions::new()) {
            Ok(()) => census.taken += 1,
            Err(error) if matches!(error.kind(), ErrorKind::UnfitPayload { .. }) => {
                self.clean();
                if let Some(options) = accepting(&findings) {
                    match self.all_of(shapes, shape, options) {
                        Ok(()) => census.accepted += 1,
                        Err(error) => census.unforeseen.push(format!("{place}: {error}")),
                    }
                } else if self.shown.is_some() {
                    match self.all_of(shapes, shape, UploadOptions::new().unchecked()) {
                        Ok(()) => census.refused_wrongly.push(format!("{place}: {error}")),
                        Err(unchecked) => census.refused.push(format!("{place}: {error}; unchecked: {unchecked}")),
                    }
                } else {
                    // The simulated Xen agrees with the check by construction.
                    census.refused_wrongly.push(format!("{place}: {error}"));
                }
            }
            Err(error) => census.unforeseen.push(format!("{place}: {error}")),
        }
        self.clean();
        self.expect_shown(None);
    }

    /// Uploads, applies, reverts and unloads a payload, again where that is possible, and as a replacement of another.
    ///
    /// # Errors
    /// The first step that fails. What was done before is still done.
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

    /// Has what a payload depends on applied. What the check makes of that is found out elsewhere.
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

    /// Takes away what a failure has left.
    fn clean(&self) {
        if self.shown.is_some() {
            super::host::clean(self.client);
        } else if self.client.list().is_ok() {
            // One that has crashed is of no more use, and its owner finds that out.
            super::host::clean_after(self.client, &|| ());
        }
    }
}

/// The machine that payloads are for.
pub fn architecture(shapes: &Shapes) -> Architecture {
    shapes.replaced().payload.architecture()
}
