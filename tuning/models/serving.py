"""The prediction server's application: endpoints, their answers and refusals (the only `fastapi` import).

An answer of 200 holds a prediction for every image that was sent: a program that overlooks an error among predictions
would take a patient for healthy. So one image that cannot be used refuses its whole request, and says which it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pydantic
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from tuning.models.intake import (
    Limits,
    RefusedRequest,
    WaitingRoom,
    check_headers,
    check_images,
    check_number,
    images_of_json,
    refused_image,
    whole_body,
)
from tuning.models.served_model import RESEARCH_ONLY, ServedModel

_MULTIPART = "multipart/form-data"
_FILES = "one or several files in fields named file"


class ImagePrediction(pydantic.BaseModel):
    """What the model says about one image; more fields where the version has them."""

    model_config = pydantic.ConfigDict(extra="allow")

    probability: float = pydantic.Field(ge=0, le=1, description="of the positive class")
    normal_probability: float = pydantic.Field(ge=0, le=1, description="of the negative class")
    label: str = pydantic.Field(description="name of the class that is called")
    band: str = pydantic.Field(description="high, moderate or low")
    recommendation: str = pydantic.Field(description="the band in words")
    warning: str | None = pydantic.Field(default=None, description="why the image should be looked at")
    model_version: str = pydantic.Field(description="NAME/VERSION that answered")


class Answer(pydantic.BaseModel):
    """Predictions in the order of the images."""

    predictions: list[ImagePrediction]


class Health(pydantic.BaseModel):
    """Whether the server answers."""

    status: str = pydantic.Field(description="ready; the model is loaded before the server listens")
    model_version: str


class InputLimits(pydantic.BaseModel):
    """What a request may hold at most."""

    max_bytes: int = pydantic.Field(description="of a request's body")
    max_pixels: int = pydantic.Field(description="of an image")
    max_images: int = pydantic.Field(description="of a request")


class ModelFacts(pydantic.BaseModel):
    """What answers, and where it comes from."""

    name: str
    version: str
    asked_for: str = pydantic.Field(description="reference that led to the version when the server started")
    class_names: list[str] = pydantic.Field(description="negative, positive")
    threshold: float = pydantic.Field(description="probability from which on the positive class is called")
    image_size: int = pydantic.Field(description="side of the square that images are resized to, in px")
    limits: InputLimits
    lineage: dict[str, str]
    note: str


class Refusal(pydantic.BaseModel):
    """Why a request was refused."""

    detail: str = pydantic.Field(description="one line: what was expected, what came")


_REFUSALS: dict[int | str, dict[str, Any]] = {
    408: {"model": Refusal, "description": "The body did not arrive in time."},
    413: {"model": Refusal, "description": "The body is too long."},
    415: {"model": Refusal, "description": "The body is of another type, or compressed."},
    422: {"model": Refusal, "description": "The body or an image in it cannot be used; nothing was predicted."},
    500: {"model": Refusal, "description": "The model failed, whatever was sent."},
    503: {"model": Refusal, "description": "Too many requests are waiting; try again after `Retry-After` seconds."},
}


def application(
    served: ServedModel, limits: Limits, tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
) -> FastAPI:
    """Returns the application around a model.

    One thread decodes and predicts, request by request: TensorFlow uses all processors by itself, and decoded images of
    many requests at once would need memory without bounds.

    Args:
        served: the model.
        limits: of requests.
        tell: takes a line for every refused request.
    """
    room, thread = WaitingRoom(limits), ThreadPoolExecutor(1, "prediction")
    # Without /docs: FastAPI's page loads its scripts from a public server, which no hospital network should need.
    app = FastAPI(
        title="pneumo-tune",
        description=f"Predictions of {served}. {RESEARCH_ONLY}",
        version=served.version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _answer_refusals(app, tell)

    @app.get("/health", summary="Whether the server answers")
    async def health() -> Health:
        return Health(status="ready", model_version=str(served))

    @app.get("/model", summary="What answers, and where it comes from")
    async def model() -> ModelFacts:
        return _facts(served, limits)

    async def answered(request: Request, media_type: str, images_of: Callable[[bytes], list[bytes]]) -> Answer:
        check_headers(request.headers, media_type, limits)
        with _ending_told(), room.memory() as take:
            body = await whole_body(request.stream(), limits, take)
            with room.place():
                return await asyncio.get_running_loop().run_in_executor(
                    thread, lambda: _predicted(served, images_of(body), limits)
                )

    @app.post(
        "/predict",
        summary="Predictions of images in base64",
        responses=_REFUSALS,
        openapi_extra={"requestBody": _json_body(limits)},
    )
    async def predict(request: Request) -> Answer:
        return await answered(request, "application/json", lambda body: images_of_json(body, limits))

    @app.post(
        "/predict/file",
        summary="Predictions of uploaded files",
        responses=_REFUSALS,
        openapi_extra={"requestBody": _form_body(limits)},
    )
    async def predict_file(request: Request) -> Answer:
        return await answered(request, _MULTIPART, lambda body: _images_of_form(request, body, limits))

    return app


@contextlib.contextmanager
def _ending_told() -> Iterator[None]:
    """Answers requests that are given up because the server ends; without an answer they would leave a traceback."""
    try:
        yield
    except asyncio.CancelledError as error:
        raise RefusedRequest(503, "the server is ending; ask again when it has been started again.") from error


def _predicted(served: ServedModel, images: list[bytes], limits: Limits) -> Answer:
    check_images(images, limits)
    try:
        rows = served.rows(images)
    except Exception as error:  # of the model's code and of TensorFlow; whatever it is, the server goes on
        raise RefusedRequest(500, f"the model failed ({type(error).__name__}); the request may be fine.") from error
    for row in rows:
        if unusable := row.pop("error", None):
            raise refused_image(unusable)
    return Answer(predictions=[ImagePrediction(**row, model_version=str(served)) for row in rows])


def _images_of_form(request: Request, body: bytes, limits: Limits) -> list[bytes]:
    """Returns the files of a form; in memory alone: no image touches the disk."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    parser = _WholeForm(request.headers, pieces(), max_files=limits.max_images, max_fields=0)  # type: ignore[arg-type]
    parser.spool_max_size = limits.max_bytes + 1
    try:
        parts: Sequence[tuple[str, UploadFile | str]] = asyncio.run(parser.parse()).multi_items()
    except (MultiPartException, ValueError) as error:
        detail = f"expected {_MULTIPART} with a boundary and {_FILES}, at most {limits.max_images}, got something else."
        raise RefusedRequest(422, detail) from error
    if not parser.ended:
        raise RefusedRequest(422, f"expected {_MULTIPART} that ends with its boundary, got a part of it or none.")
    files = [part.file.read() for name, part in parts if isinstance(part, UploadFile) and name == "file"]
    if len(files) != len(parts):
        raise RefusedRequest(422, f"expected {_FILES}, got fields of other names.")
    check_number(len(files), limits)
    return files


