"""Write `synthetic.png`: ten faces of every expression, from mild to intense.

Run it as `python docs/contact_sheet.py`.
"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from fer_ray.data.synthetic.faces import CLASS_NAMES, draw_faces

_COLUMNS = 10
_SIZE = 48
_SEED = 12


def main() -> None:
    """Draw the sheet beside this file."""
    label = np.repeat(np.arange(len(CLASS_NAMES)), _COLUMNS)
    images, intensity = draw_faces(label, _SIZE, np.random.default_rng(_SEED))
    figure = Figure(figsize=(_COLUMNS * 0.8 + 1, len(CLASS_NAMES) * 0.8), dpi=110)
    canvas = FigureCanvasAgg(figure)
    for i, axes in enumerate(figure.subplots(len(CLASS_NAMES), 1)):
        of_class = np.flatnonzero(label == i)
        of_class = of_class[np.argsort(intensity[of_class])]
        axes.imshow(np.hstack(list(images[of_class])), cmap="gray", vmin=0, vmax=255)
        axes.set_ylabel(CLASS_NAMES[i], rotation=0, ha="right", va="center")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    figure.supxlabel("mild  →  intense", fontsize=9)
    figure.tight_layout(h_pad=0.1)
    canvas.draw()
    grey = np.asarray(canvas.buffer_rgba())[..., 0]
    Image.fromarray(grey).save(Path(__file__).with_name("synthetic.png"), optimize=True)


if __name__ == "__main__":
    main()
