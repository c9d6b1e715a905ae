"""The papers in plain NumPy loops: what the package must compute, written without it.

Numbers in brackets are equations of DivideMix (Li et al. 2020, arXiv:2002.07394) unless MixMatch
(Berthelot et al. 2019, arXiv:1905.02249) is named. Where the authors' scripts differ from the
paper, the scripts are followed and it is said so. Imports nothing from `fer_ray`.
"""

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


# --- losses ---------------------------------------------------------------------------------------


def softmax(logits: Floats) -> Floats:
    """Row by row."""
    result = np.zeros_like(logits)
    for i, row in enumerate(logits):
        total = sum(math.exp(value - max(row)) for value in row)
        for c, value in enumerate(row):
            result[i, c] = math.exp(value - max(row)) / total
    return result


def soft_cross_entropy(prob: Floats, target: Floats) -> float:
    """(9): -1/|X'| sum over images and classes of target log p."""
    total = 0.0
    for i in range(len(prob)):
        for c in range(prob.shape[1]):
            if target[i, c] > 0:
                total -= target[i, c] * math.log(prob[i, c])
    return total / len(prob)


def squared_error(prob: Floats, target: Floats) -> float:
    """(10): 1/|U'| sum of (target - p)^2; the authors' scripts also divide by the classes."""
    total = 0.0
    for i in range(len(prob)):
        for c in range(prob.shape[1]):
            total += (target[i, c] - prob[i, c]) ** 2
    return total / prob.size


def prior_penalty(prob: Floats, prior: Floats) -> float:
    """(11): sum over classes of pi log(pi / mean p), the mean over labelled and unlabelled."""
    total = 0.0
    for c in range(prob.shape[1]):
        mean = sum(prob[i, c] for i in range(len(prob))) / len(prob)
        if prior[c] > 0:
            total += prior[c] * math.log(prior[c] / mean)
    return total


def negative_entropy(prob: Floats) -> float:
    """(2) with the sign turned: mean over images of sum p log p, where 0 log 0 is 0."""
    total = 0.0
    for row in prob:
        for value in row:
            if value > 0:
                total += value * math.log(value)
    return total / len(prob)


def linear_ramp(epoch: float, warmup_epochs: float, length: float) -> float:
    """The authors' weight of (10): clip((epoch + batch / batches - warm-up) / length, 0, 1)."""
    if length == 0:
        return 1.0
    return min(max((epoch - warmup_epochs) / length, 0.0), 1.0)


def smoothed_target(label: Ints, num_classes: int, smoothing: float) -> Floats:
    """Szegedy et al. 2016, section 7: (1 - e) y + e / K."""
    target = np.full((len(label), num_classes), smoothing / num_classes)
    for i, c in enumerate(label):
        target[i, c] += 1 - smoothing
    return target


def balanced_prob(prob: Floats, count: Sequence[int]) -> Floats:
    """Balanced softmax (Ren et al. 2020): n_c e^z_c / sum n e^z, from the plain softmax."""
    result = np.zeros_like(prob)
    for i, row in enumerate(prob):
        total = sum(n * p for n, p in zip(count, row, strict=True))
        for c, value in enumerate(row):
            result[i, c] = count[c] * value / total
    return result


def generalized_cross_entropy(prob: Floats, label: Ints, q: float) -> float:
    """Zhang and Sabuncu 2018: mean of (1 - p_y^q) / q."""
    return float(sum((1 - prob[i, c] ** q) / q for i, c in enumerate(label)) / len(label))


def reverse_cross_entropy(prob: Floats, label: Ints, log_zero: float) -> float:
    """Wang et al. 2019: mean of -sum_k p_k log y_k, log 1 = 0, log 0 = A."""
    total = 0.0
    for i, y in enumerate(label):
        for c in range(prob.shape[1]):
            total -= prob[i, c] * (0.0 if c == y else log_zero)
    return total / len(label)


def small_loss(prob: Floats, label: Ints, num: int) -> list[int]:
    """Co-teaching (Han et al. 2018), algorithm 1, lines 4 and 5: rows of the smallest losses."""
    losses = [-math.log(prob[i, c]) for i, c in enumerate(label)]
    return sorted(range(len(label)), key=lambda i: losses[i])[:num]


def early_learning(prob: Floats, target: Floats) -> float:
    """ELR (Liu et al. 2020): mean of log(1 - <p, t>)."""
    total = 0.0
    for row, own in zip(prob, target, strict=True):
        total += math.log(1 - sum(p * t for p, t in zip(row, own, strict=True)))
    return total / len(prob)


