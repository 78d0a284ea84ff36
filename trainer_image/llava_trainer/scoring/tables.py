"""How graded questions become scores by ability and category, and how these are printed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llava_trainer.scoring.answers import Answer
from llava_trainer.scoring.benchmark import Benchmark
from llava_trainer.scoring.rules import Grade, Rule, grade

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Row", "Score", "Scores", "compute_scores", "plain_table", "rich_table", "table_rows"]

# What the field calls them in tables; others keep the name that the file gives.
_LABELS = {
    "attribute_reasoning": "AR",
    "coarse_perception": "CP",
    "finegrained_perception (cross-instance)": "FP-C",
    "finegrained_perception (instance-level)": "FP-S",
    "logic_reasoning": "LR",
    "relation_reasoning": "RR",
    "calligraphy_painting": "Calligraphy Painting",
    "cultural_relic": "Cultural Relic",
    "food_clothes": "Food & Clothes",
    "historical_figure": "Historical Figure",
    "scenery_building": "Scenery & Building",
    "sketch_reasoning": "Sketch Reasoning",
    "traditional_show": "Traditional Show",
}


@dataclass(frozen=True)
class Score:
    """Right answers among questions (or rows) that have a name in common."""

    name: str
    """As the benchmark writes it."""
    num_right: int
    num_all: int

    @property
    def label(self) -> str:
        """The name that tables show."""
        return _LABELS.get(self.name, self.name)

    @property
    def fraction(self) -> float:
        """Accuracy between 0 and 1."""
        return self.num_right / self.num_all


@dataclass(frozen=True)
class Scores:
    """All scores of one benchmark under one rule."""

    rule: Rule
    circular: Score
    """Questions right in all their rotations: the number that is published."""
    vanilla: Score
    """Rows right, each on its own."""
    l2_categories: tuple[Score, ...]
    """Circular, by ability, sorted by the ability's full name; empty where the benchmark has none (CCBench)."""
    categories: tuple[Score, ...]
    """Circular, by leaf category, sorted by name."""
    grades: tuple[Grade, ...]

    @property
    def abilities(self) -> tuple[Score, ...]:
        """What a short table shows under the average."""
        return self.l2_categories or self.categories


def compute_scores(rule: Rule, benchmark: Benchmark, answers: Sequence[Answer]) -> Scores:
    """Score a benchmark that has answers; `answers` cover each of its rows once."""
    grades = grade(rule, benchmark, answers)
    return Scores(
        rule=rule,
        circular=_tally("Average", grades),
        vanilla=Score("Single rows", sum(g.num_right for g in grades), len(benchmark.questions)),
        l2_categories=_tally_by([(g.base.l2_category, g) for g in grades]),
        categories=_tally_by([(g.base.category, g) for g in grades]),
        grades=grades,
    )


def _tally(name: str, grades: Sequence[Grade]) -> Score:
    return Score(name, sum(g.is_hit for g in grades), len(grades))


def _tally_by(named: list[tuple[str | None, Grade]]) -> tuple[Score, ...]:
    """Tally per name, sorted by name; grades without a name count in the average only."""
    groups: dict[str, list[Grade]] = defaultdict(list)
    for name, graded in named:
        if name:
            groups[name].append(graded)
    return tuple(_tally(name, groups[name]) for name in sorted(groups))


@dataclass(frozen=True)
class Row:
    """A line of the printed table: a label, its number of questions, and a percentage per rule."""

    label: str
    num_all: str
    percents: tuple[str, ...]
    ends_section: bool = False


def table_rows(all_scores: Sequence[Scores]) -> tuple[Row, ...]:
    """Lay out the same benchmark under several rules: average, abilities, categories, then single rows."""
    first = all_scores[0]
    sections = [[[s.circular for s in all_scores]], _across([s.abilities for s in all_scores])]
    if first.l2_categories:
        sections.append(_across([s.categories for s in all_scores]))
    sections.append([[s.vanilla for s in all_scores]])
    return tuple(
        Row(line[0].label, str(line[0].num_all), tuple(f"{s.fraction:.1%}"[:-1] for s in line), line is section[-1])
        for section in sections
        for line in section
    )


def _across(columns: Sequence[tuple[Score, ...]]) -> list[list[Score]]:
    return [list(line) for line in zip(*columns, strict=True)]


def plain_table(title: str, all_scores: Sequence[Scores]) -> str:
    """Write the table in plain text, for pipes and files."""
    head = ["Accuracy (%)", "n", *(s.rule.title for s in all_scores)]
    rows = table_rows(all_scores)
    cells = [head, *([row.label, row.num_all, *row.percents] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = [_line(line, widths) for line in cells]
    rule = "-" * len(lines[0])
    out = [title, lines[0], rule]
    for text, row in zip(lines[1:], rows, strict=True):
        out += [text, rule] if row.ends_section else [text]
    return "\n".join(out[:-1])


def _line(cells: list[str], widths: list[int]) -> str:
    right = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([cells[0].ljust(widths[0]), *right])


def rich_table(title: str, all_scores: Sequence[Scores]) -> Table:
    """Build the same table for a terminal."""
    from rich.markup import escape  # noqa: PLC0415 - rich is not needed where output is piped
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=escape(title))
    table.add_column("Accuracy (%)")
    for heading in ("n", *(s.rule.title for s in all_scores)):
        table.add_column(heading, justify="right")
    for row in table_rows(all_scores):
        table.add_row(escape(row.label), row.num_all, *row.percents, end_section=row.ends_section)
    return table
