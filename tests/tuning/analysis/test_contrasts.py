"""In what trials differ."""

from __future__ import annotations

from pathlib import Path

from made_scores import renamed

from tests.tuning.synthetic import write_study
from tuning.analysis.contrasts import Contrast, contrasts
from tuning.analysis.subjects import Subject
from tuning.ranking import load_record
from tuning.store import Store


def _by_title(subjects: list[Subject]) -> dict[str, Contrast]:
    return {contrast.title: contrast for contrast in contrasts(subjects)}


def test_trials_of_a_study_differ_in_their_configuration_alone(tmp_path: Path) -> None:
    """All settings are looked at, also those that were not searched; what is the same is not shown."""
    store = Store.at(tmp_path)
    write_study(store, trials=3, failed=0.0)
    record = load_record(store, "made")
    first, second = record.trials["t0001"], record.trials["t0002"]
    second.config = first.config | {"head_units": 64, "batch_size": 7}
    found = _by_title([Subject(record, first), Subject(record, second)])
    assert found["configuration"].differing == {"head_units": [512, 64], "batch_size": [32, 7]}
    assert "dropout" in found["configuration"].same
    assert not any(found[title].differing for title in ("data", "program", "search"))


def test_a_setting_that_an_old_journal_lacks_is_at_its_default(tmp_path: Path) -> None:
    """A journal of before the setting existed does not differ in it."""
    store = Store.at(tmp_path)
    write_study(store, trials=2, failed=0.0)
    record = load_record(store, "made")
    first, second = record.trials["t0001"], record.trials["t0002"]
    second.config = {name: value for name, value in first.config.items() if name != "denoise"}
    assert not _by_title([Subject(record, first), Subject(record, second)])["configuration"].differing


def test_studies_differ_in_data_program_and_search_as_they_were_last(tmp_path: Path) -> None:
    """After a forced resume it is the new data and program that count."""
    store = Store.at(tmp_path)
    for name in ("one", "other"):
        write_study(store, name, trials=2, failed=0.0)
    one = load_record(store, "one")
    other = renamed(load_record(store, "other"), data_digest="f" * 64, code={"pneumo_core/model.py": "1"}, seed=5)
    found = _by_title([Subject(one, one.trials["t0001"]), Subject(other, other.trials["t0001"])])
    assert found["data"].differing == {"images": [one.identity.data_digest, "f" * 64]}
    assert found["program"].differing["file pneumo_core/model.py"][1] == "1"
    assert found["search"].differing["seed"] == [0, 5]
