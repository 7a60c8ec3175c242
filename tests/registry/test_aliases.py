"""Aliases: they move, their history stays, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

import vhpack
from tests.registry.making import content_of, write
from tests.registry.test_names import STRANGE
from vhpack.errors import ContentError, NoTargetError, NotRegisteredError, OptionError, SourceNotFoundError

pytestmark = pytest.mark.usefixtures("registry")


def versions(name: str, *contents: str) -> list[vhpack.data.Datum]:
    """Let an alias mean these contents, one after the other."""
    made = []
    for content in contents:
        alias = vhpack.aliases.set(name, write(f"{content}.txt", content))
        assert alias.datum is not None
        made.append(alias.datum)
    return made


def test_an_alias_means_what_it_was_set_to_last() -> None:
    first, second = versions("model-prod", "one", "two")
    assert first != second
    assert vhpack.aliases.get("model-prod").datum == second
    assert content_of("datum://model-prod") == "two"
    assert vhpack.data.get(first.uri) == first, "the datum from before is as it was"


def test_the_history_has_every_change_with_its_reason() -> None:
    first, second = versions("model-prod", "one", "two")
    vhpack.aliases.set("model-prod", first, note="two was bad")
    changes = vhpack.aliases.history("model-prod")
    assert [(change.number, change.old, change.new, change.via, change.note) for change in changes] == [
        (1, None, first.id, "set", ""),
        (2, first.id, second.id, "set", ""),
        (3, second.id, first.id, "set", "two was bad"),
    ]
    assert changes[0].at <= changes[1].at <= changes[2].at
    assert all(change.actor for change in changes)


def test_setting_an_alias_to_what_it_means_is_no_change() -> None:
    (first,) = versions("model-prod", "one")
    vhpack.aliases.set("model-prod", first)
    vhpack.aliases.set("model-prod", "datum://model-prod")
    assert len(vhpack.aliases.history("model-prod")) == 1


def test_an_alias_can_be_set_to_another_ones_target() -> None:
    (first,) = versions("staging", "one")
    vhpack.aliases.set("prod", "datum://staging")
    versions("staging", "two")
    assert vhpack.aliases.get("prod").datum == first, "it follows the datum, and not the alias"


def test_a_rollback_goes_back_step_by_step_and_is_a_change_itself() -> None:
    made = versions("model-prod", "one", "two", "three")
    assert vhpack.aliases.rollback("model-prod").datum == made[1]
    assert vhpack.aliases.rollback("model-prod", note="still bad").datum == made[0]
    with pytest.raises(NotRegisteredError, match="nothing to go back to"):
        vhpack.aliases.rollback("model-prod")
    assert vhpack.aliases.rollback("model-prod", to=3).datum == made[2]
    assert vhpack.aliases.rollback("model-prod").datum == made[1], "as if it had just been set to the third"
    vias = [(change.via, change.restores) for change in vhpack.aliases.history("model-prod")]
    assert vias == [*[("set", None)] * 3, ("rollback", 2), ("rollback", 1), ("rollback", 3), ("rollback", 2)]


@pytest.mark.parametrize("to", [0, 7, 3])
def test_a_rollback_to_what_never_was_changes_nothing(to: int) -> None:
    versions("model-prod", "one", "two")
    with pytest.raises(NotRegisteredError, match="history"):
        vhpack.aliases.rollback("model-prod", to=to)
    assert len(vhpack.aliases.history("model-prod")) == 2


def test_a_deleted_alias_is_unknown_keeps_its_history_and_comes_back() -> None:
    (first,) = versions("model-prod", "one")
    vhpack.aliases.delete("model-prod")
    assert vhpack.aliases.list() == []
    for call in (vhpack.aliases.get, vhpack.aliases.delete, vhpack.aliases.rollback):
        with pytest.raises(NotRegisteredError, match="no alias 'model-prod'"):
            call("model-prod")
    with pytest.raises(NotRegisteredError, match="no alias 'model-prod'"):
        vhpack.data.get("datum://model-prod")
    vhpack.aliases.set("model-prod", first)
    assert [change.new for change in vhpack.aliases.history("model-prod")] == [first.id, None, first.id]
    assert [alias.name for alias in vhpack.aliases.list()] == ["model-prod"]


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_work_like_any_other(name: str) -> None:
    (first,) = versions("other", "one")
    alias = vhpack.aliases.set(name, first)
    assert vhpack.aliases.get(name) == alias
    assert vhpack.data.get(alias.uri) == first
    assert sorted(each.name for each in vhpack.aliases.list()) == sorted(["other", alias.name])


def test_what_no_alias_can_be_set_to_is_said_and_sets_nothing() -> None:
    (first,) = versions("old", "one")
    vhpack.aliases.delete("old")
    vhpack.data.purge(first)
    for target, error in (
        ("datum://nobody", NotRegisteredError),
        ("datum://0f6f0c1e-7a52-4d1e-9c84-1a8f6f0c55b1", NotRegisteredError),
        ("dataset://a/b", OptionError),
        ("nowhere.txt", SourceNotFoundError),
        (first, ContentError),
    ):
        with pytest.raises(error):
            vhpack.aliases.set("new", target)
    assert vhpack.aliases.list() == []


def test_an_alias_without_target_says_so() -> None:
    from sqlalchemy import update

    from vhpack import registrar
    from vhpack.registry import schema

    versions("empty", "one")
    registrar.opened().write(lambda connection, _: connection.execute(update(schema.ALIASES).values(datum=None)))
    assert vhpack.aliases.get("empty").datum is None
    with pytest.raises(NoTargetError, match="'empty' has no target; `vhpack alias set`"):
        vhpack.data.get("datum://empty")


def test_projects_have_aliases_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    versions("model-prod", "one")
    monkeypatch.setenv("VHPACK_PROJECT", "other")
    assert vhpack.aliases.list() == []
    versions("model-prod", "two")
    assert content_of("datum://model-prod") == "two"
    monkeypatch.delenv("VHPACK_PROJECT")
    assert content_of("datum://model-prod") == "one"


def test_asking_makes_no_registry(local: Path) -> None:
    assert (vhpack.aliases.list(), vhpack.data.find(), vhpack.data.verify()) == ([], [], [])
    with pytest.raises(NotRegisteredError, match="there is no registry at"):
        vhpack.aliases.get("model-prod")
    assert not list(local.iterdir())
