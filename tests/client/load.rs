//! Loads of files, and the check on the way.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use xen_livepatch::payload::PayloadVersion;
use xen_livepatch::{Finding, Problem, Severity};

use crate::prelude::*;

/// A host, and a file `fix.livepatch` that is made for it.
struct Host {
    xen: SimulatedXen,
    client: LivepatchClient,
    fix: Temporary,
}

impl Host {
    fn new(release: Release) -> Self {
        let xen = SimulatedXen::new(release);
        let hurried = ActionOptions::new().deadline(Duration::from_millis(50));
        let client = quick().action_defaults(hurried).connect(xen.clone()).unwrap();
        let fix = Temporary::new("fix.livepatch", &builder(&xen, "fix").build());
        Self { xen, client, fix }
    }

    /// The error of a load of the file.
    #[track_caller]
    fn error(&self, options: impl Into<LoadOptions>) -> Error {
        error(self.client.load(&self.fix.0, options))
    }

    /// The error of a load of the file, of this kind, which has left nothing and can be tried again.
    #[track_caller]
    fn unloaded(&self, options: impl Into<LoadOptions>, kind: &ErrorKind) -> Error {
        let loaded = self.xen.loaded();
        let error = self.error(options);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(matches!(error.cleanup(), Some(Cleanup::Unloaded)), "{error:?}");
        assert!(error.is_retryable() && !error.may_have_happened(), "{error}");
        assert_eq!(self.xen.loaded(), loaded);
        error
    }

    /// The error of a load of the file, which is loaded and may be in effect.
    #[track_caller]
    fn still_loaded(&self) -> Error {
        let others = self.xen.loaded().into_iter().filter(|other| *other != name("fix"));
        let error = self.error(Flags::empty());
        assert!(error.may_have_happened() && !error.is_retryable(), "{error}");
        assert_eq!(self.xen.loaded(), others.chain([name("fix")]).collect::<Vec<_>>());
        error
    }
}

fn elsewhere() -> BuildId {
    BuildId::new([0x5a; 20])
}

/// A payload for another Xen of this host's release.
fn foreign(xen: &SimulatedXen, id: &str) -> PayloadBuilder {
    let function = FunctionPatch::returning(PATCHED, format!("-{id}"));
    PayloadBuilder::named(id, &elsewhere()).for_release((4, xen.release().minor())).function(function)
}

/// The findings for which a payload is refused.
#[track_caller]
fn findings(error: &Error) -> &[Finding] {
    let ErrorKind::UnfitPayload { findings, .. } = error.kind() else { panic!("{error:?}") };
    findings
}

/// A file in a directory of its own, removed when dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, contents: &[u8]) -> Self {
        // Tests of one process run concurrently.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("xen-livepatch-{}-{count}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(name);
        fs::write(&file, contents).unwrap();
        Self(file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(self.0.parent().unwrap()));
    }
}

#[test]
fn a_file_goes_into_effect_under_its_own_name() {
    for release in each(Release::ALL) {
        let host = Host::new(release);
        let file = Temporary::new(&format!("fix.{}.livepatch", release.minor()), &builder(&host.xen, "fix").build());
        let loaded = host.client.load(&file.0, Flags::empty()).unwrap();
        assert_eq!(loaded, name(format!("fix.{}", release.minor())));
        assert_eq!(host.xen.applied(), [loaded]);
    }
}

#[test]
fn flags_are_those_of_the_apply() {
    let host = Host::new(Release::V4_20);
    let foreign =
        Temporary::new("fix.livepatch", &builder(&host.xen, "fix").depends_on(&"0102".parse().unwrap()).build());
    let error = error(host.client.load(&foreign.0, Flags::empty()));
    assert!(matches!(error.kind(), ErrorKind::DependsOnAnother { .. }), "{error:?}");
    host.client.load(&foreign.0, Flags::NODEPS).unwrap();
}

#[test]
fn flags_that_xen_would_ignore_are_refused_before_anything_is_uploaded() {
    for (release, flags) in [(Release::V4_13, Flags::NODEPS), (Release::V4_20, Flags::from_bits_retain(4))] {
        let host = Host::new(release);
        let error = host.error(flags);
        assert!(matches!(error.kind(), ErrorKind::UnsupportedFlag { .. }), "{error:?}");
        assert!(error.to_string().starts_with("apply \"fix\": flag"), "{error}");
        assert_eq!((host.xen.calls().of(Call::Upload), error.cleanup().is_none()), (0, true));
    }
}

#[test]
fn a_name_that_is_none_is_refused_before_anything_is_uploaded() {
    let host = Host::new(Release::V4_20);
    let hidden = Temporary::new(".livepatch", &builder(&host.xen, "fix").build());
    let long = Temporary::new(&format!("{}.livepatch", "n".repeat(128)), &builder(&host.xen, "fix").build());
    for file in [&hidden, &long] {
        let error = host.client.load(&file.0, Flags::empty()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidName { .. }), "{error:?}");
    }
    assert_eq!(host.xen.calls().of(Call::Upload), 0);
}

