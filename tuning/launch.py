"""From what the user asked for to a finished study, new or taken up again."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shlex
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.errors import ConfigError, StudyError
from pneumo_core.provenance import git_commit, package_versions
from search_spaces import Confirmation, SearchSpace, builtin_spaces
from tuning.analysis.leaders import StartFrom, with_leaders
from tuning.checkpoints import Checkpoints
from tuning.events import EXHAUSTED, StudyResumed, StudyStarted
from tuning.identity import code_digests, differences, identity_of
from tuning.journal import drop_torn_line
from tuning.moved_store import refuse_moved
from tuning.preparation import Preparation, prepare
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.signals import stop_requests
from tuning.spaces import base_config, open_space, refuse_unsuited
from tuning.store import Store, StudyFolder

if TYPE_CHECKING:
    from tuning.projection import Projection
    from tuning.study import Listener, StudyResult
    from tuning.tracking import Tracker
    from tuning.workers.executor import DaskExecutor

_TOLD_BACKLOG = 20  # entries of the journal
_SWITCH_S = 0.0005
_PATIENCE_S = 30.0  # with an MLflow that does not answer, when everything else is done

Tell = Callable[[str], None]


def plan_study(settings: StudySettings) -> dict[str, Any]:
    """Returns what a study would do and what it would cost, without a trace in the store (demo images aside).

    The costs are those of `tuning.costs.study_cost`: a batch of each kind of work is timed.

    Raises:
        PneumoError: for whatever the study itself would refuse about space and data.
    """
    _refuse_early(settings)
    space, prepared = settings.space, prepare(settings)
    confirm = _confirm(settings)
    _refuse_undividable(prepared, confirm, prepared.split.folds)
    from tuning.costs import study_cost
    from tuning.rehearsal import trial_count

    return {
        "space": space.name,
        "objective": space.objective,
        "direction": space.direction,
        "algorithm": space.algorithm,
        "trials": trial_count(space),
        "seed": space.seed,
        "searched": {p.name: p.model_dump(mode="json", exclude_none=True) for p in space.parameters},
        "start_with": [space.complete(known) for known in space.start_with],
        "config": base_config(space).to_mapping(),
        "data": {
            "root": str(prepared.dataset.root),
            "digest": prepared.dataset.digest,
            "images": prepared.image_counts,
            "folds": prepared.split.folds,
            "skipped": list(prepared.dataset.skipped),
        },
        "confirm": confirm or None,
        "cost": study_cost(
            space,
            prepared.data,
            settings.cache_folder,
            prepared.split.folds,
            Confirmation(**confirm) if confirm else None,
            settings.work.workers,
        ),
    }


def launch_study(
    settings: StudySettings,
    progress: Listener | None = None,
    tell: Tell = lambda text: None,
    warn: Tell = lambda text: print(text, file=sys.stderr),
    workers: DaskExecutor | None = None,
) -> StudyResult:
    """Checks everything, then runs the study.

    Args:
        settings: what the user asks for.
        progress: a listener that shows what happens (see `tuning.progress`).
        tell: takes sentences for the user: what is being prepared, what was skipped.
        warn: takes those that the user should not miss: what could not be written to MLflow.
        workers: that make the trials; as many are started as the settings say if None.

    Raises:
        PneumoError: before the first trial for bad input, later if the work failed as a whole.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; the study is left so that it can be resumed.

    Side effects:
        Writes the study, its MLflow runs and artifacts.
    """
    _refuse_early(settings)
    settings.store.check_writable()
    refuse_moved(settings.store)
    with _workers(settings.work, tell, workers) as workers:
        prepared = prepare(settings, tell)
        prepared.data.check_cache()
        _warn_of_other_data(settings, prepared, warn)
        _refuse_undividable(prepared, _confirm(settings), prepared.split.folds)
        folder = settings.store.create_study(settings.name, space=settings.space.name)
        with folder.hold():
            try:
                started = _started(settings, prepared, folder.name)
                run = _Run(settings, prepared, folder, workers, progress, tell, warn)
                return run(StudyRecord(started), started)
            finally:
                folder.discard_if_empty()


def resume_study(
    store: Store,
    name: str,
    *,
    trials: int | None = None,
    data: str | None = None,
    force: bool = False,
    confirm: Confirmation | None = None,
    work: Mapping[str, Any] | None = None,
    progress: Listener | None = None,
    tell: Tell = lambda text: None,
    warn: Tell = lambda text: print(text, file=sys.stderr),
) -> StudyResult:
    """Goes on with a study where its journal ends, as if it had never been left.

    Args:
        store: where the study is kept.
        name: of the study.
        trials: how many there shall be in all; as many as before if None.
        data: where the images are now; where they were if None.
        force: go on although space, data or program changed; the study bears a mark of it.
        confirm: search no more, and confirm the leaders in this way.
        work: how the study is run, by field of `WorkSettings`; what is left out is as it was at the study's start.
        progress: see `launch_study`.
        tell: see `launch_study`.
        warn: see `launch_study`.

    Raises:
        StudyError: if another process runs the study, if it is over, or if it would not go on as it began.
        PneumoError: as `launch_study`.
        KeyboardInterrupt: as `launch_study`.

    Side effects:
        As `launch_study`.
    """
    folder = store.existing().study(name)
    refuse_moved(store)
    with folder.hold():
        drop_torn_line(folder.journal)
        record = load_record(store, name)
        wanted = trials or record.trials_wanted
        if confirm:
            _refuse_unconfirmable(record)
        else:
            _refuse_over(record, wanted)
        how = record.confirm if confirm is None else confirm.model_dump()
        root = data or record.identity.data_root
        settings = _recorded_settings(record.started, store, root, work or {})
        with _workers(settings.work, tell) as workers:
            prepared = prepare(settings, tell)
            prepared.data.check_cache()
            _refuse_undividable(prepared, how, record.started.folds)
            now = _now(settings, prepared)
            changed = differences(record.identity, now)
            if changed and not force:
                raise StudyError(
                    f"study {name}: would not go on as it was:\n  " + "\n  ".join(changed) + "\n"
                    "undo the changes or start a new study; --force goes on (with the space as it was recorded), and "
                    "leaves a mark in the study."
                )
            if changed:
                Checkpoints(folder.checkpoints).discard_all_but(())  # trainings that were begun begin anew
            run = _Run(settings, prepared, folder, workers, progress, tell, warn)
            asked = None if confirm is None else how
            return run(record, StudyResumed(wanted, changed, identity_of(now), asked, search=confirm is None))


@dataclasses.dataclass(frozen=True)
class _Run:
    """A study in its process, with all that works for it."""

    settings: StudySettings
    prepared: Preparation
    folder: StudyFolder
    workers: DaskExecutor | None
    progress: Listener | None
    tell: Tell
    warn: Tell

    def __call__(self, record: StudyRecord, first: StudyStarted | StudyResumed) -> StudyResult:
        from tuning.executors import Executor, InlineExecutor
        from tuning.figures import draw_plots
        from tuning.projection import Projection
        from tuning.study import Study, StudyLimits
        from tuning.study_files import write_study_files
        from tuning.sync import close_abandoned

        work, space, data = self.settings.work, self.settings.space, self.prepared.data
        tracker = self._tracker(record, new=isinstance(first, StudyStarted))
        for name in close_abandoned(self.settings.store, tracker.uri):
            self.tell(f"study {name}: its process died; its runs in MLflow are closed until it is resumed")
        prepared = self.prepared
        write_study_files(prepared.dataset, data, prepared.split, base_config(space), self.folder)
        with stop_requests(self.tell) as stop:
            executor: Executor
            if self.workers is None:
                data.expect(self.prepared.setup.expected)
                executor = InlineExecutor(data, lambda: stop.requested)
            else:
                self.workers.open(self.prepared.setup)
                executor = self.workers
            time_s = math.inf if work.time_limit_s is None else work.time_limit_s
            limits = StudyLimits(time_s, work.max_attempts)
            study = Study(record, space, self.folder, executor, limits=limits, stop=stop)
            draw = draw_plots if work.plots else None
            projection = Projection(
                self.folder,
                tracker,
                announce=study.announce,
                warn=self.warn,
                draw=draw,
                draw_study=self._write_report if work.plots else None,
            )
            study.listeners += [projection.notice, *([self.progress] if self.progress else [])]
            projection.start()
            try:
                return study.run(first)
            finally:
                stop.at_once = True
                self._finish(projection)
                if not _is_over(record):
                    self.tell(f"nothing is lost; go on with: tune resume {self._address}")

    def _write_report(self) -> None:
        from tuning.analysis.closing import write_closing_report

        self.tell("writing the report")
        data = self.prepared.data if self.prepared.computes_alike else None
        write_closing_report(self.settings.store, self.folder.name, data)

    def _tracker(self, record: StudyRecord, *, new: bool) -> Tracker:
        from tuning.tracking import Tracker, recorded_uri

        uri = self.settings.work.tracking_uri if new else recorded_uri(record, self.settings.work.tracking_uri)
        return Tracker(self.settings.store, self.folder, uri, self.settings.space.name, must_answer=new)

    def _finish(self, projection: Projection) -> None:
        name = self.folder.name
        if projection.behind > _TOLD_BACKLOG:
            self.tell("writing the last trials to MLflow; Ctrl-C leaves them to `tune sync`")
        reason = ""
        try:
            written = projection.finish(_PATIENCE_S)
        except KeyboardInterrupt:
            written = False
        except Exception as error:  # the study has its result, whatever became of its picture in MLflow
            written, reason = False, f" ({type(error).__name__}: {error})"
        if not written:
            self.warn(f"MLflow lacks the last of study {name}{reason}; write it with: tune sync {self._address}")

    @property
    def _address(self) -> str:
        """What commands have to be told to find the study."""
        root = self.settings.store.root
        return self.folder.name + ("" if root == Path("mlruns").resolve() else f" --store {shlex.quote(str(root))}")


def _refuse_early(settings: StudySettings) -> None:
    """What can be refused before any image is read."""
    from tuning.tracking import absolute_uri

    refuse_unsuited(settings.space)
    if settings.work.tracking_uri is not None:
        absolute_uri(settings.work.tracking_uri)
    if settings.work.cluster is not None:
        from tuning.workers.source import source_of

        source_of(settings.work)
    if settings.pruning != "none" and settings.space.algorithm == "hyperband":
        raise ConfigError("--pruning: Hyperband ends hopeless trials by itself; leave one of the two out.")
    if settings.name is not None:
        settings.store.refuse_taken(settings.name)


def _warn_of_other_data(settings: StudySettings, prepared: Preparation, warn: Tell) -> None:
    source = settings.start_from
    if source and source.data_digest != prepared.dataset.digest:
        warn(
            f"--start-from {source.study}: its leaders were found on other images than these; they are tried here as "
            "any others, and what they scored there does not count"
        )


def _refuse_over(record: StudyRecord, wanted: int) -> None:
    name, done = record.started.study, len(record.searched)
    if wanted < done:
        raise StudyError(f"study {name}: has {done} trials already, got --trials {wanted}; give more.")
    if done == wanted and record.is_complete():
        raise StudyError(f"study {name}: is finished, with {done} trials; to go on with it give more with --trials.")


def _confirm(settings: StudySettings) -> dict[str, Any]:
    """How the leaders of a new study are confirmed; empty for not at all."""
    confirm = settings.space.confirm
    return confirm.model_dump() if settings.confirm and confirm.top else {}


def _refuse_undividable(prepared: Preparation, confirm: Mapping[str, Any], searched: int) -> None:
    """Divides the images as the leaders are confirmed, before anything is recorded that would have to be done so."""
    from tuning.confirmation import confirming_folds

    if confirm:
        prepared.data.split(confirming_folds(Confirmation(**confirm), searched))


def _refuse_unconfirmable(record: StudyRecord) -> None:
    if record.best() is None:
        raise StudyError(f"study {record.started.study}: has no completed trial; there is nothing to confirm.")


def _is_over(record: StudyRecord) -> bool:
    """Whether a resume would find nothing to do."""
    exhausted = record.ended is not None and record.ended.reason == EXHAUSTED
    searched = exhausted and all(trial.over for trial in record.searched)
    return record.is_complete() or ((searched or not record.searching) and record.is_confirmed())


@contextlib.contextmanager
def _workers(work: WorkSettings, tell: Tell, given: DaskExecutor | None = None) -> Iterator[DaskExecutor | None]:
    """Worker processes, if any, on their way while the images are read."""
    if given is None and work.separate:
        from tuning.workers.executor import DaskExecutor
        from tuning.workers.source import source_of

        given = DaskExecutor(source_of(work), work.trial_timeout_s, tell)
    try:
        if given is not None and work.cluster is not None:
            given.reach()  # before anything that takes long
        with _hearing_soon() if given is not None else contextlib.nullcontext():
            yield given
    finally:
        if given is not None:
            given.close()


@contextlib.contextmanager
def _hearing_soon() -> Iterator[None]:
    """Threads that draw plots give way to those by which workers are heard, or a free worker waits at each of them.

    There are some ten between the end of a trial and the beginning of the next. Beside a thread that computes this took
    191 to 263 ms by Python's own interval, 5 ms, and 55 to 105 ms by this one (a busy machine, three runs of each).
    """
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def _recorded_settings(started: StudyStarted, store: Store, data: str, work: Mapping[str, Any]) -> StudySettings:
    """What the user asked for when the study began."""
    try:
        space = SearchSpace.model_validate(started.definition)
    except ValueError as error:
        raise StudyError(
            f"study {started.study}: its space is of another version of this program ({error})."
        ) from error
    return StudySettings(
        space=space,
        data=data,
        store=store,
        name=started.study,
        class_names=(started.class_names[0], started.class_names[1]),
        skip_unreadable=started.skip_unreadable,
        threads=started.threads,
        pruning=started.pruning,
        folds=started.folds,
        patient_pattern=started.patient_pattern or None,
        space_source=started.space_source,
        overrides=started.overrides,
        start_from=StartFrom.of_mapping(started.start_from) if started.start_from else None,
        work=WorkSettings.of_resume(started.work, work),
    )


def _now(settings: StudySettings, prepared: Preparation) -> StudyStarted:
    """What would be recorded if the study began now; the space as its file is now."""
    space = settings.space
    source = settings.space_source
    if source in builtin_spaces() or Path(source).is_file():
        now = open_space(source, settings.overrides)
        space = now.replace(trials=space.trials, algorithm=space.algorithm, seed=space.seed)
        if settings.start_from:
            space, _ = with_leaders(space, settings.start_from)
    return _started(dataclasses.replace(settings, space=space), prepared, settings.name or "")


def _started(settings: StudySettings, prepared: Preparation, name: str) -> StudyStarted:
    from tuning.tracking import absolute_uri, embedded_uri, redacted

    space, uri = settings.space, settings.work.tracking_uri
    return StudyStarted(
        study=name,
        space=space.name,
        space_digest=space.digest(),
        definition=space.model_dump(mode="json"),
        objective=space.objective,
        direction=space.direction,
        algorithm=space.algorithm,
        trials=space.trials,
        seed=space.seed,
        parameters=[parameter.name for parameter in space.parameters],
        data=settings.data,
        data_root=str(prepared.dataset.root),
        data_digest=prepared.dataset.digest,
        split_digest=prepared.split.digest,
        class_names=list(prepared.dataset.class_names),
        images=prepared.image_counts,
        commit=git_commit(),
        versions=package_versions(),
        threads=prepared.threads,
        tracking_uri=redacted(absolute_uri(uri) if uri else embedded_uri(settings.store)),
        study_id=uuid.uuid4().hex,
        space_source=settings.space_source,
        overrides=dict(settings.overrides),
        skip_unreadable=settings.skip_unreadable,
        pruning=settings.pruning,
        code=code_digests(),
        work=settings.work.to_mapping(),
        folds=prepared.split.folds,
        patient_pattern=settings.patient_pattern or "",
        confirm=_confirm(settings),
        store=str(settings.store.root),
        start_from=settings.start_from.to_mapping() if settings.start_from else {},
    )
