"""What the commands about models do, as functions for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from tuning.models.promotion import PromotionResult


def promote_study(
    study: str,
    *,
    trial: str | None = None,
    ensemble: int | None = None,
    model: str | None = None,
    policy: str | None = None,
    force: bool = False,
    reason: str = "",
    dry_run: bool = False,
    store: str | Path = "mlruns",
    progress: bool = True,
) -> PromotionResult:
    """Scores the best trial's whole model on the test folder and registers it if it fulfils the policy: `tune promote`.

    Args:
        study: its name.
        trial: whose model; the best trial's, confirmed if there are any, if None.
        ensemble: how many confirmed leaders leave as one model, instead of one trial.
        model: name in the registry; that of the study's space if None.
        policy: name of a shipped policy or a YAML file; the one named like the model, or else the default, if None.
        force: promote it although the policy says no; needs a reason.
        reason: why it is promoted, for the record.
        dry_run: build and check; leave the test folder closed, register nothing.
        store: folder of the study.
        progress: say what happens.

    Returns:
        What became of it: `promoted`, and `reasons` and `checks` if it was not.

    Raises:
        PneumoError: as `tuning.models.promotion.promote`.

    Side effects:
        Opens the test folder, which its ledger records, and writes to the registry, unless it is a dry run.
    """
    from tuning.models.promotion import promote
    from tuning.output import complain, teller

    result = promote(
        Store.at(store),
        study,
        trial=trial,
        ensemble=ensemble,
        model=model,
        policy=policy,
        force=force,
        reason=reason,
        dry_run=dry_run,
        tell=teller() if progress else lambda text: None,
    )
    for sentence in result.warnings:
        complain(sentence)
    return result


def predict(
    images: str | Path | Iterable[str | Path],
    model: str | None = None,
    *,
    triage: bool = False,
    store: str | Path = "mlruns",
    tracking_uri: str | None = None,
) -> pd.DataFrame:
    """Classifies radiographs with a registered model, as `tune predict` does. For research, not for diagnosis.

    Args:
        images: a file or a folder of them, or several.
        model: `NAME@ALIAS`, `NAME/VERSION` or `NAME`; the only model there is if None.
        triage: the most urgent first.
        store: that holds the registry.
        tracking_uri: MLflow server or database; the store's own if None.

    Returns:
        One row for each image that could be used: `probability`, `label`, `recommendation`, `warning`, and more. Why
        others could not be is said on stderr.

    Raises:
        ModelError: if there is no such model, or its files are gone.
        ImageError: if no image could be used.
    """
    import pandas as pd

    from pneumo_core.errors import ImageError
    from pneumo_core.runtime import start_tensorflow
    from tuning.models.named_images import named_images
    from tuning.output import complain

    named = named_images([Path(images)] if isinstance(images, (str, Path)) else map(Path, images))
    if not named.images:
        raise ImageError("\n".join(named.refused) or "images: expected at least one, got none.")
    start_tensorflow()
    from tuning.models.prediction import COLUMNS, predict_images
    from tuning.models.registry import Registry

    registry = Registry.of_existing(Store.at(store), tracking_uri)
    said = predict_images(registry, model, named.images, triage=triage)
    refused = [*named.refused, *said.refused]
    if not said.rows:
        raise ImageError("\n".join(refused))
    for sentence in [*named.notes, *said.warnings, *refused]:
        complain(sentence)
    return pd.DataFrame(said.rows, columns=list(COLUMNS))
