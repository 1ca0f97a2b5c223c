"""The images of a study as the trials of one process see them: pixels, activations, splits, programs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumo_core.activation_store import ActivationKey, ActivationStore, Parts, Shape, StoredActivations
from pneumo_core.activations import apply_in_batches, compiled
from pneumo_core.augmentation import DISTORTIONS, distort, draw_transforms
from pneumo_core.backbone import BackboneWeights, Cut, build_prefix, build_prefixes, load_backbone_weights
from pneumo_core.config import TrialConfig
from pneumo_core.feeds import BankFeed, Feed, LiveFeed, StoredFeed
from pneumo_core.images import PIXELS_VERSION, read_images
from pneumo_core.pass_batch import fitted_batch
from pneumo_core.preprocessing import Preprocessing
from pneumo_core.program import ProgramShelf, TrainingProgram
from pneumo_core.read_ahead import ReadAhead
from pneumo_core.runtime import computes_on_gpu, device_in_use, gpu_memory_bytes, threads_in_use
from pneumo_core.seeds import generator
from pneumo_core.splits import Split, divide
from pneumo_core.training import Examples

_LIBRARIES = ("tensorflow", "keras", "numpy", "opencv-python-headless", "pillow", "pydicom")


@dataclasses.dataclass(frozen=True)
class Pass:
    """Images through frozen layers; configurations that agree in it can share the work.

    Attributes:
        config: one of those configurations.
        variant: of the augmented images; None for the images as they are.
    """

    config: TrialConfig
    variant: int | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for configurations that can share a pass."""
        config = self.config
        shared = (config.backbone, config.weights, config.weights_seed, config.image_size, config.pixel_scaling)
        return (*shared, config.preprocessing, config.activation_precision, config.precision, self.augmentation)

    @property
    def augmentation(self) -> str:
        """Distortion, seed and number of the variant; empty for the images as they are."""
        if self.variant is None:
            return ""
        return f"{self.config.augmentation}/{self.config.augmentation_seed}/{self.variant}"


def passes_of(config: TrialConfig) -> list[Pass]:
    """Returns all that a training needs from the cache, the images as they are first."""
    bank = config.augmentation_variants if config.augmentation != "none" else 0
    return [Pass(config), *(Pass(config, variant) for variant in range(bank))]


