"""From a model in the making to the facts that its card is made from."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.classifier import ClassifierSettings
from pneumo_core.composition import OFFICIAL, Count, composition, deviations
from pneumo_core.intervals import Interval
from tuning.confirmed import confirmation_sentences
from tuning.models.card_facts import Approval, CardFacts, DataFacts, ScoreFacts, SearchFacts, Source
from tuning.models.ensemble import Ensemble
from tuning.models.gate import Rivalry
from tuning.models.ledger import SPENT_AFTER, ScoredTest
from tuning.protocol import images_in_words
from tuning.record import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from pneumo_core.dataset import Dataset
    from tuning.models.assembly import Assembly
    from tuning.models.whole_ensemble import WholeEnsemble
    from tuning.models.whole_model import WholeModel

PANEL_FILE = "grad_cam.png"


def facts_of(
    assembly: Assembly,
    record: StudyRecord,
    trial: TrialRecord | Ensemble,
    name: str,
    lineage: Mapping[str, str],
    approval: Approval | None = None,
    rivalry: Rivalry | None = None,
) -> CardFacts:
    """Gathers what is known of a model that is built and, if it may be, scored on the test folder.

    Args:
        assembly: the model.
        record: of its study.
        trial: whose model it is.
        name: in the registry.
        lineage: tags of the version.
        approval: by a policy.
        rivalry: with the former champion.
    """
    whole, panel = assembly.whole, assembly.folder / PANEL_FILE
    trained = _trained(whole, trial)
    return CardFacts(
        name=name,
        program=importlib.metadata.version("pneumo-tune"),
        written_at=time.strftime("%Y-%m-%d", time.gmtime()),
        settings=assembly.settings,
        origin=whole.origin,
        is_refit=whole.own is not None,
        configs={
            name: one.config.to_mapping() | {"weights": Path(one.config.weights).name} for name, one in trained.items()
        },
        trained_values=sum(array.size for one in trained.values() for array in one.arrays.values()),
        operating_point=whole.operating_point,
        validation=assembly.validation_report,
        data=_data(record, assembly.dataset),
        search=_search(record, trial),
        test=_test(assembly),
        approval=approval,
        rivalry=rivalry,
        warnings=tuple(assembly.warnings),
        lineage=lineage,
        versions=record.identity.versions,
        panel=panel if panel.is_file() else None,
    )


def _trained(whole: WholeModel | WholeEnsemble, trial: TrialRecord | Ensemble) -> dict[str, WholeModel]:
    """What was trained for the model, by trial."""
    from tuning.models.whole_ensemble import WholeEnsemble  # brings Keras along

    if isinstance(whole, WholeEnsemble):
        return dict(zip(whole.trials, whole.members, strict=True))
    return {trial.trial: whole}


def _data(record: StudyRecord, dataset: Dataset) -> DataFacts:
    counts, identity = composition(dataset), record.identity
    return DataFacts(
        folder=dataset.root.name,
        source=source_of(record.started.data, counts),
        digest=dataset.digest,
        split_digest=identity.split_digest,
        counts=counts,
        left_out=len(dataset.skipped),
        protocol=f"{images_in_words(identity)}, for every trial alike; no patient on two sides",
    )


def source_of(given: str, counts: Sequence[Count]) -> Source:
    """Returns whose images these are.

    Only what was fetched as the published set, or has all of its counts, is called so: file names can be imitated.

    Args:
        given: as `--data`.
        counts: of the images.
    """
    whole = {(count.split, count.class_name, count.subtype) for count in counts} >= set(OFFICIAL)
    if given == "kaggle" or (whole and not deviations(counts)):
        return "published"
    return "synthetic" if given == "demo" else "unknown"


def _search(record: StudyRecord, trial: TrialRecord | Ensemble) -> SearchFacts:
    started = record.started
    place = None if isinstance(trial, Ensemble) else trial.confirmed  # members were confirmed, their vote was not
    metrics = place.metrics if place else {}
    return SearchFacts(
        study=started.study,
        trial=trial.trial,
        space=started.space,
        algorithm=started.algorithm,
        objective=f"{started.objective}, {started.direction}",
        trials=record.counts(),
        searched={each["name"]: _values(each) for each in record.identity.definition.get("parameters", [])},
        sentences=confirmation_sentences(record),
        confirmed={name.removeprefix("val_"): _interval(*numbers) for name, numbers in metrics.items()},
    )


def _interval(*numbers: float | None) -> Interval:
    return Interval(*(float("nan") if number is None else number for number in numbers))


def _values(parameter: Mapping[str, Any]) -> str:
    """The values of a parameter of a space's definition, in words."""
    if "values" in parameter:
        return ", ".join(str(value) for value in parameter["values"])
    step = f" in steps of {parameter['step']:g}" if parameter.get("step") else ""
    return f"{parameter['min']:g} to {parameter['max']:g}{step}{', logarithmic' if parameter.get('log') else ''}"


def _test(assembly: Assembly) -> ScoreFacts | None:
    scored, report = assembly.test, assembly.test_report
    if scored is None or report is None:
        return None
    return ScoreFacts(report, scored.openings, SPENT_AFTER, scored.reused, _bands(scored, assembly.settings))


def _bands(scored: ScoredTest, settings: ClassifierSettings) -> dict[str, tuple[int, int]]:
    bands, labels = scored.table["probability"].map(settings.bands.of), scored.table["label"]
    return {
        band: (int(((bands == band) & (labels == 0)).sum()), int(((bands == band) & (labels == 1)).sum()))
        for band in ("high", "moderate", "low")
    }
