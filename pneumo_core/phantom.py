"""Synthetic chest radiographs: what one picture shows.

A phantom is a map of X-ray density: depths of tissue, bone and air added up along the beam, each a formula in the
plane of the chest. Lengths are in half-widths of the chest: x grows towards the patient's left (right in the picture),
y downwards, the origin lies between the lungs. These pictures teach nothing about pneumonia.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pneumo_core.seeds import generator

Plane = npt.NDArray[np.float64]
"""Values on the grid, (rows, columns)."""

GRID_PX = 256
"""Long edge of the grid that density is computed on; larger pictures are interpolated from it."""


LUNG_APEX = -0.82
HILUM = (0.24, -0.1)

AIR_CONTRAST = 0.7
"""Density that the middle of a lung lacks for its air. An opacity fills air, so it cannot add more than that."""


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """What all images of one patient share.

    Attributes:
        seed: fixes vessels and the other fine structure.
        dome: y of the diaphragm's right dome at full inspiration.
        heart: radius of the heart.
        mediastinum: half-width of the mediastinum.
        rib_spacing: distance between neighbouring ribs.
        rib_drop: how far a rib falls on its way from the spine to the side.
        bulk: thickness of the soft tissue, 1 on average.
        bone: density of bone, 1 on average.
        arm_deg: angle of the arms against the horizontal; positive is raised.
        gas: radius of the gas bubble in the stomach.
    """

    seed: int
    dome: float
    heart: float
    mediastinum: float
    rib_spacing: float
    rib_drop: float
    bulk: float
    bone: float
    arm_deg: float
    gas: float


@dataclasses.dataclass(frozen=True)
class Opacity:
    """One clouded region of lung; what reaches beyond the lung is not drawn.

    Attributes:
        x: centre.
        y: centre.
        radius: where the density has fallen to about half.
        strength: density at the centre; 0.1 is hard to see, 0.6 hides the vessels.
        patchiness: 0 for a solid cloud, 1 for haze broken into patches and streaks.
    """

    x: float
    y: float
    radius: float
    strength: float
    patchiness: float


@dataclasses.dataclass(frozen=True)
class View:
    """What a single image adds to the anatomy.

    Attributes:
        seed: fixes quantum noise.
        width_px: width of the image.
        height_px: height of the image.
        tilt_deg: rotation of the patient in the picture.
        shift_x: of the patient against the centre of the picture.
        shift_y: as `shift_x`, downwards.
        zoom: magnification, 1 where the chest just fills the picture.
        expiration: how far the diaphragm stands above its place at full inspiration.
        contrast: slope of the tone curve, 1 on average.
        gamma: exponent of the tone curve; above 1 darkens.
        photons: mean count a pixel behind no tissue, the lower the noisier.
        border: width of the collimators' shadow as a fraction of the side; 0 for none.
        marker: side marker, `"L"`, `"R"` or `""` for none.
        opacities: none in a healthy chest.
    """

    seed: int
    width_px: int
    height_px: int
    tilt_deg: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom: float = 1.0
    expiration: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0
    photons: float = 4000.0
    border: float = 0.0
    marker: str = ""
    opacities: tuple[Opacity, ...] = ()


def draw_phantom(anatomy: Anatomy, view: View) -> np.ndarray:
    """Draws one radiograph.

    Returns:
        (height_px, width_px) uint8; dense tissue is bright.
    """
    x, y = _plane(view)
    dome = _dome(anatomy, view, x)
    lungs = _lungs(x, y, dome)
    density = _soft_tissue(anatomy, x, y, dome) + anatomy.bone * _bones(anatomy, x, y, dome)
    density -= AIR_CONTRAST * lungs * (1 - 0.12 * _vessels(anatomy, x, y))
    clouding = sum((_clouding(anatomy, opacity, x, y) for opacity in view.opacities), np.zeros_like(x))
    density += lungs * np.minimum(clouding, AIR_CONTRAST)
    return _expose(np.clip(density, 0, None), view)


def _plane(view: View) -> tuple[Plane, Plane]:
    """Returns x and y at every point of the grid, each (rows, columns)."""
    scale = min(1.0, GRID_PX / max(view.width_px, view.height_px))
    columns, rows = (max(8, round(side * scale)) for side in (view.width_px, view.height_px))
    half_width = max(1.17, 0.94 * columns / rows) / view.zoom
    across = np.linspace(-half_width, half_width, columns) - view.shift_x
    down = np.linspace(-half_width, half_width, rows) * rows / columns - view.shift_y - 0.08
    x, y = np.meshgrid(across, down)
    tilt = math.radians(view.tilt_deg)
    return x * math.cos(tilt) + y * math.sin(tilt), y * math.cos(tilt) - x * math.sin(tilt)


def _dome(anatomy: Anatomy, view: View, x: Plane) -> Plane:
    """Returns the y of the diaphragm; the liver holds up its right half."""
    level = anatomy.dome - view.expiration + 0.06 * _edge(x, 0.05)
    return level + 0.2 * ((np.abs(x) - 0.4) / 0.55) ** 2


def _lungs(x: Plane, y: Plane, dome: Plane) -> Plane:
    """Returns the depth of air along the beam, 0 outside the lungs to 1 in their middle."""
    across = np.abs((np.abs(x) - 0.5) / 0.45)
    up = np.clip((0.55 - y) / (0.55 - LUNG_APEX), 0, None)
    depth = np.clip(1 - across**2.6 - up**3.4, 0, None) ** 0.4
    return depth * _edge(dome - y, 0.012)


def _soft_tissue(anatomy: Anatomy, x: Plane, y: Plane, dome: Plane) -> Plane:
    """Returns the density of muscle, heart, great vessels and abdomen, and the gas in airway and stomach."""
    half_width = np.interp(y, [-1.2, -1.05, -0.86, -0.55, 0.0, 0.6], [0.34, 0.5, 1.12, 1.14, 1.07, 1.1])
    body = np.sqrt(np.clip(1 - (x / half_width) ** 2, 0, None))
    body = np.maximum(body, 0.62 * _arms(anatomy, x, y, radius=0.2))
    ventricles = _ball(x - 0.22, y - anatomy.dome + 0.2, anatomy.heart, stretch=1.4, tilt_deg=34)
    atrium = _ball(x - 0.02, y - anatomy.dome + 0.3, 0.72 * anatomy.heart, stretch=1.35, tilt_deg=80)
    heart = np.maximum(ventricles, 0.85 * atrium) * _edge(dome + 0.02 - y, 0.03)
    width = anatomy.mediastinum * (1 + 0.25 * np.exp(-(((y + 0.45) / 0.2) ** 2)))
    middle = _edge(width - np.abs(x - 0.02), 0.03)
    airway = _band(x, 0.055) * _edge(-0.36 - y, 0.04)
    below = _edge(y - dome, 0.02) * np.sqrt(body)
    gas = _ball(x - 0.5, y - anatomy.dome - 0.28, anatomy.gas, stretch=1.5, tilt_deg=10) * below
    return anatomy.bulk * body + 0.4 * heart + 0.22 * middle - 0.16 * airway + 0.3 * below - 0.3 * gas


def _bones(anatomy: Anatomy, x: Plane, y: Plane, dome: Plane) -> Plane:
    """Returns the density of spine, ribs, clavicles, arms and jaw."""
    discs = _band(np.mod(y / anatomy.rib_spacing, 1.0) - 0.5, 0.17)
    pedicles = _band(np.abs(x) - 0.075, 0.025) * (1 - discs)
    spine = _band(x, 0.115) * (0.2 - 0.13 * discs + 0.16 * pedicles)
    along = (np.abs(x) - 0.1) / 0.85
    clavicle_y = -0.68 - 0.15 * along - 0.045 * np.sin(2 * np.pi * along)
    clavicles = 0.2 * _band(y - clavicle_y, 0.035) * _edge(along, 0.02) * _edge(1 - along, 0.02)
    arms = 0.24 * _arms(anatomy, x, y, radius=0.07)
    jaw = 0.5 * _ball(x, y + 1.4, 0.33, stretch=1.3, tilt_deg=0)
    return spine + clavicles + arms + jaw + _ribs(anatomy, x, y, dome)


def _ribs(anatomy: Anatomy, x: Plane, y: Plane, dome: Plane) -> Plane:
    """Returns the density of the ribs: bright arcs behind the lungs, fainter and steeper ones before them."""
    up = np.clip((0.6 - y) / 1.5, 0, 1)
    side = np.abs(x) / (0.985 * (1 - up**3.6) ** 0.4 + 1e-3)
    inside = _edge(1 - side, 0.015) * _edge(0.93 - up, 0.03)
    arc = 1 - np.sqrt(np.clip(1 - side**2, 0.02, 1))
    back = _rib_bands(y - anatomy.rib_drop * (arc - 0.2 * side), anatomy.rib_spacing)
    front = _rib_bands(y - 0.55 * (1 - side) - 0.05, anatomy.rib_spacing * 1.1) * _edge(side - 0.5, 0.04)
    edge_on = 1 + 0.9 * np.clip(side, 0, 1) ** 6
    fading = 1 - 0.65 * _edge(y - dome - 0.1, 0.08)
    return inside * fading * (0.2 * back * edge_on + 0.1 * front)


def _rib_bands(y: Plane, spacing: float) -> Plane:
    """Returns bands that repeat along y, brighter at their lower rim as a rib's cortex is, 0 to 1."""
    phase = np.mod(y / spacing, 1.0) - 0.5
    return _band(phase, 0.22) * (0.75 + 0.9 * phase)


