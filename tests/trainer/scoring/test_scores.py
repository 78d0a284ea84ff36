"""Scores are those of the peers' own code, question by question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from llava_trainer.errors import BadData
from llava_trainer.scoring.scorereport import ScoreReport, score_file
from llava_trainer.scoring.tables import table_rows
from support.benchmarks import row, write_tsv
from support.golden import golden


def golden_json(name: str) -> dict:
    return json.loads(golden(f"mmbench/{name}").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def peers() -> dict:
    files = golden("mmbench/dev.tsv"), golden("mmbench/dev_answers.json")
    return json.loads(score_file(*files, parity_na=True).to_json())["rules"]


def test_xtuner_hits_equal_the_golden_hits(peers: dict) -> None:
    assert peers["xtuner"]["hits"] == golden_json("xtuner_hits.json")["dev"]


def test_vlmevalkit_hits_equal_the_golden_hits(peers: dict) -> None:
    assert peers["vlmevalkit"]["hits"] == golden_json("vlmevalkit_expected.json")["dev"]["from_tsv_and_answers"]["hits"]


def test_xtuner_scores_equal_the_golden_scores(peers: dict) -> None:
    scores = peers["xtuner"]
    assert {"Average": scores["circular"], **scores["l2_category"]} == golden_json("xtuner_dev/mmbench_result.json")


def test_vlmevalkit_scores_equal_the_golden_scores(peers: dict) -> None:
    scores = peers["vlmevalkit"]
    expected = golden_json("vlmevalkit_expected.json")["dev"]["from_tsv_and_answers"]["acc"]
    made = {"split": "dev", "Overall": scores["circular"], **scores["l2_category"], **scores["category"]}
    assert made == expected


@pytest.mark.parametrize("rule", ["xtuner", "vlmevalkit"])
def test_the_spreadsheet_hits_as_the_raw_answers_do(peers: dict, rule: str) -> None:
    files = golden("mmbench/dev.tsv"), golden("mmbench/xtuner_dev/mmbench_result.xlsx")
    assert json.loads(score_file(*files, parity_na=True).to_json())["rules"][rule]["hits"] == peers[rule]["hits"]


def test_the_versions_of_the_rules_are_told(peers: dict) -> None:
    assert {name: scores["version"] for name, scores in peers.items()} == {"xtuner": "0.2.0", "vlmevalkit": "e8e78f05"}


def test_kept_options_are_reported_with_what_the_peers_would_give() -> None:
    report = score_file(golden("mmbench/dev.tsv"), golden("mmbench/dev_answers.json"))
    told = json.loads(report.to_json())["na_options"]
    assert told == {"count": 40, "dropped": False, "circular_when_dropped": {"xtuner": 47 / 60, "vlmevalkit": 0.65}}
    assert report.notes[0].endswith("the peers drop them, which gives xtuner 78.3%, vlmevalkit 65.0%.")


def score(folder: Path, *rows_and_answers: tuple[dict[str, str], str], without: tuple[str, ...] = ()) -> ScoreReport:
    rows, answers = zip(*rows_and_answers, strict=True)
    tsv = write_tsv(folder / "b.tsv", *rows, without=without)
    (folder / "a.json").write_text(json.dumps(answers), encoding="utf-8")
    return score_file(tsv, folder / "a.json")


def test_a_question_counts_only_with_all_its_rotations(tmp_path: Path) -> None:
    turned = row(1000001, answer="B", image="1")
    report = score(tmp_path, (row(1), "A"), (turned, "A"), (row(2), "A"), (row(1000002, answer="B"), "B"))
    assert [s.circular.fraction for s in report.scores] == [0.5, 0.5]
    assert [s.vanilla.fraction for s in report.scores] == [0.75, 0.75]


def test_e_is_never_right_for_xtuner(tmp_path: Path) -> None:
    report = score(tmp_path, (row(1, C="c", D="d", E="e", answer="E"), "E"))
    assert [s.circular.num_right for s in report.scores] == [0, 1]


def test_category_and_ability_are_those_of_the_base_row(tmp_path: Path) -> None:
    turned = row(1000001, category="other", l2_category="relation_reasoning")
    scores = score(tmp_path, (turned, "A"), (row(1), "A")).scores[0]
    assert [s.name for s in (*scores.l2_categories, *scores.categories)] == ["logic_reasoning", "ocr"]


def test_ccbench_is_tabled_by_its_categories(tmp_path: Path) -> None:
    rows = [(row(1, category="food_clothes"), "A"), (row(2, category="cultural_relic"), "B")]
    report = score(tmp_path, *rows, without=("hint", "l2-category"))
    labels = [line.label for line in table_rows(report.scores)]
    assert labels == ["Average", "Cultural Relic", "Food & Clothes", "Single rows"]


def test_a_row_without_ability_counts_in_the_average_only(tmp_path: Path) -> None:
    scores = score(tmp_path, (row(1, l2_category=""), "A"), (row(2), "B")).scores[0]
    assert (scores.circular.fraction, [s.fraction for s in scores.l2_categories]) == (0.5, [0.0])


def test_a_test_split_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="only the benchmark's own server"):
        score_file(golden("mmbench/test.tsv"), tmp_path / "absent.json")


def test_the_plain_table_shows_both_rules(tmp_path: Path) -> None:
    lines = score(tmp_path, (row(1), "Answer: A"), (row(2), "A dog")).to_table().splitlines()
    assert lines[0] == "b: 2 questions in 2 rows"
    assert lines[1].split("  ")[-2:] == ["xtuner 0.2.0", "vlmevalkit e8e78f05"]
    assert lines[3].split() == ["Average", "2", "100.0", "100.0"]


def test_names_from_the_file_are_no_markup_on_a_terminal(tmp_path: Path) -> None:
    report = score(tmp_path, (row(1, category="[/red] x"), "A"))
    console = Console(width=100)
    with console.capture() as shown:
        console.print(report.to_rich())
    assert "[/red] x" in shown.get()
