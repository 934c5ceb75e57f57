//! Requests to systemd.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Exists if systemd is the running init, as `sd_booted(3)` documents.
const BOOTED: &str = "/run/systemd/system";

/// The timer that confirms a boot. It wants the unit that confirms a clean shutdown.
const TIMER: &str = "xen-livepatch-confirm.timer";

/// The longest time to wait for `systemctl`.
const PATIENCE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(10);

pub(crate) fn runs() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Schedules the confirmation of the boot for ten minutes from now, even if the timer has elapsed already.
pub(crate) fn arm_timer() -> Result<(), String> {
    let output = output(Command::new("systemctl").args(["--no-block", "restart", TIMER]))?;
    if output.status.success() { Ok(()) } else { Err(line(&output.stderr)) }
}

/// Returns true if the system is shutting down.
pub(crate) fn is_stopping() -> Result<bool, String> {
    // Its exit status is 0 only for the state `running`.
    let output = output(Command::new("systemctl").arg("is-system-running"))?;
    match line(&output.stdout) {
        state if state.is_empty() => Err(line(&output.stderr)),
        state => Ok(state == "stopping"),
    }
}

/// The first non-empty line.
fn line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

fn output(command: &mut Command) -> Result<Output, String> {
    let failed = |error: io::Error| format!("systemctl: {error}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(failed)?;
    let begun = Instant::now();
    // Its output of a line or two fits into the pipes.
    while child.try_wait().map_err(failed)?.is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err("systemctl does not answer".to_owned());
        }
        thread::sleep(PAUSE);
    }
    child.wait_with_output().map_err(failed)
}

#[cfg(test)]
mod tests {
    use crate::exit_status::ExitStatus;

    #[test]
    fn units_are_restarted_only_for_the_status_retry() {
        for unit in
            [include_str!("../systemd/xen-livepatch.service"), include_str!("../systemd/xen-livepatch-confirm.service")]
        {
            let never = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).unwrap();
            let never: Vec<u8> = never.split(' ').map(|status| status.parse().unwrap()).collect();
            for (status, _) in ExitStatus::ALL.into_iter().filter(|(status, _)| *status != ExitStatus::Done) {
                assert_eq!(never.contains(&status.number()), status != ExitStatus::Retry, "{status:?}");
            }
            assert!(unit.lines().any(|line| line == "Restart=on-failure"));
        }
    }
}
