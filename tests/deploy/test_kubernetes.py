"""The manifests in deploy/kubernetes, offline: Kubernetes' own schemas, and whether the parts agree with each other and
with the programs that they start."""

import importlib.metadata
import pathlib
import re

import jsonschema
import kubernetes_validate
import pytest
import yaml

from broker.amqp import address, queue_names
from broker.messages import topics
from broker.transport import credentials
from tflsplit.cli.commands import cloud
from tflsplit.observing import catalogue, server

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"
VARIANTS = ("mqtt", "rabbitmq")
KUBERNETES = "1.31.0"  # the oldest that is still supported by some clouds; newer ones only add

TEXT, COUNT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
NUMBER = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}  # KEDA's metadata are all texts


def only(required, **properties):
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


# No schema of theirs comes with a library. These are ours, of the fields that we use and no others, after KEDA 2's
# pages on ScaledObject, TriggerAuthentication and both scalers, and those of RabbitMQ's cluster and topology operators.
PROMETHEUS = only(["serverAddress", "query", "threshold"], serverAddress=TEXT, query=TEXT, threshold=NUMBER)
RABBITMQ = only(
    ["protocol", "host", "queueName", "mode", "value"],
    protocol={"enum": ["auto", "amqp", "http"]},
    host={"type": "string", "pattern": "^(amqps?|https?)://"},
    vhostName=TEXT,
    queueName=TEXT,
    mode={"enum": ["QueueLength", "MessageRate"]},
    value=NUMBER,
)
TRIGGER = {
    "oneOf": [
        only(["type", "metadata"], type={"const": "prometheus"}, metadata=PROMETHEUS),
        only(
            ["type", "metadata", "authenticationRef"],
            type={"const": "rabbitmq"},
            metadata=RABBITMQ,
            authenticationRef=only(["name"], name=TEXT),
        ),
    ]
}
NAMED = only(["name"], name=TEXT)
SOURCES = {"type": "array", "items": only(["parameter", "name", "key"], parameter=TEXT, name=TEXT, key=TEXT)}
CUSTOM = {
    ("keda.sh/v1alpha1", "ScaledObject"): only(
        ["scaleTargetRef", "triggers"],
        scaleTargetRef=only(["name"], name=TEXT, kind=TEXT, apiVersion=TEXT),
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        pollingInterval=COUNT,
        cooldownPeriod=COUNT,
        advanced=only([], horizontalPodAutoscalerConfig=only([], behavior={"type": "object"})),
        triggers={"type": "array", "minItems": 1, "items": TRIGGER},
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): only([], secretTargetRef=SOURCES, configMapTargetRef=SOURCES),
    ("rabbitmq.com/v1beta1", "RabbitmqCluster"): only(
        ["replicas"],
        replicas={"enum": [1, 3, 5]},
        image=TEXT,
        tls=only(["secretName"], secretName=TEXT, caSecretName=TEXT, disableNonTLSListeners={"type": "boolean"}),
        persistence=only([], storage=TEXT, storageClassName=TEXT),
        resources={"type": "object"},
        rabbitmq=only([], additionalPlugins={"type": "array", "items": TEXT}, additionalConfig=TEXT),
        affinity={"type": "object"},
    ),
    ("rabbitmq.com/v1beta1", "User"): only(["rabbitmqClusterReference"], rabbitmqClusterReference=NAMED),
    ("rabbitmq.com/v1beta1", "Permission"): only(
        ["vhost", "userReference", "permissions", "rabbitmqClusterReference"],
        vhost=TEXT,
        userReference=NAMED,
        permissions=only([], configure=TEXT, write=TEXT, read=TEXT),
        rabbitmqClusterReference=NAMED,
    ),
}


