"""`tune serve`: right answers for many at once, one line for whatever is wrong, and nothing of it kept."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import keras
import mlflow
import numpy as np
import psutil
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from malformed_requests import MARKER, malformed_requests
from odd_files import CONVERTED, REFUSED, png_of_size
from PIL import Image

from pneumo_core.classifier import ClassifierSettings
from tuning.models.intake import Limits, RefusedRequest, WaitingRoom, whole_body
from tuning.models.model_folder import write_model_folder
from tuning.models.named_images import NamedImage
from tuning.models.prediction import predict_images
from tuning.models.registry import Change, Registry
from tuning.models.served_model import ServedModel, load_served
from tuning.models.serving import application
from tuning.store import Store

LIMITS = Limits(max_bytes=1_000_000, max_pixels=4_000_000, max_images=4)


def _model() -> keras.Model:
    """A stand-in for a network, to which every pixel counts differently."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((32, 32, 1), name="pixels")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(flat))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Registry]:
    """A store in which the model `tiny` is registered."""
    root = tmp_path_factory.mktemp("store")
    registry = Registry(Store.at(root))
    write_model_folder(root / "model", _model(), ClassifierSettings(32, ("NORMAL", "PNEUMONIA"), 0.4))
    client = mlflow.MlflowClient(registry.uri)
    run = client.create_run(client.create_experiment("tiny", artifact_location=(root / "artifacts").as_uri()))
    tags = {"pneumo.study": "first", "pneumo.data_root": "/home/somebody"}
    registry.register(
        root / "model", "tiny", "champion", run_id=run.info.run_id, metrics={}, tags=tags, change=Change("the first")
    )
    return root, registry


@pytest.fixture(scope="module")
def served(registry: tuple[Path, Registry]) -> ServedModel:
    """The model `tiny`, loaded."""
    return load_served(registry[1], "tiny")


