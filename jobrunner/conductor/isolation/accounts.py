"""As whom a job's own process runs: who may be named, and how a process becomes that user for good.

The configuration names the users (``conductor.run_as``); nobody else can be run as, and only a conductor of root's can
do it at all. The process is the user's before any code of a plugin's is loaded, and cannot be root's again.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobrunner.errors import NotAllowedHere

_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A user with groups, as the kernel wants them, and what programs expect to find in their environment."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Account:
        return cls(**{**data, "groups": tuple(data["groups"])})


def account_for(user: str, group: str | None, *, allowed: Sequence[str]) -> Account:
    """The account to run a job as; raises NotAllowedHere, which says why this conductor does not.

    :param allowed: users that the configuration names, each with the groups of its own, or ``user:group``
    """
    wanted = user if group is None else f"{user}:{group}"
    if os.geteuid() != 0:
        raise NotAllowedHere(f"The conductor does not run as root, so it cannot run a job as {wanted}.")
    if user not in {name.partition(":")[0] for name in allowed}:
        raise NotAllowedHere(f"The configuration (conductor.run_as) does not allow to run jobs as {user}.")
    try:
        entry = pwd.getpwnam(user)
        gid = entry.pw_gid if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        raise NotAllowedHere(f"There is no such user or group here: {wanted}.") from None
    groups = os.getgrouplist(user, entry.pw_gid)
    if wanted not in allowed and not (user in allowed and gid in groups):
        raise NotAllowedHere(
            f"The configuration (conductor.run_as) does not allow to run jobs as {wanted}: {user} is not of that group."
        )
    if entry.pw_uid == 0:
        raise NotAllowedHere(f"{user} is root, as whom jobs run in any case; name another user.")
    return Account(name=user, uid=entry.pw_uid, gid=gid, groups=tuple(groups), home=entry.pw_dir)


def become(account: Account) -> None:
    """Be this user from here on, with no way back; raises OSError if that fails, and then nothing may be run.

    No program that this process starts gains anything by a setuid bit, either.
    """
    import ctypes

    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(
        _PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)
    ):
        raise OSError(ctypes.get_errno(), "the kernel does not let a process give up privileges for good")
    os.environ.update(HOME=account.home, USER=account.name, LOGNAME=account.name)
    for name in ("XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MAIL"):
        os.environ.pop(name, None)
