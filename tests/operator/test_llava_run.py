"""`llava run` as a user meets it, over a trainer that plays a script."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from llava_operator.backends.local_processes import ProcessWatch
from support.local_jobs import Ended, LocalJob, ended


@pytest.fixture
def local(tmp_path: Path) -> LocalJob:
    return LocalJob(tmp_path)


def test_a_whole_job_succeeds(local: LocalJob) -> None:
    done = local.run()
    assert done.code == 0, done.err
    assert [line["stage"] for line in local.journal()] == ["prepare", "pretrain", "finetune", "convert", "evaluate"]
    assert local.status()["phase"] == "Succeeded"


def test_piped_output_is_json_lines_and_tables_are_for_people(local: LocalJob) -> None:
    (local.folder / "report").mkdir(parents=True)
    done = local.run()
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert lines[-1]["event"] == "finished"
    assert lines[-1]["scores"]["shapes/xtuner/circular"] == 0.9
    assert "VLMEvalKit" in done.err
    assert f"report: {local.folder / 'report'}" in done.err
    assert "\x1b" not in done.out + done.err


def test_infrastructure_failures_restart(local: LocalJob) -> None:
    local.does("finetune", {"exit": 75, "commit": 1}, {"exit": 75, "commit": 2})
    assert local.run().code == 0
    assert (local.status()["restarts"], local.status()["budgetUsed"]) == (2, 2)


def test_bad_data_fails_at_once_with_its_code_and_sentence(local: LocalJob) -> None:
    done = local.does("prepare", {"exit": 12, "message": "coco.json row 7: image is missing."}).run()
    assert done.code == 12
    assert "llava: prepare failed: coco.json row 7: image is missing." in done.err
    assert len(local.journal()) == 1


def test_a_killed_attempt_resumes_from_its_commit(local: LocalJob) -> None:
    assert local.does("finetune", {"kills_itself": True, "commit": 5}).run().code == 0
    assert [line["commit"] for line in local.attempts_of("finetune")] == [None, 5]
    assert local.status()["stages"][2]["history"][0]["reason"] == "Killed"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_saves_and_says_how_to_go_on(local: LocalJob, number: signal.Signals, code: int) -> None:
    run = local.does("finetune", {"hello": local.hello(), "blocks": True, "commit": 7}).start()
    local.await_hello()
    run.send_signal(number)
    stopped = ended(run)
    assert stopped.code == code
    assert "step 7; run the same command again to go on" in stopped.err
    assert local.run().code == 0
    assert [line["commit"] for line in local.attempts_of("finetune")] == [None, 7]
    assert local.status()["budgetUsed"] == 0


def test_a_second_interruption_kills(local: LocalJob) -> None:
    run = local.does("prepare", {"hello": local.hello(), "blocks": True, "is_stubborn": True}).start()
    local.await_hello()
    run.send_signal(signal.SIGINT)
    assert run.stdout is not None
    next(line for line in run.stdout if json.loads(line)["event"] == "Suspended")
    run.send_signal(signal.SIGINT)
    assert ended(run).code == 130


def test_an_attempt_that_outlived_its_run_is_adopted(local: LocalJob) -> None:
    run = local.does("finetune", {"hello": local.hello(), "blocks": True, "commit": 4}).start()
    attempt = local.await_hello()
    run.kill()
    ended(run)
    again = local.start()
    assert again.stdout is not None
    next(line for line in again.stdout if json.loads(line).get("stage") == "finetune")
    os.kill(attempt, signal.SIGTERM)
    assert ended(again).code == 0
    assert [line["commit"] for line in local.attempts_of("finetune")] == [None, 4]
    assert all(line["is_alone"] for line in local.journal())


def test_an_attempt_that_died_with_its_run_is_lost_and_restarted(local: LocalJob) -> None:
    run = local.does("finetune", {"hello": local.hello(), "blocks": True, "commit": 4}).start()
    attempt = local.await_hello()
    run.kill()
    os.kill(attempt, signal.SIGKILL)
    ended(run)
    assert local.run().code == 0
    assert local.status()["stages"][2]["history"][0]["reason"] == "Lost"
    assert [line["commit"] for line in local.attempts_of("finetune")] == [None, 4]


def test_orphaned_ranks_are_gone_before_the_next_attempt(local: LocalJob) -> None:
    done = local.does("finetune", {"kills_itself": True, "leaves_orphan": True, "commit": 1}).run()
    assert done.code == 0
    assert ProcessWatch(local.folder / "attempts").living() == {}


def test_the_same_spec_reports_that_it_is_done(local: LocalJob) -> None:
    local.run()
    again = local.run()
    assert again.code == 0
    assert "done already" in again.err
    assert len(local.journal()) == 5


def test_a_failed_job_goes_on_when_asked_again(local: LocalJob) -> None:
    local.does("prepare", {"exit": 12}).run()
    assert local.run().code == 0
    assert [line["attempt"] for line in local.attempts_of("prepare")] == [1, 2]


def test_limits_may_change_between_runs(local: LocalJob) -> None:
    assert local.does("prepare", {"exit": 75}).run(runPolicy={"maxRestarts": 0}).code == 75
    assert local.run(runPolicy={"maxRestarts": 1}).code == 0


def test_another_spec_is_refused_unless_new(local: LocalJob) -> None:
    local.run()
    other = {"convert": {"dtype": "fp32"}}
    refused = local.run(**other)
    assert refused.code == 2
    assert "--new" in refused.err
    assert local.run("--new", **other).code == 0


def test_a_busy_directory_is_refused(local: LocalJob) -> None:
    run = local.does("prepare", {"hello": local.hello(), "blocks": True}).start()
    local.await_hello()
    refused = local.run()
    run.send_signal(signal.SIGTERM)
    assert (refused.code, ended(run).code) == (2, 143)
    assert "in use" in refused.err


def test_a_directory_that_cannot_be_written_is_refused(local: LocalJob) -> None:
    local.folder.write_text("a file in the way")
    refused = local.run()
    assert refused.code == 15
    assert str(local.folder) in refused.err


def test_a_suspended_spec_starts_nothing(local: LocalJob) -> None:
    done = local.run(runPolicy={"suspend": True})
    assert done.code == 0
    assert "runPolicy.suspend" in done.err
    assert not (local.root / "script.journal").exists()


def test_a_low_score_fails_with_its_own_code(local: LocalJob) -> None:
    benchmarks = [{"name": "shapes", "uri": "shapes.tsv"}]
    done = local.run(evaluate={"benchmarks": benchmarks, "minimumAccuracy": 0.95})
    assert done.code == 79
    assert local.status()["results"]


def test_a_reader_that_leaves_stops_the_attempt(local: LocalJob) -> None:
    run = local.does("prepare", {"blocks": True}).start()
    assert run.stdout is not None
    run.stdout.readline()
    run.stdout.close()
    assert run.stderr is not None
    assert "BrokenPipeError" in run.stderr.read()
    run.stderr.close()
    assert run.wait(timeout=30) != 0
    await_death_of_all(local.folder / "attempts")


def await_death_of_all(attempts: Path) -> None:
    for pid in (pid for pids in ProcessWatch(attempts).living().values() for pid in pids):
        with contextlib.suppress(ProcessLookupError):
            ended_one = os.pidfd_open(pid)
            assert select.select([ended_one], [], [], 30)[0]
            os.close(ended_one)


def test_a_new_job_ends_what_the_old_one_left_running(local: LocalJob) -> None:
    run = local.does("prepare", {"hello": local.hello(), "blocks": True}).start()
    local.await_hello()
    run.kill()
    ended(run)
    local.script = {}
    assert local.run("--new").code == 0
    assert [line["stage"] for line in local.journal()].count("prepare") == 2
    assert all(line["is_alone"] for line in local.journal())


def evaluate(local: LocalJob, folder: Path, **settings: Any) -> Ended:
    """Run an evaluation of job `demo` in a folder."""
    file, asked = local.root / "eval.yaml", {"benchmarks": [{"name": "shapes", "uri": "shapes.tsv"}], **settings}
    spec = {"model": {"trainJobName": "demo"}, "storage": {"uri": "s3://nobody/reads/this"}, "evaluate": asked}
    head = {"apiVersion": "llava.dev/v1alpha1", "kind": "LlavaEvalJob", "metadata": {"name": "scores"}}
    file.write_text(json.dumps({**head, "spec": {**spec, "workers": {"gpusPerWorker": 0}}}))
    return local.run_file(file, folder)


def test_an_evaluation_scores_the_model_of_the_job_beside_it(local: LocalJob) -> None:
    local.run()
    done = evaluate(local, local.root / "scores")
    status = json.loads((local.root / "scores/job.json").read_text())["status"]
    assert done.code == 0, done.err
    assert (status["phase"], status["score"]) == ("Succeeded", "90.0")
    assert status["model"]["uri"] == local.status()["artifacts"]["huggingface"]
    assert [line["stage"] for line in local.journal()][-2:] == ["evaluate", "evaluate"]


def test_an_evaluation_before_its_job_is_told_what_to_run_first(local: LocalJob) -> None:
    done = evaluate(local, local.root / "scores")
    assert done.code == 13
    assert f"run it first with --dir {local.root / 'demo'}" in done.err


def test_an_evaluation_below_its_minimum_fails_with_its_own_code(local: LocalJob) -> None:
    local.run()
    assert evaluate(local, local.root / "scores", minimumAccuracy=0.95).code == 79


def test_an_evaluation_does_not_move_into_the_folder_of_a_job(local: LocalJob) -> None:
    local.run()
    done = evaluate(local, local.folder)
    assert done.code == 2
    assert "holds a job with another spec" in done.err