def confident_cross_entropy(prob: Floats, pseudo_label: Ints, is_confident: Bools) -> float:
    """FixMatch (Sohn et al. 2020): sum over the confident ones, over the size of the batch."""
    total = 0.0
    for row, c, use in zip(prob, pseudo_label, is_confident, strict=True):
        if use:
            total -= math.log(row[c])
    return total / len(prob)


def nt_xent(first: Floats, second: Floats, temperature: float) -> float:
    """SimCLR (Chen et al. 2020), eq. 1, mean over all 2n views; 0 of none."""
    views = [row / math.sqrt(sum(row**2)) for row in (*first, *second)]
    total = 0.0
    for i, anchor in enumerate(views):
        other = (i + len(first)) % len(views)
        similar = [math.exp(sum(anchor * view) / temperature) for view in views]
        rest = sum(value for k, value in enumerate(similar) if k != i)
        total -= math.log(similar[other] / rest)
    return total / max(1, len(views))


def activation_maps(images: NDArray[np.float64], weight: Floats) -> NDArray[np.float64]:
    """EAC (Zhang et al. 2022), Zhou et al. 2016: sum over features of weight times feature map.

    Of a linear network: every pixel is a feature with a map of one place.
    """
    num, _, height, width = images.shape
    maps = np.zeros((num, weight.shape[1], height, width))
    for i, c, row, column in np.ndindex(*maps.shape):
        maps[i, c, row, column] = weight[row * width + column, c] * images[i, 0, row, column]
    return maps


