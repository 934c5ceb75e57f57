"""Ships a directory of payloads to the host, for the module of this name."""

import io
import os
import tarfile

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def files_of(directory):
    """All paths below a directory, but for directories, in order."""

    def fail(error):
        raise error

    for parent, directories, files in os.walk(directory, onerror=fail):
        directories.sort()
        links = [name for name in directories if os.path.islink(os.path.join(parent, name))]
        yield from (os.path.join(parent, name) for name in sorted(files + links))


def pack(directory):
    """The files of a directory as a tar archive, which depends only on their names and contents."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for path in files_of(directory):
            entry = tarfile.TarInfo(os.path.relpath(path, directory))
            if os.path.islink(path):
                entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
                if os.sep in entry.linkname:
                    raise AnsibleActionFail(f"{path} is a link out of its directory")
                tar.addfile(entry)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    entry.size = os.fstat(file.fileno()).st_size
                    tar.addfile(entry, file)
            else:
                raise AnsibleActionFail(f"{path} is neither a file nor a link")
    return archive.getvalue()


class ActionModule(ActionBase):
    # An archive of another task is of no use to this one.
    TRANSFERS_FILES = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        source = arguments.pop("source", None)
        try:
            if source is not None:
                path = self._find_needle("files", source)
                if not os.path.isdir(path):
                    raise AnsibleActionFail(f"{path} is not a directory")
                remote = self._connection._shell.join_path(self._connection._shell.tmpdir, "payloads.tar.gz")
                arguments["archive"] = self._transfer_data(remote, pack(path))
                self._fixup_perms2((self._connection._shell.tmpdir, remote))
            result.update(self._execute_module("xen_livepatch", arguments, task_vars=task_vars))
        except OSError as error:
            raise AnsibleActionFail(f"the payloads can't be read: {error}") from error
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result
