"""Passes through the frozen layers are shared, banks of augmented images are kept, live augmentation is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pneumo_core.activation_store import ActivationStore
from pneumo_core.config import TrialConfig
from pneumo_core.dataset import index_dataset
from pneumo_core.splits import pool_of
from tuning import run_study
from tuning import trial_data as module
from tuning.ranking import load_record
from tuning.store import Store
from tuning.trial import execute_trial
from tuning.trial_data import TrialData

CONFIG = TrialConfig(
    weights="random", image_size=32, pixel_scaling="unit", pooling="average", head_units=4, epochs=2, batch_size=16,
    learning_rate=3e-3,
)  # fmt: skip


def _data(phantoms: Path, cache: Path) -> TrialData:
    dataset = index_dataset(phantoms)
    return TrialData(dataset.root, pool_of(dataset.manifest), dataset.class_names, ActivationStore(cache))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_several_cuts_of_one_pass_are_those_of_passes_of_their_own(
    phantoms: Path, tmp_path: Path, precision: str
) -> None:
    """To the last bit: whether a cut was computed alone or along does not show."""
    base = dataclasses.replace(CONFIG, activation_precision=precision)
    configs = [base, dataclasses.replace(base, pooling="flatten"), dataclasses.replace(base, unfrozen_layers=2)]
    together = _data(phantoms, tmp_path / "together")
    together.expect(configs)
    together.activations(base)
    for number, config in enumerate(configs):
        assert together.is_cached(module.Pass(config))
        alone = _data(phantoms, tmp_path / str(number)).activations(config)
        assert together.activations(config).digest == alone.digest


def test_a_study_makes_one_pass_for_what_can_be_foreseen(
    tmp_path: Path, tiny_space: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen and unfrozen trials need two cuts; the images go through the network once."""
    cuts = []
    real = module.build_prefixes

    def counted(config: TrialConfig, weights: object, wanted: list[module.Cut]) -> object:
        cuts.append(list(wanted))
        return real(config, weights, wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "build_prefixes", counted)
    run_study(str(tiny_space), phantoms, study="s", store=tmp_path, workers=0, plots=False, progress=False)
    used = {trial.config["unfrozen_layers"] for trial in load_record(Store.at(tmp_path), "s").trials.values()}
    assert used == {0, 1}
    assert cuts == [[module.Cut(5, True), module.Cut(4, False)]]


def test_a_bank_is_computed_once_for_trials_of_any_seed(phantoms: Path, tmp_path: Path) -> None:
    """Variants differ from the images and from one another, depend on the bank's own seed, and serve other trials."""
    data = _data(phantoms, tmp_path)
    config = dataclasses.replace(CONFIG, augmentation="mild", augmentation_variants=2)
    first = execute_trial(config, data)
    entries = ActivationStore(tmp_path).entries()
    assert sorted(entry.about["augmentation"] for entry in entries) == ["", "mild/0/0", "mild/0/1"]
    digests = [data.activations(config, variant).digest for variant in (None, 0, 1)]
    assert len(set(digests)) == 3
    assert [first.activations_digest, *first.variant_digests] == digests
    other = dataclasses.replace(config, seed=5, head_units=8)
    assert data.training_feed(other, np.arange(5)).dtype == np.float16
    execute_trial(other, data)
    assert len(ActivationStore(tmp_path).entries()) == 3
    assert not data.is_cached(module.Pass(dataclasses.replace(config, augmentation_seed=1), 0))
    again = execute_trial(config, _data(phantoms, tmp_path))
    assert again.metrics == first.metrics
    plain = execute_trial(CONFIG, data)
    assert plain.metrics != first.metrics


def test_a_bank_can_be_trained_on_with_unfrozen_layers(phantoms: Path, tmp_path: Path) -> None:
    """Block 4's output of every variant is kept, warm-up included."""
    config = dataclasses.replace(
        CONFIG, augmentation="notebook", augmentation_variants=2, unfrozen_layers=1, warmup_epochs=1
    )
    result = execute_trial(config, _data(phantoms, tmp_path))
    assert len(result.history) == 2
    assert {(entry.about["blocks"], entry.about["pooled"]) for entry in ActivationStore(tmp_path).entries()} == {
        (4, False)
    }


