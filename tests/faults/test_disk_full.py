"""A disk that is full stops the study with one clear sentence, and costs nothing once there is space again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from studies import ends, plain

from pneumo_core.errors import PneumoError
from tuning import launch
from tuning.events import EpochEnded, Event
from tuning.launch import launch_study, resume_study
from tuning.ranking import load_record
from tuning.record import StudyRecord
from tuning.settings import StudySettings, WorkSettings
from tuning.spaces import open_space
from tuning.store import Store

INLINE = WorkSettings(workers=0, plots=False)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("needs root to mount a small file system")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", folder], check=False).returncode:
        pytest.skip("this machine does not let root mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_stops_the_study_and_loses_nothing(
    small: Path, space: Path, images: Path, undisturbed: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal stays whole; with space again the study ends as one that never met a full disk."""
    monkeypatch.setattr(launch, "_PATIENCE_S", 1.0)
    filler = small / "filler"

    def fill(event: Event, record: StudyRecord) -> None:
        if isinstance(event, EpochEnded) and (event.trial, event.epoch) == ("t0002", 1) and not filler.exists():
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass

    store = Store.at(small / "store")
    settings = StudySettings(open_space(str(space)), str(images), store, "s", work=INLINE)
    with pytest.raises(PneumoError, match=r"cannot be written .*No space left on device"):
        launch_study(settings, fill)
    record = load_record(store, "s")
    assert record.trials["t0001"].status == "completed"
    assert not record.trials["t0002"].over
    filler.unlink()
    result = resume_study(store, "s")
    assert plain(result.record) == plain(undisturbed)
    assert ends(store, "s") == dict.fromkeys(undisturbed.trials, 1)
