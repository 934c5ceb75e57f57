#!/usr/bin/python
"""Brings a Xen host to the payloads of a directory, or reports which it runs."""

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
from contextlib import ExitStack, contextmanager

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: xen_livepatch
short_description: Brings a Xen host to the live patches of a directory
description:
  - Ships a directory of payloads, plans with C(xen-livepatch ensure --dry-run), runs C(xen-livepatch ensure), and
    makes the directory on the host equal to that on the control machine. If the host refuses the payloads, or ends without
    them, its directory stays as it was, so that the next boot applies what the last one did.
  - In check mode nothing is changed, and the plan is the diff.
  - Without I(source) the host is only described.
  - The facts are in C(ansible_facts.xen_livepatch).
options:
  source:
    description: The directory on the control machine. Files and links within it are shipped.
    type: path
  directory: {type: path, default: /usr/lib/xen-livepatch}
  command: {type: str, default: xen-livepatch}
  options: {type: list, elements: str, default: []}
  timeout: {type: str}
  retries: {type: int}
  attempts: {type: int, default: 1}
  delay: {type: float, default: 10}
  no_gap: {type: bool, default: false}
  accept: {type: list, elements: str, default: []}
  none_is_fine: {type: bool, default: false}
  boot_id:
    description: Fail if this is another boot of the host.
    type: str
