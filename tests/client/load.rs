//! Loads of files, and the check on the way.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use xen_livepatch::Finding;
use xen_livepatch::payload::PayloadVersion;
use xen_livepatch::{Problem, Severity};

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

    fn payload_for(&self, id: &str, xen: &BuildId) -> PayloadBuilder {
        let function = FunctionPatch::returning(PATCHED, format!("-{id}"));
        PayloadBuilder::named(id, xen).for_release((4, self.xen.release().minor())).function(function)
    }

    fn payload(&self, id: &str) -> PayloadBuilder {
        builder(&self.xen, id)
    }

    /// The error of a load of the file.
    #[track_caller]
    fn error(&self, options: impl Into<LoadOptions>) -> Error {
        error(self.client.load(&self.fix.0, options))
    }
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
        let file = Temporary::new(&format!("fix.{}.livepatch", release.minor()), &host.payload("fix").build());
        let loaded = host.client.load(&file.0, Flags::empty()).unwrap();
        assert_eq!(loaded, name(format!("fix.{}", release.minor())));
        assert_eq!(host.xen.applied(), [loaded]);
    }
}

#[test]
fn flags_are_those_of_the_apply() {
    let host = Host::new(Release::V4_20);
    let foreign = Temporary::new("fix.livepatch", &host.payload("fix").depends_on(&"0102".parse().unwrap()).build());
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
    let hidden = Temporary::new(".livepatch", &host.payload("fix").build());
    let long = Temporary::new(&format!("{}.livepatch", "n".repeat(128)), &host.payload("fix").build());
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
    let error = host.error(Flags::empty());
    assert_eq!(error.kind(), &ErrorKind::QuiesceTimeout);
    assert!(matches!(error.cleanup(), Some(Cleanup::Unloaded)), "{error:?}");
    assert!(error.to_string().ends_with("; it was unloaded again"), "{error}");
    assert!(error.is_retryable() && host.xen.loaded().is_empty());
}

#[test]
fn a_deadline_of_the_apply_leaves_time_to_unload() {
    let host = Host::new(Release::V4_20);
    let in_a_hurry = ActionOptions::new().deadline(Duration::ZERO);
    let error = host.error(LoadOptions::new().action(in_a_hurry));
    assert_eq!(error.kind(), &ErrorKind::DeadlinePassed);
    assert!(matches!(error.cleanup(), Some(Cleanup::Unloaded)), "{error:?}");
    assert!(host.xen.loaded().is_empty());
}

#[test]
fn a_payload_that_stays_is_in_the_way_of_the_same_load() {
    let host = Host::new(Release::V4_20);
    host.xen.on_apply().time_out();
    host.xen.on_unload().always().fail(Errno::EPERM);
    let error = host.error(Flags::empty());
    assert_eq!(error.kind(), &ErrorKind::QuiesceTimeout, "the first failure is the error");
    let Some(Cleanup::Failed(cleanup)) = error.cleanup() else { panic!("{error:?}") };
    assert_eq!(cleanup.kind(), &ErrorKind::NotPermitted { path: None });
    assert_eq!(host.xen.loaded(), [name("fix")]);
    assert!(!error.is_retryable());
}

#[test]
fn a_payload_that_may_still_be_applied_is_left() {
    let host = Host::new(Release::V4_20);
    host.xen.on_apply().take(Pace::Held);
    let error = host.error(Flags::empty());
    assert_eq!(error.kind(), &ErrorKind::Unfinished);
    assert!(matches!(error.cleanup(), Some(Cleanup::Left)), "{error:?}");
    assert_eq!(host.xen.loaded(), [name("fix")]);
    host.xen.finish_action();
    assert_eq!(host.client.status(&name("fix")).unwrap().state, State::Applied);
}

