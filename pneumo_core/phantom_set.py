"""A set of synthetic radiographs in the layout of the Kaggle data set, for demonstrations and tests.

Patients, pictures and their names are drawn from a seed; what a picture shows is `pneumo_core.phantom`'s business.
These pictures teach nothing about pneumonia.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from pneumo_core.errors import DatasetError
from pneumo_core.phantom import Anatomy, Opacity, View, draw_phantom
from pneumo_core.seeds import derive, generator

FAMILIES = {"normal": 0.345, "bacteria": 0.425, "virus": 0.23}
"""Share of the patients. With the numbers of images a patient has, it makes about 2.5 pneumonia images a normal one."""


VAL_IMAGES = {"normal": 8, "bacteria": 5, "virus": 3}
"""Images in `val`, where the set is large enough: the original's is as useless for tuning."""


TEST_SHARE = 0.16


MIN_PATIENTS = 12
"""Fewer leave a family without a patient for each split."""


JPEG_QUALITY = 90


LOBES = ((-0.48, -0.42), (-0.42, 0.0), (-0.58, 0.24), (0.5, -0.42), (0.6, -0.05), (0.62, 0.22))
"""Centres of the lobes, x and y."""


@dataclasses.dataclass(frozen=True)
class _Patient:
    """One patient of the set; (family, number) is the key of all the patient's draws."""

    family: str
    number: int
    images: int


def write_phantoms(
    directory: Path, *, seed: int = 0, patients: int = 200, size_px: tuple[int, int] = (300, 640)
) -> Path:
    """Writes a set of synthetic radiographs as `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg`.

    Every picture is a pure function of the seed, its patient and its size limits. The bytes are the same on every
    machine with the same kind of processor and the same versions of NumPy, SciPy and Pillow.

    Args:
        directory: where `chest_xray` shall lie; made if missing.
        seed: of all draws, 0 or more.
        patients: how many, at least `MIN_PATIENTS`; the default makes about 290 images.
        size_px: bounds of every image's sides, the shorter and the longer: at least 32 and at most 4096 px.

    Returns:
        The folder `directory/chest_xray`.

    Raises:
        DatasetError: an argument is out of range, or `chest_xray` exists. Nothing is ever overwritten or completed: a
            set that exists is whole, but only the caller knows whether it is the one wanted.

    Side effects:
        Writes under a hidden sibling, `.phantoms-*`, that is renamed once the set is whole. A killed writer leaves
        that sibling behind, and no `chest_xray`.
    """
    _check(seed, patients, size_px)
    target = Path(directory) / "chest_xray"
    if target.exists():
        raise _taken(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".phantoms-", dir=target.parent) as scratch:
        unfinished = Path(scratch) / "unfinished"
        for name, patient, image in _plan(seed, patients):
            anatomy = _draw_anatomy(seed, patient)
            pixels = draw_phantom(anatomy, _draw_view(seed, patient, image, size_px))
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, format="JPEG", quality=JPEG_QUALITY)
        try:
            unfinished.rename(target)
        except OSError as error:
            raise _taken(target) from error
    return target


def _check(seed: int, patients: int, size_px: tuple[int, int]) -> None:
    """Refuses arguments that no set can be made from."""
    if seed < 0:
        raise DatasetError(f"The phantoms' seed must be 0 or more, got {seed}: pass another.")
    if patients < MIN_PATIENTS:
        raise DatasetError(
            f"A set of phantoms needs at least {MIN_PATIENTS} patients to fill train, val and test, got {patients}:"
            " ask for more."
        )
    shortest, longest = size_px
    if not 32 <= shortest <= longest <= 4096:
        raise DatasetError(
            "The phantoms' size_px must be (shortest, longest) with 32 <= shortest <= longest <= 4096,"
            f" got {tuple(size_px)}: pass other bounds."
        )


def _taken(target: Path) -> DatasetError:
    return DatasetError(
        f"Phantoms are written to a new folder only, but {target} exists: use it, delete it or pass another directory."
    )


def _plan(seed: int, patients: int) -> Iterator[tuple[Path, _Patient, int]]:
    """Yields every image's path in the set, its patient, and its number among the patient's images, from 1."""
    running = 0
    for family, share in FAMILIES.items():
        cast = [_draw_patient(seed, family, number) for number in range(1, round(share * patients) + 1)]
        splits = _split(cast)
        for patient in cast:
            for image in range(1, patient.images + 1):
                running += family != "normal"
                yield Path(splits[patient.number]) / _file_name(seed, patient, image, running), patient, image


