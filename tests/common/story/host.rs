//! The commands that another toolstack, the machine or Xen itself carries out.

use std::collections::BTreeMap;
use std::sync::Arc;

use xen_livepatch::payload::Architecture;
use xen_livepatch::sim::{
    Access, Call, FunctionPatch, HookCode, HostBuilder, LogLevel, Pace, PayloadBuilder, SimulatedXen,
};
use xen_livepatch::{Action, Errno, Flags, PayloadName, Release};

use super::orders::{CALLS, lose_answer, time_out, when};
use super::text::{Line, errno, time};

/// Returns true for a property of a payload, and for an option of a client's operation.
pub(super) fn is_known(option: &str) -> bool {
    let properties = "id name on patches hook data defines needs expects metadata padded read-only broken returns";
    let options = "within until takes under retries timeout unchecked force NODEPS 0x4 files none no accept leave";
    let word = option.split(' ').next();
    properties.split(' ').chain(options.split(' ')).any(|known| Some(known) == word)
}

#[derive(Clone)]
pub(super) struct Host {
    pub(super) xen: SimulatedXen,
    /// The properties of payloads that are more than their names.
    pub(super) kinds: Arc<BTreeMap<String, Vec<String>>>,
}

/// Sets an option of a host.
pub(super) fn set_up(builder: HostBuilder, option: &String) -> HostBuilder {
    match option.split_once(' ').unwrap_or((option, "")) {
        ("console", size) => builder.console_size(size.parse().unwrap()),
        ("text", text) => builder.extra_version(text),
        ("built", date) => builder.compile_date(date),
        ("changeset", text) => builder.changeset(text),
        ("arm", "") => builder.architecture(Architecture::AArch64),
        _ => panic!("{option} is no option of a host"),
    }
}

impl Host {
    /// Carries out a command; `None` if it is one of a client.
    pub(super) fn command(&self, line: &Line) -> Option<Result<(), Errno>> {
        let xen = &self.xen;
        match *line.words() {
            ["other", "upload", ref names @ ..] => {
                return Some(names.iter().try_for_each(|name| self.upload(name, line)));
            }
            ["other", "load", name] => {
                let loaded =
                    self.upload(name, line).and_then(|()| xen.other_action(name, Action::Apply, Flags::empty()));
                return Some(loaded);
            }
            ["other", "rows", name, count, metadata] => {
                let add = |at: u32| self.add_row(&format!("{name}{at}"), metadata.parse().unwrap());
                (0..count.parse().unwrap()).for_each(add);
            }
            ["other", "toggle", name] if xen.status(name).is_some() => {
                return Some(xen.other_action(name, Action::Unload, Flags::empty()));
            }
            ["other", "toggle", name] => return Some(self.upload(name, line)),
            ["other", "stack", ref names @ ..] => self.stack(names),
            ["other", "busy", name] => {
                self.upload(name, line).unwrap();
                self.hold(name, Action::Apply);
            }
            ["other", "hold", action, name] => self.hold(name, action.parse().unwrap()),
            ["other", "mark", action, name] => {
                xen.set_cpu_hotplug(true);
                xen.other_start(name, action.parse().unwrap(), Flags::empty()).unwrap_err();
                xen.set_cpu_hotplug(false);
            }
            ["other", "start", action, name] => {
                return Some(xen.other_start(name, action.parse().unwrap(), flags(line)));
            }
            ["other", action, ref names @ ..] => {
                let act = |name: &&str| xen.other_action(name, action.parse().unwrap(), flags(line));
                return Some(names.iter().try_for_each(act));
            }
            ["do"] => self.script(&line.script()),
            ["sleep", ref time @ ..] => std::thread::sleep(self::time(&time.join(" "))),
            ["uncalled", call] => assert_eq!(xen.calls().of(called(call)), 0),
            ["finish"] => xen.finish_action(),
            ["forget"] => xen.forget_orders(),
            ["at", call, ref nth @ ..] => self.order(called(call), nth, line),
            ["before" | "after", call, ref nth @ ..] => self.visit(called(call), nth.first(), line),
            ["print", ..] => xen.print(line.whole.strip_prefix("print ").expect("it begins so")),
            ["fill", lines, length] => {
                let text = "x".repeat(length.parse().unwrap());
                (0..lines.parse().unwrap()).for_each(|_| xen.print(&text));
            }
            ["set", what, ref value @ ..] => self.set(what, &value.join(" ")),
            _ => return None,
        }
        Some(Ok(()))
    }

