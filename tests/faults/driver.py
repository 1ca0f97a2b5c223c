"""Runs a study, or goes on with it if it is there, or completes MLflow if it is over: a process to be killed.

python driver.py STORE STUDY SPACE DATA [--algorithm NAME] [--stub] [--workers N | --cluster ADDRESS] [--uri URI]
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where `stub` is, in this process and in the workers that it starts


def main() -> None:
    """Ends with 0 when the study is over."""
    parser = argparse.ArgumentParser()
    for name in ("store", "study", "space", "data"):
        parser.add_argument(name)
    parser.add_argument("--algorithm")
    parser.add_argument("--stub", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cluster")
    parser.add_argument("--attempts", type=int, default=1000)
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--uri")
    asked = parser.parse_args()

    from tuning import executors
    from tuning.launch import launch_study, resume_study
    from tuning.ranking import load_record
    from tuning.settings import StudySettings, WorkSettings
    from tuning.spaces import open_space, space_source
    from tuning.store import Store, StudyFolder
    from tuning.sync import sync_study

    if asked.stub and asked.cluster:
        from stub import stub_attempt

        from tuning.workers import executor

        executor.DaskExecutor = functools.partial(executor.DaskExecutor, attempt=stub_attempt)  # type: ignore[misc]
    elif asked.stub:
        from stub import StubExecutor

        executors.InlineExecutor = StubExecutor  # type: ignore[assignment, misc]
    store = Store.at(asked.store)
    # Far more attempts than anybody would allow, if not said otherwise: that all are used up is tested elsewhere.
    work = WorkSettings(
        max_attempts=asked.attempts,
        workers=0 if asked.stub else asked.workers,
        cluster=asked.cluster,
        trial_timeout_s=asked.timeout,
        tracking_uri=asked.uri,
        plots=not asked.stub,
    )
    if StudyFolder(store.studies / asked.study).has_begun():
        ended = load_record(store, asked.study).ended
        if ended is not None and ended.status == "finished":
            sys.exit(not sync_study(store, asked.study, asked.uri, tell=print))
        resume_study(store, asked.study, tell=print)
    else:
        space = open_space(asked.space).replace(trials=None, algorithm=asked.algorithm, seed=None)
        launch_study(
            StudySettings(space, asked.data, store, asked.study, space_source=space_source(asked.space), work=work),
            tell=print,
        )


if __name__ == "__main__":
    main()
