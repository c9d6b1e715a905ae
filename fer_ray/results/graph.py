"""A run as one module, from pixels to probabilities, that can be exported."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from fer_ray.core.augment import plain_views
from fer_ray.core.operating_points import weighted
from fer_ray.data.packs.decode import LUMA
from fer_ray.results.pillow_resize import scaled, shortens_first
from fer_ray.training.models import FaceNetwork


class FaceModel(nn.Module):
    """Probabilities of the classes of uint8 RGB images of any height and width.

    Everything that `Predictor.predict` does to an image in memory: the middle square scaled to the
    size of the training images; grey if those are; zero mean and unit deviation; the mean softmax
    of all networks, over the image and its mirror image; the operating point.
    """

    weight: Tensor | None

    def __init__(
        self,
        networks: Sequence[FaceNetwork],
        *,
        num_channels: int,
        image_size: tuple[int, int],
        flip_average: bool,
        weight: Float[Tensor, " class"] | None,
    ) -> None:
        """Put the parts together.

        Args:
            networks: In evaluation mode.
            num_channels: 1 for networks of grey images, 3 for RGB.
            image_size: Height and width of the training images; if they differ, images of other
                sizes are not scaled.
            flip_average: Whether mirror images are predicted too.
            weight: What every class is multiplied by at the operating point; `None`: as trained.
        """
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self._is_grey, self._flips = num_channels == 1, flip_average
        self._size = image_size[0] if image_size[0] == image_size[1] else None
        self._shortens_first = self._size is not None and shortens_first()
        self.register_buffer("weight", None if weight is None else weight.double())

    def forward(self, image: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch class"]:
        """Return the probabilities of every class."""
        pixels = image.double()
        if self._size is not None:
            pixels = scaled(pixels, self._size, shortens_first=self._shortens_first)
        if self._is_grey:
            red, green, blue = (float(part) for part in LUMA)
            grey = pixels[:, 0:1] * red + pixels[:, 1:2] * green + pixels[:, 2:3] * blue
            pixels = ((grey + float(LUMA.sum() // 2)) / float(LUMA.sum())).floor()
        view = plain_views(pixels.to(torch.uint8))
        views = (view, view.flip(3)) if self._flips else (view,)
        probs = [network(x).logits.softmax(dim=1) for network in self.networks for x in views]
        prob = torch.stack(probs).mean(dim=0)
        return prob if self.weight is None else weighted(prob, self.weight)
