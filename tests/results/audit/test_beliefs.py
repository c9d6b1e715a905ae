"""What a run says of labels: from its files alone, for every kind of method."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fer_ray.core.augment import plain_views
from fer_ray.core.noise_model import NoiseModel, from_predictions
from fer_ray.data import CANNOT_TELL, Faces, prepared
from fer_ray.results.audit.estimates import estimates, pairs
from fer_ray.results.audit.files import columns
from fer_ray.results.audit.posteriors import posterior_of, under_noise
from fer_ray.results.audit.reading import read_beliefs
from fer_ray.results.run_files import RunFolderError
from fer_ray.results.run_folder import open_run
from fer_ray.training.runtime import open_run_data
from tests.results.audit.conftest import SPEC, beliefs_of, finished
from tests.results.audit.test_draw import made_up
from tests.samples import make_run


def split_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "split.npz") as file:
        return {key: file[key] for key in file.files}


def said_of(folder: Path, faces: Faces) -> np.ndarray:
    """What both tested networks say of images: means with the mirror image."""
    run = open_run(folder)
    images = plain_views(torch.from_numpy(np.asarray(faces.images)))
    prob = []
    for network in run.networks():
        with torch.no_grad():
            both = [network(x).logits for x in (images, images.flip(3))]
        prob.append(torch.stack(both).softmax(dim=2).mean(dim=0).double().numpy())
    return np.stack(prob)


def test_a_method_that_keeps_posteriors_is_taken_at_its_word(posterior_run: Path) -> None:
    beliefs, data = beliefs_of(posterior_run)
    split, num = split_of(posterior_run), len(data.train)
    assert len(beliefs) == num + len(data.val)
    assert beliefs.is_train.sum() == num
    assert set(beliefs.source[:num]) == {"posterior"}
    assert set(beliefs.source[num:]) == {"unseen"}
    posterior = split["posterior"].astype(float)
    np.testing.assert_allclose(posterior.sum(axis=2), 1, atol=2e-3)
    np.testing.assert_allclose(beliefs.posterior[:num], posterior.mean(axis=0), atol=2e-3)
    rows = np.arange(len(beliefs))
    np.testing.assert_allclose(
        beliefs.prob_given_right, beliefs.posterior[rows, beliefs.given], atol=1e-9
    )
    assert beliefs.num_splits == split["num_splits"] == 2
    assert 0 < beliefs.kept[:num].mean() <= 2
    overlap = np.minimum(*posterior).sum(axis=1)
    np.testing.assert_allclose(beliefs.agreement[:num], overlap, atol=3e-3)


def test_one_network_agrees_with_nobody(tmp_path: Path, cache_dir: str) -> None:
    beliefs, data = beliefs_of(finished(tmp_path, cache_dir))
    assert beliefs.right.shape == (1, len(beliefs))
    assert np.isnan(beliefs.agreement).all()
    assert set(beliefs.source[: len(data.train)]) == {"posterior"}


def test_images_are_ranked_by_what_was_taught_and_what_networks_say_now(
    posterior_run: Path,
) -> None:
    """Both under the noise as it is estimated at the end; a loop over images."""
    beliefs, data = beliefs_of(posterior_run)
    split, said = split_of(posterior_run), said_of(posterior_run, data.train)
    label, taught = split["label"], split["posterior"].astype(float)
    old = split["transition"]
    new = from_predictions(torch.from_numpy(said.mean(axis=0)), torch.from_numpy(label)).transition
    for i, given in enumerate(label):
        now = said[:, i] * new[:, given].numpy()
        then = taught[:, i].copy()
        for k in range(7):
            then[:, k] *= float(new[k, given]) / old[k, given] if old[k, given] else 1
        both = [(x / x.sum(axis=1, keepdims=True))[:, given].mean() for x in (now, then)]
        assert beliefs.score[i] == pytest.approx(np.mean(both), abs=2e-3)
    for i, (prob, given) in enumerate(
        zip(said_of(posterior_run, data.val).transpose(1, 0, 2), data.val.label, strict=True)
    ):
        now = prob * new[:, given].numpy()
        own = (now / now.sum(axis=1, keepdims=True))[:, given].mean()
        assert beliefs.score[len(label) + i] == pytest.approx(own, abs=2e-3)
    assert (np.diff(beliefs.score[beliefs.ranking]) >= 0).all()


def test_the_mean_of_posteriors_has_nothing_left_of_the_given_labels(
    posterior_run: Path,
) -> None:
    """Targets begin at the given label; after two splits .81 of them is that label still."""
    split = split_of(posterior_run)
    rows = np.arange(len(split["label"]))
    own = split["posterior"].astype(float)[:, rows, split["label"]]
    assert np.abs(own - split["clean_prob"]).mean() < 0.2
    assert own.mean() < 0.8


def test_posteriors_of_validation_images_know_the_noise(posterior_run: Path) -> None:
    _, data = beliefs_of(posterior_run)
    prob = np.full((2, len(data.val), 7), 1 / 7)
    transition = torch.eye(7).double() * 0.5 + 0.5 / 7
    noise = NoiseModel(transition=transition, prior=torch.full((7,), 1 / 7).double())
    told = posterior_of(prob, data.val, noise)
    assert (told.argmax(axis=2) == data.val.label).all()
    assert np.array_equal(posterior_of(prob, data.val, None), prob)


def test_posteriors_under_another_noise_are_those_made_with_it(posterior_run: Path) -> None:
    _, data = beliefs_of(posterior_run)
    rng = np.random.default_rng(0)
    prob = rng.dirichlet(np.ones(7), (2, len(data.val)))
    rows = (torch.from_numpy(rng.dirichlet(np.ones(7), 7)) for _ in range(2))
    prior = torch.full((7,), 1 / 7).double()
    one, other = (NoiseModel(transition=transition, prior=prior) for transition in rows)
    told = posterior_of(prob, data.val, one)
    expected = posterior_of(prob, data.val, other)
    np.testing.assert_allclose(under_noise(told, data.val, one, other), expected, atol=1e-6)
    assert np.array_equal(under_noise(told, data.val, None, None), told)


def test_without_a_split_the_networks_are_asked_and_it_is_said(plain_run: Path) -> None:
    beliefs, data = beliefs_of(plain_run)
    num = len(data.train)
    assert set(beliefs.source[:num]) == {"learnt"}
    assert np.isnan(beliefs.kept).all()
    assert np.isnan(beliefs.agreement).all()  # one network
    np.testing.assert_allclose(beliefs.posterior.sum(axis=1), 1, atol=1e-5)
    assert sorted(beliefs.ranking.tolist()) == list(range(len(beliefs)))
    right = beliefs.prob_given_right[beliefs.ranking]
    assert (np.diff(right) >= 0).all()


def test_a_method_that_divides_is_asked_for_its_clean_probabilities(
    tmp_path: Path, cache_dir: str
) -> None:
    folder = finished(
        tmp_path, cache_dir, "co_divide", optim__epochs=3, method__min_class_fraction=0.3
    )
    beliefs, data = beliefs_of(folder)
    num = len(data.train)
    assert set(beliefs.source[:num]) == {"clean_prob"}
    np.testing.assert_allclose(beliefs.right[:, :num], split_of(folder)["clean_prob"], atol=1e-6)
    kept = split_of(folder)["is_labeled"].mean(axis=0)
    np.testing.assert_allclose(beliefs.kept[:num], kept)  # one split


def test_pseudo_labels_are_in_the_files_of_a_run(tmp_path: Path, cache_dir: str) -> None:
    """After the second generation of `crest` some images have a label that nobody gave."""
    generations = {"method__generation_epochs": 1, "method__num_generations": 2}
    folder = finished(
        tmp_path, cache_dir, "crest", optim__epochs=3, method__warmup_epochs=1, **generations
    )
    split = split_of(folder)
    kept, trained = split["is_labeled"][0], split["trained_label"][0]
    assert np.array_equal(kept, trained == split["label"])
    is_pseudo = (trained >= 0) & ~kept
    assert is_pseudo.any()
    last = json.loads((tmp_path / "crest-checkpoint/metrics.jsonl").read_text().splitlines()[-1])
    right = (trained == split["true_label"])[trained >= 0]
    assert last["split/precision"] == pytest.approx(right.mean())
    beliefs, data = beliefs_of(folder)
    num = len(data.train)
    assert np.array_equal(beliefs.trained[:num], trained)
    assert (beliefs.trained[num:] == -1).all()
    table = columns(beliefs, prepared(SPEC))
    named = {row: name for row, name in zip(table["index"], table["trained"], strict=True) if name}
    expected = {
        int(data.train.row[i]): data.class_names[trained[i]] for i in np.flatnonzero(trained >= 0)
    }
    assert named == expected


def test_what_a_person_has_told_is_known(tmp_path: Path, cache_dir: str) -> None:
    labels = tmp_path / "labels.csv"
    data = open_run_data(make_run(data__spec=SPEC))
    first, second, third = data.train.row[:3]
    name = data.class_names[(int(data.train.label[0]) + 1) % 7]
    lines = [
        f"{first},{name},random",
        f"{second},,random",
        f"{third},{data.class_names[int(data.train.label[2])]},picked",
    ]
    labels.write_text("\n".join(["index,label,sample", *lines]) + "\n")
    folder = finished(tmp_path, cache_dir, data__verified=str(labels))
    beliefs, _ = beliefs_of(folder)
    assert beliefs.given[0] == data.train.label[0]  # as given, whatever is trained on
    assert beliefs.prob_given_right[[0, 2]].tolist() == [0, 1]
    assert beliefs.prob_suggested[[0, 2]].tolist() == [1, 1]
    assert data.class_names[beliefs.suggested[0]] == name
    assert beliefs.verified[1] == CANNOT_TELL
    assert not np.isin([0, 1, 2], beliefs.ranking).any()
    assert beliefs.is_random[:3].tolist() == [True, True, False]


@pytest.mark.parametrize("key", ["data.seed", "another set", "other size"])
def test_images_of_another_data_set_are_refused(posterior_run: Path, key: str) -> None:
    run = open_run(posterior_run)
    changes: dict[str, dict[str, Any]] = {
        "data.seed": {"seed": 5},
        "another set": {"spec": "synthetic:train=210,test=70,size=16"},
        "other size": {"spec": "synthetic:train=200,test=70,size=24"},
    }
    data = open_run_data(replace(run.config, data=replace(run.config.data, **changes[key])))
    with pytest.raises(RunFolderError, match="expected"):
        read_beliefs(run, data)


def test_a_damaged_split_is_refused(posterior_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(posterior_run, tmp_path / "run"))
    (folder / "split.npz").write_bytes(b"PK\x03\x04 torn")
    run = open_run(folder)
    with pytest.raises(RunFolderError, match=r"split\.npz"):
        read_beliefs(run, open_run_data(run.config))


def test_verified_labels_tell_how_many_are_wrong() -> None:
    """Wilson's interval of the share among random verified images, times the images."""
    beliefs = made_up()
    verified, is_random = beliefs.verified.copy(), beliefs.is_random.copy()
    rows = np.flatnonzero(beliefs.given == 0)
    verified[rows[:20]], is_random[rows[:20]] = 0, True
    verified[rows[:5]] = 2
    verified[rows[20:30]] = 3  # picked: they do not say how frequent errors are
    verified[rows[30]], is_random[rows[30]] = CANNOT_TELL, True
    told = replace(beliefs, verified=verified, is_random=is_random)
    first, *others, total = estimates(told)
    assert (first.basis, first.images) == ("verified", 60)
    assert (first.verified, first.verified_wrong) == (20, 5)
    assert first.wrong == pytest.approx(60 * 0.25)
    # Wilson 1927 by hand: centre (p + z^2/2n) / (1 + z^2/n) and half its width.
    z, n, p = 1.959964, 20, 0.25
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert first.low == pytest.approx(60 * (centre - half))
    assert first.high == pytest.approx(60 * (centre + half))
    assert {one.basis for one in others} == {"believed"}
    assert total.basis == "both"
    assert total.images == 120
    assert total.low < total.wrong < total.high


