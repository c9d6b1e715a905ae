"""A run on a cluster that loses a host and gets another: prints epochs and their workers.

    python -m tests.elastic FOLDER

The cluster is Ray's own for tests: hosts of one CPU each, on this machine.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_ray.config import RunConfig
from fer_ray.on_ray import environment

EPOCHS = 1000


class _EnoughError(Exception):
    """Ends the run."""


def main() -> None:
    """Train with two workers, lose one after the second epoch, get it back two epochs later."""
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "10"
    environment.prepare()
    from ray.cluster_utils import Cluster

    from fer_ray.on_ray import trainer
    from fer_ray.on_ray.cluster import connect
    from fer_ray.record.storage import Folder

    trainer._RESIZE_S = 2.0
    run = RunConfig.from_dict(
        {
            "data": "synthetic:train=300,test=70",
            "method": {"name": "co_divide", "warmup_epochs": 1},
            "optim": {"epochs": EPOCHS, "batch_size": 32, "learning_rate": 0.05},
            "workers": {"num_workers": 2, "min_workers": 1, "gpus_per_worker": 0.0},
            "metric": "val/macro_recall",
        }
    )
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    hosts = [cluster.add_node(num_cpus=1) for _ in range(2)]
    epochs: list[int] = []
    workers: list[int] = []

    def on_report(row: Mapping[str, Any]) -> None:
        epochs.append(row["epoch"])
        workers.append(row["time/num_workers"])
        if len(workers) == 2:
            cluster.remove_node(hosts.pop(), allow_graceful=False)
        if workers[-2:] == [1, 1] and len(hosts) == 1:
            hosts.append(cluster.add_node(num_cpus=1))
        if workers[-2:] == [2, 2] and 1 in workers:
            raise _EnoughError

    try:
        with connect(cluster.address), contextlib.suppress(_EnoughError):
            trainer.fit_on_workers(run, folder=Folder(Path(sys.argv[1])), on_report=on_report)
    finally:
        cluster.shutdown()
    print(json.dumps({"epochs": epochs, "workers": workers}))


if __name__ == "__main__":
    main()
