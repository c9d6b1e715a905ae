"""Networks: shapes, stems, loaded weights, and initial weights that depend only on the seed."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from fer_ray.config import ModelConfig, RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.training.models import FaceNetwork, build_network
from fer_ray.training.runtime import check_run
from fer_ray.training.state import new_networks
from tests.samples import faces, make_run

pytestmark = pytest.mark.lowest


def build(config: ModelConfig, channels: int = 1, size: int = 48, seed: int = 0) -> FaceNetwork:
    return build_network(config, num_classes=4, num_channels=channels, image_size=size, seed=seed)


def images(channels: int = 1, size: int = 48) -> Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def first_conv(network: FaceNetwork) -> nn.Conv2d:
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "num_features"), [("tiny", 96), ("resnet18", 512)])
def test_a_network_gives_logits_and_features(name: str, num_features: int, channels: int) -> None:
    output = build(RunConfig.from_dict({"model": {"name": name}}).model, channels)(images(channels))
    assert output.logits.shape == (2, 4)
    assert output.features.shape == (2, num_features)


def test_the_logits_are_the_classifier_of_the_features() -> None:
    network = build(ModelConfig()).eval()
    output = network(images())
    torch.testing.assert_close(network.classifier(output.features), output.logits)


@pytest.mark.parametrize("name", ["tiny", "resnet18"])
def test_the_mean_attention_is_the_logits_without_bias(name: str) -> None:
    network = build(RunConfig.from_dict({"model": {"name": name}}).model).eval()
    output = network(images())
    mean = output.attention.mean(dim=(2, 3)) + network.classifier.bias
    torch.testing.assert_close(mean, output.logits, rtol=1e-3, atol=1e-5)
    output.attention.sum().backward()
    assert network.classifier.weight.grad is None


def test_a_resnet_has_torchvisions_features(tmp_path: Path) -> None:
    original = torchvision.models.resnet18(num_classes=5)
    path = tmp_path / "resnet.pt"
    torch.save(original.state_dict(), path)
    config = ModelConfig(name="resnet18", stem="imagenet", weights=str(path))
    network = build(config, channels=3, size=64).eval()
    original.fc = nn.Identity()
    picture = images(3, 64)
    torch.testing.assert_close(network(picture).features, original.eval()(picture))


def test_the_tiny_network_is_tiny() -> None:
    assert sum(value.numel() for value in build(ModelConfig()).parameters()) < 250_000


def test_initial_weights_depend_only_on_the_seed() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = build(ModelConfig(), seed=3).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(6)
    again, other = (
        build(ModelConfig(), seed=3).state_dict(),
        build(ModelConfig(), seed=4).state_dict(),
    )
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize(
    ("stem", "size", "kernel", "stride"),
    [
        ("auto", 48, (3, 3), (1, 1)),
        ("auto", 64, (7, 7), (2, 2)),
        ("small", 112, (3, 3), (1, 1)),
        ("imagenet", 48, (7, 7), (2, 2)),
    ],
)
def test_the_stem_fits_the_image(
    stem: str, size: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    network = build(
        RunConfig.from_dict({"model": {"name": "resnet18", "stem": stem}}).model, size=size
    )
    conv = first_conv(network)
    assert (conv.kernel_size, conv.stride, conv.in_channels) == (kernel, stride, 1)
    is_small = kernel == (3, 3)
    assert isinstance(network.backbone.get_submodule("maxpool"), nn.Identity) == is_small
    assert network(images(size=size)).logits.shape == (2, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_small_stem_is_the_centre_of_pretrained_filters(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its filters are the 3x3 centres of the 7x7 filters, summed over colours and spread evenly."""
    pretrained = torchvision.models.resnet18()

    def get_model(name: str, weights: str | None) -> Any:
        assert (name, weights) == ("resnet18", "DEFAULT")
        return pretrained

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    total = pretrained.conv1.weight.detach().sum(dim=1)
    config = ModelConfig(name="resnet18", stem="small", weights="torchvision")
    stem = first_conv(build(config, channels=channels))
    for row in range(3):
        for column in range(3):
            expected = total[:, row + 2, column + 2] / channels
            for channel in range(channels):
                found = stem.weight[:, channel, row, column]
                torch.testing.assert_close(found, expected)


def test_a_grey_image_has_the_features_of_three_equal_channels() -> None:
    config = ModelConfig(name="resnet18", stem="imagenet")
    grey, colour = (build(config, channels=channels).eval() for channels in (1, 3))
    shared = {k: v for k, v in colour.state_dict().items() if k != "backbone.conv1.weight"}
    grey.load_state_dict(shared, strict=False)
    picture = images(1)
    one, three = grey(picture).features, colour(picture.expand(-1, 3, -1, -1)).features
    torch.testing.assert_close(one, three, rtol=1e-3, atol=1e-4)


def test_weights_of_a_whole_network_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    saved = build(ModelConfig(), seed=1)
    torch.save(saved.state_dict(), path)
    loaded = build(ModelConfig(weights=str(path)), seed=2)
    assert torch.equal(saved.classifier.weight, loaded.classifier.weight)


def test_weights_of_a_torchvision_network_are_loaded_without_its_classifier(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pt"
    config = ModelConfig(name="resnet18", stem="imagenet")
    state = build(config, channels=3, seed=1).backbone.state_dict()
    torch.save({**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    loaded = build(
        ModelConfig(name="resnet18", stem="imagenet", weights=str(path)), channels=3, seed=2
    )
    assert torch.equal(loaded.backbone.state_dict()["conv1.weight"], state["conv1.weight"])


def test_unusable_weights_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pt"
    with pytest.raises(ConfigError, match=r"model\.weights: .*missing\.pt cannot be read"):
        build(ModelConfig(weights=str(missing)))
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"broken\.pt cannot be read as a state dict"):
        build(ModelConfig(weights=str(broken)))
    listed = tmp_path / "list.pt"
    torch.save([torch.zeros(1)], listed)
    with pytest.raises(ConfigError, match="expected a state dict, got list"):
        build(ModelConfig(weights=str(listed)))
    other = tmp_path / "other.pt"
    torch.save(build(ModelConfig(), channels=3).state_dict(), other)
    with pytest.raises(
        ConfigError, match=r"(?s)other\.pt does not fit FaceNetwork: .*size mismatch.*model\.name"
    ):
        build(ModelConfig(weights=str(other)))


def test_weights_that_are_not_there_are_found_before_any_worker_starts(tmp_path: Path) -> None:
    data, saved = faces(), tmp_path / "good.pt"
    run = make_run("cross_entropy", model__weights=str(saved))
    with pytest.raises(ConfigError, match=r"model\.weights: .*good\.pt cannot be read"):
        check_run(run, data)
    (network,) = new_networks(make_run("cross_entropy"), data, torch.device("cpu"))
    torch.save(network.state_dict(), saved)
    check_run(run, data)