    /// Carries out the commands, all of which succeed.
    fn script(&self, lines: &[Line]) {
        for line in lines.iter().filter(|line| line.is_for(self.xen.release())) {
            let done = self.command(line).unwrap_or_else(|| panic!("{} is not done by a host", line.text));
            let expected = line.result.as_deref().map_or(Ok(()), |result| Err(errno(result)));
            assert_eq!(done, expected, "line {}: {}", line.number, line.text);
        }
    }

    /// Makes a payload of this name, with its properties and others.
    pub(super) fn payload(&self, name: &str, more: &[String]) -> PayloadBuilder {
        let all: Vec<&String> = self.kinds.get(name).into_iter().flatten().chain(more).collect();
        let property = |word: &str| all.iter().find_map(|option| option.strip_prefix(word)?.strip_prefix(' '));
        let id = property("id").unwrap_or(name);
        let text = property("returns").map_or_else(|| format!("-{id}"), str::to_owned);
        let function = FunctionPatch::returning(property("patches").unwrap_or("xen_extra_version"), text);
        let function = match property("expects") {
            Some("8") => function.expecting(&[0xff; 8]),
            Some(_) => function.expecting(&[0xff; 31]),
            None => function,
        };
        let start = PayloadBuilder::for_xen(&self.xen, id).function(function);
        all.iter().fold(start, |builder, option| match *option.split(' ').collect::<Vec<_>>() {
            ["on", below] => builder.depends_on(self.payload(below, &[]).build_id()),
            ["read-only"] => builder.read_only_funcs(),
            ["broken"] => builder.section(".livepatch.hooks.load", vec![0; 3]),
            ["hook", ..] if self.xen.release() < Release::V4_14 => builder,
            ["hook", kind, code] => {
                let code = if code == "0" { 0 } else { -errno(code).number() };
                builder.hook(kind.parse().unwrap(), HookCode::returns(code))
            }
            ["data"] => builder.writable_data([1, 2, 3]),
            ["defines", symbol] => builder.defines(symbol),
            ["needs", symbol] => builder.needs(symbol),
            ["padded", size] => builder.padded_to(size.parse().unwrap()),
            ["metadata", key] => builder.metadata(key, Some(id)),
            _ => {
                assert!(is_known(option), "{option} is unknown");
                builder
            }
        })
    }

    fn upload(&self, name: &str, line: &Line) -> Result<(), Errno> {
        self.xen.other_upload(name, &self.payload(name, &line.options).build())
    }

    /// Uploads a payload whose metadata contains its name, and has this length.
    fn add_row(&self, name: &str, length: usize) {
        let start = format!("id={name}\0");
        let fill = "m".repeat(length.saturating_sub(start.len() + 1));
        let payload = self.payload(name, &[]).modinfo(start + &fill + "\0");
        self.xen.other_upload(name, &payload.build()).unwrap();
    }

    /// Uploads payloads that depend on each other, the first on Xen, and applies those with `+`.
    fn stack(&self, names: &[&str]) {
        let mut below: Option<PayloadBuilder> = None;
        for name in names {
            let plain = name.trim_start_matches('+');
            let payload = self.payload(plain, &[]);
            let payload = below.map_or(payload.clone(), |below| payload.depends_on(below.build_id()));
            self.xen.other_upload(plain, &payload.build()).unwrap();
            if plain != *name {
                self.xen.other_action(plain, Action::Apply, Flags::empty()).unwrap();
            }
            below = Some(payload);
        }
    }

    /// Begins an action that does not end by itself.
    fn hold(&self, name: &str, action: Action) {
        self.xen.set_pace(Pace::Held);
        self.xen.other_start(name, action, Flags::empty()).unwrap();
        self.xen.set_pace(Pace::default());
    }

