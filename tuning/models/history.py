"""The history of a registered model as plain values: who replaced whom as champion, when, why.

It lies in the registry itself, one tag of the registered model for each event, so that everybody who sees the MLflow
server sees it. An event is written as `intended` before the alias moves, and as `done` after; one whose process died in
between is `done` or `abandoned`, by what became of the alias.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pneumo_core.errors import ModelError

PROMOTED: Final = "promoted"
ROLLED_BACK: Final = "rolled back"
INTENDED: Final = "intended"
DONE: Final = "done"
ABANDONED: Final = "abandoned"

_KEY = re.compile(r"pneumo\.history\.\d{4,}\.[0-9a-f]+")
STORY_HEADING = "**History**, as `tune registry` shows it"
"""How the description of a registered model begins that this program wrote."""

_HEADLINES = {"roc_auc": "ROC AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
_VALUE_LIMIT = 5000  # characters; a column's width in MLflow's database, though its own check lets 100,000 pass
_REASON_LIMIT = 1000


@dataclasses.dataclass(frozen=True)
class HistoryEvent:
    """An alias came, or was to come, to point to another version.

    Attributes:
        number: from 1, in the order of the model's events.
        at: when it was intended, ISO 8601 in UTC.
        alias: that moved.
        action: `promoted` or `rolled back`.
        version: that it points to from then on.
        replaced: version that it pointed to before; empty for none.
        reason: a sentence.
        store: id of the store whose process it was, see `tuning.models.workbench`.
        policy: name of the policy that was asked; empty if none was.
        forced: whether that policy was not fulfilled.
        numbers: that the decision rests on, by name.
        state: `intended`, `done` or `abandoned`.
    """

    number: int
    at: str
    alias: str
    action: Literal["promoted", "rolled back"]
    version: str
    replaced: str
    reason: str
    store: str
    policy: str = ""
    forced: bool = False
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    state: Literal["intended", "done", "abandoned"] = "intended"

    @property
    def key(self) -> str:
        """Name of its tag. Two stores that write at the same moment never write the same."""
        return f"pneumo.history.{self.number:04d}.{self.store}"

    def settled(self, state: Literal["done", "abandoned"]) -> HistoryEvent:
        """Returns the event as it is when it is known what became of it."""
        return dataclasses.replace(self, state=state)

    def to_text(self) -> str:
        """Returns the value of its tag: JSON, of whose numbers the first are kept that fit."""
        fields = dataclasses.asdict(self) | {"numbers": {}}
        for name, value in self.numbers.items():
            more = fields | {"numbers": fields["numbers"] | {name: float(f"{value:.6g}")}}
            if value == value and len(_json(more)) <= _VALUE_LIMIT:
                fields = more
        return _json(fields)


@dataclasses.dataclass(frozen=True)
class RegisteredVersion:
    """A version as the registry shows it.

    Attributes:
        version: counted from 1.
        at: when it was made, ISO 8601 in UTC.
        tags: where it comes from, see `tuning.models.promotion`.
        metrics: of the model, on validation and test images, with the ends of their intervals.
    """

    version: str
    at: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class RegisteredModel:
    """A registered model with all that happened to it.

    Attributes:
        name: of the model.
        aliases: version by alias.
        versions: that there are, oldest first; deleted ones are left out.
        events: in their order. Models registered by the program before there was a history have none.
    """

    name: str
    aliases: Mapping[str, str]
    versions: Sequence[RegisteredVersion]
    events: Sequence[HistoryEvent]


def in_words(event: HistoryEvent, joint: str = " ") -> str:
    """Returns what happened, such as `promoted 2 instead of 1`.

    Args:
        event: of a model.
        joint: between what happened and what was there before.
    """
    verb = "promoted" if event.action == PROMOTED else "back to"
    place = f"{verb} {event.version}" + (f" as {event.alias}" if event.alias != "champion" else "")
    before = f"instead of {event.replaced}" if event.replaced else "as the first"
    return joint.join([place, before if event.state == DONE else f"({event.state})"])


def headlines(event: HistoryEvent) -> list[str]:
    """Returns the main test metrics that a decision rests on, each with the difference to the replaced version."""
    return [
        f"{label} {event.numbers[f'test_{name}']:.3f}{_beside(event, name)}"
        for name, label in _HEADLINES.items()
        if f"test_{name}" in event.numbers
    ]


def story(events: Sequence[HistoryEvent], limit: int) -> str:
    """Returns the history as Markdown, the latest first.

    Args:
        events: of a model.
        limit: characters that it may have; what is older is then left out.
    """
    text = f"{STORY_HEADING} (times in UTC)\n\n"
    for event in reversed(events):
        forced = [f"FORCED against policy {event.policy}"] if event.forced else []
        why = "; ".join([*forced, event.reason, *headlines(event)])
        line = f"- {event.at[:16].replace('T', ' ')} **{_plain(in_words(event))}**: {_plain(why)}\n"
        if len(text) + len(line) > limit:
            break
        text += line
    return text


def _beside(event: HistoryEvent, name: str) -> str:
    ends = [event.numbers.get(f"difference_{name}{end}") for end in ("", "_low", "_high")]
    if any(number is None for number in ends):
        return ""
    value, low, high = (f"{number:+.3f}" for number in ends)
    return f" ({value}; {low} to {high})"


def _plain(text: str) -> str:
    """Words for Markdown, in which nothing of them is markup."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~-])", r"\\\1", text)


