"""Phantoms: what one synthetic radiograph shows, and what a written set promises to whoever trains on it."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from pneumo_core import phantom_set
from pneumo_core.dataset import index_dataset
from pneumo_core.errors import DatasetError
from pneumo_core.phantom import Anatomy, Opacity, View, draw_phantom
from pneumo_core.phantom_set import write_phantoms

TINY = (48, 96)
ANATOMY = Anatomy(
    seed=1,
    dome=0.44,
    heart=0.33,
    mediastinum=0.17,
    rib_spacing=0.14,
    rib_drop=0.34,
    bulk=1.0,
    bone=1.0,
    arm_deg=30,
    gas=0.1,
)
VIEW = View(seed=2, width_px=160, height_px=120)
NAME = re.compile(
    r"(?P<normal>(?:NORMAL2-)?IM-\d{4})-\d{4}\.jpeg|(?P<ill>person\d+_(?P<pathogen>bacteria|virus))_(?P<running>\d+)\.jpeg"
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One written image, as its path tells it."""

    path: Path
    split: str
    ill: bool
    patient: str
    pathogen: str | None


def entries(root: Path) -> list[Entry]:
    """Returns every file of a set, sorted by path; a name Kaggle would not give fails the test."""
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        match = NAME.fullmatch(path.name)
        assert match, path.name
        split, label = path.relative_to(root).parts[:2]
        assert (label == "NORMAL") == (match["normal"] is not None)
        found.append(Entry(path, split, label == "PNEUMONIA", match["normal"] or match["ill"], match["pathogen"]))
    return found


def contents(root: Path) -> dict[str, bytes]:
    """Returns the bytes of every file of a set by its path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.jpeg")}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 24 patients."""
    return write_phantoms(tmp_path_factory.mktemp("small"), seed=3, patients=24, size_px=TINY)


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """The default set, only smaller in pixels."""
    return entries(write_phantoms(tmp_path_factory.mktemp("default"), size_px=TINY))


def region(image: np.ndarray, x: float, y: float) -> float:
    """Returns the mean around a point given as fractions of width and height."""
    height, width = image.shape
    row, column = round(y * height), round(x * width)
    return float(image[row - 6 : row + 7, column - 6 : column + 7].mean())


def test_a_phantom_is_an_8_bit_gray_image_of_the_size_asked_for() -> None:
    """The view's width and height come out in pixels, larger and smaller than the grid alike."""
    for width, height in ((48, 60), (400, 300)):
        image = draw_phantom(ANATOMY, dataclasses.replace(VIEW, width_px=width, height_px=height))
        assert (image.shape, image.dtype) == ((height, width), np.uint8)


def test_the_greys_of_a_phantom_are_spread_like_those_of_a_radiograph() -> None:
    """Air outside the body is black, and bone and abdomen are bright without being clipped to white."""
    low, middle, high = np.percentile(draw_phantom(ANATOMY, VIEW), [1, 50, 99])
    assert low < 10
    assert 80 < middle < 150
    assert 190 < high < 245


def test_lungs_are_dark_and_the_heart_leans_to_the_right_of_the_picture() -> None:
    """The anatomy is that of a frontal view, with the patient's left on the picture's right."""
    image = draw_phantom(ANATOMY, VIEW)
    assert region(image, 0.3, 0.4) < region(image, 0.5, 0.4) - 60, "the mediastinum is denser than the lung"
    assert region(image, 0.62, 0.62) > region(image, 0.38, 0.62) + 30, "the heart lies on the patient's left"
    assert region(image, 0.3, 0.92) > region(image, 0.3, 0.6) + 60, "the abdomen lies below the lungs"


@pytest.mark.parametrize("patchiness", [0.0, 1.0])
def test_an_opacity_brightens_its_lung_and_leaves_the_other_alone(patchiness: float) -> None:
    """Disease is the only difference to the same chest without it, and it is where it was put."""
    ill = dataclasses.replace(VIEW, opacities=(Opacity(-0.5, -0.3, 0.3, 0.4, patchiness),))
    healthy_image, ill_image = draw_phantom(ANATOMY, VIEW), draw_phantom(ANATOMY, ill)
    assert region(ill_image, 0.28, 0.38) > region(healthy_image, 0.28, 0.38) + 20
    np.testing.assert_allclose(ill_image[:, 100:], healthy_image[:, 100:], atol=1)