    fn order(&self, call: Call, nth: &[&str], line: &Line) {
        let xen = &self.xen;
        let all = match nth {
            [] => vec![Some(1)],
            ["always"] => vec![None],
            numbers => numbers.iter().map(|number| Some(number.parse().unwrap())).collect(),
        };
        for (nth, fault) in all.into_iter().flat_map(|nth| line.options.iter().map(move |fault| (nth, fault))) {
            match (fault.split_once(' ').unwrap_or((fault, "")), call) {
                (("fail", number), _) => when(xen.on(call), nth).fail(errno(number)),
                (("fault", _), _) => lose_answer(xen, call, nth),
                (("lock", _), _) => when(xen.on_debug_keys(), nth).find_the_lock_held(),
                (("time", _), _) => time_out(xen, call, nth),
                (("take", pace), Call::Revert) => when(xen.on_revert(), nth).take(self::pace(pace)),
                (("take", pace), _) => when(xen.on_apply(), nth).take(self::pace(pace)),
                (("stop", rows), _) => when(xen.on_list(), nth).stop_after(rows.parse().unwrap()),
                _ => panic!("{fault} is no fault"),
            }
        }
    }

    /// Has a script run before or after a call.
    fn visit(&self, call: Call, nth: Option<&&str>, line: &Line) {
        let nth = nth.map_or(Some(1), |nth| nth.parse().ok());
        let (on, script, kinds) = (when(self.xen.on(call), nth), line.script(), Arc::clone(&self.kinds));
        let script = move |xen: &SimulatedXen| Self { xen: xen.clone(), kinds: Arc::clone(&kinds) }.script(&script);
        if line.text.starts_with("before") { on.before(script) } else { on.after(script) }
    }

    fn set(&self, what: &str, value: &str) {
        let xen = &self.xen;
        match what {
            "pace" => xen.set_pace(pace(value)),
            "hooks" => xen.set_hook_time(time(value)),
            "quiesce" => xen.set_quiesce_time(time(value)),
            "hotplug" => xen.set_cpu_hotplug(value == "on"),
            "buffers" => xen.limit_buffers(value.parse().ok()),
            "guest" => xen.set_waiting_domain(value.parse().ok()),
            "log" => xen.set_log_level(match value {
                "none" => LogLevel::None,
                "errors" => LogLevel::Errors,
                _ => LogLevel::All,
            }),
            "access" => xen.set_access(match value {
                "flask" => Access::DeniedByFlask,
                "none" => Access::NotPrivileged,
                _ => Access::Privileged,
            }),
            _ => panic!("{what} can't be set"),
        }
    }

    /// Has a script run in a thread after a time.
    pub(super) fn later(&self, line: &Line) -> std::thread::JoinHandle<()> {
        let (host, script) = (self.clone(), line.script());
        let after = time(line.text.strip_prefix("in ").expect("it begins so"));
        std::thread::spawn(move || {
            std::thread::sleep(after);
            host.script(&script);
        })
    }

    /// The loaded payloads in the order of upload, with `+` in front of those that are applied.
    pub(super) fn shown(&self) -> String {
        let applied = self.xen.applied();
        shown(self.xen.loaded().iter().map(|name| (name, applied.contains(name))))
    }
}

pub(super) fn shown<'n>(payloads: impl Iterator<Item = (&'n PayloadName, bool)>) -> String {
    let names = payloads.map(|(name, applied)| format!("{}{name}", if applied { "+" } else { "" }));
    let names = names.collect::<Vec<_>>().join(" ");
    if names.is_empty() { "-".into() } else { names }
}

/// The kind of hypercall with this name, such as `otheraction`.
pub(super) fn called(name: &str) -> Call {
    let named = CALLS
        .into_iter()
        .chain([Call::DebugKeys, Call::CompileInfo])
        .find(|call| format!("{call:?}").eq_ignore_ascii_case(name));
    named.unwrap_or_else(|| panic!("{name} is no hypercall"))
}

pub(super) fn flags(line: &Line) -> Flags {
    line.options.iter().find_map(|option| option.parse().ok()).unwrap_or_default()
}

fn pace(text: &str) -> Pace {
    match text.split_once(' ') {
        None if text == "held" => Pace::Held,
        Some((number, "polls")) => Pace::Polls(number.parse().unwrap()),
        Some(_) => Pace::Time(time(text)),
        None => Pace::default(),
    }
}
