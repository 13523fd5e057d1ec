"""What is sent to Kubernetes: valid by its schema and by our rules, each rule with a change that breaks it."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml

from job.errors import UsageError
from job.manifest import Sweep
from job.plan import Submission, build_plan, build_submission
from job.submit.backend import Launch
from job.submit.kubernetes_documents import KubernetesSettings, name_attempt, render, show
from tests.conftest import ROOT, Answer
from tests.models.kubernetes_rules import RULES, Documents, container, decide, failure_rules, find_empty, job, pod
from tests.models.template_rules import load_template

MANIFESTS = ROOT / "manifests"


def documents(*, num_runs: int = 4, output: str = "s3://bucket/study", image: str = "registry/job:1", gpus: int = 1,
              data: str | None = None, experiment: str = "rates", **settings: Any) -> Documents:  # fmt: skip
    rates = [0.001 * (1 + i) for i in range(num_runs)]
    block = {"base": {"optimizer": {"name": "adam"}}, "vary": {"optimizer.lr": rates}}
    sweep = Sweep.model_validate({"name": "rates", "blocks": [block]})
    submission = build_submission(sweep, build_plan(sweep, source="").run_ids, per_container=1)
    launch = Launch(
        experiment=experiment, output=output, submission=submission, submission_place="", data=data,
        device="cuda" if gpus else "auto",
        environment={"JOB_IMAGE_DIGEST": image.partition("@")[2]} if "@" in image else {},
    )  # fmt: skip
    return render(launch, KubernetesSettings(image=image, num_gpus=gpus, **settings))


CASES: dict[str, Callable[[], Documents]] = {
    "default": documents,
    "no GPU": lambda: documents(gpus=0),
    "Kueue": lambda: documents(queue="gpu"),
    "Kueue, one container": lambda: documents(num_runs=1, queue="gpu"),
    "Kueue, one at a time": lambda: documents(queue="gpu", jobs=1),
    "claim": lambda: documents(output="pvc://claim/study"),
    "one container": lambda: documents(num_runs=1),
    "ten thousand containers": lambda: documents(num_runs=10_000),
    "long name": lambda: documents(namespace="n" * 63),
}


@pytest.mark.parametrize("case", CASES)
def test_documents_are_valid_by_schema_and_by_every_rule(case: str) -> None:
    rendered = CASES[case]()
    for document in rendered.values():
        kubernetes_validate.validate(document, "1.33", strict=True)
    assert {name: rule(rendered) for name, rule in RULES.items() if rule(rendered)} == {}


def rename(documents: Documents, name: str) -> None:
    documents["30-job.yaml"]["metadata"]["name"] = name


MUTATIONS: list[tuple[str, Callable[[Documents], Any]]] = [
    ("fail_index", lambda d: job(d)["spec"].pop("backoffLimitPerIndex")),
    ("restart_policy", lambda d: pod(d).update(restartPolicy="OnFailure")),
    ("success_in_rule", lambda d: failure_rules(d)[1]["onExitCodes"]["values"].append(0)),
    ("disruption_first", lambda d: failure_rules(d).reverse()),
    ("disruption_first", lambda d: failure_rules(d)[0].update(action="Ignore")),
    ("exit_codes", lambda d: failure_rules(d)[1]["onExitCodes"]["values"].remove(75)),
    ("exit_codes", lambda d: failure_rules(d)[1]["onExitCodes"]["values"].append(137)),
    ("exit_codes", lambda d: failure_rules(d)[1]["onExitCodes"].update(operator="In")),
    ("exit_codes", lambda d: failure_rules(d)[1].update(action="Ignore")),
    ("values_of_exit_codes", lambda d: failure_rules(d)[1]["onExitCodes"]["values"].reverse()),
    ("container_name", lambda d: failure_rules(d)[1]["onExitCodes"].update(containerName="main")),
    ("names", lambda d: rename(d, "Rates")),
    ("names", lambda d: rename(d, "r" * 63)),
    ("quantities", lambda d: container(d)["resources"]["limits"].update(memory="12 GB")),
    ("security", lambda d: pod(d)["securityContext"].update(runAsUser=0)),
    ("security", lambda d: pod(d)["securityContext"].pop("runAsNonRoot")),
    ("security", lambda d: pod(d)["securityContext"].pop("seccompProfile")),
    ("security", lambda d: container(d)["securityContext"].pop("readOnlyRootFilesystem")),
    ("security", lambda d: container(d)["securityContext"].pop("allowPrivilegeEscalation")),
    ("security", lambda d: container(d)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"])),
    ("security", lambda d: container(d)["securityContext"].update(privileged=True)),
    ("token", lambda d: pod(d).pop("automountServiceAccountToken")),
    ("service_account", lambda d: pod(d).update(serviceAccountName="default")),
    ("gpu", lambda d: pod(d).update(tolerations=[])),
    ("gpu", lambda d: container(d)["resources"]["limits"].pop("nvidia.com/gpu")),
    ("mounts", lambda d: container(d)["volumeMounts"].pop()),
    ("mounts", lambda d: pod(d)["volumes"][3]["emptyDir"].pop("medium")),
    ("config_map", lambda d: d["20-submission.yaml"]["metadata"].update(name="other")),
    ("config_map", lambda d: d["20-submission.yaml"].pop("immutable")),
    ("config_map", lambda d: d["20-submission.yaml"]["data"].update(more="x" * 1024 * 1024)),
    ("indexes", lambda d: job(d)["spec"].pop("completionMode")),
    ("indexes", lambda d: job(d)["spec"].update(completions=200_000)),
    ("indexes", lambda d: job(d)["spec"].update(parallelism=20_000)),
    ("indexes", lambda d: job(d)["spec"].pop("maxFailedIndexes")),
    ("ends", lambda d: pod(d).pop("terminationGracePeriodSeconds")),
    ("ends", lambda d: job(d)["spec"].pop("podReplacementPolicy")),
    ("ends", lambda d: pod(d).pop("activeDeadlineSeconds")),
    ("ends", lambda d: job(d)["spec"].update(activeDeadlineSeconds=86_400)),
    ("disk", lambda d: container(d)["resources"]["requests"].pop("ephemeral-storage")),
    ("disk", lambda d: container(d)["resources"]["limits"].update({"ephemeral-storage": "99Gi"})),
    ("queue", lambda d: job(d)["metadata"]["labels"].update({"kueue.x-k8s.io/queue-name": "gpu"})),
    ("ends", lambda d: job(d)["spec"].pop("ttlSecondsAfterFinished")),
    ("ends", lambda d: job(d)["spec"].update(backoffLimitPerIndex=100)),
    ("labels", lambda d: job(d)["metadata"]["labels"].popitem()),
    ("entry_point", lambda d: container(d).update(command=["job", "run"])),
    ("secrets", lambda d: container(d).update(env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}])),
    ("namespace", lambda d: job(d)["metadata"].update(namespace="default")),
    ("nothing_empty", lambda d: container(d).update(env=[])),
    ("nothing_empty", lambda d: pod(d)["volumes"][2].update(emptyDir={})),
    ("nothing_empty", lambda d: job(d)["metadata"].update(creationTimestamp=None)),
    ("nothing_empty", lambda d: d["00-namespace.yaml"]["metadata"].update(annotations={})),
]


def test_every_rule_has_a_mutation() -> None:
    assert {name for name, _ in MUTATIONS} == set(RULES)


@pytest.mark.parametrize(("name", "change"), MUTATIONS, ids=[f"{i}-{name}" for i, (name, _) in enumerate(MUTATIONS)])
def test_every_mutation_is_noticed(name: str, change: Callable[[Documents], Any]) -> None:
    mutated = copy.deepcopy(documents())
    change(mutated)
    assert RULES[name](mutated)


@pytest.mark.parametrize(
    ("exit_code", "disrupted", "action"),
    [(65, False, "FailIndex"), (69, False, "FailIndex"), (71, False, "Count"), (74, False, "Count"),
     (75, False, "Count"), (137, False, "FailIndex"), (143, False, "Count"), (143, True, "Count"),
     (137, True, "Count")],
)  # fmt: skip
def test_failure_policy_is_the_table_of_the_design(exit_code: int, disrupted: bool, action: str) -> None:
    assert decide(documents(), exit_code=exit_code, disrupted=disrupted) == action


def test_name_changes_with_what_is_run_and_with_nothing_else() -> None:
    def name(**options: Any) -> str:
        found: str = job(documents(**options))["metadata"]["name"]
        return found

    names = [name(), name(image="registry/job:2"), name(output="s3://bucket/other"), name(num_runs=5), name(gpus=0)]
    assert len(set(names)) == len(names)
    assert name() == name()


@pytest.fixture(scope="module")
def largest() -> Documents:
    """With the longest name of an experiment and as many containers as there can be."""
    return documents(num_runs=10_000, experiment="e" * 40)


@pytest.mark.parametrize("number", [1, 2, 100])
def test_later_attempt_is_the_same_job_under_a_name_of_its_own(number: int, largest: Documents) -> None:
    first = largest
    named = name_attempt(first, number)
    assert {rule for rule, check in RULES.items() if check(named)} == set()
    name = job(first)["metadata"]["name"] + (f"-{number}" if number > 1 else "")
    assert [named[file]["metadata"]["name"] for file in ("20-submission.yaml", "30-job.yaml")] == [name, name]
    text = json.dumps(first).replace(job(first)["metadata"]["name"], name)
    assert named == json.loads(text)
    assert job(first)["metadata"]["name"] != name or number == 1  # what was rendered stays as it was


def test_large_sweep_has_no_room_in_an_annotation_and_the_hint_says_what_to_do(largest: Documents) -> None:
    """kubectl puts a whole object into one, unless it applies it on the server's side."""
    rendered = largest
    assert len(json.dumps(rendered["20-submission.yaml"]).encode()) > 262_144
    for shown in (show(rendered), (MANIFESTS / "00-namespace.yaml").read_text()):
        assert "# To apply all of it: kubectl apply --server-side -f " in shown
        assert "262144 bytes" in shown


