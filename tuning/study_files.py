"""Files about a study as a whole, for its MLflow run: a look at the images, and who trains and who is scored."""

from __future__ import annotations

import json

from pneumo_core import plots
from pneumo_core.audit import audit_index
from pneumo_core.config import TrialConfig
from pneumo_core.dataset import Dataset
from pneumo_core.errors import StoreError
from pneumo_core.images import read_images
from pneumo_core.splits import Split
from tuning.store import StudyFolder
from tuning.trial_data import TrialData


def write_study_files(
    dataset: Dataset, data: TrialData, split: Split, config: TrialConfig, folder: StudyFolder
) -> None:
    """Writes the files to the study's staging folder.

    Args:
        dataset: all images that were found.
        data: those that the study may see.
        split: who trains and who is scored.
        config: whose size and preprocessing the samples are shown in.
        folder: of the study.

    Raises:
        StoreError: if the disk refuses.

    Side effects:
        Writes `samples.png`, `split.csv` and `data.json`.
    """
    place = folder.staging("study")
    training = data.pool.iloc[split.training(0)]
    chosen = training.iloc[plots.sample_rows(training)]
    pixels = read_images(data.root, chosen["path"].tolist(), config.image_size, config.preprocessing)
    samples = plots.plot_samples(pixels, chosen, data.class_names)
    try:
        place.mkdir(parents=True, exist_ok=True)
        plots.save(samples, place / "samples.png")
        split.table().to_csv(place / "split.csv", index=False)
        (place / "data.json").write_text(json.dumps(audit_index(dataset).summary(), indent=2) + "\n")
    except OSError as error:
        raise StoreError(
            f"study {folder.name}: its files cannot be written to {folder.root} ({error.strerror or error})."
        ) from error
