"""Flags, then the environment, then defaults."""

from __future__ import annotations

import pytest

from llava_operator.settings import parse


def test_without_a_word_the_whole_cluster_is_watched() -> None:
    assert parse([], {}).namespaces == ()


def test_a_flag_beats_the_environment() -> None:
    told = {"LLAVA_NAMESPACES": "a,b", "LLAVA_PORT": "9000"}
    settings = parse(["--namespaces", "c"], told)
    assert (settings.namespaces, settings.port) == (("c",), 9000)


def test_no_two_processes_have_one_identity() -> None:
    first, second = (parse(["--identity", "pod-0"], {}).identity for _ in range(2))
    assert first != second
    assert first.startswith("pod-0_")


@pytest.mark.parametrize(("argv", "environment"), [(["--workers", "0"], {}), ([], {"LLAVA_WORKERS": "none"})])
def test_a_wrong_number_is_refused(
    argv: list[str], environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(argv, environment)
    assert "--workers" in capsys.readouterr().err