class TrialData:
    """The images of a study, and what trials on them share; never any test image.

    Args:
        root: folder that the manifest's paths are relative to.
        pool: manifest of the images, as `pneumo_core.splits.pool_of` returns it.
        class_names: of label 0 and label 1.
        cache: of activations.

    Attributes:
        labels: (N,) of the pool.
        programs: compiled by earlier trials.
        before_part: called before each part of a pass; may raise, as after Ctrl-C. Finished parts are kept.
    """

    def __init__(
        self,
        root: Path,
        pool: pd.DataFrame,
        class_names: tuple[str, str],
        cache: ActivationStore,
    ) -> None:
        self.root, self.pool, self.class_names = root, pool, class_names
        self.labels = pool["label"].to_numpy()
        self.programs = ProgramShelf()
        self.before_part: Callable[[], None] = lambda: None
        self._expected: Sequence[TrialConfig] = ()
        self._cache = cache
        self._versions = {name: metadata.version(name) for name in _LIBRARIES} | {"pixels": PIXELS_VERSION}
        self._device, self._gpu_bytes = device_in_use(), gpu_memory_bytes()
        # The order is that of the pool, so that every split of the same images finds the same activations.
        self._paths = pool["path"].tolist()
        self._digest = hashlib.sha256("\n".join(pool["content_hash"]).encode()).hexdigest()
        self._splits: dict[int, Split] = {}
        self._pixels: dict[tuple[int, Preprocessing], np.ndarray] = {}
        self._live_prefixes: dict[tuple[object, ...], Callable[[Any], Any]] = {}
        self._weights: dict[tuple[str, int], BackboneWeights] = {}
        self._moments: dict[tuple[object, ...], tuple[np.ndarray, np.ndarray]] = {}

    def split(self, folds: int) -> Split:
        """Returns who trains and who is scored; see `pneumo_core.splits.divide`."""
        if folds not in self._splits:
            self._splits[folds] = divide(self.pool, folds)
        return self._splits[folds]

    def check_cache(self) -> None:
        """Makes sure that the cache can be written.

        Raises:
            ActivationError: naming the folder and the reason.
        """
        self._cache.check_writable()

    def expect(self, configs: Sequence[TrialConfig]) -> None:
        """Takes note of configurations that are known to come.

        A pass computes what they need along with what is needed now, and what the cache has for them is kept.
        """
        self._expected = configs
        for wanted in (wanted for config in configs for wanted in passes_of(config)):
            self._cache.keep(self.entry(wanted)[0])

    def backbone_weights(self, config: TrialConfig) -> BackboneWeights:
        """Returns the backbone weights that a configuration names, as `load_backbone_weights` does, read once."""
        source = (config.weights, config.weights_seed)
        if source not in self._weights:
            self._weights[source] = load_backbone_weights(*source)
        return self._weights[source]

    def activations(self, config: TrialConfig, variant: int | None = None) -> StoredActivations:
        """Returns the prefix's output for all images, from the cache where it is there.

        Args:
            config: of the trial.
            variant: of the augmented images; None for the images as they are.

        Raises:
            ActivationError: if the cache cannot be used.
        """
        wanted = Pass(config, variant)
        key, shape = self.entry(wanted)
        # Every trial asks several times; only a pass has use for what else it could bring.
        along = {} if self._cache.holds(key) else dict(self.entry(other) for other in self._sharing(wanted))

        def prepare(keys: Sequence[ActivationKey]) -> Parts:
            return self._parts(wanted, [Cut(key.blocks, key.pooled) for key in keys])

        return self._cache.get(key, shape, prepare, along)

    def entry(self, wanted: Pass) -> tuple[ActivationKey, Shape]:
        """Returns where the cache keeps what a configuration needs of a pass, and the shape of it."""
        config, cut = wanted.config, Cut.of(wanted.config)
        key = ActivationKey(
            images=self._digest,
            image_size=config.image_size,
            preprocessing=dataclasses.asdict(config.preprocessing),
            pixel_scaling=config.pixel_scaling,
            backbone=config.backbone,
            weights=self.backbone_weights(config).digest,
            blocks=cut.blocks,
            pooled=cut.pooled,
            precision=config.activation_precision,
            versions=self._versions,
            device=self._device,
            threads=threads_in_use(),
            augmentation=wanted.augmentation,
            distortion=repr(DISTORTIONS[config.augmentation]) if wanted.augmentation else "",
            computed_in=config.precision + (", XLA" if computes_on_gpu() else ""),
            batch=self._batch(config),
        )
        return key, (len(self._paths), *cut.shape(config.image_size))

    def is_cached(self, wanted: Pass) -> bool:
        """Returns whether the cache holds what a configuration needs of a pass."""
        return self._cache.holds(self.entry(wanted)[0])

    def training_examples(self, config: TrialConfig, rows: np.ndarray) -> Examples:
        """Returns what a configuration learns from, of some rows of the pool."""
        return Examples(self.training_feed(config, rows), self.labels[rows])

    def validation_examples(self, config: TrialConfig, rows: np.ndarray) -> Examples:
        """Returns what a configuration is scored on, of some rows of the pool."""
        return Examples(StoredFeed(self.activations(config).take(rows)), self.labels[rows])

    def program(self, config: TrialConfig, training: Feed) -> TrainingProgram:
        """Returns a program that is begun for a configuration.

        Args:
            config: of the trial.
            training: a feed that it will train on.
        """
        scored = StoredFeed(self.activations(config))
        dtype = np.result_type(training.dtype, scored.dtype)  # a bank may be wider, live inputs are
        return self.programs.program(config, self.backbone_weights(config), scored.shape, dtype)

    def training_feed(self, config: TrialConfig, rows: np.ndarray) -> Feed:
        """Returns the inputs that a configuration trains on, of some rows of the pool."""
        if config.augments_live:
            distortion, shape = DISTORTIONS[config.augmentation], Cut.of(config).shape(config.image_size)
            pixels, prefix = self._all_pixels(config), self._live_prefix(config)
            return LiveFeed(pixels, rows, distortion, prefix, shape, config.seed, self._batch(config))
        if config.augmentation != "none":
            return BankFeed([entry.take(rows) for entry in self._bank(config)], config.seed)
        return StoredFeed(self.activations(config).take(rows))

    def variant_digests(self, config: TrialConfig) -> tuple[str, ...]:
        """Returns the content digests of the augmented variants that a configuration trains on."""
        return tuple(entry.digest for entry in self._bank(config))

    def moments(
        self, config: TrialConfig, program: TrainingProgram, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns mean and variance of each channel that the head is given, over some rows; None if it is not scaled.

        They depend on the backbone as it was loaded, whatever is unfrozen later, and so are measured once.

        Args:
            config: of the trial.
            program: begun for it, not trained yet.
            rows: of the pool, whose images train.
        """
        if config.feature_scaling != "standardize":
            return None
        activations = self.activations(config)
        backbone = self.backbone_weights(config).digest
        key = (activations.digest, backbone, config.precision, config.pooling, rows.tobytes())
        if key not in self._moments:
            self._moments[key] = program.feature_moments(activations.take(rows))
        return self._moments[key]

    def _bank(self, config: TrialConfig) -> list[StoredActivations]:
        variants = [wanted.variant for wanted in passes_of(config) if wanted.variant is not None]
        return [self.activations(config, variant) for variant in variants]

    def _sharing(self, wanted: Pass) -> list[Pass]:
        """What the configurations to come need of the same pass."""
        candidates = [Pass(config, wanted.variant) for config in self._expected if wanted.variant in _variants(config)]
        return [other for other in candidates if other.identity == wanted.identity]

    def _parts(self, wanted: Pass, cuts: Sequence[Cut]) -> Parts:
        config = wanted.config
        batch = self._batch(config)
        forward = compiled(build_prefixes(config, self.backbone_weights(config), cuts), batch)

        def read(start: int, stop: int) -> np.ndarray:
            pixels = read_images(self.root, self._paths[start:stop], config.image_size, config.preprocessing)
            return self._distorted(pixels, wanted, start, stop)

        images = ReadAhead(read, len(self._paths))

        def parts(start: int, stop: int) -> list[np.ndarray]:
            self.before_part()
            return apply_in_batches(forward, images.read(start, stop), batch)

        return parts

    def _distorted(self, pixels: np.ndarray, wanted: Pass, start: int, stop: int) -> np.ndarray:
        if wanted.variant is None:
            return pixels
        config = wanted.config
        rng = generator(config.augmentation_seed, "augmentation bank", wanted.variant)
        transforms = draw_transforms(DISTORTIONS[config.augmentation], len(self._paths), config.image_size, rng)
        return np.asarray(distort(pixels.astype(np.float32), transforms[start:stop]))

    def _batch(self, config: TrialConfig) -> int:
        """How many images go through the frozen layers at once."""
        return fitted_batch(config.image_size, self._gpu_bytes)

    def _live_prefix(self, config: TrialConfig) -> Callable[[Any], Any]:
        """The prefix of live augmentation, compiled once for trials that share it."""
        key = (Cut.of(config), *Pass(config).identity)
        if key not in self._live_prefixes:
            prefix = build_prefix(config, self.backbone_weights(config))
            self._live_prefixes[key] = compiled(prefix, self._batch(config))
        return self._live_prefixes[key]

    def _all_pixels(self, config: TrialConfig) -> np.ndarray:
        seen = (config.image_size, config.preprocessing)
        if seen not in self._pixels:
            self._pixels[seen] = read_images(self.root, self._paths, *seen)
        return self._pixels[seen]


def _variants(config: TrialConfig) -> set[int | None]:
    return {wanted.variant for wanted in passes_of(config)}
