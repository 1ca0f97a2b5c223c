"""One search, from space to winner: ask the oracle, run the trial, record what happened, tell the oracle."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from pneumo_core import plots
from pneumo_core.errors import DivergedError, OutOfMemoryError, StoreError
from pneumo_core.images import read_images
from search_spaces import SearchSpace
from tuning.background import Listener
from tuning.events import EpochEnded, Event, StudyEnded, StudyStarted, StudyStatus, TrialCompleted, TrialFailed
from tuning.events import TrialStarted as TrialStartedEvent
from tuning.journal import Journal
from tuning.oracles import SearchOracle, Suggestion
from tuning.record import StudyRecord
from tuning.rehearsal import foreseen
from tuning.spaces import base_config
from tuning.store import StudyFolder
from tuning.trial import TrialResult, execute_trial, write_trial_files
from tuning.trial_data import TrialData


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """A study that is over."""

    record: StudyRecord
    wall_s: float

    def summary(self) -> dict[str, Any]:
        """Returns the document that `tune run --json` prints."""
        started, best = self.record.started, self.record.best()
        winner = best and {"trial": best.trial, "score": best.score, "params": best.params, "run_id": best.run_id}
        return {
            "study": started.study,
            "space": started.space,
            "objective": started.objective,
            "direction": started.direction,
            "best": winner,
            "trials": {"completed": self.record.count("completed"), "failed": self.record.count("failed")},
            "wall_s": round(self.wall_s, 3),
        }


class Study:
    """A search in progress. Every event is on disk before a listener hears of it.

    Args:
        started: all that was decided beforehand; becomes the first event.
        space: what is searched.
        data: the images.
        folder: of the study, claimed and empty.
        time_limit_s: no trial is started after this many seconds; None for no limit.
        clock: monotonic, in seconds.

    Attributes:
        record: what happened so far.
        listeners: told of every event; to be filled before `run`.
    """

    def __init__(
        self,
        started: StudyStarted,
        space: SearchSpace,
        data: TrialData,
        folder: StudyFolder,
        *,
        time_limit_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record = StudyRecord(started)
        self.listeners: list[Listener] = []
        self._space, self._data, self._folder = space, data, folder
        self._limit_s, self._clock = math.inf if time_limit_s is None else time_limit_s, clock
        self._base = base_config(space)
        self._journal = Journal(folder.journal)
        self._announcing = threading.RLock()  # listeners in the background announce what they did

    def announce(self, event: Event) -> None:
        """Records an event and tells the listeners.

        Side effects:
            Appends to the journal.
        """
        with self._announcing:
            self._journal.append(event)
            if not isinstance(event, StudyStarted):
                self.record.apply(event)
            for listener in self.listeners:
                listener(event, self.record)

    def run(self) -> StudyResult:
        """Runs the whole search.

        Raises:
            PneumoError: if something failed that every further trial would meet.
            KeyboardInterrupt: if the user interrupts; the study is closed first.
        """
        begun = self._clock()
        status: StudyStatus = "failed"
        reason = ""
        try:
            self.announce(self.record.started)
            self._write_study_files()
            reason = self._search(begun)
            if self.record.best():
                status = "finished"
            else:
                reason = reason or "no trial completed"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            self.announce(StudyEnded(status, reason, self._clock() - begun))
        return StudyResult(self.record, self._clock() - begun)

    def _search(self, begun: float) -> str:
        """Asks and runs until there is an end; returns why it came before the last trial, if it did."""
        oracle = SearchOracle(self._space, self._space.trials, self._base.epochs)
        self._data.expect(foreseen(self._space))
        while self._clock() - begun < self._limit_s:
            suggestion = oracle.ask()
            if suggestion is None:
                tried_all = len(self.record.trials) < self._space.trials
                return "every configuration was tried" if tried_all else ""
            oracle.tell(suggestion, self._run_trial(suggestion))
        return "time limit reached"

    def _run_trial(self, suggestion: Suggestion) -> float | None:
        """Runs one trial and returns its score, or None if it failed on its own account."""
        number = len(self.record.trials) + 1
        trial, begun = f"t{number:04d}", self._clock()
        config = suggestion.config(self._base)
        self.announce(TrialStartedEvent(trial, number, self._params(suggestion), config.to_mapping()))

        def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
            self.announce(EpochEnded(trial, epoch, metrics))

        try:
            result = execute_trial(config, self._data, on_epoch)
            score = self._score(result)
        except (DivergedError, OutOfMemoryError) as error:
            self.announce(TrialFailed(trial, str(error), self._clock() - begun))
            return None
        self._complete(trial, result, score, begun)
        return score

    def _params(self, suggestion: Suggestion) -> dict[str, Any]:
        """Every searched parameter, so that all trials have the same keys; None where a condition does not hold."""
        params = {name: suggestion.values.get(name) for name in self.record.started.parameters}
        return params | ({"stop_after": suggestion.stop_after} if suggestion.stop_after else {})

    def _score(self, result: TrialResult) -> float:
        score = result.metrics[self._space.objective]
        if not math.isfinite(score):
            raise DivergedError(f"{self._space.objective} is undefined: no validation image was called that class")
        return score

    def _complete(self, trial: str, result: TrialResult, score: float, begun: float) -> None:
        with self._writing():
            write_trial_files(result, self._folder.staging(trial))
        self.announce(
            TrialCompleted(
                trial=trial,
                score=score,
                metrics=result.metrics,
                best_epoch=result.best_epoch,
                weights_digest=result.weights_digest,
                activations_digest=result.activations_digest,
                variant_digests=list(result.variant_digests),
                duration_s=self._clock() - begun,
            )
        )

    def _write_study_files(self) -> None:
        """A look at the images, and who is in training and validation: once for the study, for its MLflow run."""
        folder = self._folder.staging("study")
        chosen = self._data.training.iloc[plots.sample_rows(self._data.training)]
        pixels = read_images(self._data.root, chosen["path"].tolist(), self._base.image_size)
        samples = plots.plot_samples(pixels, chosen, self._data.class_names)
        columns = ["path", "group", "subtype", "label"]
        with self._writing():
            folder.mkdir(parents=True)
            plots.save(samples, folder / "samples.png")
            self._data.training[columns].to_csv(folder / "split_training.csv", index=False)
            self._data.validation[columns].to_csv(folder / "split_validation.csv", index=False)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = self._folder.root
            raise StoreError(f"study {place.name}: its files cannot be written to {place} ({error}).") from error
