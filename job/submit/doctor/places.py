"""Checks of the output and of the staged data, with the credentials of this machine. They are alike for all back ends.

One object is written to the output, and removed: below `doctor/`, so that the rights that runs need suffice.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from job.errors import AccessDeniedError, UsageError
from job.manifest.models import Folder, OfficialDataset
from job.places import CLAIM_SCHEME, is_remote
from job.plan import SweepPlan
from job.storage import Store, open_store
from job.storage.staged import FOLDERS, find_staged_sizes, has_weights, is_staged
from job.submit.doctor.finding import Unseen
from job.submit.inputs import DOWNLOAD, Places, check_output, choose_data, find_own_data
from job.submit.registry import Reach, find_backend

CHECKPOINT_TAGS = {"TagSet": [{"Key": "kind", "Value": "checkpoint"}]}
"""As `job.storage.s3` tags checkpoints."""
TAG_ADVICE = "without s3:PutObjectTagging checkpoints are stored without their tag, and no lifecycle rule removes them"


def check_place(to: str, output: str) -> str:
    """Write, conditional write, tag and removal in the output. Raises the errors of the store."""
    check_output(Places(to=to, output=output))
    if output.startswith(CLAIM_SCHEME):
        raise Unseen(f"{output} is reached by containers alone")
    key = f"doctor/checkpoints/probe-{secrets.token_hex(8)}.json"
    if not is_remote(output):
        return _check_folder(output, key)
    return _check_bucket(output, key)


def check_data(to: str, output: str, *, data: str | None, plan: SweepPlan | None) -> str:
    """Where the containers find data sets and ImageNet weights. Raises `UsageError` for what is missing."""
    if data == DOWNLOAD:
        return "each container downloads what it needs"
    if data is not None and not is_remote(data):
        return _check_data_folder(to, data, output=output)
    if data is None and plan is not None and any(isinstance(run.manifest.dataset, Folder) for run in plan.runs):
        raise UsageError("--data is not given, and the sweep is over images of your own; name where they are")
    if data is None and find_backend(to).reach is not Reach.NONE:
        return "each looks into its cache, and downloads what is missing there"
    if plan is not None and not any(isinstance(run.manifest.dataset, OfficialDataset | Folder) for run in plan.runs):
        return "the sweep needs none"
    if plan is not None:
        place = choose_data(plan, Places(to=to, output=output, data=data)) or ""
    elif data is None and not (is_remote(output) and output.startswith("s3://")):
        raise UsageError("--data is not given; run `job stage s3://BUCKET/data` once, and name that place with --data")
    else:
        place = data or find_own_data(output)
    return _describe_staged(open_store(place), plan)


def _check_folder(output: str, key: str) -> str:
    store = open_store(output)
    store.probe(key, b"{}")
    store.delete([key])
    root = Path(output)
    for folder in (root / "doctor/checkpoints", root / "doctor"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return f"{output}: can be written, and a result can be committed only once"


def _check_bucket(output: str, key: str) -> str:
    from job.storage.aws import build_quick_client
    from job.storage.s3 import S3Store
    from job.storage.translation import translate_errors

    client = build_quick_client("s3")
    store = S3Store(output, client=client)
    bucket, _, prefix = output.removeprefix("s3://").rstrip("/").partition("/")
    name = {"Bucket": bucket, "Key": f"{prefix}/{key}".lstrip("/")}
    store.probe(key, b"{}")
    tagged = "tagged"
    try:
        with translate_errors(f"{store.locate(key)}: tag"):
            client.put_object_tagging(**name, Tagging=CHECKPOINT_TAGS)
    except (AccessDeniedError, UsageError) as error:
        tagged = f"not tagged: {TAG_ADVICE} ({error})"
    try:
        with translate_errors(f"{store.locate(key)}: removal"):
            client.delete_object(**name)
    except AccessDeniedError as error:
        raise Unseen(
            f"{output}: written and committed only once, {tagged}; these credentials may not remove the probe "
            f"{store.locate(key)}, nor what `job submit --stale` replaces ({error})"
        ) from error
    said = f"{output}: written, committed only once, {tagged}, removed again"
    if tagged != "tagged":
        raise Unseen(said)
    return said


def _check_data_folder(to: str, data: str, *, output: str) -> str:
    places = Places(to=to, output=output, data=data)
    if places.entry.reach is Reach.NONE:
        if places.is_of_this_machine(data):
            raise UsageError(
                f"--data {data}: containers of --to {to} cannot read a folder of this machine; run `job stage "
                "s3://BUCKET/data` and name that"
            )
        raise Unseen(f"{data} is a path in the image or on the claim")
    if Path(data).is_dir():
        return f"{data}: is a folder of this machine"
    if places.entry.reach is Reach.MOUNTED and data.startswith("/"):
        raise Unseen(f"{data} is not on this machine, so it must be a path in the image")
    raise UsageError(f"--data {data}: no such folder")


def _describe_staged(store: Store, plan: SweepPlan | None) -> str:
    """What is staged of what `plan` needs; without a plan, of all that can be."""
    runs = plan.runs if plan else []
    wanted = {run.manifest.dataset.name for run in runs if isinstance(run.manifest.dataset, OfficialDataset)}
    staged = [dataset for dataset in FOLDERS if is_staged(store, dataset)]
    staged += [f"images of {size} pixels" for size in find_staged_sizes(store)]
    missing = sorted(wanted - {*staged}) if plan else ([] if staged else ["stl10"])
    if missing:
        commands = ", ".join(f"`job stage {store.uri} --dataset {dataset}`" for dataset in missing)
        raise UsageError(f"{store.uri} does not hold {', '.join(missing)}; run {commands}")
    networks = {run.manifest.model.name for run in runs if run.manifest.model.weights == "imagenet"}
    without = sorted(each for each in (networks if plan else {"resnet18"}) if not has_weights(store, each))
    if without:
        commands = ", ".join(f"`job stage {store.uri} --dataset none --model {network}`" for network in without)
        raise Unseen(
            f"{store.uri}: holds {', '.join(staged)}; each container downloads the ImageNet weights of "
            f"{', '.join(without)} unless you run {commands}"
        )
    return f"{store.uri}: holds {', '.join(staged)} and the ImageNet weights"
