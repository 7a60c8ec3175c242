"""In which order contestants run: each round all of a section, and each round another one first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contestants import Contestant, Section
from sections import SECTIONS


@dataclass(frozen=True)
class Turn:
    section: Section
    contestant: Contestant
    round: int
    opens_round: bool
    """Nothing of this section's round has run yet."""

    def round_mates(self) -> list[Contestant]:
        return [contestant for contestant in self.section.contestants if takes_part(contestant, self.round)]


def takes_part(contestant: Contestant, number: int) -> bool:
    return not contestant.missing() and (contestant.rounds is None or number < contestant.rounds)


def turns(names: Sequence[str], rounds: int | None = None) -> list[Turn]:
    """Interleave A B A B, so that whatever drifts on the machine drifts for all; ratios are taken within a round."""
    order = []
    for name in names:
        section = SECTIONS[name]
        for number in range(min(rounds or section.rounds, section.rounds)):
            start = number % len(section.contestants)
            rotated = section.contestants[start:] + section.contestants[:start]
            present = [contestant for contestant in rotated if takes_part(contestant, number)]
            for position, contestant in enumerate(present):
                order.append(Turn(section, contestant, number, opens_round=position == 0))
    return order