"""

RETRY = 2
UNGUARDED = 4
NOT_AS_WANTED = 8
NOTHING_WANTED = (9, 10)

# The end of the name of a directory that was put aside.
ASIDE = ".old"

AT_CWD = -100
RENAME_EXCHANGE = 2


class Failed(Exception):
    """The end of a run that did not go well."""

    def __init__(self, message, **fields):
        super().__init__(message)
        self.fields = fields


class Tool:
    """The tool, with options for each command."""

    def __init__(self, module):
        self.module = module
        self.command = [module.params["command"], *module.params["options"], "--json"]

    def run(self, *arguments):
        """Runs a command. Returns its exit status and the object that it printed."""
        status, out, err = self.module.run_command([*self.command, *arguments])
        try:
            answer = json.loads(out)
        except ValueError:
            raise Failed(f"{self.command[0]} ended with status {status}, without an answer: {err.strip()}") from None
        answer.setdefault("result", {})
        return status, answer

    def ensure(self, directory, *more):
        """Runs ensure, and again while the host is busy."""
        params = self.module.params
        options = [*more]
        for name in ("timeout", "retries"):
            if params[name] is not None:
                options += [f"--{name}", str(params[name])]
        for finding in params["accept"]:
            options += ["--accept", finding]
        if params["no_gap"]:
            options.append("--no-gap")
        for attempt in range(1, max(params["attempts"], 1) + 1):
            status, answer = self.run("ensure", *options, directory)
            if status != RETRY or attempt == params["attempts"]:
                break
            time.sleep(params["delay"])
        return status, answer


def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


@contextmanager
def staged(module):
    """A directory of the shipped payloads, beside the one that they are for. It is removed if it is still there at the end."""
    directory = os.path.realpath(module.params["directory"])
    parent, name = os.path.split(directory)
    prefix = f".{name}.new."
    with ExitStack() as stack:
        if module.check_mode:
            # Elsewhere, so that nothing changes.
            parent = None
        else:
            os.makedirs(parent, exist_ok=True)
            lock = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, lock)
            # Two runs would remove each other's directories.
            fcntl.flock(lock, fcntl.LOCK_EX)
            tidy_up(parent, prefix, directory)
        staging = tempfile.mkdtemp(prefix=prefix, dir=parent)
        stack.callback(shutil.rmtree, staging, ignore_errors=True)
        unpack(module.params["archive"], staging)
        try:
            yield directory, staging
        except Failed as failed:
            # The other one is gone when somebody reads this.
            raise Failed(str(failed).replace(staging, directory), **failed.fields) from None


def tidy_up(parent, prefix, directory):
    """Removes the directories that an interrupted run left, and puts the old one back if that was put aside."""
    for left in os.listdir(parent):
        path = os.path.join(parent, left)
        if left.startswith(prefix) and left.endswith(ASIDE) and not os.path.isdir(directory):
            os.rename(path, directory)
        elif left.startswith(prefix):
            shutil.rmtree(path)


def unpack(archive, directory):
    os.chmod(directory, 0o755)
    with tarfile.open(archive) as tar:
        for entry in tar:
            # The archive is made by the action plugin; this is no place to believe that.
            if os.path.isabs(entry.name) or ".." in entry.name.split(os.sep):
                raise Failed(f"the archive contains {entry.name}")
            path = os.path.join(directory, entry.name)
            make_directory(os.path.dirname(path), directory)
            if entry.issym():
                os.symlink(os.path.basename(entry.linkname), path)
                continue
            with open(path, "wb") as file:
                shutil.copyfileobj(tar.extractfile(entry), file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(path, 0o644)
    for parent, _, _ in os.walk(directory):
        sync(parent)


def make_directory(path, top):
    """Makes a directory below another one, and those between them, whatever the umask."""
    if path != top and not os.path.isdir(path):
        make_directory(os.path.dirname(path), top)
        os.mkdir(path)
        os.chmod(path, 0o755)


def sync(directory):
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def contents(directory):
    """The files below a directory as lines, with their hashes."""
    lines = []
    for parent, directories, files in os.walk(directory):
        links = [name for name in directories if os.path.islink(os.path.join(parent, name))]
        for name in files + links:
            path = os.path.join(parent, name)
            shown = os.path.relpath(path, directory)
            if os.path.islink(path):
                lines.append(f"file {shown} -> {os.readlink(path)}")
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    lines.append(f"file {shown} {hashlib.sha256(file.read()).hexdigest()[:16]}")
            else:
                lines.append(f"file {shown} (of another kind)")
    return sorted(lines)


def put_in_place(staging, directory):
    """Exchanges two directories, at once if the kernel can, so that a boot finds the one or the other."""
    if os.path.isdir(directory):
        # The caller removes what is in the place of the new directory then.
        renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if renameat2 and renameat2(AT_CWD, os.fsencode(staging), AT_CWD, os.fsencode(directory), RENAME_EXCHANGE) == 0:
            return sync(os.path.dirname(directory))
        # If that fails, as for a mount point, nothing was removed.
        os.rename(directory, staging + ASIDE)
    os.rename(staging, directory)
    shutil.rmtree(staging + ASIDE, ignore_errors=True)
    return sync(os.path.dirname(directory))


def described(answer):
    """The applied payloads as lines, bottom first."""
    inventory = answer["result"].get("inventory") or {}
    return [f"applied {name}" for name in inventory.get("stack", []) + inventory.get("off_chain", [])]


def steps(answer):
    plan = answer["result"].get("plan") or {}
    lines = [f"{step['operation']} {step['payload']}" for step in plan.get("steps", [])]
    return lines + [f"gap: {json.dumps(gap)}" for gap in plan.get("gaps", [])]


def judge(status, answer, fine):
    """Raises what a run of ensure failed with."""
    if status in fine:
        return
    error = answer.get("error") or {}
    text = error.get("message") or f"xen-livepatch ended with status {status}"
    raise Failed(
        text,
        kind=error.get("kind"),
        outcome=error.get("outcome"),
        status=status,
        changed=bool(answer["result"].get("changed") or error.get("may_have_happened")),
        problems=answer["result"].get("problems", []),
    )


def bring(module, tool):
    """Brings the host to the shipped payloads. Returns the result, and the last answer of the tool."""
    with staged(module) as (directory, staging):
        status, answer = tool.ensure(staging, "--dry-run")
        # Payloads that the host runs would stay.
        is_fine = module.params["none_is_fine"] and not described(answer)
        nothing_wanted = NOTHING_WANTED if is_fine else ()
        judge(status, answer, (0, NOT_AS_WANTED, *nothing_wanted))
        old_files, new_files = contents(directory), contents(staging)
        before = described(answer) + old_files
        plan = steps(answer)
        ignored = [os.path.basename(path) for path in answer["result"].get("ignored", [])]
        after = [f"applied {name}" for name in answer["result"]["wanted"]] if plan else described(answer)
        after += new_files
        changes_xen = status == NOT_AS_WANTED
        changes_files = new_files != old_files
        if not module.check_mode:
            if changes_xen:
                status, answer = tool.ensure(staging)
                judge(status, answer, (0, UNGUARDED))
                if status == UNGUARDED:
                    module.warn(answer["error"]["message"])
                changes_xen = answer["result"]["changed"]
                after = described(answer) + new_files
            # Not before: until the payloads have proved themselves, a boot applies the old ones.
            if changes_files:
                try:
                    put_in_place(staging, directory)
                except OSError as error:
                    raise Failed(str(error), changed=changes_xen) from error
    result = {"changed": changes_xen or changes_files, "plan": plan, "ignored": ignored}
    result["diff"] = [
        {"before_header": "host", "after_header": "host", "before": lines(before), "after": lines(after)},
        {"prepared": lines(f"plan: {step}" for step in plan)},
    ]
    return result, answer


def lines(texts):
    return "".join(f"{text}\n" for text in texts)


def main():
    module = AnsibleModule(
        argument_spec={
            "archive": {"type": "path"},
            "directory": {"type": "path", "default": "/usr/lib/xen-livepatch"},
            "command": {"type": "str", "default": "xen-livepatch"},
            "options": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "str"},
            "retries": {"type": "int"},
            "attempts": {"type": "int", "default": 1},
            "delay": {"type": "float", "default": 10},
            "no_gap": {"type": "bool", "default": False},
            "accept": {"type": "list", "elements": "str", "default": []},
            "none_is_fine": {"type": "bool", "default": False},
            "boot_id": {"type": "str"},
        },
        supports_check_mode=True,
    )
    tool = Tool(module)
    try:
        boot = boot_id()
        if module.params["boot_id"] not in (None, boot):
            raise Failed("the host went down, and is in another boot now", kind="rebooted", changed=False)
        if module.params["archive"]:
            result, answer = bring(module, tool)
        else:
            status, answer = tool.run("status")
            judge(status, answer, (0,))
            result = {"changed": False}
    except Failed as failed:
        module.fail_json(msg=str(failed), **failed.fields)
    except OSError as error:
        module.fail_json(msg=str(error))
    facts = {key: answer["result"].get(key) for key in ("inventory", "level", "boot")}
    module.exit_json(**result, boot_id=boot, ansible_facts={"xen_livepatch": facts})


if __name__ == "__main__":
    main()
