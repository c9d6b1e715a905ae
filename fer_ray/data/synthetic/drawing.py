"""Draws faces with expressions: soft-edged shapes, a batch of images at a time. Pure numpy.

Coordinates: u to the right and v down, both about -1 to 1 within the face, in units of half a
face. Every quantity of a face is an array [image, 1, 1] that broadcasts over the pixels.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int, UInt8

EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
"""What can be drawn; label i is `EXPRESSIONS[i]`."""

# What each expression does to a resting face at full intensity, after the action units (AU) of
# the Facial Action Coding System (Ekman and Friesen 1978). In the order of EXPRESSIONS; the last
# two numbers are the resting value and how much it differs between people.
_ACTIONS: dict[str, tuple[float, ...]] = {
    #               neut  happy   sad  surpr   fear  disg  anger   rest  person
    "brow_raise":  (0.0,  0.00, -0.02,  0.15,  0.10, -0.06, -0.09,  0.00, 0.020),  # AU 1+2, 4
    "brow_inner":  (0.0,  0.00,  0.13,  0.00,  0.06, -0.04, -0.12,  0.00, 0.020),  # AU 1, 4
    "brow_arch":   (0.0,  0.02, -0.03,  0.07, -0.03, -0.01, -0.02,  0.05, 0.012),
    "brow_close":  (0.0,  0.00,  0.04, -0.01,  0.05,  0.03,  0.06,  0.00, 0.010),  # AU 4
    "eye_upper":   (0.0, -0.03, -0.03,  0.07,  0.07, -0.04,  0.00,  0.09, 0.010),  # AU 5, 7
    "eye_lower":   (0.0, -0.03, -0.01,  0.03,  0.01, -0.04, -0.03,  0.06, 0.008),  # AU 6, 7
    "eye_slant":   (0.0,  0.00,  0.05,  0.00,  0.02,  0.00, -0.05,  0.00, 0.012),
    "cheek":       (0.0,  0.80,  0.00,  0.00,  0.00,  0.40,  0.00,  0.05, 0.080),  # AU 6
    "wrinkle":     (0.0,  0.00,  0.00,  0.00,  0.00,  0.90,  0.15,  0.00, 0.050),  # AU 9
    "furrow":      (0.0,  0.00,  0.25,  0.00,  0.30,  0.30,  0.90,  0.00, 0.080),  # AU 4
    "forehead":    (0.0,  0.00,  0.25,  0.70,  0.60,  0.00,  0.00,  0.00, 0.080),  # AU 1+2
    "fold":        (0.0,  0.80,  0.15,  0.00,  0.10,  0.80,  0.20,  0.15, 0.100),  # AU 10, 12
    "corner":      (0.0,  0.18, -0.13,  0.00, -0.04, -0.08, -0.06,  0.00, 0.018),  # AU 12, 15
    "mouth_open":  (0.0,  0.08,  0.00,  0.20,  0.09,  0.03,  0.00,  0.00, 0.008),  # AU 25-27
    "mouth_width": (0.0,  0.11, -0.03, -0.10,  0.08, -0.03, -0.02,  0.29, 0.015),  # AU 20, 12, 27
    "mouth_shift": (0.0, -0.01,  0.01,  0.05,  0.01, -0.06,  0.01,  0.00, 0.015),  # AU 10, 26
    "mouth_square": (0., -0.10,  0.00,  0.10,  0.60,  0.50,  0.30,  0.00, 0.050),
    "lip":         (0.0, -0.01,  0.00,  0.00, -0.01,  0.01, -0.03,  0.055, 0.008),  # AU 23, 24
    "teeth":       (0.0,  1.00,  0.00,  0.10,  0.50,  0.50,  0.00,  0.10, 0.100),
    "chin":        (0.0,  0.00,  0.60,  0.00,  0.00,  0.20,  0.35,  0.00, 0.080),  # AU 17
}  # fmt: skip

Column = Float32[np.ndarray, "image 1 1"]
Face = Mapping[str, Column]
Plane = Float32[np.ndarray, "image height width"]


def expression_params(
    label: Int[np.ndarray, " image"],
    intensity: Float32[np.ndarray, " image"],
    rng: np.random.Generator,
) -> dict[str, Column]:
    """Geometry of faces: resting face, personal difference, and the expression on top.

    Args:
        label: Index into `EXPRESSIONS`.
        intensity: 0 is the resting face, 1 the full expression.
        rng: Draws persons and how unevenly each action takes part.
    """
    table = np.array(list(_ACTIONS.values()), dtype=np.float32)
    num = len(label)
    uneven = rng.normal(1, 0.25, (num, len(table))).astype(np.float32)
    person = rng.normal(0, 1, (num, len(table))).astype(np.float32) * table[:, 8]
    value = table[:, 7] + person + table[:, label].T * intensity[:, None] * uneven
    return {name: value[:, i, None, None] for i, name in enumerate(_ACTIONS)}


def _soft(distance: Plane, edge: float = 0.05) -> Plane:
    """Coverage in [0, 1] of a shape whose signed distance is positive inside."""
    cover: np.ndarray = np.clip(distance / edge + 0.5, 0, 1)
    return cover


def _paint(canvas: Plane, shade: Plane | Column | float, cover: Plane) -> None:
    """Lay a shade over the canvas, in place."""
    canvas += cover * (shade - canvas)


def _stroke(across: Plane, along: Plane, width: Column | float, length: float) -> Plane:
    """A line: `across` and `along` are distances from its middle, halves given."""
    cover: np.ndarray = _soft(width - np.abs(across)) * _soft(length - np.abs(along))
    return cover


def draw_head(canvas: Plane, u: Plane, v: Plane, face: Face) -> None:
    """Head, ears' place, light from one side, hair."""
    jaw = 1 - face["jaw"] * np.clip(v, 0, 1) ** 2
    radius = np.sqrt((u / (face["head_width"] * jaw)) ** 2 + (v / face["head_height"]) ** 2)
    round_off = 1 - 0.28 * np.clip(radius, 0, 1.2) ** 4
    light = face["light_x"] * u + face["light_y"] * v
    inside = _soft(1 - radius, 0.09)
    _paint(canvas, face["hair_tone"], face["long_hair"] * _soft(1.25 - radius, 0.1))
    _paint(canvas, face["skin"] * round_off * (1 + light), inside)
    hairline = face["hairline"] + face["hair_curve"] * u**2 + face["parting"] * u
    _paint(canvas, face["hair_tone"], _soft(hairline - v, 0.1) * _soft(1.12 - radius, 0.1))
    beard = _soft(v - 0.28 - 0.25 * (1 - np.abs(u)), 0.3) * inside
    canvas *= 1 - face["beard"] * beard