def test_claim_takes_the_place_of_s3() -> None:
    rendered = documents(output="pvc://claim/study")
    assert pod(rendered)["volumes"][0] == {"name": "output", "persistentVolumeClaim": {"claimName": "claim"}}
    arguments = container(rendered)["args"]
    assert arguments[arguments.index("--output") + 1] == "/output/study"


def test_kueue_is_left_to_start_the_job() -> None:
    rendered = job(documents(queue="gpu"))
    assert rendered["spec"]["suspend"] is True
    assert rendered["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert "suspend" not in job(documents())["spec"]


OPTIONS: dict[str, list[Any]] = {
    "num_runs": [1, 4],
    "output": ["s3://bucket/study", "pvc://claim", "pvc://claim/study"],
    "image": ["registry/job:1", f"registry/job@sha256:{64 * 'a'}"],
    "gpus": [0, 1, 2],
    "data": [None, "s3://bucket/data"],
    "queue": [None, "gpu"],
}


def test_applying_a_second_time_changes_nothing_whatever_the_options() -> None:
    """Nothing that a server would drop is in any document, with any combination of options."""
    for values in itertools.product(*OPTIONS.values()):
        rendered = documents(**dict(zip(OPTIONS, values, strict=True)))
        assert RULES["nothing_empty"](rendered) == []


def test_nothing_empty_is_in_the_documents_that_a_person_applies() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "infra/kubernetes.md").read_text(), re.DOTALL)
    texts = [*blocks, *(path.read_text() for path in MANIFESTS.glob("*.yaml"))]
    assert len(texts) > 5
    for text in texts:
        for document in yaml.safe_load_all(text):
            assert find_empty(document) == []