/// Another tool's action is running: the payload is unloaded as soon as that has ended, or the error has it.
#[test]
fn a_busy_host_is_left_as_it_was_or_the_error_names_the_payload() {
    for release in each([Release::V4_13, Release::V4_17, Release::V4_22]) {
        let host = Host::new(release);
        host.xen.other_upload("theirs", &host.payload("theirs").build()).unwrap();
        host.xen.set_pace(Pace::Held);
        host.xen.other_start("theirs", Action::Apply, Flags::empty()).unwrap();
        let error = host.error(Flags::empty());
        assert_eq!(error.kind(), &ErrorKind::OperationInProgress);
        assert!(matches!(error.cleanup(), Some(Cleanup::Failed(_))), "{error:?}");
        assert!(error.may_have_happened() && !error.is_retryable(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("apply \"fix\": the host was busy until the deadline"), "{text}");
        let (own, cleanup) = text.split_once("; it may still be loaded, since unloading it failed: ").unwrap();
        assert!(!own.contains("nothing was done") && !own.contains("try again"), "{text}");
        assert!(cleanup.starts_with("unload \"fix\": the host was busy"), "{text}");
        assert_eq!(host.xen.loaded(), [name("theirs"), name("fix")]);
        host.xen.finish_action();
        host.client.unload(&name("fix"), Flags::empty()).unwrap();

        // It ends in time for the unload, by a hair too late for the apply.
        host.xen.other_action("theirs", Action::Revert, Flags::empty()).unwrap();
        host.xen.set_pace(Pace::Held);
        host.xen.other_start("theirs", Action::Apply, Flags::empty()).unwrap();
        let error = std::thread::scope(|scope| {
            let loading = scope.spawn(|| host.error(Flags::empty()));
            std::thread::sleep(Duration::from_millis(300));
            host.xen.finish_action();
            loading.join().unwrap()
        });
        assert_eq!(error.kind(), &ErrorKind::OperationInProgress);
        assert!(matches!(error.cleanup(), Some(Cleanup::Unloaded)), "{error:?}");
        assert!(error.is_retryable() && !error.may_have_happened(), "{error}");
        assert_eq!(host.xen.loaded(), [name("theirs")]);
        host.xen.set_pace(Pace::default());
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
        let error = host.error(Flags::empty());
        assert_eq!(error.kind(), &ErrorKind::Fault, "{error}");
        assert!(matches!(error.cleanup(), Some(Cleanup::Unloaded)), "{error:?}");
        assert!(error.is_retryable() && host.xen.loaded().is_empty());
        host.client.load(&host.fix.0, Flags::empty()).unwrap();
    }
}

/// A payload that was there before, or that can't be identified, is left alone.
#[test]
fn an_upload_without_an_answer_is_not_undone_on_suspicion() {
    let host = Host::new(Release::V4_17);
    host.xen.on_upload().fault_after();
    host.xen.on_debug_keys().always().fail(Errno::EPERM);
    let error = host.error(Flags::empty());
    assert_eq!(error.kind(), &ErrorKind::OutcomeUnknown, "{error}");
    assert!(matches!(error.cleanup(), Some(Cleanup::Left)), "{error:?}");
    assert!(error.may_have_happened() && !error.is_retryable(), "{error}");
    assert_eq!(host.xen.loaded(), [name("fix")]);

    let host = Host::new(Release::V4_17);
    host.xen.other_upload("fix", &host.payload("fix").build()).unwrap();
    host.xen.on_upload().fail(Errno::EFAULT);
    let error = host.error(Flags::empty());
    assert!(matches!(error.cleanup(), Some(Cleanup::Left)), "{error:?}");
    assert_eq!(host.xen.loaded(), [name("fix")]);
}

/// Another tool is faster, before the apply or before the cleanup.
#[test]
fn a_payload_that_another_tool_applied_is_reported_as_applied() {
    for release in each(Release::ALL) {
        let apply = |xen: &SimulatedXen| xen.other_action("fix", Action::Apply, Flags::empty()).unwrap();
        for late in [false, true] {
            let host = Host::new(release);
            if late {
                host.xen.on_apply().time_out();
                host.xen.on_unload().before(apply);
            } else {
                host.xen.on_upload().after(apply);
            }
            let error = host.error(Flags::empty());
            assert!(matches!(error.cleanup(), Some(Cleanup::Applied)), "{late}: {error:?}");
            assert!(error.to_string().ends_with("; another tool has applied it meanwhile"), "{error}");
            assert!(error.may_have_happened() && !error.is_retryable(), "{late}: {error}");
            assert_eq!(host.xen.applied(), [name("fix")], "{late}");
        }
    }
}

/// The advice works: the payload is there, to be applied or in effect.
#[test]
fn a_payload_that_is_loaded_already_is_to_be_applied() {
    let host = Host::new(Release::V4_17);
    host.client.upload(&name("fix"), &host.payload("fix").build()).unwrap();
    let text = || host.error(Flags::empty()).to_string();
    let checked = text();
    assert!(checked.contains("loaded already, as \"fix\", and not applied: apply \"fix\", or `ensure`"), "{checked}");
    host.client.apply(&name("fix"), Flags::empty()).unwrap();
    let applied = text();
    assert!(applied.contains("loaded already, as \"fix\", and applied: nothing is left to do"), "{applied}");
}

#[test]
fn a_payload_that_was_loaded_before_stays() {
    let host = Host::new(Release::V4_20);
    host.client.upload(&name("fix"), &host.payload("fix").build()).unwrap();
    let payload = Payload::parse(&host.payload("other").build()).unwrap();
    let error = host.client.load_as(&name("fix"), &payload, Flags::empty()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::AlreadyLoaded { .. }), "{error:?}");
    assert!(error.cleanup().is_none());
    assert_eq!(host.xen.loaded(), [name("fix")]);
}