class Variant:
    """What one folder asks of a cluster."""

    def __init__(self, name):
        self.folder = DEPLOY / "kubernetes" / name
        self.kustomization = yaml.safe_load((self.folder / "kustomization.yaml").read_text())
        files = [self.folder / resource for resource in self.kustomization["resources"]]
        self.objects = [found for file in files for found in yaml.safe_load_all(file.read_text())]
        self.deployment = self.one("Deployment", "tails")
        self.pod = self.deployment["spec"]["template"]
        (self.container,) = self.pod["spec"]["containers"]

    def one(self, kind, name):
        (found,) = [each for each in self.objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        return found

    def arguments(self):
        """What `tflsplit cloud` makes of the container's, once Kubernetes has put the environment in."""
        command, *words = [re.sub(r"\$\((\w+)\)", r"\1".lower(), word) for word in self.container["args"]]
        assert command == "cloud"
        with cloud.command.make_context("cloud", words) as context:
            return context.params

    def made_secrets(self):
        """Name → keys, of secrets that kustomize or the operator makes, or that deploy/README.md asks for."""
        made = {
            each["name"]: {pathlib.PurePath(file).name for file in each["files"]}
            for each in self.kustomization.get("secretGenerator", ())
        }
        for each in self.objects:
            if each["kind"] == "RabbitmqCluster":
                made[each["spec"]["tls"]["secretName"]] = {"tls.crt", "tls.key"}
                made[each["spec"]["tls"]["caSecretName"]] = {"ca.crt"}
            if (each["apiVersion"], each["kind"]) == ("rabbitmq.com/v1beta1", "User"):
                made[f"{each['metadata']['name']}-user-credentials"] = {"username", "password"}
        return made


@pytest.fixture(params=VARIANTS)
def variant(request):
    return Variant(request.param)


@pytest.fixture
def mqtt():
    return Variant("mqtt")


@pytest.fixture
def rabbitmq_variant():
    return Variant("rabbitmq")


def walk(found):
    yield found
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from walk(each)


def trigger(variant):
    (found,) = variant.one("ScaledObject", "tails")["spec"]["triggers"]
    return found


def test_every_object_fits_its_schema(variant):
    for each in variant.objects:
        schema = CUSTOM.get((each["apiVersion"], each["kind"]))
        if schema is None:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
        else:
            whole = only(["apiVersion", "kind", "metadata", "spec"], apiVersion=TEXT, kind=TEXT, spec=schema)
            whole["properties"]["metadata"] = only(["name"], name=TEXT)
            jsonschema.validate(each, whole)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("Deployment", lambda found: found["spec"].update(replica=2)),
        ("ScaledObject", lambda found: found["spec"].update(maxReplicas=2)),
        ("ScaledObject", lambda found: found["spec"]["triggers"][0]["metadata"].update(queue="q")),
        ("RabbitmqCluster", lambda found: found["spec"]["rabbitmq"].update(plugins=["rabbitmq_mqtt"])),
    ],
)
def test_a_field_that_does_not_exist_would_be_found(kind, spoil, rabbitmq_variant):
    (found,) = [each for each in rabbitmq_variant.objects if each["kind"] == kind]
    spoil(found)

    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        test_every_object_fits_its_schema(rabbitmq_variant)


def test_every_file_is_listed_and_every_listed_file_is_there(variant):
    there = {file.name for file in variant.folder.glob("*.yaml")} - {"kustomization.yaml"}

    assert set(variant.kustomization["resources"]) == there
    assert len(variant.kustomization["resources"]) == len(there)


def test_the_clouds_arguments_are_ones_that_it_takes(variant):
    found = variant.arguments()

    for deployment in found["deployments"]:
        topics.check_name("deployment", deployment)
    assert found["pkgs"][0].is_relative_to("/packages")


def test_the_pods_are_told_how_to_be_reached(variant):
    ports = {each["name"]: each["containerPort"] for each in variant.container["ports"]}
    host, port = server.parse_address(variant.arguments()["metrics"])

    assert (host, port) == ("0.0.0.0", ports["metrics"])
    assert variant.pod["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    for probe, path in (("startup", "ready"), ("readiness", "ready"), ("liveness", "live")):
        asked = variant.container[f"{probe}Probe"]["httpGet"]
        assert (asked["path"], ports[asked["port"]]) == (f"/health/{path}", port)


def test_a_pod_has_time_to_finish_its_frames(variant):
    drain_s = variant.arguments()["drain"]

    # 2 s to unsubscribe, 5 s to leave the broker, as many for the processes.
    assert variant.pod["spec"]["terminationGracePeriodSeconds"] >= drain_s + 12


def test_pods_may_do_nothing_that_they_need_not(variant):
    pod, container = variant.pod["spec"]["securityContext"], variant.container["securityContext"]

    assert pod["runAsNonRoot"]
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not variant.pod["spec"]["automountServiceAccountToken"]
    assert variant.container["resources"]["limits"]["memory"]


def test_volumes_are_there_and_only_tmp_may_be_written(variant):
    volumes = {each["name"]: each for each in variant.pod["spec"]["volumes"]}
    mounts = {each["name"]: each for each in variant.container["volumeMounts"]}
    claims = {each["metadata"]["name"] for each in variant.objects if each["kind"] == "PersistentVolumeClaim"}

    assert set(volumes) == set(mounts)
    assert volumes["packages"]["persistentVolumeClaim"]["claimName"] in claims
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"tmp"}
    assert "sizeLimit" in volumes["tmp"]["emptyDir"]