def draw_brows(canvas: Plane, u: Plane, v: Plane, face: Face) -> None:
    """Brows, furrows between them and lines of the forehead."""
    side = np.where(u < 0, -1, 1).astype(np.float32)
    along = (np.abs(u) - (0.34 - face["brow_close"])) / 0.2
    middle = -0.4 - face["brow_raise"] - face["uneven"] * side
    line = middle + face["brow_inner"] * along * 0.6 + face["brow_arch"] * (along**2 - 0.4)
    cover = _stroke(v - line, along * 0.2, face["brow_width"], 0.2)
    _paint(canvas, face["brow_tone"], cover * face["brow_dark"])
    furrow = _stroke(np.abs(u) - 0.055, v + 0.38, 0.018, 0.1)
    canvas *= 1 - 0.45 * np.clip(face["furrow"], 0, 1.2) * furrow
    curve = v + 0.72 + 0.4 * face["brow_raise"] + 0.08 * u**2
    lines = _stroke(curve, u, 0.015, 0.32) + _stroke(curve - 0.11, u, 0.015, 0.36)
    canvas *= 1 - 0.3 * np.clip(face["forehead"], 0, 1.2) * lines


def draw_eyes(canvas: Plane, u: Plane, v: Plane, face: Face) -> None:
    """Eyes with lids, and the cheek raised under them."""
    away = np.abs(u) - 0.34
    level = v + 0.17 - face["eye_slant"] * away / 0.19
    arc = np.clip(1 - (away / 0.19) ** 2, 0, None)
    upper = np.clip(face["eye_upper"], 0.012, None) * arc
    lower = np.clip(face["eye_lower"], 0.012, None) * arc
    opening = np.minimum(level + upper, lower - level)
    within = _soft(0.19 - np.abs(away), 0.04)
    _paint(
        canvas, face["skin"] * 0.62, 0.6 * within * _stroke(level + upper + 0.06, away, 0.02, 1.0)
    )
    inside = _soft(opening, 0.04) * within
    _paint(canvas, face["eye_white"], inside)
    iris = 0.085 - np.sqrt((away - face["gaze"] * np.sign(u)) ** 2 + (level + 0.015) ** 2)
    _paint(canvas, face["iris"], _soft(iris, 0.04) * inside)
    lid = _stroke(level + upper, away, 0.022, 0.2)
    canvas *= 1 - 0.75 * lid
    canvas *= 1 - 0.3 * within * _soft(0.014 - np.abs(level - lower))
    bag = _stroke(level - 0.13 + 0.9 * away**2, away, 0.018, 0.17)
    canvas *= 1 - 0.4 * np.clip(face["cheek"], 0, 1.2) * bag