def _split(cast: list[_Patient]) -> dict[int, str]:
    """Returns the split of each patient number of one family: the first patients are `test`, as in the original."""
    family, total = cast[0].family, sum(patient.images for patient in cast)
    splits = {patient.number: "train" for patient in cast}
    _fill(splits, cast, "test", TEST_SHARE * total)
    rest = sorted((patient for patient in cast if splits[patient.number] == "train"), key=lambda one: one.images)
    _fill(splits, rest, "val", min(VAL_IMAGES[family], max(1, total // 9)))
    return splits


def _fill(splits: dict[int, str], candidates: list[_Patient], split: str, images: float) -> None:
    """Moves candidates to a split, in order, until it holds that many images."""
    held = 0
    for patient in candidates:
        if held >= images:
            return
        splits[patient.number] = split
        held += patient.images


def _file_name(seed: int, patient: _Patient, image: int, running: int) -> str:
    """Returns `CLASS/name` as Kaggle names its files."""
    if patient.family != "normal":
        return f"PNEUMONIA/person{patient.number}_{patient.family}_{running}.jpeg"
    prefix = "NORMAL2-IM" if generator(seed, "phantom prefix", patient.number).random() < 0.35 else "IM"
    return f"NORMAL/{prefix}-{113 + 2 * patient.number:04d}-{image:04d}.jpeg"


def _draw_patient(seed: int, family: str, number: int) -> _Patient:
    """Draws how many images a patient has: about half the pneumonia images share a patient with others."""
    rng = generator(seed, f"phantom {family} patient", number)
    if family == "normal":
        return _Patient(family, number, int(rng.choice([1, 2], p=[0.85, 0.15])))
    return _Patient(family, number, int(rng.choice([1, 2, 3, 4, 5], p=[0.76, 0.08, 0.06, 0.05, 0.05])))


def _draw_anatomy(seed: int, patient: _Patient) -> Anatomy:
    """Draws a patient's anatomy, healthy or not from the same distribution."""
    rng = generator(seed, f"phantom {patient.family} anatomy", patient.number)
    return Anatomy(
        seed=derive(seed, f"phantom {patient.family} texture", patient.number),
        dome=rng.uniform(0.38, 0.5),
        heart=rng.uniform(0.28, 0.36),
        mediastinum=rng.uniform(0.14, 0.21),
        rib_spacing=rng.uniform(0.125, 0.155),
        rib_drop=rng.uniform(0.24, 0.44),
        bulk=rng.uniform(0.88, 1.12),
        bone=rng.uniform(0.8, 1.3),
        arm_deg=rng.uniform(-50, 65),
        gas=rng.uniform(0.06, 0.16),
    )


def _draw_view(seed: int, patient: _Patient, image: int, size_px: tuple[int, int]) -> View:
    """Draws one image's pose, exposure and opacities; only the opacities depend on the family."""
    rng = generator(seed, f"phantom {patient.family} view", patient.number, image)
    shortest, longest = size_px
    aspect = rng.uniform(1.0, min(1.5, longest / shortest))
    width = rng.uniform(shortest * aspect, longest)
    return View(
        seed=derive(seed, f"phantom {patient.family} noise", patient.number, image),
        width_px=round(width),
        height_px=round(width / aspect),
        tilt_deg=rng.normal(0, 3),
        shift_x=rng.normal(0, 0.05),
        shift_y=rng.normal(0, 0.05),
        zoom=rng.uniform(0.92, 1.1),
        expiration=abs(rng.normal(0, 0.06)),
        contrast=rng.uniform(0.8, 1.25),
        gamma=rng.uniform(0.8, 1.3),
        photons=rng.uniform(1500, 6000),
        border=rng.uniform(0.01, 0.05) if rng.random() < 0.25 else 0.0,
        marker=str(rng.choice(["L", "R", ""], p=[0.15, 0.45, 0.4])),
        opacities=_draw_opacities(seed, patient, image),
    )


def _draw_opacities(seed: int, patient: _Patient, image: int) -> tuple[Opacity, ...]:
    """Draws the disease: its place belongs to the patient, how far it has come to the image."""
    place = generator(seed, f"phantom {patient.family} place", patient.number)
    course = generator(seed, f"phantom {patient.family} course", patient.number, image)
    strength = math.exp(course.uniform(math.log(0.1), math.log(0.75)))
    if patient.family == "bacteria":
        lobes = place.choice(LOBES, size=place.choice([1, 2], p=[0.65, 0.35]), replace=False)
        centres = lobes + place.uniform(-0.07, 0.07, lobes.shape)
        return tuple(Opacity(x, y, place.uniform(0.2, 0.38), strength, patchiness=0.0) for x, y in centres)
    if patient.family == "virus":
        return tuple(
            Opacity(side * place.uniform(0.34, 0.48), place.uniform(-0.1, 0.1), 0.42, 0.7 * strength, patchiness=1.0)
            for side in (-1, 1)
        )
    return ()