def test_a_stronger_opacity_is_brighter_but_never_denser_than_an_airless_lung() -> None:
    """Strength grades visibility, and an absurd strength stays below the mediastinum, where no air was to replace."""
    opacities = [Opacity(-0.5, -0.3, 0.3, strength, 0.0) for strength in (0.05, 0.2, 0.5, 50.0)]
    images = [draw_phantom(ANATOMY, dataclasses.replace(VIEW, opacities=(opacity,))) for opacity in opacities]
    seen = [region(image, 0.28, 0.38) for image in images]
    assert seen == sorted(set(seen))
    assert seen[-1] < region(images[-1], 0.5, 0.38)


def test_an_opacity_shows_only_inside_the_lungs() -> None:
    """A cloud placed in the abdomen, within the picture but out of every lung, changes nothing."""
    outside = dataclasses.replace(VIEW, opacities=(Opacity(-0.4, 0.75, 0.08, 0.6, 0.0),))
    np.testing.assert_allclose(draw_phantom(ANATOMY, outside), draw_phantom(ANATOMY, VIEW), atol=1)


def test_the_seed_of_the_anatomy_draws_its_vessels() -> None:
    """Two patients of equal measures still have markings of their own, in the lungs and nowhere else."""
    other = draw_phantom(dataclasses.replace(ANATOMY, seed=7), VIEW).astype(float)
    difference = np.abs(other - draw_phantom(ANATOMY, VIEW))
    assert region(difference, 0.35, 0.45) > 1
    assert region(difference, 0.5, 0.92) == 0


def test_the_noise_of_two_images_of_one_patient_differs_but_little() -> None:
    """Two exposures of one anatomy look alike, more than two patients do, and are not the same file twice."""
    first = draw_phantom(ANATOMY, VIEW).astype(float)
    again = draw_phantom(ANATOMY, dataclasses.replace(VIEW, seed=9)).astype(float)
    other = dataclasses.replace(ANATOMY, seed=5, heart=0.28, rib_spacing=0.155, dome=0.38)
    between = np.abs(draw_phantom(other, VIEW) - first).mean()
    assert 0 < np.abs(again - first).mean() < 0.5 * between


def test_fewer_photons_make_more_noise() -> None:
    """The exposure sets the noise, as for a real detector."""
    noise = []
    for photons in (1000.0, 16000.0):
        pair = [draw_phantom(ANATOMY, dataclasses.replace(VIEW, photons=photons, seed=s)).astype(float) for s in (1, 2)]
        noise.append((pair[1] - pair[0]).std())
    assert noise[0] > 2 * noise[1]


def test_the_side_marker_stands_on_the_side_it_names() -> None:
    """An R is written on the picture's left, an L on its right, and neither without a marker."""
    plain = draw_phantom(ANATOMY, VIEW)
    for marker, side in (("R", slice(0, 80)), ("L", slice(80, 160))):
        changed = draw_phantom(ANATOMY, dataclasses.replace(VIEW, marker=marker)) != plain
        assert changed[:, side].any()
        assert changed.sum() == changed[:, side].sum()


def test_collimators_shade_the_rim_and_nothing_else() -> None:
    """A border is black outside and leaves the middle of the picture as it was."""
    plain, framed = (draw_phantom(ANATOMY, dataclasses.replace(VIEW, border=border)) for border in (0.0, 0.08))
    assert framed[:, :8].max() < 10
    assert framed[-6:].max() < 10
    np.testing.assert_array_equal(framed[20:100, 25:135], plain[20:100, 25:135])


def test_a_set_is_reproducible_byte_for_byte_from_its_seed(small: Path, tmp_path: Path) -> None:
    """The same seed writes the same files; another seed writes other pictures."""
    assert contents(write_phantoms(tmp_path / "same", seed=3, patients=24, size_px=TINY)) == contents(small)
    other = contents(write_phantoms(tmp_path / "other", seed=4, patients=24, size_px=TINY))
    assert not set(other.values()) & set(contents(small).values())