#[test]
fn a_payload_that_could_not_be_applied_is_unloaded_again() {
    let host = Host::new(Release::V4_20);
    host.xen.on_apply().time_out();
    let error = host.unloaded(Flags::empty(), &ErrorKind::QuiesceTimeout);
    assert!(error.to_string().ends_with("; it was unloaded again"), "{error}");
}

#[test]
fn a_deadline_of_the_apply_leaves_time_to_unload() {
    let in_a_hurry = ActionOptions::new().deadline(Duration::ZERO);
    Host::new(Release::V4_20).unloaded(LoadOptions::new().action(in_a_hurry), &ErrorKind::DeadlinePassed);
}

#[test]
fn a_payload_that_stays_is_in_the_way_of_the_same_load() {
    let host = Host::new(Release::V4_20);
    host.xen.on_apply().time_out();
    host.xen.on_unload().always().fail(Errno::EPERM);
    let error = host.still_loaded();
    assert_eq!(error.kind(), &ErrorKind::QuiesceTimeout, "the first failure is the error");
    let Some(Cleanup::Failed(cleanup)) = error.cleanup() else { panic!("{error:?}") };
    assert_eq!(cleanup.kind(), &ErrorKind::NotPermitted { path: None });
}

#[test]
fn a_payload_that_may_still_be_applied_is_left() {
    let host = Host::new(Release::V4_20);
    host.xen.on_apply().take(Pace::Held);
    let error = host.still_loaded();
    assert_eq!(error.kind(), &ErrorKind::Unfinished);
    assert!(matches!(error.cleanup(), Some(Cleanup::Left)), "{error:?}");
    host.xen.finish_action();
    assert_eq!(host.client.status(&name("fix")).unwrap().state, State::Applied);
}

/// Another tool's action is running: the payload is unloaded as soon as that has ended, or the error has it.
#[test]
fn a_busy_host_is_left_as_it_was_or_the_error_names_the_payload() {
    for release in each([Release::V4_13, Release::V4_17, Release::V4_22]) {
        let host = Host::new(release);
        busy(&host.xen, "theirs");
        let error = host.still_loaded();
        assert_eq!(error.kind(), &ErrorKind::OperationInProgress);
        assert!(matches!(error.cleanup(), Some(Cleanup::Failed(_))), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("apply \"fix\": the host was busy until the deadline"), "{text}");
        let (own, cleanup) = text.split_once("; it may still be loaded, since unloading it failed: ").unwrap();
        assert!(!own.contains("nothing was done") && !own.contains("try again"), "{text}");
        assert!(cleanup.starts_with("unload \"fix\": the host was busy"), "{text}");
        host.xen.finish_action();
        host.client.unload(&name("fix"), Flags::empty()).unwrap();

        // It ends in time for the unload, by a hair too late for the apply.
        host.xen.other_action("theirs", Action::Revert, Flags::empty()).unwrap();
        hold(&host.xen, "theirs", Action::Apply);
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| host.unloaded(Flags::empty(), &ErrorKind::OperationInProgress));
            std::thread::sleep(Duration::from_millis(300));
            host.xen.finish_action();
            loading.join().unwrap();
        });
        let depends_on_xen = host.error(Flags::empty());
        assert!(!matches!(depends_on_xen.kind(), ErrorKind::AlreadyLoaded { .. }), "{depends_on_xen}");
    }
}

/// Xen has loaded it, and could not report so.
#[test]
fn an_upload_without_an_answer_is_undone() {
    for release in each(Release::ALL) {
        let host = Host::new(release);
        host.xen.on_upload().fault_after();
        host.unloaded(Flags::empty(), &ErrorKind::Fault);
        host.client.load(&host.fix.0, Flags::empty()).unwrap();
    }
}

/// A payload that was there before, or that can't be identified, is left alone.
#[test]
fn an_upload_without_an_answer_is_not_undone_on_suspicion() {
    let host = Host::new(Release::V4_17);
    host.xen.on_upload().fault_after();
    host.xen.on_debug_keys().always().fail(Errno::EPERM);
    let error = host.still_loaded();
    assert_eq!(error.kind(), &ErrorKind::OutcomeUnknown, "{error}");
    assert!(matches!(error.cleanup(), Some(Cleanup::Left)), "{error:?}");

    let host = Host::new(Release::V4_17);
    load(&host.xen, "fix");
    host.xen.on_upload().fail(Errno::EFAULT);
    let error = host.still_loaded();
    assert!(matches!(error.cleanup(), Some(Cleanup::Left)), "{error:?}");
}

