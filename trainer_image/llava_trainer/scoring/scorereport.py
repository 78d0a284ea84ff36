"""What a scored benchmark says, as JSON and as a table with both rules side by side, and how files get there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_trainer.errors import BadData
from llava_trainer.scoring.answers import Answer, read_answers
from llava_trainer.scoring.benchmark import Benchmark, read_benchmark
from llava_trainer.scoring.rules import RULES
from llava_trainer.scoring.tables import Score, Scores, compute_scores, plain_table, rich_table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ScoreReport", "fractions", "score_answers", "score_file"]


@dataclass(frozen=True)
class ScoreReport:
    """A benchmark's scores under every rule, in the order of RULES, and the ways to show them."""

    benchmark: Benchmark
    scores: tuple[Scores, ...]
    peer_scores: tuple[Scores, ...]
    """The same with options like "None" dropped, as the peers do; equal to `scores` where there are none."""

    @property
    def title(self) -> str:
        """Headline of the table."""
        num_questions = self.scores[0].circular.num_all
        return f"{self.benchmark.name}: {num_questions} questions in {len(self.benchmark.questions)} rows"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong under the table."""
        count = self.benchmark.num_na_options
        if not count:
            return ()
        what = f'{count} options whose text pandas takes for missing ("None", "NA", ...) were'
        if self.benchmark.drops_na:
            return (f"{what} dropped, as the peers do.",)
        averages = ", ".join(f"{s.rule.name} {s.circular.fraction:.1%}" for s in self.peer_scores)
        return (f"{what} kept; the peers drop them, which gives {averages}.",)

    def to_json(self) -> str:
        """One JSON object; accuracies are fractions, hits are 0 or 1 by base index."""
        content = {
            "benchmark": self.benchmark.name,
            "rows": len(self.benchmark.questions),
            "questions": self.scores[0].circular.num_all,
            "na_options": {
                "count": self.benchmark.num_na_options,
                "dropped": self.benchmark.drops_na,
                "circular_when_dropped": {s.rule.name: s.circular.fraction for s in self.peer_scores},
            },
            "rules": {scores.rule.name: _encode(scores) for scores in self.scores},
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def to_table(self) -> str:
        """Plain text, for a pipe."""
        return "\n".join([plain_table(self.title, self.scores), *self.notes])

    def to_rich(self) -> Table:
        """Return a table for a terminal, notes as its caption."""
        table = rich_table(self.title, self.scores)
        table.caption = " ".join(self.notes) or None
        return table


def score_file(tsv: Path, answers: Path, *, parity_na: bool = False) -> ScoreReport:
    """Score raw answers to a benchmark file under every rule.

    `parity_na` drops options whose text pandas takes for missing. Raises BadData and MissingInput, naming the place.
    """
    benchmark = read_benchmark(tsv, parity_na=parity_na)
    if not benchmark.has_answers:
        raise BadData(f"{tsv} has no answers; only the benchmark's own server can score a test split")
    return score_answers(benchmark, read_answers(answers, benchmark))


def score_answers(benchmark: Benchmark, answers: Sequence[Answer]) -> ScoreReport:
    """Score a benchmark that has answers; `answers` cover each of its rows once."""
    scores = tuple(compute_scores(rule, benchmark, answers) for rule in RULES)
    if benchmark.drops_na or not benchmark.num_na_options:
        return ScoreReport(benchmark, scores, scores)
    as_peers = benchmark.without_na()
    return ScoreReport(benchmark, scores, tuple(compute_scores(rule, as_peers, answers) for rule in RULES))


def fractions(scores: Sequence[Score]) -> dict[str, float]:
    """Return accuracies by the names that tables show."""
    return {score.label: score.fraction for score in scores}


def _encode(scores: Scores) -> dict[str, Any]:
    return {
        "version": scores.rule.version,
        "circular": scores.circular.fraction,
        "vanilla": scores.vanilla.fraction,
        "l2_category": fractions(scores.l2_categories),
        "category": {score.name: score.fraction for score in scores.categories},
        "hits": {str(g.base.base_index): int(g.is_hit) for g in scores.grades},
    }
