"""The best trials of a study, and how they become the first ones of another."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pneumo_core.errors import ConfigError, StudyError
from search_spaces import ChoiceParameter, Parameter, SearchSpace
from tuning.ranking import format_value, load_record
from tuning.record import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from tuning.store import Store

DEFAULT_TOP = 3
"""Leaders that a study starts from."""

_ASIDE = ("seed", "stop_after")  # not settings of a model


@dataclasses.dataclass(frozen=True)
class StartFrom:
    """Leaders of another study, as a new one starts from them.

    Attributes:
        study: name of the other one.
        study_id: its id.
        data_digest: of the images that they were scored on.
        trials: their ids, best first.
        configurations: their whole configurations, in the same order.
    """

    study: str
    study_id: str
    data_digest: str
    trials: tuple[str, ...]
    configurations: tuple[Mapping[str, Any], ...]

    def to_mapping(self) -> dict[str, Any]:
        """Returns plain values, as a journal holds them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def of_mapping(cls, values: Mapping[str, Any]) -> StartFrom:
        """Reads what `to_mapping` wrote."""
        tuples = {name: tuple(values[name]) for name in ("trials", "configurations")}
        return cls(**{**values, **tuples})


def leaders(record: StudyRecord, top: int) -> list[TrialRecord]:
    """Returns the best completed trials of different configurations, confirmed ones first."""
    found: dict[str, TrialRecord] = {}
    for trial in record.ranked():
        if trial.status == "completed" and trial.score is not None and math.isfinite(trial.score):
            found.setdefault(repr({name: trial.params.get(name) for name in record.started.parameters}), trial)
    return list(found.values())[:top]


def find_leaders(store: Store, argument: str) -> StartFrom:
    """Finds the leaders that `--start-from` names.

    Args:
        store: where the other study is.
        argument: its name; with `:5` behind it, its five best instead of three.

    Raises:
        ConfigError: if the number is none.
        StudyError: if there is no such study, or none of its trials completed.
    """
    name, colon, number = argument.partition(":")
    if colon and not (number.isdecimal() and int(number) > 0):
        raise ConfigError(f"--start-from {argument}: expected STUDY or STUDY:NUMBER, for example {name or 'first'}:5.")
    record = load_record(store, name)
    found = leaders(record, int(number) if colon else DEFAULT_TOP)
    if not found:
        raise StudyError(f"--start-from {name}: the study has no completed trial; there is nothing to start from.")
    started = record.identity
    return StartFrom(
        name,
        started.study_id,
        started.data_digest,
        tuple(trial.trial for trial in found),
        tuple({key: value for key, value in trial.config.items() if key not in _ASIDE} for trial in found),
    )


def with_leaders(space: SearchSpace, source: StartFrom) -> tuple[SearchSpace, list[str]]:
    """Puts the leaders of another study behind a space's own first known configuration, which stays the baseline.

    A parameter takes the value that the leader was trained with, whether that was searched, fixed or a default there.
    A number outside of the range becomes the nearest inside; a leader with a choice that the space does not offer is
    left out, and so is one that the space knows already.

    Args:
        space: of the new study.
        source: the leaders.

    Returns:
        The space, and a sentence for everything that was not taken over as it was.
    """
    if not space.parameters:
        return space, [f"{source.study}: no leader is tried, because the space searches nothing"]
    known = [dict(space.complete(entry)) for entry in space.start_with]
    taken: list[dict[str, Any]] = []
    told: list[str] = []
    for trial, config in zip(source.trials, source.configurations, strict=True):
        entry, changes, missing = fitted(space, config)
        if missing:
            told.append(f"{source.study} {trial}: left out, because the space does not offer {', '.join(missing)}")
        elif entry in known + taken:
            told.append(f"{source.study} {trial}: left out, because its configuration is tried already")
        else:
            taken.append(entry)
            told += [f"{source.study} {trial}: {', '.join(changes)}"] if changes else []
    told += _other_settings(space, source)
    entries = [*space.start_with[:1], *taken, *space.start_with[1:]]
    content = {name: getattr(space, name) for name in type(space).model_fields}
    return SearchSpace.model_validate({**content, "start_with": tuple(entries)}), told


def begin_with(space: SearchSpace, source: StartFrom, tell: Callable[[str], None]) -> SearchSpace:
    """Returns a space that begins with the leaders of another study, and tells what was not taken over as it was.

    Args:
        space: of the new study.
        source: see `with_leaders`.
        tell: takes a sentence for each.
    """
    begun, told = with_leaders(space, source)
    for sentence in told:
        tell(f"--start-from {sentence}")
    return begun


def fitted(space: SearchSpace, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Puts a configuration into a space's own parameters.

    Args:
        space: whose conditions are honoured.
        config: whole, by field of `TrialConfig`.

    Returns:
        The values of all active parameters; in words what had to be changed, and which choices the space lacks.
    """
    values: dict[str, Any] = {}
    changes, missing = [], []
    for parameter in space.parameters:
        name = parameter.name
        if not parameter.holds(values):
            continue
        if name not in config:  # a setting that the other study's program did not know yet
            values[name] = parameter.effective_default
        elif parameter.contains(config[name]):
            values[name] = parameter.clip(config[name])
        elif isinstance(parameter, ChoiceParameter) and not parameter.ordered:
            missing.append(f"{name} {format_value(config[name])}")
        else:
            values[name] = _nearest(parameter, config[name])
            changes.append(f"{name} {format_value(config[name])} became {format_value(values[name])}")
    return values, changes, missing


def _nearest(parameter: Parameter, value: Any) -> Any:
    if isinstance(parameter, ChoiceParameter):
        return min(parameter.values, key=lambda listed: abs(float(listed) - value))
    return parameter.clip(value)


def _other_settings(space: SearchSpace, source: StartFrom) -> list[str]:
    """What the leaders were trained with and the new study fixes otherwise."""
    fixed = {name: value for name, value in space.fixed.items() if name not in _ASIDE}
    told = []
    for name, value in fixed.items():
        there = [config[name] for config in source.configurations if name in config]
        if any(one != value for one in there):
            others = dict.fromkeys(format_value(one) for one in there if one != value)
            told.append(f"{name} {format_value(value)} instead of {' or '.join(others)}")
    return [f"{source.study} was searched with other settings; this study has {', '.join(told)}"] if told else []