@pytest.mark.parametrize("name", ["batch.yaml", "pod-role.yaml"])
def test_nothing_empty_is_in_the_templates(name: str) -> None:
    empty = find_empty(load_template(ROOT / "infra" / name))
    assert [path for path in empty if not path.endswith("Fn::GetAZs")] == []  # whose "" means: of this region


def test_containers_read_the_submission_that_the_config_map_holds() -> None:
    rendered = documents()
    [(file, content)] = rendered["20-submission.yaml"]["data"].items()
    assert container(rendered)["args"][:2] == ["--manifest", f"/etc/job/{file}"]
    assert len(Submission.model_validate_json(content).containers) == job(rendered)["spec"]["completions"]


def test_image_must_be_named() -> None:
    with pytest.raises(UsageError, match="--image"):
        documents(image="")


def test_shown_yaml_reads_back_as_what_is_sent() -> None:
    rendered = documents()
    assert list(yaml.safe_load_all(show(rendered))) == list(rendered.values())


def test_manifests_are_what_submit_renders(job: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    """`make manifests` renews them."""
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")  # without credentials: a dry run needs no storage
    answer = job(
        "submit", "--manifest", MANIFESTS / "sweeps/optimizers.json", "--to", "kubernetes", "--dry-run",
        "--image", "registry.example.com/job:0.1.0", "--output", "s3://my-bucket/study", "--data", "s3://my-bucket/data",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.stderr
    rendered = list(yaml.safe_load_all(answer.stdout))
    files = sorted(path for path in MANIFESTS.iterdir() if path.is_file())
    assert [yaml.safe_load(path.read_text()) for path in files] == rendered
    assert [document["kind"] for document in rendered] == ["Namespace", "ServiceAccount", "ConfigMap", "Job"]


def test_kubectl_finds_nothing_else_in_the_folder() -> None:
    """`kubectl apply -f manifests/` reads every .yaml, .yml and .json directly in it."""
    assert sorted(path.name for path in MANIFESTS.iterdir() if path.is_file()) == [
        "00-namespace.yaml", "10-service-account.yaml", "20-submission.yaml", "30-job.yaml",
    ]  # fmt: skip
