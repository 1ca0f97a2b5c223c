"""What `--data` can name: the Kaggle data set, synthetic radiographs, a folder."""

from __future__ import annotations

from pathlib import Path

from tuning.store import Store

DEMO_SEED = 0


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
    return Path(source).expanduser()


def demo_data(store: Store) -> Path:
    """Returns the store's folder of synthetic radiographs.

    Side effects:
        Makes it on first use (some seconds).
    """
    from pneumo_core.phantom_set import write_phantoms

    folder = store.data / f"demo-{DEMO_SEED}"
    if not folder.exists():
        store.check_writable()
        store.data.mkdir(exist_ok=True)
        write_phantoms(folder, seed=DEMO_SEED)
    return folder