def mirrored(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left and right exchanged."""
    result = np.zeros_like(images)
    width = images.shape[3]
    for column in range(width):
        result[..., column] = images[..., width - 1 - column]
    return result


def mean_square(values: NDArray[np.float64]) -> float:
    """Mean of squares over everything."""
    return sum(value**2 for value in values.ravel()) / values.size


# --- targets --------------------------------------------------------------------------------------


def sharpen(prob: Floats, temperature: float) -> Floats:
    """(4), MixMatch (7): p^(1/T) / sum p^(1/T)."""
    result = np.zeros_like(prob)
    for i, row in enumerate(prob):
        total = sum(value ** (1 / temperature) for value in row)
        for c, value in enumerate(row):
            result[i, c] = value ** (1 / temperature) / total
    return result


def co_refine(
    label: Ints, clean_prob: Floats, views: Sequence[Floats], temperature: float
) -> Floats:
    """(3) and (4): w y + (1 - w) mean over augmentations of the student's p, sharpened."""
    mixed = np.zeros_like(views[0])
    for i in range(len(label)):
        for c in range(mixed.shape[1]):
            mean = sum(prob[i, c] for prob in views) / len(views)
            given = 1.0 if c == label[i] else 0.0
            mixed[i, c] = clean_prob[i] * given + (1 - clean_prob[i]) * mean
    return sharpen(mixed, temperature)


def co_guess(student: Sequence[Floats], peer: Sequence[Floats], temperature: float) -> Floats:
    """Algorithm 1, co-guessing: mean over both networks and all augmentations, sharpened by (4)."""
    guesses = [*student, *peer]
    mean = np.zeros_like(guesses[0])
    for prob in guesses:
        mean += prob / len(guesses)
    return sharpen(mean, temperature)


def mixup(rows: NDArray[np.float64], partner: Ints, draw: float) -> NDArray[np.float64]:
    """(5)-(8), MixMatch (8)-(11): l' = max(l, 1 - l); l' x + (1 - l') x[partner]."""
    share = max(draw, 1 - draw)
    result = np.zeros((len(partner), *rows.shape[1:]))
    for i, other in enumerate(partner):
        result[i] = share * rows[i] + (1 - share) * rows[other]
    return result


def dividemix_loss(
    prob: Floats,
    target: Floats,
    num_labeled: int,
    *,
    form: str,
    unlabeled_weight: float,
    penalty_weight: float,
) -> float:
    """(12): L_X + lambda_u L_U + lambda_r L_reg, with a uniform prior.

    `unlabeled_weight` is lambda_u after the ramp. The Clothing1M script has rows of the labelled
    half only, and no L_U.
    """
    num_classes = prob.shape[1]
    loss = soft_cross_entropy(prob[:num_labeled], target[:num_labeled])
    loss += penalty_weight * prior_penalty(prob, np.full(num_classes, 1 / num_classes))
    if form == "cifar" and len(prob) > num_labeled:
        loss += unlabeled_weight * squared_error(prob[num_labeled:], target[num_labeled:])
    return loss


# --- the split ------------------------------------------------------------------------------------


def min_max(loss: Floats, clip_quantile: float = 1.0) -> Floats:
    """Losses to [0, 1]; those above the quantile (a loss that occurs) count as the quantile."""
    ordered = sorted(loss)
    low, high = ordered[0], ordered[max(1, math.ceil(clip_quantile * len(ordered))) - 1]
    return np.array([(min(value, high) - low) / (high - low) for value in loss])


def two_means(loss: Floats) -> Bools:
    """Whether a loss is in the first of the two groups with the least squared distances."""
    cuts = sorted(set(loss))[:-1]
    distance = []
    for x in cuts:
        groups = loss[loss <= x], loss[loss > x]
        distance.append(sum(float(((group - group.mean()) ** 2).sum()) for group in groups))
    return np.array(loss <= cuts[int(np.argmin(distance))])


def co_divide(loss: Floats, *, monotone: bool = False, random_start: bool = False) -> Floats:
    """Section 3.1: w_i, the posterior of the component with the smaller mean, of scaled losses.

    With `monotone` a smaller loss is never less clean: w of a loss is the largest of that loss and
    all above it where the clean component is the narrower one, else the smallest of those below.
    The mixture starts at the best two means, or where scikit-learn's k-means ends.
    """
    first = two_means(loss)
    groups = (loss[first], loss[~first])
    start = {
        "means_init": [[group.mean()] for group in groups],
        "weights_init": [len(group) / len(loss) for group in groups],
        "precisions_init": [[[1 / (group.var() + 5e-4)]] for group in groups],
    }
    model = GaussianMixture(
        2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0, **({} if random_start else start)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(loss.reshape(-1, 1))
    clean = 0 if model.means_[0, 0] < model.means_[1, 0] else 1
    w = np.array(model.predict_proba(loss.reshape(-1, 1))[:, clean])
    if not monotone:
        return w
    grid = np.linspace(-1, 2, 30_001)
    of_grid = model.predict_proba(grid.reshape(-1, 1))[:, clean]
    if model.covariances_[clean, 0, 0] < model.covariances_[1 - clean, 0, 0]:
        return np.array([max(w[i], max(of_grid[grid >= x])) for i, x in enumerate(loss)])
    return np.array([min(w[i], min(of_grid[grid <= x])) for i, x in enumerate(loss)])


def peer_targets(
    prob: Floats,
    label: Ints,
    transition: Floats,
    previous: Floats | None,
    momentum: float,
    temperature: float,
    teacher: str,
) -> tuple[Floats, Floats]:
    """Moving posteriors under a noise matrix, told by one or two networks.

    Args:
        prob: Predictions by network, image and class.
        label: Given labels; -1 where there is none.
        transition: P(given | true).
        previous: The targets before; `None` at first.
        momentum: What a target keeps of itself.
        temperature: Of the predictions; 1 takes them as they are.
        teacher: Who tells: the other network (`peer`; one alone is its own), or the network itself
            (`own`).

    Returns:
        Targets and clean probabilities; row k is what network k learns.
    """
    target, clean = np.zeros_like(prob, dtype=np.float64), np.zeros(prob.shape[:2])
    for k in range(len(prob)):
        for i, given in enumerate(label):
            told = prob[(k + 1) % len(prob), i] if teacher == "peer" else prob[k, i]
            powers = [float(p) ** (1 / temperature) for p in told]
            posterior = np.array([power / sum(powers) for power in powers])
            start = posterior
            if given >= 0:
                joint = [p * transition[c, given] for c, p in enumerate(posterior)]
                posterior = np.array([value / sum(joint) for value in joint])
                start = np.eye(prob.shape[2])[given]
                clean[k, i] = posterior[given]
            old = start if previous is None else previous[k, i]
            target[k, i] = momentum * old + (1 - momentum) * posterior
    return target, clean


def keep_labels(clean_prob: Floats, label: Ints, threshold: Floats) -> Bools:
    """A label is kept if its clean probability is above the threshold of its class."""
    return np.array(
        [w > threshold[c] for w, c in zip(clean_prob, label, strict=True)], dtype=np.bool_
    )


def class_means(prob: Floats, label: Ints, num_classes: int) -> Floats:
    """DNFER: mean probability of the given label over a class; 1 without images."""
    result = np.ones(num_classes)
    for c in range(num_classes):
        own = [prob[i, c] for i, y in enumerate(label) if y == c]
        if own:
            result[c] = sum(own) / len(own)
    return result


def admitted(
    prob: Floats, is_labeled: Bools, count: Sequence[int], power: float
) -> tuple[set[int], list[int]]:
    """CReST (Wei et al. 2021), section 3.3: the rarest class is admitted whole.

    With classes sorted by frequency, N_1 the largest, the l-th gets the share
    (N_{L+1-l} / N_1)^power of the images predicted as it, the most confident first.
    """
    num_classes = prob.shape[1]
    by_frequency = sorted(range(num_classes), key=lambda c: -count[c])
    answer = [int(np.argmax(row)) for row in prob]
    chosen: set[int] = set()
    for place, c in enumerate(by_frequency):
        mirror = by_frequency[num_classes - 1 - place]
        share = (count[mirror] / max(1, count[by_frequency[0]])) ** power
        own = [i for i, a in enumerate(answer) if a == c and not is_labeled[i]]
        own.sort(key=lambda i: -max(prob[i]))
        chosen |= set(own[: math.floor(share * len(own) + 1e-9)])
    return chosen, answer


def aligned(prob: Floats, target: Floats, mean: Floats, temper: float) -> Floats:
    """CReST+, section 3.4: p times target^t (normalised) over the mean answer, normalised."""
    tempered = [value**temper for value in target]
    result = np.zeros_like(prob)
    for i, row in enumerate(prob):
        scaled = [p * t / sum(tempered) / m for p, t, m in zip(row, tempered, mean, strict=True)]
        for c, value in enumerate(scaled):
            result[i, c] = value / sum(scaled)
    return result


def margins(prob: Floats, label: Ints, epoch: float, floor: float) -> Floats:
    """Ada-CM: mean confidence of right answers by class, times 0.97 / (1 + e^-t), or floor."""
    result = np.full(prob.shape[1], floor)
    for c in range(prob.shape[1]):
        right = [max(row) for row, y in zip(prob, label, strict=True) if y == c == np.argmax(row)]
        if right:
            result[c] = max(floor, sum(right) / len(right) * 0.97 / (1 + math.exp(-epoch)))
    return result


# --- metrics --------------------------------------------------------------------------------------


def recall_per_class(label: Ints, pred: Ints, num_classes: int) -> list[float]:
    """Found images of a class over images of the class; NaN without images."""
    recalls = []
    for c in range(num_classes):
        found = [int(p == c) for y, p in zip(label, pred, strict=True) if y == c]
        recalls.append(sum(found) / len(found) if found else math.nan)
    return recalls


def macro_recall(label: Ints, pred: Ints, num_classes: int) -> float:
    """Mean recall over the classes that have images."""
    recalls = [value for value in recall_per_class(label, pred, num_classes) if value == value]
    return sum(recalls) / len(recalls)


def accuracy(label: Ints, pred: Ints) -> float:
    """Right answers over answers."""
    return sum(int(y == p) for y, p in zip(label, pred, strict=True)) / len(label)


def auroc(score: Floats, is_positive: Bools) -> float:
    """Share of (positive, negative) pairs in the right order; ties count one half."""
    right = 0.0
    pairs = 0
    for positive in score[is_positive]:
        for negative in score[~is_positive]:
            right += 1.0 if positive > negative else 0.5 if positive == negative else 0.0
            pairs += 1
    return right / pairs


def selection_quality(kept: Bools, is_clean: Bools) -> tuple[float, float]:
    """Precision (kept labels that are right) and recall (right labels that are kept)."""
    hits = sum(int(k and c) for k, c in zip(kept, is_clean, strict=True))
    return hits / sum(map(int, kept)), hits / sum(map(int, is_clean))


# --- gradients ------------------------------------------------------------------------------------


def numerical_gradient(
    function: Callable[[Floats], float], place: Floats, step: float = 1e-5
) -> Floats:
    """Central differences, one number after the other."""
    gradient = np.zeros_like(place)
    for cell in np.ndindex(*place.shape):
        right, left = place.copy(), place.copy()
        right[cell] += step
        left[cell] -= step
        gradient[cell] = (function(right) - function(left)) / (2 * step)
    return gradient


def linear_prob(images: NDArray[np.float64], weight: Floats) -> Floats:
    """Softmax of a linear network; the last row of `weight` is the bias."""
    logits = np.zeros((len(images), weight.shape[1]))
    for i, image in enumerate(images):
        for c in range(weight.shape[1]):
            logits[i, c] = sum(image.ravel() * weight[:-1, c]) + weight[-1, c]
    return softmax(logits)
