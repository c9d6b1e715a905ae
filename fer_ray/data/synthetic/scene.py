"""Who is drawn, from where and how well: people, pose, light, occlusion, blur, sensor noise."""

import numpy as np
from jaxtyping import UInt8

from fer_ray.data.synthetic import drawing
from fer_ray.data.synthetic.drawing import Column, Face, Plane

# Uniform between the two numbers, one draw per image.
_PERSON: dict[str, tuple[float, float]] = {
    "head_width": (0.66, 0.84),
    "head_height": (0.92, 1.06),
    "jaw": (0.05, 0.32),
    "skin": (0.38, 0.85),
    "light_x": (-0.35, 0.35),
    "light_y": (-0.22, 0.12),
    "hairline": (-0.9, -0.6),
    "hair_curve": (-0.1, 0.9),
    "parting": (-0.25, 0.25),
    "hair_tone": (0.04, 0.45),
    "brow_width": (0.022, 0.05),
    "brow_dark": (0.45, 0.95),
    "uneven": (-0.025, 0.025),
    "gaze": (-0.06, 0.06),
    "eye_white": (0.75, 0.95),
    "iris": (0.08, 0.35),
    "lip_tone": (0.48, 0.8),
    "mouth_tone": (0.05, 0.25),
    "tooth": (0.75, 0.98),
    "roll": (-0.3, 0.3),
    "yaw": (-1.0, 1.0),
    "pitch": (-0.06, 0.06),
    "scale": (0.9, 1.15),
    "shift_x": (-0.12, 0.12),
    "shift_y": (-0.12, 0.12),
    "background": (0.05, 0.95),
    "slope_x": (-0.25, 0.25),
    "slope_y": (-0.25, 0.25),
    "blur": (0.0, 0.2),
    "noise": (0.005, 0.045),
    "contrast": (0.7, 1.15),
    "brightness": (-0.1, 0.1),
}

# Share of images that have it, and the range of its strength where they do.
_SOMETIMES: dict[str, tuple[float, float, float]] = {
    "long_hair": (0.35, 1.0, 1.0),
    "beard": (0.18, 0.2, 0.6),
    "glasses": (0.15, 1.0, 1.0),
    "sunglasses": (0.12, 0.9, 0.9),
    "bar": (0.10, 1.0, 1.0),
    "blob": (0.15, 1.0, 1.0),
}


def person_params(num: int, rng: np.random.Generator) -> dict[str, Column]:
    """All of a face but its expression: the person, the pose and the camera."""
    low, high = np.array(list(_PERSON.values()), dtype=np.float32).T
    value = low + (high - low) * rng.random((num, len(_PERSON)), dtype=np.float32)
    face = {name: value[:, i, None, None] for i, name in enumerate(_PERSON)}
    share, least, most = np.array(list(_SOMETIMES.values()), dtype=np.float32).T
    strength = least + (most - least) * rng.random((num, len(_SOMETIMES)), dtype=np.float32)
    strength *= rng.random((num, len(_SOMETIMES)), dtype=np.float32) < share
    face |= {name: strength[:, i, None, None] for i, name in enumerate(_SOMETIMES)}
    face["brow_tone"] = face["hair_tone"] * 0.6
    return face


def draw(face: Face, size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "image size size"]:
    """Draw every face of a batch, square and grey, as a poor camera would see it."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x, y = axis[None, None, :], axis[None, :, None]
    canvas: Plane = face["background"] + face["slope_x"] * x + face["slope_y"] * y
    u, v = _pose(x, y, face)
    drawing.draw_head(canvas, *_shallow(u, v, face, 0.0), face)
    u, v = _shallow(u, v, face, 0.14)
    drawing.draw_brows(canvas, u, v, face)
    drawing.draw_eyes(canvas, u, v, face)
    drawing.draw_nose(canvas, u, v, face)
    drawing.draw_mouth(canvas, u, v, face)
    drawing.draw_glasses(canvas, u, v, face)
    _occlude(canvas, x, y, face, rng)
    canvas = _blur(_blur(canvas, face["blur"]), face["blur"])
    canvas = (canvas - 0.5) * face["contrast"] + 0.5 + face["brightness"]
    grain = rng.standard_normal(canvas.shape, dtype=np.float32)
    return drawing.to_bytes(canvas + face["noise"] * grain)


def _pose(x: np.ndarray, y: np.ndarray, face: Face) -> tuple[Plane, Plane]:
    """Coordinates of every pixel within the face: shift, scale, roll, squeeze by the yaw."""
    cos, sin = np.cos(face["roll"]) / face["scale"], np.sin(face["roll"]) / face["scale"]
    dx, dy = x - face["shift_x"], y - face["shift_y"]
    u = (cos * dx + sin * dy) * (1 + 0.12 * face["yaw"] ** 2)
    return u, cos * dy - sin * dx


def _shallow(u: Plane, v: Plane, face: Face, depth: float) -> tuple[Plane, Plane]:
    """Move what lies `depth` in front of the head as it turns and nods."""
    return u - depth * face["yaw"] * (1 - 0.5 * u**2), v - depth * 7 * face["pitch"]


def _occlude(
    canvas: Plane, x: np.ndarray, y: np.ndarray, face: Face, rng: np.random.Generator
) -> None:
    """A bar across or a blob (a hand, a microphone) in front, in place."""
    num = len(canvas)
    angle, offset, tone, width, cx, cy = rng.random((6, num, 1, 1), dtype=np.float32)
    turn = np.pi * angle
    across = np.abs(np.cos(turn) * x + np.sin(turn) * y - (1.6 * offset - 0.8))
    cover = np.clip((0.05 + 0.1 * width - across) * 20 + 0.5, 0, 1)
    canvas += face["bar"] * cover * (tone - canvas)
    far = ((x - (2 * cx - 1)) / (0.2 + 0.3 * width)) ** 2 + ((y - (1.4 * cy - 0.4)) / 0.3) ** 2
    canvas += face["blob"] * np.clip((1 - far) * 4, 0, 1) * (0.2 + 0.6 * tone - canvas)


def _blur(canvas: Plane, strength: Column) -> Plane:
    """One pass of a small kernel along both axes; strength is the weight of each neighbour."""
    for axis in (1, 2):
        pad = [(1, 1) if i == axis else (0, 0) for i in range(3)]
        wide = np.pad(canvas, pad, mode="edge")
        num = canvas.shape[axis]
        before = np.take(wide, np.arange(num), axis=axis)
        after = np.take(wide, np.arange(2, num + 2), axis=axis)
        canvas = canvas + strength * (before + after - 2 * canvas)
    return canvas
