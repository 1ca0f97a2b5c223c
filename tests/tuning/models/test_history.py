"""The history of a model: what a rollback goes back to, and what fits into the registry."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pneumo_core.errors import ModelError
from tuning.models.history import (
    ABANDONED,
    DONE,
    INTENDED,
    PROMOTED,
    ROLLED_BACK,
    STORY_HEADING,
    HistoryEvent,
    RegisteredModel,
    approval_of,
    checked_reason,
    events_of,
    last_holder,
    line_of_holders,
    next_number,
    story,
    unrecorded_holder,
    unrecorded_moves,
    was_held,
)


def _event(number: int, version: str, replaced: str, action: str = PROMOTED, **more: object) -> HistoryEvent:
    at = f"2026-11-25T10:{number:02d}:00.000+00:00"
    event = HistoryEvent(number, at, "champion", action, version, replaced, "a reason", "abc123", state=DONE)  # type: ignore[arg-type]
    return dataclasses.replace(event, **more)  # type: ignore[arg-type]


THREE = [_event(1, "1", ""), _event(2, "2", "1"), _event(3, "3", "2")]


@pytest.mark.parametrize(
    ("later", "holder", "line"),
    [
        ([], "3", ["1", "2", "3"]),
        ([_event(4, "2", "3", ROLLED_BACK)], "2", ["1", "2"]),
        ([_event(4, "2", "3", ROLLED_BACK), _event(5, "1", "2", ROLLED_BACK)], "1", ["1"]),
        ([_event(4, "2", "3", ROLLED_BACK), _event(5, "4", "2")], "4", ["1", "2", "4"]),
        ([_event(4, "1", "3", ROLLED_BACK), _event(5, "3", "1", ROLLED_BACK)], "3", ["1", "3"]),
        ([_event(4, "4", "3", state=ABANDONED)], "3", ["1", "2", "3"]),
        ([_event(4, "4", "3", alias="challenger")], "3", ["1", "2", "3"]),
        ([], "2", ["1", "2"]),  # by hand, without a record
        ([], "9", ["1", "2", "3", "9"]),
        ([_event(4, "10", "9")], "10", ["1", "2", "3", "9", "10"]),
        ([], None, ["1", "2", "3"]),
    ],
)
def test_rollbacks_go_back_step_by_step(later: list[HistoryEvent], holder: str | None, line: list[str]) -> None:
    """A rollback forgets what it left; what happened by hand counts as if it had been recorded."""
    assert line_of_holders([*THREE, *later], "champion", holder) == line


def test_a_history_that_began_late_knows_what_was_there_before() -> None:
    """The first event names a version that an earlier program registered."""
    assert line_of_holders([_event(1, "7", "6")], "champion", "7") == ["6", "7"]
    assert line_of_holders([], "champion", "1") == ["1"]


def test_an_intent_happened_if_its_version_holds_the_alias_or_was_replaced_since() -> None:
    """Another store may have gone on before the process that died is mended."""
    intent = _event(4, "4", "3", state=INTENDED)
    assert was_held(intent, [*THREE, intent], "4")
    assert not was_held(intent, [*THREE, intent], "3")
    assert not was_held(intent, [*THREE, intent], None)
    assert was_held(intent, [*THREE, intent, _event(5, "5", "4")], "5")
    assert not was_held(intent, [*THREE, intent, _event(5, "5", "3")], "5")


def test_a_version_that_was_forced_or_judged_for_another_alias_did_not_pass() -> None:
    """However it comes to hold the alias; before there was a history nobody was asked."""
    passed, forced = _event(1, "1", "", policy="p"), _event(2, "2", "1", policy="p", forced=True)
    events = [passed, forced, _event(3, "3", "", alias="lab", policy="p"), _event(4, "3", "2", ROLLED_BACK)]
    assert [approval_of(events, version, "champion") for version in "1239"] == [
        ("p", False),
        ("p", True),
        ("p", True),
        ("", False),
    ]
    assert approval_of(events, "3", "lab") == ("p", False)


def test_moves_by_hand_show_in_the_events_after_them() -> None:
    """Also when a promotion has come since, so that the alias is where the last event left it."""
    events = [*THREE, _event(4, "4", "1"), _event(5, "5", "4"), _event(6, "6", "", alias="lab")]
    assert [event.number for event in unrecorded_moves(events, "champion")] == [4]
    assert not unrecorded_moves(events, "lab")
    assert [last_holder(events, alias) for alias in ("champion", "lab", "other")] == ["5", "6", ""]


def test_events_come_back_from_tags_in_order() -> None:
    """Also after the tenth, and beside tags that are none of ours."""
    events = [_event(number, str(number), str(number - 1)) for number in (11, 2, 1)]
    tags = {event.key: event.to_text() for event in events} | {"pneumo.history": "x", "owner": "somebody"}
    assert events_of(tags, "m") == sorted(events, key=lambda event: event.number)
    assert next_number(events) == 12
    with pytest.raises(ModelError, match=r"model m: its history is damaged in the tag pneumo\.history\.0001\.abc123"):
        events_of({_event(1, "1", "").key: "{"}, "m")
    edits: tuple[tuple[str, object], ...] = (("at", 5), ("reason", None), ("numbers", {"test_roc_auc": "x"}))
    for field, value in (*edits, ("number", "1"), ("state", "odd"), ("numbers", [1]), ("version", 7)):
        edited = json.dumps(json.loads(_event(1, "1", "").to_text()) | {field: value})
        with pytest.raises(ModelError, match=f"its history is damaged in the tag .* \\({field}: "):
            events_of({_event(1, "1", "").key: edited}, "m")


def test_an_event_fits_into_the_column_of_the_database() -> None:
    """However many numbers a policy looks at; those that are none are left out."""
    numbers = {f"test_{number}": number / 7 for number in range(999)}
    event = _event(1, "1", "", numbers={"nan": float("nan")} | numbers, reason="ü" * 1000)
    text = event.to_text()
    assert 4900 < len(text) <= 5000
    back = events_of({event.key: text}, "m")[0]
    assert back.reason == event.reason
    assert back.numbers["test_3"] == pytest.approx(3 / 7, rel=1e-5)
    assert "nan" not in back.numbers


def test_a_reason_is_a_line() -> None:
    """Somebody will read it in a year."""
    assert checked_reason(" two\n lines ") == "two lines"
    assert checked_reason("red \x1b[31m, \u202etfel") == "red ?[31m, ?tfel"
    for wrong in ("", " \n", "x" * 1001):
        with pytest.raises(ModelError, match="expected 1 to 1000 characters"):
            checked_reason(wrong)


def test_an_alias_that_was_moved_by_hand_is_noticed() -> None:
    """The last event says otherwise."""
    model = RegisteredModel("m", {"champion": "3"}, [], THREE)
    assert not unrecorded_holder(model, "champion")
    assert unrecorded_holder(dataclasses.replace(model, aliases={"champion": "2"}), "champion")
    assert unrecorded_holder(dataclasses.replace(model, aliases={}), "champion")


def test_the_story_is_told_from_its_end_within_a_limit_and_without_markup() -> None:
    """The latest first, with test numbers and differences; a reason is words, whatever signs it has."""
    numbers = {"test_roc_auc": 0.99} | {
        f"difference_roc_auc{end}": x for end, x in (("", 0.1), ("_low", 0), ("_high", 1))
    }
    events = [*THREE, _event(4, "2", "3", ROLLED_BACK, reason="a | *b* <script>"), _event(5, "4", "2", numbers=numbers)]
    lines = story(events, 5000).splitlines()
    assert lines[0].startswith(STORY_HEADING)
    assert lines[2].startswith("- 2026-11-25 10:05 **promoted 4 instead of 2**: a reason; ROC AUC 0.990 ")
    assert r"ROC AUC 0.990 \(\+0.100; \+0.000 to \+1.000\)" in lines[2]
    assert r"**back to 2 instead of 3**: a \| \*b\* \<script\>" in lines[3]
    assert "promoted 1 as the first" in lines[-1]
    assert len(lines) == 2 + len(events)
    enough = sum(len(line) + 1 for line in lines[:4])
    assert story(events, enough).splitlines() == lines[:4]