/// Another tool is faster, before the apply or before the cleanup.
#[test]
fn a_payload_that_another_tool_applied_is_reported_as_applied() {
    for (release, late) in each(pairs(Release::ALL, [false, true])) {
        let apply = |xen: &SimulatedXen| xen.other_action("fix", Action::Apply, Flags::empty()).unwrap();
        let host = Host::new(release);
        if late {
            host.xen.on_apply().time_out();
            host.xen.on_unload().before(apply);
        } else {
            host.xen.on_upload().after(apply);
        }
        let error = host.still_loaded();
        assert!(matches!(error.cleanup(), Some(Cleanup::Applied)), "{error:?}");
        assert!(error.to_string().ends_with("; another tool has applied it meanwhile"), "{error}");
        assert_eq!(host.xen.applied(), names(["fix"]));
    }
}

#[test]
fn a_payload_that_another_tool_unloaded_is_reported_as_gone() {
    for late in each([false, true]) {
        let unload = |xen: &SimulatedXen| xen.other_action("fix", Action::Unload, Flags::empty()).unwrap();
        let host = Host::new(Release::V4_17);
        if late {
            host.xen.on_apply().time_out();
            host.xen.on_unload().before(unload);
        } else {
            host.xen.on_apply().before(unload);
        }
        let error = host.error(Flags::empty());
        assert!(matches!(error.cleanup(), Some(Cleanup::Gone)), "{error:?}");
        assert!(error.to_string().ends_with("; another tool has unloaded it"), "{error}");
    }
}

/// The text of each advises the next step.
#[test]
fn a_payload_that_is_loaded_already_is_reported_with_its_state() {
    let host = Host::new(Release::V4_17);
    let fix = upload(&host.client, "fix", &builder(&host.xen, "fix"));
    let already = |state| ErrorKind::AlreadyLoaded { by: Duplicate::Payload { name: name("fix"), state } };
    assert_eq!(host.error(Flags::empty()).kind(), &already(State::Checked));
    host.client.apply(&fix, Flags::empty()).unwrap();
    assert_eq!(host.error(Flags::empty()).kind(), &already(State::Applied));
}

#[test]
fn a_payload_that_was_loaded_before_stays() {
    let (xen, client) = host(Release::V4_20);
    let fix = upload(&client, "fix", &builder(&xen, "fix"));
    let error = error(client.load_as(&fix, &parse(&builder(&xen, "other")), Flags::empty()));
    assert!(matches!(error.kind(), ErrorKind::AlreadyLoaded { .. }), "{error:?}");
    assert!(error.cleanup().is_none());
    assert_eq!(xen.loaded(), [fix]);
}

#[test]
fn a_payload_for_another_xen_never_arrives_on_any_release() {
    for (xen, client) in hosts(Release::ALL) {
        let payload = foreign(&xen, "foreign").build();
        let refused = kind(client.upload(&name("foreign"), &payload));
        assert_eq!(refused, ErrorKind::BuiltForAnotherXen { expected: Some(elsewhere()), found: xen.build_id() });
        assert_eq!(xen.calls().of(Call::Upload), 0);

        // Xen itself compares from 4.14 on.
        let result = unchecked(&client, &name("foreign"), &payload);
        assert_eq!(result.is_ok(), xen.release() < Release::V4_14);
        assert_eq!(xen.calls().of(Call::Upload), 1);
        let Err(error) = result else { continue };
        // From 4.18 on its log has both.
        let both = xen.release() >= Release::V4_18;
        let (expected, found) = (Some(elsewhere()).filter(|_| both), xen.build_id().filter(|_| both));
        assert_eq!(error.kind(), &ErrorKind::BuiltForAnotherXen { expected, found });
    }
}

#[test]
fn a_payload_of_the_other_version_never_arrives() {
    for (xen, client) in hosts(Release::ALL) {
        let other = if xen.release() < Release::V4_14 { PayloadVersion::V2 } else { PayloadVersion::V1 };
        let error = error(client.upload(&name("x"), &builder(&xen, "x").payload_version(other).build()));
        let told =
            |finding: &Finding| matches!(finding.problem, Problem::Version { .. } | Problem::FunctionsSize { .. });
        assert!(findings(&error).iter().any(told), "{error:?}");
        assert_eq!(xen.calls().of(Call::Upload), 0);
    }
}