def events_of(tags: Mapping[str, str], name: str) -> list[HistoryEvent]:
    """Returns the events that the tags of a registered model hold, in order.

    Args:
        tags: of the registered model; others than those of its history are passed over.
        name: of the model, for the message.

    Raises:
        ModelError: if one was written by another program.
    """
    events = [_parse(value, name, key) for key, value in tags.items() if _KEY.fullmatch(key)]
    return sorted(events, key=lambda event: (event.number, event.at))


def next_number(events: Sequence[HistoryEvent]) -> int:
    """Returns the number of the event that follows."""
    return max((event.number for event in events), default=0) + 1


def checked_reason(reason: str) -> str:
    """Returns a reason as it may stand in the history: in one line, without what a terminal would obey.

    Raises:
        ModelError: if it is empty or too long.
    """
    line = _line(reason)
    if not 0 < len(line) <= _REASON_LIMIT:
        raise ModelError(f"reason: expected 1 to {_REASON_LIMIT} characters, got {len(line)}; say in a sentence why.")
    return line


def clipped_reason(reason: str) -> str:
    """Returns a reason that this program made, in one line, cut where the history's end is."""
    line = _line(reason)
    return line if len(line) <= _REASON_LIMIT else line[: _REASON_LIMIT - 1] + "…"


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def was_held(event: HistoryEvent, events: Sequence[HistoryEvent], holder: str | None) -> bool:
    """Returns whether an intended event happened: its alias points to its version, or did when the next replaced it."""
    later = (other for other in events if other.number > event.number and other.alias == event.alias)
    return event.version == holder or any(other.state == DONE and other.replaced == event.version for other in later)


def line_of_holders(events: Sequence[HistoryEvent], alias: str, holder: str | None) -> list[str]:
    """Returns the versions that a rollback can return to, one after the other, the present one last.

    A promotion adds its version. A rollback goes back to one in the line and forgets those after it, so the next one
    goes a step further back. What somebody else did to the alias, without a record, counts as if it had been recorded.

    Args:
        events: of the model.
        alias: that is asked about.
        holder: version that it points to now; None for none.
    """
    line: list[str] = []
    for event in events:
        if event.alias == alias and event.state == DONE:
            _take(line, event.replaced)
            _take(line, event.version)
    _take(line, holder or "")
    return line


def last_holder(events: Sequence[HistoryEvent], alias: str) -> str:
    """Returns the version that an alias was last made to point to, as far as is recorded; empty for none."""
    done = [event.version for event in events if event.alias == alias and event.state == DONE]
    return done[-1] if done else ""


def approval_of(events: Sequence[HistoryEvent], version: str, alias: str) -> tuple[str, bool]:
    """Returns how a version came past the gate.

    Args:
        events: of the model.
        version: that is asked about.
        alias: that it is to hold.

    Returns:
        The policy that was asked, and whether it holds the alias without that policy's word: against it, or because it
        was only ever judged for another alias. Empty and False for a version from before there was a history.
    """
    made = [event for event in events if (event.version, event.action, event.state) == (version, PROMOTED, DONE)]
    if not made:
        return "", False
    here = [event for event in made if event.alias == alias]
    judged = (here or made)[-1]
    return judged.policy, judged.forced or not here


def unrecorded_moves(events: Sequence[HistoryEvent], alias: str) -> list[HistoryEvent]:
    """Returns the events that found an alias elsewhere than where the one before had left it."""
    done = [event for event in events if event.alias == alias and event.state == DONE]
    return [after for before, after in itertools.pairwise(done) if after.replaced != before.version]


def unrecorded_holder(model: RegisteredModel, alias: str) -> bool:
    """Returns whether an alias points elsewhere than where the last event about it left it."""
    left = last_holder(model.events, alias)
    return bool(left) and model.aliases.get(alias) != left


def iso(seconds: float) -> str:
    """Returns a time, in seconds since 1970, as ISO 8601 in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


def _take(line: list[str], version: str) -> None:
    """Makes a version the last of the line: by going back to it if it is in it."""
    if version in line:
        del line[line.index(version) + 1 :]
    elif version:
        line.append(version)


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _fields_of_another_type(event: HistoryEvent) -> list[str]:
    """Names the fields that hold what this program would not have written; anybody can edit a tag."""
    numbers = event.numbers
    sound = {
        "number": type(event.number) is int,
        "forced": type(event.forced) is bool,
        "action": event.action in (PROMOTED, ROLLED_BACK),
        "state": event.state in (INTENDED, DONE, ABANDONED),
        "numbers": isinstance(numbers, dict) and all(type(number) in (int, float) for number in numbers.values()),
    }
    texts = ("at", "alias", "version", "replaced", "reason", "store", "policy")
    return [name for name in texts if type(getattr(event, name)) is not str] + [
        name for name, is_sound in sound.items() if not is_sound
    ]


def _parse(value: str, name: str, key: str) -> HistoryEvent:
    known = {field.name for field in dataclasses.fields(HistoryEvent)}
    try:
        fields = json.loads(value)
        event = HistoryEvent(**{field: fields[field] for field in known & fields.keys()})
        if wrong := _fields_of_another_type(event):
            raise ValueError(f"{wrong[0]}: {fields[wrong[0]]!r}")
        return event
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"model {name}: its history is damaged in the tag {key} ({error}); correct that tag in MLflow."
        ) from error