def _vessels(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """Returns bronchovascular markings that leave the hila like branches and fade outwards, about 0 to 3."""
    dx, dy = np.abs(x) - HILUM[0], y - HILUM[1]
    distance = np.hypot(dx, dy) + 0.12
    angle = np.arctan2(dy, dx) + np.where(x < 0, 7.0, 0.0)
    waves = _cloud(anatomy.seed, "vessels", 5 * angle, 5 * np.log(distance))
    ridges = np.clip(1 - 1.3 * np.abs(waves), 0, None)
    branches = ridges * np.exp(-distance / 0.45) * (1 - _band(distance, 0.2))
    return 3.2 * branches + 1.3 * _band(distance, 0.24)


def _clouding(anatomy: Anatomy, opacity: Opacity, x: Plane, y: Plane) -> Plane:
    """Returns the density that an opacity adds, its outline frayed and its inside mottled."""
    distance = np.hypot(x - opacity.x, (y - opacity.y) / 1.1) / opacity.radius
    frayed = distance + 0.35 * _cloud(anatomy.seed, "outline", 5 * x, 5 * y)
    mesh = 0.8 - np.abs(_cloud(anatomy.seed, "inside", 21 * x, 21 * y))
    inside = np.clip(1 + (0.2 + 0.4 * opacity.patchiness) * mesh, 0, None)
    return opacity.strength * inside * _edge(1 - frayed, 0.14 + 0.14 * opacity.patchiness)


def _cloud(seed: int, purpose: str, u: Plane, v: Plane) -> Plane:
    """Returns smooth noise at the points (u, v), mean 0 and deviation 1, features about 1.5 wide."""
    lattice = generator(seed, f"phantom {purpose}").standard_normal((64, 64))
    smooth = ndimage.gaussian_filter(lattice, 1.0, mode="wrap")
    smooth /= smooth.std()
    return np.asarray(ndimage.map_coordinates(smooth, [v, u], order=2, prefilter=False, mode="grid-wrap"))


def _edge(inside: Plane, softness: float) -> Plane:
    """Returns a soft step: 0 where `inside` is well below 0, 1 where it is well above."""
    return 0.5 + 0.5 * np.tanh(inside / (2 * softness))


def _band(offset: Plane, half_width: float) -> Plane:
    """Returns 1 at offset 0, falling off beyond ± half_width."""
    square = (offset / half_width) ** 2
    return np.exp(-square * square)


def _ball(x: Plane, y: Plane, radius: float, stretch: float, tilt_deg: float) -> Plane:
    """Returns the depth of an ellipsoid about (0, 0), 0 outside to 1 at its centre."""
    tilt = math.radians(tilt_deg)
    along = (x * math.cos(tilt) + y * math.sin(tilt)) / stretch
    across = y * math.cos(tilt) - x * math.sin(tilt)
    return np.clip(1 - (along**2 + across**2) / radius**2, 0, None) ** 0.4


def _arms(anatomy: Anatomy, x: Plane, y: Plane, radius: float) -> Plane:
    """Returns the depth of round rods from both shoulders outwards, 0 outside to 1 on their axes."""
    angle = math.radians(anatomy.arm_deg)
    dx, dy = np.abs(x) - 1.06, y + 0.74
    along = np.clip(dx * math.cos(angle) - dy * math.sin(angle), 0, 1)
    square = (dx - along * math.cos(angle)) ** 2 + (dy + along * math.sin(angle)) ** 2
    return np.sqrt(np.clip(1 - square / radius**2, 0, None))


def _expose(density: Plane, view: View) -> np.ndarray:
    """Turns density on the grid into the image: size, quantum noise, tone curve, collimators, marker."""
    size = (view.width_px, view.height_px)
    sized = np.asarray(Image.fromarray(density.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    rng = generator(view.seed, "phantom noise")
    # Beer and Lambert: fewer photons pass dense tissue; the deviation of a Poisson count's logarithm is count**-0.5.
    deviation = 1 / np.sqrt(view.photons * np.exp(-np.clip(sized, 0, 4)))
    noise = ndimage.gaussian_filter(rng.standard_normal(sized.shape), 0.5)
    signal = np.clip(sized + deviation * noise, 0, None)
    tone = 238 * (1 - np.exp(-1.2 * view.contrast * signal)) ** (1.1 * view.gamma)
    picture = Image.fromarray(np.clip(tone * _collimators(view) + 0.5, 0, 255).astype(np.uint8))
    _stamp(picture, view.marker)
    return np.asarray(picture)


def _collimators(view: View) -> Plane:
    """Returns the share of the beam that reaches each pixel, (height_px, width_px); 1 all over without a border."""
    if view.border == 0:
        return np.ones((view.height_px, view.width_px))
    sides = [np.linspace(-1, 1, px) for px in (view.height_px, view.width_px)]
    open_y, open_x = (_edge(1 - 2 * view.border - np.abs(side), 0.008) for side in sides)
    return np.outer(open_y, open_x)


def _stamp(picture: Image.Image, marker: str) -> None:
    """Writes the side marker into the picture's upper corner on the patient's side."""
    width, height = picture.size
    size = max(6, height // 16)
    column = 0.06 if marker == "R" else 0.94 - size / width / 2
    place = (round(column * width), round(0.14 * height))
    ImageDraw.Draw(picture).text(place, marker, fill=235, font=ImageFont.load_default(size))
