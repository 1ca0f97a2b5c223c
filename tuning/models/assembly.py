"""A registered model in the making: built, checked against what was trained, reported on, scored on the test folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_core.errors import DatasetError, ModelError, PromotionError
from pneumo_core.images import read_bytes
from tuning.identity import program_changes
from tuning.models.champion import Champion
from tuning.models.ensemble import Ensemble
from tuning.models.footprint import latency_ms, size_mb
from tuning.models.gate import Evidence, Rivalry
from tuning.models.kept_scores import KeptScores
from tuning.models.ledger import Candidate, Ledger, ScoredTest
from tuning.models.misgivings import contradictions, drift, reservations
from tuning.models.model_folder import write_model_folder
from tuning.models.study_images import write_study_images
from tuning.record import StudyRecord, TrialRecord
from tuning.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from pneumo_core.classifier import ClassifierSettings
    from pneumo_core.dataset import Dataset
    from pneumo_core.evaluation_report import EvaluationReport
    from pneumo_core.familiarity import Familiarity
    from tuning.models.whole_ensemble import WholeEnsemble
    from tuning.models.whole_model import WholeModel
    from tuning.trial_data import TrialData


class Assembly:
    """A registered model in the making: its folder, and what is known of it.

    Args:
        store: that holds the study.
        record: of the study.
        trial: whose model it is; or several.
        name: in the registry.
        scratch: folder for what is written.
        tell: takes sentences for the user.

    Attributes:
        folder: of the model.
        whole: what it is built from; after `build`.
        settings: of its classifier; after `build`.
        validation_report: of the scores that chose the operating point; after `build`.
        metrics: of validation and test scores, with the ends of their intervals.
        test: scores on the test folder, if that was opened.
        test_report: of these scores; None without them.
        dataset: the study's images.
        warnings: sentences that the user should not miss.

    Raises:
        DatasetError: if the study's images changed or are gone.
    """

    whole: WholeModel | WholeEnsemble
    settings: ClassifierSettings
    validation_report: EvaluationReport

    def __init__(
        self,
        store: Store,
        record: StudyRecord,
        trial: TrialRecord | Ensemble,
        name: str,
        scratch: Path,
        tell: Callable[[str], None],
    ) -> None:
        self._store, self._record, self._trial, self._name, self._tell = store, record, trial, name, tell
        self._scratch, self.folder = scratch, scratch / "model"
        self.metrics: dict[str, float] = {}
        self.warnings: list[str] = []
        self.test: ScoredTest | None = None
        self.test_report: EvaluationReport | None = None
        self._model_digest = ""  # before there is a model
        self.dataset = _indexed(record)
        self._data = _opened(store, record, self.dataset, tell)

    def build(self, threshold_rule: str, target_sensitivity: float) -> None:
        """Writes the model's folder, and makes sure that it scores as what was trained.

        Args:
            threshold_rule: see `pneumo_core.operating_point.choose_threshold`.
            target_sensitivity: likewise.
        """
        from pneumo_core.evaluation_report import evaluate

        self._tell(f"building the whole model of {self._trial.trial}")
        self.whole = whole = self._whole(threshold_rule, target_sensitivity)
        self._model_digest = whole.digest()
        self._keras_model = self._written(whole)
        report = evaluate(whole.scores, operating_point=whole.operating_point)
        self.validation_report = dataclasses.replace(report, fitted_here=True)
        self._report("validation", self.validation_report)
        self._check(whole)
        if whole.own is not None and (changes := program_changes(self._record.identity)):
            self.warnings.append(f"the refit is made by another program than what was scored: {'; '.join(changes)}")
        if whole.own is not None and (reason := drift(whole.own, whole.operating_point, self.metrics)):
            raise PromotionError(f"trial {self._trial.trial}: {reason}")
        (self.folder / "config.json").write_text(json.dumps(whole.to_mapping(), indent=2) + "\n")
        self._familiarity().save(self.folder)
        self._add_confirmation()
        write_study_images(self.folder, self.dataset.manifest)

    def open_test(self) -> None:
        """Scores the model on the test folder, once, and records that in the ledger."""
        from pneumo_core.evaluation import compute_metrics
        from pneumo_core.evaluation_report import evaluate
        from pneumo_core.operating_point import OperatingPoint

        manifest = self.dataset.manifest
        if not (manifest["split"] == "test").any():
            self.warnings.append("there is no test/ folder: the model was not scored on new patients")
            return
        point = self.whole.operating_point
        self.test = scored = self._ledger.score(
            manifest, self._candidate, self._scores, lambda table: compute_metrics(table, point.threshold)
        )
        again = "read from its earlier opening" if scored.reused else f"opened for the {_ordinal(scored.openings)} time"
        self._tell(f"test folder ({len(scored.table)} images): {again}")
        if scored.warning:
            self.warnings.append(scored.warning)
        calibrated = OperatingPoint(point.threshold, 1.0, point.rule, point.target)  # the temperature is in the model
        self.test_report = evaluate(scored.table, operating_point=calibrated)
        self._report("test", self.test_report)
        scored.table.to_csv(self.folder / "test_scores.csv", index=False)
        self.warnings += contradictions(self.metrics)
        self._explain(scored)

    @property
    def tags(self) -> dict[str, str]:
        """What is to be read on the version besides its lineage."""
        point = self.whole.operating_point
        tags = {
            "pneumo.origin": self.whole.origin,
            "pneumo.confirmed": str(self._trial.confirmed is not None).lower(),
            "pneumo.threshold": repr(point.threshold),
            "pneumo.temperature": repr(point.temperature),
            "pneumo.model_digest": self._model_digest,
        }
        tags |= {"pneumo.ensemble": self._trial.title} if isinstance(self._trial, Ensemble) else {}
        return tags | ({"pneumo.test_digest": self.test.test_digest} if self.test else {})

    @property
    def _ledger(self) -> Ledger:
        return Ledger(self._store, self._tell)

    @property
    def _candidate(self) -> Candidate:
        return Candidate(self._record.started.study, self._trial.trial, self._name, self._model_digest)

    def _whole(self, threshold_rule: str, target_sensitivity: float) -> WholeModel | WholeEnsemble:
        """Fetches or trains what the model is built from."""
        from tuning.models.whole_ensemble import whole_ensemble
        from tuning.models.whole_model import whole_model

        trial, how = self._trial, (threshold_rule, target_sensitivity, self._tell)
        if isinstance(trial, Ensemble):
            return whole_ensemble(self._record, trial, self._data, self._scratch, *how)
        return whole_model(self._record, trial, self._data, self._scratch, *how)

    def _written(self, whole: WholeModel | WholeEnsemble) -> Any:
        """Writes the folder and returns the Keras model as loaded back from it."""
        import keras

        from pneumo_core.classifier import KERAS_FILE, ClassifierSettings

        config, (negative, positive), point = whole.config, self._record.started.class_names, whole.operating_point
        self.settings = ClassifierSettings(
            config.image_size, (negative, positive), point.threshold, config.preprocessing, point.temperature
        )
        write_model_folder(self.folder, whole.build(), self.settings)
        return keras.saving.load_model(self.folder / KERAS_FILE, compile=False, safe_mode=True)

    def _scores(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Scores images through the whole model."""
        from pneumo_core.evaluation import score_table
        from pneumo_core.model import classifier_logits

        return score_table(rows, classifier_logits(self._keras_model, self._pixels(rows["path"].tolist())))

    def _pixels(self, paths: list[str]) -> Any:
        from pneumo_core.images import read_images

        config = self.whole.config
        return read_images(self.dataset.root, paths, config.image_size, config.preprocessing)

    def _familiarity(self) -> Familiarity:
        """What the images of the pool look like to the model, from a sample of them."""
        from pneumo_core.familiarity import SAMPLED_IMAGES, Familiarity

        pool = self._data.pool
        seen = pool.sample(min(SAMPLED_IMAGES, len(pool)), random_state=0).sort_values("path")
        return Familiarity.fit(self._pixels(seen["path"].tolist()), seen["group"].tolist())

    def _check(self, whole: WholeModel | WholeEnsemble) -> None:
        """Compares the whole model with what was trained, image by image."""
        from scipy.special import expit

        pool = self._data.pool.set_index("path", drop=False)
        if unknown := set(whole.checked["path"]) - set(pool.index):
            raise PromotionError(
                f"trial {self._trial.trial}: {len(unknown)} of its scores are of other images than those of its study."
            )
        scores = self._scores(pool.loc[whole.checked["path"]])
        expected = expit(whole.checked["logit"].to_numpy() / whole.operating_point.temperature)
        difference = float(abs(expected - scores["probability"].to_numpy()).max())
        if not difference <= whole.agreement:
            raise PromotionError(
                f"trial {self._trial.trial}: the whole model differs from the trial by {difference:.2g} in a "
                f"probability, expected at most {whole.agreement:g}; nothing was registered."
            )
        scores.to_csv(self.folder / "checked_scores.csv", index=False)

    def _report(self, of: str, report: EvaluationReport) -> None:
        from pneumo_core.evaluation_report import report_text

        negative, positive = self._record.started.class_names
        prefix = {"validation": "val"}.get(of, of)
        for name, interval in report.metrics.items():
            self.metrics[f"{prefix}_{name}"] = interval.value
            self.metrics |= {f"{prefix}_{name}_low": interval.low, f"{prefix}_{name}_high": interval.high}
        (self.folder / f"{of}_report.json").write_text(json.dumps(report.to_mapping(), indent=2) + "\n")
        (self.folder / f"{of}_report.md").write_text(report_text(report, (negative, positive)))

    def _explain(self, scored: ScoredTest) -> None:
        """Draws what the scores of some test images depend on; the panel is kept, so that no image is read again."""
        kept = KeptScores(self._store.test_scores).file(scored.test_digest, self._candidate.model_digest)
        panel = kept.with_suffix(f".{self.whole.operating_point.threshold:.6g}.png")
        try:
            if not scored.reused:
                self._draw(scored.table, panel)
        except ModelError as error:
            self.warnings.append(f"no Grad-CAM panel: {error}")
            return
        if panel.is_file():
            shutil.copyfile(panel, self.folder / "grad_cam.png")
        else:
            self.warnings.append("no Grad-CAM panel: the test images are not read again for another threshold")

    def _add_confirmation(self) -> None:
        place = self._trial.confirmed
        if place is not None and not isinstance(self._trial, Ensemble):  # whose members each have their own
            for name, numbers in place.metrics.items():
                ends = zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True)
                self.metrics |= {f"confirmed_{key}": number for key, number in ends if number is not None}
        objective = self._record.started.objective
        self.warnings += reservations(self._trial, objective, is_refit=self.whole.own is not None)

    def record_refusal(self, reason: str) -> None:
        """Records in the ledger that the model was not let through.

        Side effects:
            Appends to the ledger.
        """
        self._ledger.refuse(self._candidate, reason, self.dataset.manifest)

    @contextlib.contextmanager
    def refusals_recorded(self) -> Iterator[None]:
        """Records in the ledger what the block refuses by an error."""
        try:
            yield
        except (PromotionError, DatasetError) as error:
            self.record_refusal(str(error))
            raise

    def record_force(self, reason: str) -> None:
        """Records in the ledger that the model was let through although the policy says no.

        Side effects:
            Appends to the ledger.
        """
        self._ledger.force(self._candidate, reason, self.dataset.manifest)

    def is_held_by(self, champion: Champion | None) -> bool:
        """Returns whether it is the champion already."""
        return champion is not None and champion.is_model(self._model_digest, self.whole.operating_point.threshold)

    def evidence(self, champion: Champion | None) -> Evidence:
        """Returns what a policy judges the model by; after `build`, and after `open_test` if that is to count.

        Args:
            champion: that it wants to replace; compared if there are test scores.

        Side effects:
            Scores the test images with the champion, through the ledger, where that was never done.
        """
        image = self.dataset.root / self._data.pool["path"].iloc[0]
        return Evidence(
            confirmed=self._trial.confirmed is not None,
            latency_ms=latency_ms(self.folder, self._keras_model, read_bytes(image)),
            size_mb=size_mb(self.folder),
            test=self.test_report,
            rivalry=self._rivalry(champion) if champion else None,
        )

    def _rivalry(self, champion: Champion) -> Rivalry:
        if self.test is None:
            return Rivalry(str(champion.reference), obstacle="no test folder")
        return champion.rivalry(self.dataset, self.test.table, self.whole.operating_point.threshold, self._ledger)

    def _draw(self, scores: pd.DataFrame, panel: Path) -> None:
        from pneumo_core.explain import grad_cam, sample_cases, sampled_paths
        from pneumo_core.explain_plots import plot_grad_cam
        from pneumo_core.plots import save

        threshold, (negative, positive) = self.whole.operating_point.threshold, self._record.started.class_names
        cases = sample_cases(scores, threshold)
        pixels = self._pixels(sampled_paths(cases))
        heatmaps = grad_cam(self._keras_model, pixels)
        save(plot_grad_cam(cases, pixels, heatmaps, (negative, positive), threshold), panel)

    def refuse_leakage(self) -> None:
        """Makes sure that no patient of the test folder is outside of it.

        Raises:
            PromotionError: if one is.
        """
        manifest = self.dataset.manifest
        in_test = manifest["split"] == "test"
        shared = sorted(set(manifest["group"][in_test]) & set(manifest["group"][~in_test]))
        if shared:
            reason = (
                f"{len(shared)} patients have images both in test/ and outside it, the first {shared[0]}: scores on "
                "them would flatter the model. Move their images to one side (`tune data check` lists them)."
            )
            raise PromotionError(f"{self.dataset.root}: {reason}")


def _indexed(record: StudyRecord) -> Dataset:
    """The images of the study, which must be those that it was made with."""
    from pneumo_core.dataset import index_dataset

    started, root = record.started, Path(record.identity.data_root)
    negative, positive = started.class_names
    dataset = index_dataset(
        root, class_names=(negative, positive), skip_unreadable=True, patient_pattern=started.patient_pattern or None
    )
    if dataset.digest != record.identity.data_digest:
        raise DatasetError(
            f"{root}: the images are no longer those of study {started.study}; bring them back, or run a new study on "
            "the new ones."
        )
    return dataset


def _opened(store: Store, record: StudyRecord, dataset: Dataset, tell: Callable[[str], None]) -> TrialData:
    from pneumo_core.splits import pool_of
    from tuning.attempt import DataSetup
    from tuning.settings import WorkSettings

    work, started = WorkSettings.of_resume(record.started.work, {}), record.started
    setup = DataSetup(
        root=dataset.root,
        pool=pool_of(dataset.manifest),
        class_names=dataset.class_names,
        cache=work.cache or store.cache,
        cache_budget_bytes=work.cache_budget_bytes,
        threads=started.threads,
    )
    return setup.open(tell)


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