@pytest.fixture(scope="module")
def client(served: ServedModel) -> TestClient:
    """A client of the application, without a server between."""
    return TestClient(application(served, LIMITS, lambda line: None))


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bytes]:
    """Eight drawn images of different sizes, as files and as bytes."""
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    files = {}
    for number in range(8):
        pixels = draw.integers(0, 256, (70 + 10 * number, 90), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        files[folder / f"{number}.png"] = (folder / f"{number}.png").read_bytes()
    return files


@pytest.fixture(scope="module")
def expected(registry: tuple[Path, Registry], radiographs: dict[Path, bytes]) -> dict[Path, dict[str, Any]]:
    """What `tune predict` says of them."""
    said = predict_images(registry[1], "tiny@champion", [NamedImage(path) for path in radiographs])
    return {Path(row["image"]): row for row in said.rows}


class _Process:
    """`tune serve` as a process of its own."""

    def __init__(self, store: Path, log: Path, *words: str) -> None:
        command = [sys.executable, "-c", "from tuning.cli import main; main()", "serve", "--port", "0", *words]
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                env=os.environ | {"TUNE_STORE": str(store)},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # A test run in the background ignores Ctrl-C, and would hand that down.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        assert " answers at http://127.0.0.1:" in self.said, log.read_text()
        self.url = self.said.split()[4]

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self.url.rpartition(":")[2])

    def end(self, by: int) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(by)
        return self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def server(registry: tuple[Path, Registry], tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Process]:
    """A real server; that it ends well is checked at its end."""
    words = ("--max-bytes", "1000000", "--max-pixels", "4000000")
    server = _Process(registry[0], tmp_path_factory.mktemp("log") / "stderr", *words)
    try:
        yield server
    finally:
        code = server.end(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in server.log.read_text()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_json_and_files_get_the_answers_of_tune_predict(
    client: TestClient, radiographs: dict[Path, bytes], expected: dict[Path, dict[str, Any]]
) -> None:
    """One image or several, in the order they were sent, field by field."""
    paths, contents = list(radiographs)[:4], list(radiographs.values())[:4]
    for answer in (
        client.post("/predict", json={"images": [_base64(data) for data in contents]}),
        client.post("/predict/file", files=[("file", (path.name, data)) for path, data in radiographs.items()][:4]),
    ):
        assert answer.status_code == 200
        assert len(answer.json()["predictions"]) == 4
        for path, said in zip(paths, answer.json()["predictions"], strict=True):
            _assert_same(said, expected[path])
    one = client.post("/predict", json={"image": _base64(contents[2])}).json()["predictions"]
    assert len(one) == 1
    _assert_same(one[0], expected[paths[2]])


def test_every_kind_of_file_is_taken(client: TestClient) -> None:
    """Transparent, palette, 16-bit PNG and DICOM that show the same come to the same."""
    answers = [client.post("/predict/file", files={"file": data}).json() for data, _ in CONVERTED.values()]
    assert len({answer["predictions"][0]["probability"] for answer in answers}) == 1


def test_the_model_says_what_it_is_and_where_it_comes_from(client: TestClient) -> None:
    """Version, threshold and limits, and of the tags only those that name no folder."""
    facts = client.get("/model").json()
    assert (facts["name"], facts["version"], facts["asked_for"]) == ("tiny", "1", "tiny@champion")
    assert (facts["class_names"], facts["threshold"], facts["image_size"]) == (["NORMAL", "PNEUMONIA"], 0.4, 32)
    assert facts["limits"] == {"max_bytes": 1_000_000, "max_pixels": 4_000_000, "max_images": 4}
    assert facts["lineage"] == {"study": "first"}
    assert "research" in facts["note"]
    assert client.get("/health").json() == {"status": "ready", "model_version": "tiny/1"}


def test_fields_that_a_version_adds_are_passed_on(served: ServedModel, radiographs: dict[Path, bytes]) -> None:
    """A warning above all."""
    row = {"warning": "expected a chest", "distance": 3.5}
    more = dataclasses.replace(served, rows=lambda images: [said | row for said in served.rows(images)])
    data = next(iter(radiographs.values()))
    answer = TestClient(application(more, LIMITS)).post("/predict/file", files={"file": data})
    assert row.items() <= answer.json()["predictions"][0].items()


@pytest.mark.parametrize("name", REFUSED)
def test_an_unusable_image_refuses_its_request_and_is_named(
    client: TestClient, radiographs: dict[Path, bytes], name: str
) -> None:
    """Also among good ones, which get no answer either; nothing of the file is quoted."""
    good = next(iter(radiographs.values()))
    answer = client.post("/predict/file", files=[("file", good), ("file", REFUSED[name][0])])
    detail = _refusal(answer, 422)
    assert detail.startswith("image 2: expected")
    assert "letter" not in detail
    assert "'" not in detail


@pytest.mark.parametrize(
    ("status", "request_", "words"),
    [
        (422, {"json": {"image": "no base64!"}}, "image 1: expected a JPEG, PNG or DICOM file as base64, got other"),
        (422, {"json": {"images": []}}, "expected 1 to 4 images, got 0"),
        (422, {"json": {"images": ["QQ=="] * 5}}, "expected 1 to 4 images, got 5"),
        (422, {"json": {"image": _base64(png_of_size(3000, 2000))}}, "at most 4,000,000 pixels, got 3000 × 2000 px"),
        (422, {"json": {"image": 3}}, "as base64 text, got a number"),
        (413, {"json": {"image": "Q" * 1_000_001}}, "at most 1,000,000 bytes"),
        (415, {"content": b"{}", "headers": {"content-type": "text/plain"}}, "expected Content-Type application/json"),
        (415, {"content": b"{}", "headers": {"content-type": "application/json", "content-encoding": "gzip"}},
         "without Content-Encoding"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_expected_and_what_came(
    client: TestClient, status: int, request_: dict[str, Any], words: str
) -> None:
    """In one line, which does not quote the request."""
    assert words in _refusal(client.post("/predict", **request_), status)


def test_a_model_that_fails_is_no_end_of_the_server(served: ServedModel, radiographs: dict[Path, bytes]) -> None:
    """500 with the kind of error alone; the next request is answered."""
    outcomes: list[Any] = [RuntimeError("secret\nlines"), None]

    def rows(images: Sequence[bytes]) -> list[dict[str, Any]]:
        if error := outcomes.pop(0):
            raise error
        return served.rows(images)

    lines: list[str] = []
    client = TestClient(application(dataclasses.replace(served, rows=rows), LIMITS, lines.append))
    send = {"files": {"file": next(iter(radiographs.values()))}}
    detail = _refusal(client.post("/predict/file", **send), 500)  # type: ignore[arg-type]
    assert "RuntimeError" in detail
    assert "secret" not in detail
    assert lines == [f"tune: POST /predict/file: 500 {detail}"]
    assert client.post("/predict/file", **send).status_code == 200  # type: ignore[arg-type]


def test_who_finds_the_queue_full_is_told_to_come_back(served: ServedModel, radiographs: dict[Path, bytes]) -> None:
    """503 with Retry-After, at once, while those who wait get their answers."""
    go = threading.Event()

    def rows(images: Sequence[bytes]) -> list[dict[str, Any]]:
        go.wait(20)
        return served.rows(images)

    app = application(dataclasses.replace(served, rows=rows), dataclasses.replace(LIMITS, max_waiting=2))

    async def crowd() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            send = {"files": {"file": next(iter(radiographs.values()))}}
            first = [asyncio.create_task(client.post("/predict/file", **send)) for _ in range(2)]  # type: ignore[arg-type]
            await asyncio.sleep(0.2)
            third = await client.post("/predict/file", **send)  # type: ignore[arg-type]
            assert (await client.get("/health")).status_code == 200
            go.set()
            return [*await asyncio.gather(*first), third]

    answers = asyncio.run(crowd())
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert answers[2].headers["retry-after"] == "1"


def test_a_body_has_to_arrive_in_time_and_fit() -> None:
    """408 for one that trickles in, 413 as soon as it is too long, 503 if all bodies together need too much."""
    limits = Limits(max_bytes=10, body_timeout_s=0.1, max_held=1)

    async def pieces(*parts: bytes, pause_s: float = 0.0) -> Any:
        for part in parts:
            await asyncio.sleep(pause_s)
            yield part

    def status(stream: Any, room: WaitingRoom) -> int:
        with pytest.raises(RefusedRequest) as refused, room.memory() as take:
            asyncio.run(whole_body(stream, limits, take))
        return refused.value.status

    room = WaitingRoom(limits)
    assert status(pieces(b"12", b"34", pause_s=0.08), room) == 408
    assert status(pieces(b"123456", b"78901"), room) == 413
    with room.memory() as take:
        take(6)
        assert status(pieces(b"123", b"45"), room) == 503
    with room.memory() as take:
        assert asyncio.run(whole_body(pieces(b"12345", b"67890"), limits, take)) == b"1234567890"


def test_who_is_not_done_when_the_server_ends_is_told(served: ServedModel) -> None:
    """A body that still arrives after the time of grace: one line, where there was a traceback."""

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async def cut_short() -> httpx.Response:
        app = application(served, LIMITS, tell=lambda line: None)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            headers = {"content-type": "application/json"}
            asked = asyncio.create_task(client.post("/predict", content=body(), headers=headers))
            await asyncio.sleep(0.1)
            asked.cancel()
            return await asked

    assert "the server is ending" in _refusal(asyncio.run(cut_short()), 503)


def test_no_image_touches_the_disk(served: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large uploads stay in memory, too."""

    def rollover(self: Any) -> None:
        raise AssertionError("an upload was written to a temporary file")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    noise = np.random.default_rng(2).integers(0, 256, (950, 1000), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    client = TestClient(application(served, Limits(max_bytes=3_000_000)))
    answer = client.post("/predict/file", files=[("file", buffer.getvalue()), ("file", buffer.getvalue())])
    assert answer.status_code == 200


def test_200_malformed_requests_are_refused_in_one_line_each(server: _Process) -> None:
    """Whatever they are; none is echoed, the server lives and does not grow."""
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    requests = malformed_requests(LIMITS.max_bytes)
    assert len(requests) >= 200
    for name, head, body in requests:
        status, content = _raw(server.port, head, body)
        assert 400 <= status < 500, (name, status, content)
        detail = json.loads(content)["detail"]
        assert set(json.loads(content)) == {"detail"}, name
        assert "\n" not in detail, name
        assert len(detail) < 400, name
        assert MARKER not in detail, name
    assert httpx.get(f"{server.url}/health").json()["status"] == "ready"
    assert process.memory_info().rss - before < 200e6
    log = server.log.read_text()
    assert MARKER not in log
    assert "Traceback" not in log


def test_a_request_of_two_lengths_ends_its_connection(server: _Process) -> None:
    """A proxy and the server might else disagree about where the next request begins: request smuggling."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head + b"0\r\n\r\nGET /model HTTP/1.1\r\nHost: x\r\n\r\n")
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1
    assert b"got both" in said


@pytest.mark.parametrize("seconds", [3.0, pytest.param(60.0, marks=[pytest.mark.slow])])
def test_eight_clients_at_once_get_right_answers(
    server: _Process, radiographs: dict[Path, bytes], expected: dict[Path, dict[str, Any]], seconds: float
) -> None:
    """Every one of them `tune predict`'s, none refused, and the server does not grow."""
    process = psutil.Process(server.process.pid)
    before, until = process.memory_info().rss, time.monotonic() + seconds
    counts, wrong = [0] * 8, []

    def ask(number: int) -> None:
        draw = np.random.default_rng(number)
        paths = list(radiographs)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while time.monotonic() < until:
                chosen = [paths[index] for index in draw.integers(0, len(paths), draw.integers(1, 5))]
                said = _ask(client, [radiographs[path] for path in chosen], as_json=bool(counts[number] % 2))
                try:
                    for path, row in zip(chosen, said.json()["predictions"], strict=True):
                        _assert_same(row, expected[path])
                except (AssertionError, KeyError, ValueError) as error:
                    wrong.append((said.status_code, repr(error)))
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(counts) > 3
    assert process.memory_info().rss - before < 200e6


def test_a_taken_port_is_said_in_one_line(server: _Process, tmp_path: Path) -> None:
    """Before anything is loaded."""
    command = [sys.executable, "-c", "from tuning.cli import main; main()", "serve", "--port", str(server.port)]
    ended = subprocess.run(
        command, env=os.environ | {"TUNE_STORE": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert f"port {server.port} of 127.0.0.1: cannot be listened on" in ended.stderr


@pytest.mark.slow
def test_ctrl_c_ends_the_server_and_slow_headers_their_connection(
    registry: tuple[Path, Registry], tmp_path: Path
) -> None:
    """A request line that trickles in is hung up on after ten seconds; Ctrl-C is no failure."""
    server = _Process(registry[0], tmp_path / "stderr", "--model", "tiny/1")
    assert "tiny/1 (tiny/1) answers at" in server.said
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.settimeout(0.5)
        begun, closed = time.monotonic(), False
        slow.sendall(b"GET /health HTTP/1.1\r\n")
        while not closed and time.monotonic() - begun < 20:
            try:
                slow.sendall(b"x: y\r\n")
                closed = slow.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed
        assert 8 < time.monotonic() - begun < 15
    assert server.end(signal.SIGINT) == 0
    assert server.log.read_text() == ""


@pytest.mark.slow
def test_mlflow_serves_the_same_model(
    registry: tuple[Path, Registry], radiographs: dict[Path, bytes], expected: Any
) -> None:
    """`mlflow models serve` answers base64, and an image that cannot be used with a sentence in its row."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {"MLFLOW_TRACKING_URI": registry[1].uri, "PATH": f"{binaries}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/tiny@champion", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--env-manager", "local"], env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                if httpx.get(f"{url}/ping").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        path, data = next(iter(radiographs.items()))
        rows = [[_base64(data)], ["no base64!"], [_base64(REFUSED["cut.jpeg"][0])]]
        answer = httpx.post(f"{url}/invocations", json={"dataframe_split": {"columns": ["image"], "data": rows}})
        good, *bad = answer.json()["predictions"]
        assert good["probability"] == pytest.approx(expected[path]["probability"], abs=1e-6)
        assert all(row["probability"] is None and "expected" in row["error"] for row in bad)
        assert "Traceback" not in answer.text
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.mark.parametrize("mode", [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])
@pytest.mark.parametrize("examples", [15, pytest.param(300, marks=[pytest.mark.slow])])
def test_the_application_is_as_its_openapi_says(
    served: ServedModel, mode: schemathesis.GenerationMode, examples: int
) -> None:
    """Right requests, made up from the document, are answered, wrong ones refused, as it says and never otherwise."""
    images = st.sampled_from([data for data, _ in CONVERTED.values()])  # to a schema any text would be an image
    schemathesis.openapi.format("binary", images)
    schemathesis.openapi.format("byte", images.map(_base64))
    schema = schemathesis.openapi.from_asgi("/openapi.json", application(served, LIMITS, lambda line: None))
    answered = set()
    for operation in (found.ok() for found in schema.get_all_operations()):

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def check(case: schemathesis.Case) -> None:
            answered.add((case.method, case.path, case.call_and_validate().status_code))

        with contextlib.suppress(Unsatisfiable):  # a GET without parameters cannot be wrong
            check()
    posts = {("POST", "/predict"), ("POST", "/predict/file")}
    if mode is schemathesis.GenerationMode.POSITIVE:
        assert answered == {(*place, 200) for place in posts | {("GET", "/health"), ("GET", "/model")}}
    else:
        assert answered == {(*place, 422) for place in posts}


def _ask(client: httpx.Client, images: list[bytes], *, as_json: bool) -> httpx.Response:
    if as_json:
        return client.post("/predict", json={"images": [_base64(data) for data in images]})
    return client.post("/predict/file", files=[("file", data) for data in images])


def _assert_same(said: dict[str, Any], expected: dict[str, Any]) -> None:
    assert said["probability"] == pytest.approx(expected["probability"], abs=1e-6)
    assert said["normal_probability"] == pytest.approx(expected["normal_probability"], abs=1e-6)
    for field in ("label", "band", "recommendation", "model_version"):
        assert said[field] == expected[field]


def _refusal(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}
    assert "\n" not in answer.json()["detail"]
    return str(answer.json()["detail"])


def _raw(port: int, head: bytes, body: bytes) -> tuple[int, bytes]:
    """Sends bytes as they are, and returns status and body of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()