def test_the_runs_own_estimate_covers_both_networks() -> None:
    beliefs = made_up()
    two = replace(beliefs, right=np.concatenate([beliefs.right, beliefs.right * 0.8]))
    both = zip(estimates(beliefs)[:4], estimates(two)[:4], strict=True)
    for number, (one, other) in enumerate(both):
        assert one.wrong == pytest.approx((1 - beliefs.right[0][beliefs.given == number]).sum())
        assert other.wrong > one.wrong
        assert other.low <= one.low + 1e-9
        assert other.high >= one.high - 1e-9
        assert 0 <= other.low <= other.wrong <= other.high <= other.images


def test_intervals_hold_where_nothing_or_everything_is_wrong() -> None:
    beliefs = made_up()
    for truth, wrong in ((beliefs.given, 0), ((beliefs.given + 1) % 4, 60)):
        told = replace(beliefs, verified=truth, is_random=np.ones(120, dtype=bool))
        first = asdict(estimates(told)[0])
        assert first["wrong"] == wrong
        assert 0 <= first["low"] <= wrong <= first["high"] <= 60
        assert first["low"] < first["high"]


def test_pairs_are_sums_over_images() -> None:
    beliefs = made_up()
    found = {(row["given"], row["true"]): row for row in pairs(beliefs)}
    assert len(found) == 12
    row = found["neutral", "happiness"]
    of_label = beliefs.given == 0
    assert row["expected"] == pytest.approx(beliefs.posterior[of_label, 1].sum(), abs=0.06)
    assert row["flagged"] == (beliefs.suggested[of_label] == 1).sum()
    expected = [row["expected"] for row in pairs(beliefs)]
    assert expected == sorted(expected, reverse=True)
