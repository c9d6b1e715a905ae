"""A strict schema of `clusters/kuberay-rayjob.yaml`: the fields used there; others are refused.

Written by hand from the KubeRay API (`ray.io/v1`) and Kubernetes; it also holds the security
settings that must not be lost. A new field in the file needs a line here.
"""

import copy
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
QUANTITY: Schema = {"anyOf": [{"type": "string", "pattern": r"^\d+(m|[KMGT]i?)?$"}, COUNT]}
TRUE: Schema = {"const": True}
FALSE: Schema = {"const": False}


def fields(optional: dict[str, Schema] | None = None, /, **required: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": {**(optional or {}), **required},
        "required": list(required),
        "additionalProperties": False,
    }


def each(item: Schema, at_least: int = 1) -> Schema:
    return {"type": "array", "items": item, "minItems": at_least}


def texts(value: Schema = STRING) -> Schema:
    """A mapping from names of the user's choosing, such as labels."""
    return {"type": "object", "additionalProperties": value}


LABELS = {"type": "object", "properties": {"app": {"const": "fer-ray"}}, "required": ["app"]}
SECURITY = {
    "pod": fields(
        runAsNonRoot=TRUE,
        runAsUser={"type": "integer", "minimum": 1},
        runAsGroup={"type": "integer", "minimum": 1},
        fsGroup={"type": "integer", "minimum": 1},
        seccompProfile=fields(type={"const": "RuntimeDefault"}),
    ),
    "container": fields(
        allowPrivilegeEscalation=FALSE,
        privileged=FALSE,
        runAsNonRoot=TRUE,
        capabilities=fields(drop={"const": ["ALL"]}),
    ),
}
AMOUNTS = fields({"nvidia.com/gpu": COUNT}, cpu=QUANTITY, memory=QUANTITY)
CONTAINER = fields(
    {
        "ports": each(fields(containerPort=COUNT, name=STRING)),
        "env": each(fields(name={"pattern": "^[A-Z_]+$"}, value=STRING)),
        "envFrom": each(fields(secretRef=fields(name=STRING, optional=TRUE))),
        "volumeMounts": each(fields(name=STRING, mountPath=STRING)),
    },
    name=STRING,
    image=STRING,
    securityContext=SECURITY["container"],
    resources=fields(requests=AMOUNTS, limits=AMOUNTS),
)
VOLUME = fields(
    {
        "persistentVolumeClaim": fields(claimName=STRING),
        "emptyDir": fields(medium={"const": "Memory"}, sizeLimit=QUANTITY),
    },
    name=STRING,
)
TOLERATION = fields(
    {"value": STRING},
    key=STRING,
    operator={"enum": ["Exists", "Equal"]},
    effect={"enum": ["NoSchedule", "NoExecute", "PreferNoSchedule"]},
)
POD = fields(
    metadata=fields(labels=LABELS),
    spec=fields(
        {
            "restartPolicy": {"const": "Never"},
            "nodeSelector": texts(),
            "tolerations": each(TOLERATION),
            "volumes": each(VOLUME),
        },
        automountServiceAccountToken=FALSE,
        securityContext=SECURITY["pod"],
        containers=each(CONTAINER),
    ),
)
# The head's is true, for the autoscaler beside it.
HEAD_POD = copy.deepcopy(POD)
HEAD_POD["properties"]["spec"]["properties"]["automountServiceAccountToken"] = TRUE
HEAD_GROUP = fields(
    serviceType={"const": "ClusterIP"},
    rayStartParams=fields(
        **{
            "dashboard-host": {"const": "0.0.0.0"},
            "num-gpus": {"const": "0"},
            "resources": {"pattern": "trial_driver"},
            "disable-usage-stats": {"const": "true"},
        }
    ),
    template=HEAD_POD,
)
AUTOSCALER = fields(
    version={"const": "v2"},
    idleTimeoutSeconds={"type": "integer", "minimum": 1},
    upscalingMode={"enum": ["Default", "Conservative", "Aggressive"]},
    resources=fields(requests=AMOUNTS, limits=AMOUNTS),
    securityContext=SECURITY["container"],
)
WORKER_GROUP = fields(
    groupName=STRING,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=fields(**{"disable-usage-stats": {"const": "true"}}),
    template=POD,
)
CLUSTER = fields(
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=fields(mode={"const": "token"}),
    enableInTreeAutoscaling=TRUE,
    autoscalerOptions=AUTOSCALER,
    headGroupSpec=HEAD_GROUP,
    workerGroupSpecs=each(WORKER_GROUP),
)
RAY_JOB = fields(
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields(name=STRING, labels=LABELS),
    spec=fields(
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
        entrypoint=STRING,
        shutdownAfterJobFinishes=TRUE,
        ttlSecondsAfterFinished=COUNT,
        activeDeadlineSeconds={"type": "integer", "minimum": 1},
        backoffLimit=COUNT,
        submitterPodTemplate=POD,
        rayClusterSpec=CLUSTER,
    ),
)
SELECTOR = fields(matchLabels=texts())
ANY_NAMESPACE: Schema = {"const": {}}
PEER = fields({"namespaceSelector": ANY_NAMESPACE}, podSelector=SELECTOR)
PORT = fields(protocol={"enum": ["TCP", "UDP"]}, port=COUNT)
NETWORK_POLICY = fields(
    apiVersion={"const": "networking.k8s.io/v1"},
    kind={"const": "NetworkPolicy"},
    metadata=fields(name=STRING, labels=LABELS),
    spec=fields(
        podSelector=fields(matchLabels=LABELS),
        policyTypes={"const": ["Ingress"]},
        ingress=each(fields({"ports": each(PORT)}, **{"from": each(PEER)})),
    ),
)
SCHEMAS: dict[str, Schema] = {"RayJob": RAY_JOB, "NetworkPolicy": NETWORK_POLICY}
