"""The members of a distributed task: machines that run the same step and find each other here."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vhpack import paths
from vhpack.errors import ConfigError, DistributedError
from vhpack.given import read_object

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Member:
    """One machine of the task."""

    member_id: str
    announce_time: str
    identity: str
    job_id: str
    exposed_ports: dict[str, str]
    local_ips: list[str]
    public_ips: list[str]
    rank: int | None = None
    """Its place in the order of the members' ids: by number where all are numbers, else by text."""

    @property
    def is_master(self) -> bool:
        """Whether it is the first."""
        return self.rank == 0

    @property
    def primary_local_ip(self) -> str:
        """Its first address in the network of the task.

        Raises:
            DistributedError: it has none.
        """
        return self._first(self.local_ips, "local")

    @property
    def primary_public_ip(self) -> str:
        """Its first address in the internet.

        Raises:
            DistributedError: it has none.
        """
        return self._first(self.public_ips, "public")

    def _first(self, addresses: list[str], kind: str) -> str:
        if not addresses:
            raise DistributedError(f"There are no {kind} IPs in the network configuration of member {self.member_id}")
        return addresses[0]


@dataclass(frozen=True)
class DistributedConfig:
    """What `distributed.json` says."""

    group_name: str
    member_id: str
    required_count: int
    members: list[Member]


class Distributed:
    """The distributed task that this process is a member of; `vhpack.distributed` is the one instance.

    Outside of a distributed task everything but `is_distributed_task` raises FileNotFoundError.

    Example:
        >>> import vhpack
        >>> vhpack.distributed.is_distributed_task()
        False
    """

    def __init__(self) -> None:
        self._config: tuple[object, DistributedConfig] | None = None

    def is_distributed_task(self) -> bool:
        """Return whether this is a member of a distributed task; a file that cannot be read is a warning, and no."""
        try:
            return bool(self.config.group_name)
        except FileNotFoundError:
            return False
        except ConfigError as error:
            warnings.warn(str(error), stacklevel=2)
            return False

    @property
    def config(self) -> DistributedConfig:
        """What `distributed.json` says.

        Raises:
            FileNotFoundError: there is no such file, since this is no distributed task.
            ConfigError: it cannot be read.
        """
        path = self._get_config_path()
        found = os.stat(path)
        stamp = (path, found.st_ino, found.st_mtime_ns, found.st_size)
        if self._config is None or self._config[0] != stamp:
            self._config = (stamp, _read(path))
        return self._config[1]

    @property
    def group_name(self) -> str:
        """The task's name."""
        return self.config.group_name

    @property
    def member_id(self) -> str:
        """This member's id."""
        return self.config.member_id

    @property
    def rank(self) -> int | None:
        """This member's place among the members, from 0."""
        return self.me().rank

    @property
    def required_count(self) -> int:
        """How many members the task waits for."""
        return self.config.required_count

    def members(self) -> list[Member]:
        """Return all members that are known."""
        return self.config.members

    def member(self, member_id: str) -> Member:
        """Return the member with this id.

        Raises:
            DistributedError: there is none.
        """
        return self._the(f"No member with id {member_id}", (member for member in self.members() if member.member_id == member_id))

    def me(self) -> Member:
        """Return this member."""
        return self.member(self.config.member_id)

    def master(self) -> Member:
        """Return the first member.

        Raises:
            DistributedError: there is none.
        """
        return self._the("No master member found", (member for member in self.members() if member.is_master))

    def flush_state(self) -> None:
        """Read the file again at the next use; it is read again by itself when it has changed."""
        self._config = None

    def _get_config_path(self) -> str:
        return paths.get_distributed_config_path()

    @staticmethod
    def _the(otherwise: str, members: Iterable[Member]) -> Member:
        for member in members:
            return member
        raise DistributedError(otherwise)


distributed = Distributed()


def _read(path: str) -> DistributedConfig:
    found = read_object(path) or {}
    try:
        config, members = found["config"], found["members"]
        return DistributedConfig(
            group_name=config["group_name"],  # type: ignore[index]
            member_id=config["member_id"],  # type: ignore[index]
            required_count=config["required_count"],  # type: ignore[index]
            members=_ranked([_member(member) for member in members]),  # type: ignore[attr-defined]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"cannot read {path}: {type(error).__name__}: {error}; the platform writes it") from None


def _member(described: dict[str, object]) -> Member:
    network = described["network"]
    return Member(
        member_id=described["member_id"],  # type: ignore[arg-type]
        announce_time=described["announce_time"],  # type: ignore[arg-type]
        identity=described["identity"],  # type: ignore[arg-type]
        job_id=described["job_id"],  # type: ignore[arg-type]
        exposed_ports=network["exposed_ports"],  # type: ignore[index]
        local_ips=network["local_ips"],  # type: ignore[index]
        public_ips=network["public_ips"],  # type: ignore[index]
    )


def _ranked(members: list[Member]) -> list[Member]:
    try:
        order = sorted(members, key=lambda member: int(member.member_id))
    except ValueError:
        order = sorted(members, key=lambda member: member.member_id)
    ranks = {member.member_id: rank for rank, member in enumerate(order)}
    return [replace(member, rank=ranks[member.member_id]) for member in members]