def test_selectors_choose_the_pods(variant):
    labels = variant.pod["metadata"]["labels"].items()
    budget = variant.one("PodDisruptionBudget", "tails")["spec"]["selector"]["matchLabels"].items()
    policy = variant.one("NetworkPolicy", "tails")["spec"]["podSelector"]["matchLabels"].items()

    assert variant.deployment["spec"]["selector"]["matchLabels"].items() <= labels
    assert budget <= labels
    assert policy <= labels
    assert variant.one("ScaledObject", "tails")["spec"]["scaleTargetRef"] == {"name": "tails"}
    assert "replicas" not in variant.deployment["spec"], "KEDA and a fixed number would fight each other"


def test_every_secret_that_is_used_is_made_and_has_the_key(variant):
    made = variant.made_secrets()
    used = set()
    for each in walk(variant.objects):
        if isinstance(each, dict) and "secretKeyRef" in each:
            used.add((each["secretKeyRef"]["name"], each["secretKeyRef"]["key"]))
        if isinstance(each, dict) and "secretTargetRef" in each:
            used |= {(source["name"], source["key"]) for source in each["secretTargetRef"]}
        if isinstance(each, dict) and isinstance(each.get("secret"), dict):
            name = each["secret"].get("name") or each["secret"]["secretName"]
            used |= {(name, item["key"]) for item in each["secret"].get("items", [])} or {(name, None)}

    assert used
    assert {(name, key) for name, key in used if name not in made or key not in {None, *made[name]}} == set()


def test_no_secret_stands_in_a_file(variant):
    assert not [each for each in variant.objects if each["kind"] == "Secret"]
    assert "password:" not in "".join(file.read_text() for file in variant.folder.glob("*.yaml"))


def test_the_credentials_are_files_that_broker_init_makes(mqtt):
    names = {credentials.DESCRIPTION, credentials.AUTHORITY, credentials.CERTIFICATE, credentials.KEY}
    found = mqtt.arguments()

    assert mqtt.made_secrets()["broker-credentials"] == names
    assert str(found["credentials"]) == "/credentials"
    assert found["share"] == "tails"
    assert found["queue"] is None


def test_a_metric_that_is_asked_for_is_one_that_clouds_have(mqtt):
    query = trigger(mqtt)["metadata"]["query"]
    name, deployment = re.fullmatch(r'sum\((\w+)\{deployment="(\w+)"\}\)', query).groups()
    shown = {catalogue.CLOUD_PREFIX + metric.name: metric for metric in catalogue.CLOUD}

    assert "deployment" in shown[name].labels
    assert (deployment,) == mqtt.arguments()["deployments"]


def test_the_queue_is_the_one_that_clouds_declare(rabbitmq_variant):
    found = rabbitmq_variant.arguments()
    metadata = trigger(rabbitmq_variant)["metadata"]
    cluster = rabbitmq_variant.one("RabbitmqCluster", "frames")
    (deployment,) = found["deployments"]
    clouds, scaler = address.parse(found["queue"]), address.parse(metadata["host"])

    assert metadata["queueName"] == queue_names.frames_of(deployment).waiting.name
    assert metadata["vhostName"] == clouds.vhost
    assert clouds.address.tls
    assert (clouds.address.host, clouds.address.port) == (scaler.address.host, scaler.address.port)
    namespace = rabbitmq_variant.kustomization["namespace"]
    assert clouds.address.host == f"{cluster['metadata']['name']}.{namespace}.svc"
    assert "rabbitmq_mqtt" in cluster["spec"]["rabbitmq"]["additionalPlugins"]
    names = {each["name"] for each in rabbitmq_variant.container["env"]}
    assert set(re.findall(r"\$\((\w+)\)", " ".join(rabbitmq_variant.container["args"]))) == names