def test_live_augmentation_keeps_nothing_but_the_images_as_they_are(phantoms: Path, tmp_path: Path) -> None:
    """Validation comes from the cache, training goes through the frozen layers anew."""
    execute_trial(dataclasses.replace(CONFIG, augmentation="notebook", epochs=1), _data(phantoms, tmp_path))
    assert [entry.about["augmentation"] for entry in ActivationStore(tmp_path).entries()] == [""]


def test_channel_statistics_do_not_depend_on_what_was_trained_before(phantoms: Path, tmp_path: Path) -> None:
    """A trial after others standardizes features as it would have alone."""
    config = dataclasses.replace(CONFIG, unfrozen_layers=3, backbone_lr_fraction=1.0)
    data = _data(phantoms, tmp_path)
    alone = execute_trial(config, _data(phantoms, tmp_path)).metrics
    execute_trial(dataclasses.replace(config, feature_scaling="none"), data)
    execute_trial(dataclasses.replace(config, unfrozen_layers=1), data)
    assert execute_trial(config, data).metrics == alone
    assert execute_trial(config, data).metrics == alone


def test_a_bank_that_does_not_fit_float16_is_trained_on_in_float32(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One variant beyond the range of float16 neither becomes infinite nor is it rounded."""
    real = module.apply_in_batches
    calls = []

    def beyond(forward: object, pixels: np.ndarray, batch_size: int) -> list[np.ndarray]:
        calls.append(1)
        outputs = real(forward, pixels, batch_size)  # type: ignore[arg-type]
        return [output + 70_000 for output in outputs] if len(calls) > 1 else outputs

    monkeypatch.setattr(module, "apply_in_batches", beyond)
    data = _data(phantoms, tmp_path)
    config = dataclasses.replace(CONFIG, augmentation="mild", augmentation_variants=1, learning_rate=1e-6)
    assert data.activations(config).dtype == np.float16
    result = execute_trial(config, data)
    assert data.training_feed(config, np.arange(5)).dtype == np.float32
    assert all(np.isfinite(row["loss"]) for row in result.history)


@pytest.mark.slow
def test_other_weights_of_the_same_images_have_statistics_of_their_own(phantoms: Path, tmp_path: Path) -> None:
    """With every convolution unfrozen the cached activations are the pixels, whatever the weights."""
    config = dataclasses.replace(CONFIG, unfrozen_layers=13, epochs=1)
    other, data = dataclasses.replace(config, weights_seed=1), _data(phantoms, tmp_path)
    execute_trial(config, data)
    assert data.activations(config).digest == data.activations(other).digest
    assert execute_trial(other, data).metrics == execute_trial(other, _data(phantoms, tmp_path)).metrics


def test_each_preprocessing_has_activations_of_its_own(phantoms: Path, tmp_path: Path) -> None:
    """Settings share no pass and no entry, live augmentation sees them too, and the default's entry says its name."""
    data = _data(phantoms, tmp_path)
    configs = [CONFIG, *(dataclasses.replace(CONFIG, **{name: value}) for name, value in (
        ("resize", "pad"), ("resize", "crop"), ("denoise", "gaussian"), ("contrast", "clahe"),
    ))]  # fmt: skip
    data.expect(configs)
    assert len({data.activations(config).digest for config in configs}) == len(configs)
    assert len({module.Pass(config).identity for config in configs}) == len(configs)
    abouts = [entry.about["preprocessing"] for entry in ActivationStore(tmp_path).entries()]
    assert {"contrast": "none", "denoise": "none", "resize": "squash"} in abouts
    live = [dataclasses.replace(config, augmentation="mild", epochs=1) for config in configs]
    assert len({execute_trial(config, data).history[0]["loss"] for config in live}) == len(configs)
