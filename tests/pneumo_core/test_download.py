"""Fetching from Kaggle: what is handed on, and that every failure names its cause and the alternatives."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import kagglehub
import pytest
from kagglehub.exceptions import UnauthenticatedError

from pneumo_core.download import KAGGLE_HANDLE, fetch_kaggle
from pneumo_core.errors import DownloadError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes the download end in an error."""

    def download(handle: str) -> str:
        raise error

    monkeypatch.setattr(kagglehub, "dataset_download", download)


def http_error(status: int) -> Exception:
    """Returns an error as kagglehub raises it for an answer of Kaggle's."""
    error = RuntimeError(f"{status} Client Error.\n\nYou don't have permission")
    error.response = SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


def disk_full() -> Exception:
    """Returns an error as it arises when an archive cannot be unpacked."""
    error = ValueError("extraction failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


def test_the_folder_that_kagglehub_delivers_is_returned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The right data set is asked for, and its path handed on as it is."""
    asked: list[str] = []
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: asked.append(handle) or str(tmp_path))
    assert fetch_kaggle() == tmp_path
    assert asked == [KAGGLE_HANDLE]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionError("no route to host"), "Kaggle cannot be reached from here (no route to host)"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (UnauthenticatedError(), "Kaggle refused access"),
        (http_error(403), "Kaggle refused access (403 Client Error. You don't have permission)"),
        (http_error(404), "Kaggle knows no such data set"),
        (disk_full(), "the disk is full"),
        (KeyError("odd"), "KeyError: 'odd'"),
        (RuntimeError(), "downloaded: RuntimeError. Instead"),
    ],
    ids=str,
)
def test_every_failure_names_cause_and_alternatives(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    """Whatever kagglehub raises becomes one error that says why, and how to go on without the download."""
    failing(monkeypatch, error)
    with pytest.raises(DownloadError) as caught:
        fetch_kaggle()
    message = str(caught.value)
    assert reason in message
    assert f"https://www.kaggle.com/datasets/{KAGGLE_HANDLE}" in message
    assert "--data DIR" in message
    assert "--data demo" in message
    assert caught.value.__cause__ is error


def test_an_interrupt_stays_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the download is no download error."""
    failing(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fetch_kaggle()


def test_an_earlier_download_is_offered_but_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Offline, a complete copy in kagglehub's cache is named in the error; an incomplete one is not."""
    folder = tmp_path / "cache/datasets" / KAGGLE_HANDLE
    for version in ("1", "2"):
        (folder / "versions" / version).mkdir(parents=True)
    os.utime(folder / "versions/1", (1, 1))
    (folder / "1.complete").touch()
    failing(monkeypatch, ConnectionError("no route to host"))
    with pytest.raises(DownloadError) as caught:
        fetch_kaggle()
    assert f"--data {folder / 'versions/1'}" in str(caught.value)
    assert "versions/2" not in str(caught.value)


def test_stdout_stays_free_for_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What kagglehub prints and logs goes to stderr, so that `--json` prints one document and nothing else."""

    def download(handle: str) -> str:
        print("a newer version exists")
        logging.getLogger("kagglehub").warning("resuming")
        return "folder"

    (handler,) = (each for each in logging.getLogger("kagglehub").handlers if type(each) is logging.StreamHandler)
    monkeypatch.setattr(handler, "stream", sys.stdout)  # as kagglehub sets it up when it is imported
    monkeypatch.setattr(kagglehub, "dataset_download", download)
    fetch_kaggle()
    assert capsys.readouterr() == ("", "a newer version exists\nresuming\n")


def test_the_real_client_behind_a_dead_proxy_fails_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real kagglehub, kept from the network, fails at once and as a download error."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and never listened on, so every connection is refused at once
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{unused.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "")
        with pytest.raises(DownloadError, match=r"Kaggle cannot be reached from here .*Connection refused"):
            fetch_kaggle()