class _WholeForm(MultiPartParser):
    """A parser that knows whether it saw the end: it drops, without a word, a part that is cut off."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


def _facts(served: ServedModel, limits: Limits) -> ModelFacts:
    return ModelFacts(
        name=served.name,
        version=served.version,
        asked_for=served.asked_for,
        class_names=list(served.class_names),
        threshold=served.threshold,
        image_size=served.image_size,
        limits=InputLimits(max_bytes=limits.max_bytes, max_pixels=limits.max_pixels, max_images=limits.max_images),
        lineage=dict(served.lineage),
        note=RESEARCH_ONLY,
    )


def _answer_refusals(app: FastAPI, tell: Callable[[str], None]) -> None:
    """Gives every refusal the same form, and a line in the log."""

    def answer(request: Request, status: int, detail: str, headers: dict[str, str]) -> Response:
        known = request.url.path in {getattr(route, "path", None) for route in app.routes}
        where = f"{request.method} {request.url.path}" if known else "unknown path"
        tell(f"tune: {where}: {status} {detail}")
        return JSONResponse({"detail": detail}, status, headers)

    @app.exception_handler(RefusedRequest)
    async def refused(request: Request, error: RefusedRequest) -> Response:
        return answer(request, error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def misdirected(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        words = {
            404: "expected /predict, /predict/file, /model, /health or /openapi.json, got another path.",
            405: f"expected method {headers.get('Allow', 'GET or POST')}, got another.",
        }
        return answer(request, error.status_code, words.get(error.status_code, "refused."), headers)

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody is there to read it


def _json_body(limits: Limits) -> dict[str, Any]:
    image = {"type": "string", "format": "byte", "description": "a JPEG, PNG or DICOM file as base64"}
    images = {"type": "array", "items": image, "minItems": 1, "maxItems": limits.max_images}
    forms = [
        {"type": "object", "properties": {name: kind}, "required": [name], "additionalProperties": False}
        for name, kind in (("image", image), ("images", images))
    ]
    return {"required": True, "content": {"application/json": {"schema": {"oneOf": forms}}}}


def _form_body(limits: Limits) -> dict[str, Any]:
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary", "description": "a JPEG, PNG or DICOM file"},
        "minItems": 1,
        "maxItems": limits.max_images,
    }
    form = {"type": "object", "properties": {"file": files}, "required": ["file"], "additionalProperties": False}
    return {"required": True, "content": {_MULTIPART: {"schema": form}}}
