"""What `--data` can name: the Kaggle data set, synthetic radiographs, a folder."""

from __future__ import annotations

import fcntl
from pathlib import Path

from pneumo_core.errors import DatasetError, StoreError
from pneumo_core.places import absolute
from tuning.store import Store

DEMO_SEED = 0
DEMO_PATIENTS = 200


def locate_data(source: str, store: Store) -> Path:
    """Returns the folder that a `--data` argument means, fetching or making it first where needed.

    Args:
        source: `kaggle`, `demo`, or a folder.
        store: where the demo's images are made, once.

    Raises:
        DownloadError: if Kaggle is out of reach.
        DatasetError: if the demo's images cannot be written.

    Side effects:
        `kaggle` downloads to kagglehub's cache; `demo` writes to the store.
    """
    if source == "kaggle":
        from pneumo_core.download import fetch_kaggle

        return fetch_kaggle()
    if source == "demo":
        return demo_data(store)
    return absolute(source)  # promotion may look for the images from another folder


def demo_data(store: Store, seed: int = DEMO_SEED, patients: int = DEMO_PATIENTS) -> Path:
    """Returns a folder of synthetic radiographs in the store.

    Args:
        store: that holds it.
        seed: equal seeds make equal images.
        patients: how many are drawn.

    Raises:
        StoreError: if the store cannot be written.

    Side effects:
        Makes the images on first use (some seconds), one process at a time.
    """
    name = f"demo-{seed}" if patients == DEMO_PATIENTS else f"demo-{seed}-{patients}"
    images = store.data / name / "chest_xray"
    if not images.is_dir():
        store.check_writable()
        try:
            store.data.mkdir(exist_ok=True)
            with (store.data / f".{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not images.is_dir():
                    make_demo(images.parent, seed, patients)
        except OSError as error:
            raise StoreError(f"store {store.root}: synthetic images cannot be written to it ({error}).") from error
    return images


def make_demo(directory: Path, seed: int = DEMO_SEED, patients: int = DEMO_PATIENTS) -> Path:
    """Makes a set of synthetic radiographs in a folder and returns where the images lie.

    Raises:
        DatasetError: if there is one already, or the folder cannot be written.

    Side effects:
        Writes the images.
    """
    from pneumo_core.phantom_set import write_phantoms

    try:
        return write_phantoms(directory, seed=seed, patients=patients)
    except OSError as error:
        raise DatasetError(f"{directory}: synthetic images cannot be written to it ({error}).") from error