def test_a_patient_does_not_depend_on_how_many_others_there_are(small: Path, tmp_path: Path) -> None:
    """Every picture of a smaller set is found again, byte for byte, in a larger one."""
    larger = write_phantoms(tmp_path, seed=3, patients=30, size_px=TINY)
    assert set(contents(small).values()) < set(contents(larger).values())


def test_a_set_has_the_layout_the_indexer_expects(small: Path) -> None:
    """Every split holds both classes, and the indexer finds nothing to complain of or leave out."""
    assert small.name == "chest_xray"
    found = entries(small)
    assert {(entry.split, entry.ill) for entry in found} == {
        (split, ill) for split in ("train", "val", "test") for ill in (False, True)
    }
    assert len(index_dataset(small).manifest) == len(found)


def test_every_picture_is_another(default: list[Entry]) -> None:
    """No two files are equal, so no content hash joins two patients."""
    assert len({entry.path.read_bytes() for entry in default}) == len(default)


@pytest.mark.parametrize("patients", [phantom_set.MIN_PATIENTS, 13, 24, 61])
def test_no_patient_lies_in_two_splits_and_every_split_has_both_pathogens(patients: int, tmp_path: Path) -> None:
    """Splits are disjoint by patient and complete by subtype for every size of set, the smallest included."""
    found = entries(write_phantoms(tmp_path, seed=1, patients=patients, size_px=(32, 40)))
    assert all(len({entry.split for entry in found if entry.patient == one}) == 1 for one in {e.patient for e in found})
    expected = {(split, kind) for split in ("train", "val", "test") for kind in (None, "bacteria", "virus")}
    assert {(entry.split, entry.pathogen) for entry in found} == expected


def test_the_default_set_has_the_proportions_of_the_original(default: list[Entry]) -> None:
    """About 2.5 pneumonia images a normal one, a useless val of 16, half the pneumonia images with company."""
    ill = sum(entry.ill for entry in default)
    assert 270 <= len(default) <= 320
    assert 2.0 < ill / (len(default) - ill) < 3.0
    counts = Counter(entry.split for entry in default)
    assert counts["val"] == 16
    assert 40 <= counts["test"] <= 60
    sizes = Counter(entry.patient for entry in default if entry.ill)
    assert max(sizes.values()) <= 5
    assert 0.4 < sum(size for size in sizes.values() if size > 1) / ill < 0.6


def test_pneumonia_images_are_numbered_through(default: list[Entry]) -> None:
    """The running image number is unique, while bacteria and virus count their persons apart."""
    matches = [NAME.fullmatch(entry.path.name) for entry in default if entry.ill]
    assert sorted(int(match["running"]) for match in matches if match) == list(range(1, len(matches) + 1))
    assert {"person1_bacteria", "person1_virus"} <= {entry.patient for entry in default}


def test_sizes_and_aspect_ratios_vary_within_the_bounds(default: list[Entry]) -> None:
    """Sides lie within size_px, and no single size or shape prevails."""
    sizes = [Image.open(entry.path).size for entry in default]
    assert TINY[0] <= min(map(min, sizes))
    assert max(map(max, sizes)) <= TINY[1]
    assert len(set(sizes)) > 100
    assert np.ptp([width / height for width, height in sizes]) > 0.3


def test_files_are_gray_jpegs(small: Path) -> None:
    """The mode cannot leak the label, as it does in the original."""
    for entry in entries(small):
        with Image.open(entry.path) as image:
            assert (image.format, image.mode) == ("JPEG", "L")


