"""What of MLflow in a store nothing needs: what was deleted in its UI long ago, models that never became a version.

A registered version needs the run and the logged model that it was made from, the files that it names, and the run
above its own. None of that goes, whatever was deleted in the UI.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from tuning.models.holdings import HeldModel, HeldRun, HeldVersion, Holdings, local_folder
from tuning.models.leftovers import Leftover, Row, changed_at, size_of
from tuning.store import Store

_UPLOADING_S = 86_400.0  # a promotion that is still at it has made its model less long ago
_RUN_FOLDER, _MODEL_FOLDER = re.compile(r"[0-9a-f]{32}"), re.compile(r"m-[0-9a-f]{32}")


@dataclasses.dataclass(frozen=True)
class Needs:
    """What registered versions need.

    Attributes:
        runs: by id: the version that needs it.
        models: by id of a logged model: likewise.
    """

    runs: dict[str, str]
    models: dict[str, str]


def needs_of(versions: list[HeldVersion], runs: list[HeldRun], models: list[HeldModel]) -> Needs:
    """Returns what versions need: logged model, run, the run whose files they are, and the runs above these."""
    by_model = {version.model_id: str(version) for version in versions if version.model_id}
    by_model |= {model.model_id: str(v) for v in versions for model in models if _inside(v.location, model.location)}
    by_run = {version.run_id: str(version) for version in versions if version.run_id}
    by_run |= {model.run_id: by_model[model.model_id] for model in models if model.model_id in by_model}
    by_run |= {run.run_id: str(v) for v in versions for run in runs if _inside(v.location, run.location)}
    by_run |= {run.parent: by_run[run.run_id] for run in runs if run.parent and run.run_id in by_run}
    return Needs(by_run, by_model)


def _inside(location: str, folder: str) -> bool:
    return bool(folder) and f"{location}/".startswith(f"{folder.rstrip('/')}/")


class MlflowLeftovers:
    """The database of a store and its artifacts, looked at once.

    Args:
        store: that holds them.
        holdings: its database.
        older_than_s: age since its deletion that something must have to go for good.
        now: in seconds since 1970.
        busy: ids of studies that are being run.
        linked: ids of runs that journals of the store name.

    Attributes:
        needs: what registered versions need.
        kept: sentences about what was deleted in the UI and is needed all the same.
    """

    def __init__(
        self, store: Store, holdings: Holdings, older_than_s: float, now: float, busy: set[str], linked: set[str]
    ) -> None:
        self._store, self._older_than_s, self._now, self._linked = store, older_than_s, now, linked
        self._experiments, self._runs = holdings.experiments(), holdings.runs()
        self._buried, self._models = holdings.deleted_models(0), holdings.logged_models()
        self.needs = needs_of(holdings.versions(), self._runs, [*self._models, *self._buried])
        ripe_runs, ripe_models = holdings.deleted_runs(older_than_s), holdings.deleted_models(older_than_s)
        self.kept: list[str] = []
        ripe = [run for run in self._runs if run.run_id in ripe_runs and run.study_id not in busy]
        self._going = [r for r in ripe if self._may_go("run", r.run_id, r.location, self.needs.runs)]
        self._ripe_models = [
            m for m in ripe_models if self._may_go("logged model", m.model_id, m.location, self.needs.models)
        ]

    def all(self) -> Iterator[Leftover]:
        """Returns what can go, in an order that may be broken off anywhere: models, runs, experiments, folders."""
        for model in self._stray_models():
            what = f"logged model {model.model_id}, which no version is made from"
            yield self._of_row(what, model.location, ("model", model.model_id))
        for run in self._going:
            yield self._of_row(f"deleted run {run.name} {run.run_id}", run.location, ("run", run.run_id))
        yield from self._empty_experiments()
        yield from self._stray_folders()

    def _may_go(self, what: str, identifier: str, location: str, needed: dict[str, str]) -> bool:
        deleted = f"{what} {identifier}: was deleted in MLflow"
        if identifier in needed:
            self.kept.append(f"{deleted}, but {needed[identifier]} needs it; it stays")
        elif self._files(location, identifier) is None:
            self.kept.append(f"{deleted}, but its files lie outside of this store; it stays")
        else:
            return True
        return False

    def _stray_models(self) -> list[HeldModel]:
        """Deleted models, those of runs that go, and what a promotion left that never came to its end."""
        limit = self._now - max(self._older_than_s, _UPLOADING_S)
        runs = {run.run_id for run in self._going}
        unused = [model for model in self._models if model.model_id not in self.needs.models]
        left = [m for m in unused if m.run_id in runs or ((m.ours or not m.ready) and m.changed_at < limit)]
        return [*self._ripe_models, *(m for m in left if self._files(m.location, m.model_id))]

    def _files(self, location: str, identifier: str) -> Path | None:
        """The folder of a run or model, be it there or not: MLflow keeps files in `<id>/artifacts`."""
        folder = local_folder(location)
        if folder is None or folder.parent.name != identifier:
            return None
        return folder.parent if folder.resolve().is_relative_to(self._store.artifacts) else None

    def _of_row(self, what: str, location: str, row: Row) -> Leftover:
        files = self._files(location, row[1])
        present = files if files and files.is_dir() else None
        return Leftover(what, present, size_of(present) if present else 0, row)

    def _empty_experiments(self) -> Iterator[Leftover]:
        """Deleted ones of which nothing remains when the rest has gone."""
        going = {run.run_id for run in self._going}
        stay = {run.experiment_id for run in self._runs if run.run_id not in going}
        gone = {model.model_id for model in self._stray_models()}
        homes = {model.location for model in [*self._models, *self._buried] if model.model_id not in gone}
        for experiment in self._experiments:
            old = experiment.changed_at <= self._now - self._older_than_s
            used = experiment.experiment_id in stay or any(_inside(home, experiment.location) for home in homes)
            if experiment.deleted and old and not used:
                row: Row = ("experiment", experiment.experiment_id)
                yield Leftover(f"deleted experiment {experiment.name}", None, 0, row)

    def _stray_folders(self) -> Iterator[Leftover]:
        """Folders of runs and models that the database does not know, nor any journal."""
        known = {run.run_id for run in self._runs} | self._linked
        known |= {model.model_id for model in [*self._models, *self._buried]}
        for experiment in self._experiments:
            home = local_folder(experiment.location)
            if home is None or home.parent != self._store.artifacts:
                continue
            found = [path for path in home.glob("*") if _RUN_FOLDER.fullmatch(path.name)]
            found += [path for path in home.glob("models/*") if _MODEL_FOLDER.fullmatch(path.name)]
            for path in sorted(found):
                if path.name not in known and self._is_old(path):
                    yield Leftover(f"folder of {path.name}, which MLflow does not know", path, size_of(path))

    def _is_old(self, path: Path) -> bool:
        return self._now - changed_at(path) > self._older_than_s