def draw_nose(canvas: Plane, u: Plane, v: Plane, face: Face) -> None:
    """Nose, its wrinkles, and the folds from nose to mouth."""
    lift = 0.05 * np.clip(face["wrinkle"], 0, 1.2)
    ridge = _stroke(np.abs(u - face["light_x"] * 0.1) - 0.06, v - 0.02, 0.02, 0.17)
    canvas *= 1 - 0.16 * ridge
    tip = v - 0.2 + lift
    nostril = 0.045 - np.sqrt((np.abs(u) - 0.075) ** 2 + (1.6 * tip) ** 2)
    canvas *= 1 - 0.6 * _soft(nostril)
    wing = _stroke(np.abs(u) - 0.15 - 0.3 * lift, tip + 0.03, 0.018, 0.05)
    canvas *= 1 - 0.35 * wing
    bridge = _stroke(v + 0.16 + 1.5 * u**2, u, 0.016, 0.12)
    bridge = bridge + _stroke(v + 0.07 + 1.5 * u**2, u, 0.016, 0.13)
    canvas *= 1 - 0.5 * np.clip(face["wrinkle"], 0, 1.2) * bridge
    fold = _stroke((np.abs(u) - 0.2 - 0.42 * (v - 0.18 + lift)) * 0.9, v - 0.31, 0.018, 0.14)
    canvas *= 1 - 0.38 * np.clip(face["fold"], 0, 1.2) * fold


def draw_mouth(canvas: Plane, u: Plane, v: Plane, face: Face) -> None:
    """Lips, the opening between them, teeth, and the chin pushed up."""
    half = np.clip(face["mouth_width"], 0.1, None)
    along = np.clip(u / half, -1.3, 1.3)
    square = np.clip(face["mouth_square"], 0, 0.9)
    arc = np.clip(1 - along**2, 0, None)
    profile = arc + square * (np.sqrt(arc) - arc)
    level = v - 0.52 - face["mouth_shift"] + face["corner"] * (along**2 - 0.4)
    level = level + face["uneven"] * 0.5 * along
    gape = np.clip(face["mouth_open"], 0, None) * profile
    lip = np.clip(face["lip"], 0.008, None)
    within = _soft(half - np.abs(u), 0.06)
    outer = gape + lip * (0.35 + 0.65 * profile) - np.abs(level)
    _paint(canvas, face["skin"] * face["lip_tone"], _soft(outer) * within)
    inner = _soft(gape + 0.012 - np.abs(level), 0.04) * within
    _paint(canvas, face["mouth_tone"], inner)
    teeth = np.minimum(0.35 * gape - level, gape - 0.01 - np.abs(level))
    _paint(canvas, face["tooth"], np.clip(face["teeth"], 0, 1) * _soft(teeth, 0.04) * within)
    chin = _stroke(v - 0.73 + 0.8 * u**2, u, 0.02, 0.14)
    canvas *= 1 - 0.35 * np.clip(face["chin"], 0, 1.2) * chin


def draw_glasses(canvas: Plane, u: Plane, v: Plane, face: Face) -> None:
    """Glasses, dark ones or rims, where `face["glasses"]` is one."""
    reach = np.sqrt((np.abs(u) - 0.35) ** 2 + (1.15 * (v + 0.16)) ** 2) - 0.235
    rim = _soft(0.02 - np.abs(reach))
    rim = np.maximum(rim, _stroke(v + 0.2, u, 0.02, 0.12))
    lens = _soft(-reach) * face["sunglasses"]
    _paint(canvas, 0.12, face["glasses"] * np.maximum(0.8 * rim, lens))


def to_bytes(canvas: Plane) -> UInt8[np.ndarray, "image height width"]:
    """0 to 1 becomes 0 to 255; what lies outside is cut off."""
    pixels: np.ndarray = np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return pixels