def test_the_clouds_user_has_the_rights_that_the_document_gives_but_for_those_of_a_broker(rabbitmq_variant):
    permission = rabbitmq_variant.one("Permission", "clouds")["spec"]
    document = (DEPLOY.parent / "docs" / "rabbitmq.md").read_text("utf-8")
    (given,) = re.findall(r"set_permissions cloud '(.*?)'[\s\\]+'(.*?)'[\s\\]+'(.*?)'", document)

    own = [permission["permissions"][key] for key in ("configure", "write", "read")]
    queues = ("tflsplit.plant1.features", "amq.default", "amq.topic", "tflsplit.plant2.features", "amq.gen-1", "other")

    def allowed(patterns, queue):
        return [re.search(pattern, queue) is not None for pattern in patterns]

    assert [allowed(own, queue) for queue in queues] == [allowed(given, queue) for queue in queues]
    assert not any(word.startswith("--broker") for word in rabbitmq_variant.container["args"])
    assert not any(allowed(own, "mqtt-subscription-tflsplit-plant1-cloud-one"))
    assert permission["userReference"]["name"] == rabbitmq_variant.one("User", "clouds")["metadata"]["name"]
    assert "default-user" not in "".join(file.read_text() for file in rabbitmq_variant.folder.glob("*.yaml"))


def test_the_scaler_shows_what_its_authentication_gives(rabbitmq_variant):
    name = trigger(rabbitmq_variant)["authenticationRef"]["name"]
    sources = rabbitmq_variant.one("TriggerAuthentication", name)["spec"]
    (told,) = sources["configMapTargetRef"]

    assert {each["parameter"] for each in sources["secretTargetRef"]} == {"username", "password", "ca"}
    assert told["parameter"] == "tls"
    assert rabbitmq_variant.one("ConfigMap", told["name"])["data"][told["key"]] == "enable"


def test_whom_the_network_must_let_through_it_does(rabbitmq_variant):
    port = address.parse(rabbitmq_variant.arguments()["queue"]).address.port
    out = rabbitmq_variant.one("NetworkPolicy", "tails")["spec"]["egress"]
    into = rabbitmq_variant.one("NetworkPolicy", "frames")["spec"]["ingress"]
    labels = rabbitmq_variant.pod["metadata"]["labels"]

    assert [each for each in out if {"port": port} in each["ports"]]
    (frames,) = [each for each in into if {"port": port} in each["ports"]]
    assert {"podSelector": {"matchLabels": labels}} in frames["from"]
    assert [each for each in into if {"port": 8883} in each["ports"] and "from" not in each]


def test_the_image_is_the_one_that_the_dockerfile_makes(variant):
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    stages = [line.split() for line in lines if line.startswith("FROM")]
    own = {words[3] for words in stages}
    bases = [words[1] for words in stages if words[1] not in own]
    (user,) = [line.split()[1] for line in lines if line.startswith("USER")]
    pod = variant.pod["spec"]["securityContext"]

    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases), "a tag that moves would change the image"
    assert user == f"{pod['runAsUser']}:{pod['runAsGroup']}"
    assert variant.container["image"].rpartition(":")[2] == importlib.metadata.version("tflsplit")
    assert 'ENTRYPOINT ["tflsplit"]' in lines
    assert stages[-1] == ["FROM", "runtime", "AS", "cloud"], "what is built without a target"
    assert {"edge", "cloud", "watch"} <= own


def test_the_dockerfile_installs_extras_and_copies_files_that_there_are():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    project = (DEPLOY.parent / "pyproject.toml").read_text()
    wanted = re.findall(r"'\.\[([\w,]+)\]'", "\n".join(lines))
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY") and "--from" not in line]

    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extras in wanted for extra in extras.split(","))
    assert all((DEPLOY.parent / name).exists() for names in copied for name in names)
    assert {"tflsplit", "converters", "edge_runtime", "broker"} <= {name for names in copied for name in names}
    assert re.search(r'^include = \[.*"deploy"', project, re.MULTILINE), "a source distribution has it too"


def test_the_signals_in_the_readme_are_metrics_that_a_cloud_has():
    text = (DEPLOY / "README.md").read_text("utf-8")
    table = text.partition("## How many pods")[2].partition("\n## ")[0]
    named = {re.sub("_(sum|bucket)$", "", name) for name in re.findall(r"tflsplit_\w+", table)}

    assert len(named) >= 5
    assert named <= catalogue.every_name().keys()
