"""All methods by name. A new one costs a file here and a line in `METHODS`."""

from fer_ray.methods.ada_cm import AdaCM
from fer_ray.methods.base import Method
from fer_ray.methods.co_divide import CoDivide
from fer_ray.methods.co_teaching import CoTeaching
from fer_ray.methods.crest import CReST
from fer_ray.methods.cross_entropy import CrossEntropy
from fer_ray.methods.dividemix import DivideMix
from fer_ray.methods.eac import ErasingAttention
from fer_ray.methods.elr import EarlyLearning
from fer_ray.methods.peer_posterior import PeerPosterior
from fer_ray.methods.robust_loss import RobustLoss

METHODS: dict[str, type[Method]] = {
    "cross_entropy": CrossEntropy,
    "co_divide": CoDivide,
    "dividemix": DivideMix,
    "ada_cm": AdaCM,
    "crest": CReST,
    "robust_loss": RobustLoss,
    "co_teaching": CoTeaching,
    "elr": EarlyLearning,
    "eac": ErasingAttention,
    "peer_posterior": PeerPosterior,
}

__all__ = ["METHODS", "Method"]