#[test]
fn a_payload_for_another_xen_never_arrives_on_any_release() {
    for release in each(Release::ALL) {
        let host = Host::new(release);
        let elsewhere = BuildId::new([0x5a; 20]);
        let payload = host.payload_for("foreign", &elsewhere).build();
        let error = host.client.upload(&name("foreign"), &payload).unwrap_err();
        let ErrorKind::BuiltForAnotherXen { expected, found, .. } = error.kind() else { panic!("{error:?}") };
        assert_eq!((expected, found), (&Some(elsewhere), &host.xen.build_id()));
        assert_eq!(host.xen.calls().of(Call::Upload), 0);

        // Xen itself compares from 4.14 on.
        let unchecked = UploadOptions::new().unchecked();
        let result = host.client.upload_with(&name("foreign"), &payload, unchecked);
        assert_eq!(result.is_ok(), release < Release::V4_14);
        assert_eq!(host.xen.calls().of(Call::Upload), 1);
        let Err(refused) = result else { continue };
        let ErrorKind::BuiltForAnotherXen { expected: told, found } = refused.kind() else { panic!("{refused:?}") };
        // From 4.18 on its log has both.
        let both = release >= Release::V4_18;
        let expected = (expected.clone().filter(|_| both), host.xen.build_id().filter(|_| both));
        assert_eq!((told.clone(), found.clone()), expected);
    }
}

#[test]
fn a_payload_of_the_other_version_never_arrives() {
    for release in each(Release::ALL) {
        let host = Host::new(release);
        let other = if release < Release::V4_14 { PayloadVersion::V2 } else { PayloadVersion::V1 };
        let error = host.client.upload(&name("x"), &host.payload("x").payload_version(other).build()).unwrap_err();
        let ErrorKind::UnfitPayload { findings, .. } = error.kind() else { panic!("{error:?}") };
        let told =
            |finding: &Finding| matches!(finding.problem, Problem::Version { .. } | Problem::FunctionsSize { .. });
        assert!(findings.iter().any(told), "{error:?}");
        assert_eq!(host.xen.calls().of(Call::Upload), 0);
    }
}