def test_the_label_shows_in_the_pixels_but_not_in_shortcuts(default: list[Entry]) -> None:
    """A linear model of the pixels ranks well, not perfectly; size, shape, bytes and brightness alone do not rank."""
    ill = np.array([entry.ill for entry in default])
    images = [Image.open(entry.path) for entry in default]
    pixels = np.array([np.asarray(image.resize((32, 32))).ravel() / 128.0 for image in images])
    folds = GroupKFold(5).split(pixels, ill, [entry.patient for entry in default])
    model = LogisticRegression(C=0.003, class_weight="balanced", max_iter=300)
    scores = cross_val_predict(model, pixels, ill, cv=list(folds), method="predict_proba")[:, 1]
    assert 0.72 < roc_auc_score(ill, scores) < 0.95
    shortcuts = {
        "width": [image.width for image in images],
        "aspect ratio": [image.width / image.height for image in images],
        "bytes": [entry.path.stat().st_size for entry in default],
        "brightness": pixels.mean(axis=1),
    }
    aucs = {name: roc_auc_score(ill, values) for name, values in shortcuts.items()}
    assert all(0.38 < auc < 0.62 for auc in aucs.values()), aucs


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"seed": -1}, "must be 0 or more, got -1"),
        ({"patients": 11}, "at least 12 patients"),
        ({"size_px": (100, 50)}, r"got \(100, 50\)"),
        ({"size_px": (31, 50)}, "32 <= shortest"),
        ({"size_px": (300, 5000)}, "longest <= 4096"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(
    arguments: dict[str, object], part: str, tmp_path: Path
) -> None:
    """The message says what was expected and what came, and the folder is not made."""
    with pytest.raises(DatasetError, match=part):
        write_phantoms(tmp_path / "new", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_equal_bounds_give_square_pictures_of_one_size(tmp_path: Path) -> None:
    """The narrowest bounds are legal."""
    found = entries(write_phantoms(tmp_path, patients=12, size_px=(32, 32)))
    assert {Image.open(entry.path).size for entry in found} == {(32, 32)}


@pytest.mark.parametrize("held", [[], ["mine.txt"]])
def test_an_existing_folder_is_never_touched(held: list[str], tmp_path: Path) -> None:
    """A folder that is there, even an empty one, belongs to somebody: the writer refuses and leaves no scratch."""
    (tmp_path / "chest_xray").mkdir()
    for name in held:
        (tmp_path / "chest_xray" / name).write_text("mine")
    with pytest.raises(DatasetError, match="delete it"):
        write_phantoms(tmp_path, patients=12, size_px=(32, 40))
    assert [path.name for path in tmp_path.rglob("*")] == ["chest_xray", *held]


def test_of_two_writers_the_later_one_yields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that appears while another is being drawn stays as it is."""

    def draw_while_another_finishes(anatomy: Anatomy, view: View) -> np.ndarray:
        (tmp_path / "chest_xray" / "train").mkdir(parents=True, exist_ok=True)
        return draw_phantom(anatomy, view)

    monkeypatch.setattr(phantom_set, "draw_phantom", draw_while_another_finishes)
    with pytest.raises(DatasetError, match="delete it"):
        write_phantoms(tmp_path, patients=12, size_px=(32, 40))
    assert [path.name for path in tmp_path.rglob("*")] == ["chest_xray", "train"]


def test_a_failing_writer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error on the way, such as a full disk, takes the unfinished pictures with it."""

    def fail(anatomy: Anatomy, view: View) -> np.ndarray:
        raise OSError("no space left on device")

    monkeypatch.setattr(phantom_set, "draw_phantom", fail)
    with pytest.raises(OSError, match="no space left"):
        write_phantoms(tmp_path, patients=12, size_px=(32, 40))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    """After SIGKILL no `chest_xray` exists, the indexer finds no data, and the next writer succeeds."""
    script = f"""
import os, signal
from pathlib import Path
from pneumo_core import phantom_set
draw, drawn = phantom_set.draw_phantom, []
def draw_then_die(anatomy, view):
    drawn.append(view)
    if len(drawn) == 15:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(anatomy, view)
phantom_set.draw_phantom = draw_then_die
phantom_set.write_phantoms(Path({str(tmp_path)!r}), patients=24, size_px=(32, 40))
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(tmp_path.rglob("*.jpeg")), "the writer was killed in the middle of its work"
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    with pytest.raises(DatasetError):
        index_dataset(tmp_path)
    assert entries(write_phantoms(tmp_path, patients=24, size_px=(32, 40)))