#[test]
fn all_findings_are_reported_at_once() {
    let (xen, client) = host(Release::V4_17);
    let payload = foreign(&xen, "bad")
        .modinfo(b"k=v\0")
        .defect(".modinfo", Defect::Contents(vec![]))
        .defect(".livepatch.funcs", Defect::NotAllocated);
    let error = error(client.upload(&name("bad"), &payload.build()));
    let findings = findings(&error);
    let has = |wanted: fn(&Finding) -> bool| assert!(findings.iter().any(wanted), "{findings:?}");
    has(|finding| matches!(finding.problem, Problem::BuiltForAnotherXen { .. }));
    has(|finding| matches!(finding.problem, Problem::EmptyMetadata));
    has(|finding| matches!(finding.problem, Problem::NotAllocated { section: ".livepatch.funcs" }));
    let text = error.to_string();
    assert!(text.starts_with("upload \"bad\": the payload does not pass the check for this Xen: "), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

/// With each option, whether Xen sees a payload that it refuses, one that it does not notice, and one that it does not
/// survive.
#[test]
fn severity_decides_what_reaches_xen() {
    let options =
        [UploadOptions::new(), UploadOptions::new().leave_refusals_to_xen(), UploadOptions::new().unchecked()];
    let function = || FunctionPatch::returning("f", "x");
    for (release, severity, reaches) in each([
        (Release::V4_17, Severity::Refused, [0, 1, 1]),
        (Release::V4_13, Severity::Unnoticed, [0, 0, 1]),
        (Release::V4_17, Severity::Harmful, [0, 0, 1]),
    ]) {
        for (options, reaches) in options.into_iter().zip(reaches) {
            let (xen, client) = host(release);
            let payload = match severity {
                Severity::Refused => builder(&xen, "x").function(function().old_size(1)),
                Severity::Unnoticed => foreign(&xen, "x"),
                _ => builder(&xen, "x").function(function().unnamed()),
            };
            let result = client.upload_with(&name("x"), &payload.build(), options);
            assert_eq!(xen.calls().of(Call::Upload), reaches, "{options:?}");
            assert_eq!(result.is_ok(), severity == Severity::Unnoticed && reaches > 0, "{result:?}");
            if reaches == 0 {
                let refused = kind(result);
                let checked = matches!(refused, ErrorKind::UnfitPayload { .. } | ErrorKind::BuiltForAnotherXen { .. });
                assert!(checked, "{refused:?}");
            }
        }
    }
    // What is not even an ELF file, Xen refuses as well.
    for (options, reaches) in options.into_iter().zip([0, 1, 1]) {
        let (xen, client) = host(Release::V4_17);
        let refused = kind(client.upload_with(&name("x"), b"#!/bin/sh", options));
        assert!(matches!(refused, ErrorKind::InvalidPayload { .. }), "{refused:?}");
        assert_eq!(xen.calls().of(Call::Upload), reaches);
    }
}

#[test]
fn at_most_five_findings_are_named() {
    let (xen, client) = host(Release::V4_17);
    let payload = (0..40).fold(builder(&xen, "x"), |payload, _| payload.function(FunctionPatch::nop("f", 1)));
    let error = error(client.upload(&name("x"), &payload.build()));
    let (text, more) = (error.to_string(), findings(&error).len() - 5);
    assert!(text.ends_with(&format!("; and {more} more")) && text.matches("; ").count() == 5, "{text}");
}

/// The output of a compiler for the build-id `10111213…`, twice, under two build-ids: its string `.LC0` is in both.
#[test]
fn a_compilers_own_names_may_be_loaded_twice() {
    let file = include_bytes!("../gcc-payloads/extra-version.livepatch");
    let id = (0x10..=0x1f).chain(0x20..=0x23).collect::<Vec<u8>>();
    let xen = SimulatedXen::builder(Release::V4_17).build_id(Some(BuildId::new(id))).build();
    let client = LivepatchClient::builder().connect(xen).unwrap();
    // Under another build-id, of which this changes the last byte; and with other flags of `.rodata.str1.1`.
    let made = |change: u8, mergeable: bool| {
        let mut file = file.to_vec();
        file[0x60 + 0x23] ^= change;
        let headers = usize::from(file[40]) | usize::from(file[41]) << 8;
        let flags = &mut file[headers + 7 * 64 + 8];
        assert_eq!(*flags, 0x32);
        *flags = if mergeable { 0x32 } else { 2 };
        file
    };
    client.upload(&name("one"), &made(0, true)).unwrap();
    client.upload(&name("two"), &made(1, true)).unwrap();
    client.upload(&name("three"), &made(2, false)).unwrap();
    assert!(matches!(kind(client.upload(&name("four"), &made(3, false))), ErrorKind::AlreadyLoaded { .. }));
}

/// Xen keeps 127 bytes of a symbol's name.
#[test]
fn names_are_the_same_if_xen_keeps_the_same_of_them() {
    let (xen, client) = host(Release::V4_17);
    let upload = |id: &str, len: usize, end: &str| {
        client.upload(&name(id), &builder(&xen, id).defines("a".repeat(len) + end).build())
    };
    upload("one", 126, "x").unwrap();
    upload("two", 126, "y").unwrap();
    upload("three", 127, "x").unwrap();
    assert!(matches!(kind(upload("four", 127, "y")), ErrorKind::AlreadyLoaded { .. }));
}