#[test]
fn all_findings_are_reported_at_once() {
    let host = Host::new(Release::V4_17);
    let payload = host
        .payload_for("bad", &BuildId::new([0x5a; 20]))
        .modinfo(b"k=v\0")
        .defect(".modinfo", Defect::Contents(vec![]))
        .defect(".livepatch.funcs", Defect::NotAllocated);
    let error = host.client.upload(&name("bad"), &payload.build()).unwrap_err();
    let ErrorKind::UnfitPayload { findings, .. } = error.kind() else { panic!("{error:?}") };
    let has = |wanted: fn(&Finding) -> bool| assert!(findings.iter().any(wanted), "{findings:?}");
    has(|finding| matches!(finding.problem, Problem::BuiltForAnotherXen { .. }));
    has(|finding| matches!(finding.problem, Problem::EmptyMetadata));
    has(|finding| matches!(finding.problem, Problem::NotAllocated { section: ".livepatch.funcs" }));
    let text = error.to_string();
    assert!(
        text.starts_with("upload \"bad\": the payload does not pass the check for this Xen: ") && !text.contains('\n'),
        "{text}"
    );
}

/// With each option, whether Xen sees a payload that it refuses, one that it does not notice, and one that it does not
/// survive.
#[test]
fn severity_decides_what_reaches_xen() {
    let patching = |host: &Host, function| host.payload_for("x", &host.client.build_id().unwrap()).function(function);
    let elsewhere = BuildId::new([0x5a; 20]);
    let options =
        [UploadOptions::new(), UploadOptions::new().leave_refusals_to_xen(), UploadOptions::new().unchecked()];
    for (release, severity, reaches) in [
        (Release::V4_17, Severity::Refused, [0, 1, 1]),
        (Release::V4_13, Severity::Unnoticed, [0, 0, 1]),
        (Release::V4_17, Severity::Harmful, [0, 0, 1]),
    ] {
        for (options, reaches) in options.into_iter().zip(reaches) {
            let host = Host::new(release);
            let payload = match severity {
                Severity::Refused => patching(&host, FunctionPatch::returning("f", "x").old_size(1)),
                Severity::Unnoticed => host.payload_for("x", &elsewhere),
                _ => patching(&host, FunctionPatch::returning("f", "x").unnamed()),
            };
            let result = host.client.upload_with(&name("x"), &payload.build(), options);
            assert_eq!(host.xen.calls().of(Call::Upload), reaches, "{release:?} {options:?}");
            assert_eq!(result.is_ok(), severity == Severity::Unnoticed && reaches > 0, "{result:?}");
            if reaches == 0 {
                let kind = result.unwrap_err().kind().clone();
                assert!(
                    matches!(kind, ErrorKind::UnfitPayload { .. } | ErrorKind::BuiltForAnotherXen { .. }),
                    "{kind:?}"
                );
            }
        }
    }
    // What is not even an ELF file, Xen refuses as well.
    for (options, reaches) in options.into_iter().zip([0, 1, 1]) {
        let host = Host::new(Release::V4_17);
        let error = host.client.upload_with(&name("x"), b"#!/bin/sh", options).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidPayload { .. }), "{error:?}");
        assert_eq!(host.xen.calls().of(Call::Upload), reaches);
    }
}

#[test]
fn at_most_five_findings_are_named() {
    let host = Host::new(Release::V4_17);
    let payload = (0..40).fold(host.payload("x"), |payload, _| payload.function(FunctionPatch::nop("f", 1)));
    let error = host.client.upload(&name("x"), &payload.build()).unwrap_err();
    let ErrorKind::UnfitPayload { findings, .. } = error.kind() else { panic!("{error:?}") };
    let text = error.to_string();
    assert!(text.ends_with(&format!("; and {} more", findings.len() - 5)) && text.matches("; ").count() == 5, "{text}");
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
    let error = client.upload(&name("four"), &made(3, false)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::AlreadyLoaded { .. }), "{error:?}");
}

/// Xen keeps 127 bytes of a symbol's name.
#[test]
fn names_are_the_same_if_xen_keeps_the_same_of_them() {
    let host = Host::new(Release::V4_17);
    let long = |len: usize, end: &str| "a".repeat(len) + end;
    let upload = |id: &str, symbol: String| host.client.upload(&name(id), &host.payload(id).defines(symbol).build());
    upload("one", long(126, "x")).unwrap();
    upload("two", long(126, "y")).unwrap();
    upload("three", long(127, "x")).unwrap();
    let error = upload("four", long(127, "y")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::AlreadyLoaded { .. }), "{error:?}");
}
