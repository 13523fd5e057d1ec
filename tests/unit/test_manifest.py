"""What a manifest accepts, and what a person reads who got it wrong."""

from __future__ import annotations

import inspect
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from job.errors import ManifestError
from job.manifest import Manifest, Sweep, parse_manifest
from job.manifest.document import MAX_BYTES
from job.manifest.optimizers import OPTIMIZERS as OURS
from job.plan import as_sweep, build_plan, parse_document
from job.runs import configuration_digest, run_id
from job.storage import open_store
from tests.conftest import ROOT, Answer
from tests.optimizers import CONFIGURED
from tests.pace import slowness

UNDER_COVERAGE = 4
"""How much longer CPU time may be than alone, besides `slowness`: where every line is counted."""
Job = Callable[..., Answer]

VALID: dict[str, Any] = {"name": "mine", "optimizer": {"name": "adam"}}
NAME_RULE = "must be 1 to 40 lower-case letters, digits and dashes, no dash at the ends"
OPTIMIZERS = {name: kind for name, (kind, _) in CONFIGURED.items()}
"""The classes of torch and timm."""
SWITCHES = {"self", "params", "foreach", "fused", "capturable", "differentiable", "maximize"}
"""Arguments of torch's constructors that choose an implementation, or are not ours to give."""
REPORTED = ("adam", "adagrad", "adadelta", "rmsprop")
"""The optimizers of the published study."""


def changed(**fields: object) -> bytes:
    return json.dumps(VALID | fields).encode()


def optimizer(name: str = "adam", /, **attributes: object) -> bytes:
    return changed(optimizer={"name": name} | attributes)


def sweep(**fields: object) -> bytes:
    return json.dumps({"name": "mine", "blocks": [{"base": VALID}]} | fields).encode()


def vary(**values: object) -> bytes:
    return sweep(blocks=[{"base": VALID, "vary": values}])


FAULTS: dict[str, tuple[bytes, str]] = {
    # keys
    "no_name": (b'{"optimizer": {"name": "adam"}}', "name is missing"),
    "no_optimizer": (b'{"name": "mine"}', "optimizer is missing"),
    "unknown_key": (changed(epoch=3), "epoch is not known; did you mean 'epochs'? accepted: name, optimizer, epochs,"),
    "unknown_key_without_neighbour": (changed(zzz=1), "zzz is not known; accepted: name, optimizer, epochs,"),
    "unknown_attribute": (optimizer(beta=[0.9, 0.9]), "optimizer.beta is not known; did you mean 'betas'? accepted:"),
    "attribute_of_another": (
        optimizer(momentum=0.9),
        "optimizer.momentum is not known; accepted: name, lr, betas, eps",
    ),
    "size_of_another_dataset": (
        changed(dataset={"name": "stl10", "size": 96}),
        "dataset.size is not known; accepted: validation_fraction, name",
    ),
    "unknown_nested_key": (changed(model={"weight": "none"}), "model.weight is not known; did you mean 'weights'?"),
    "key_with_line_break": (changed(**{"a\nb": 1}), r'"a\nb" is not known; accepted: name,'),
    "empty_key": (changed(**{"": 1}), '"" is not known; accepted: name,'),
    "duplicate_key": (b'{"name": "a", "name": "b"}', 'not JSON: key "name" stands twice in one object'),
    "duplicate_nested_key": (
        b'{"name": "a", "optimizer": {"name": "adam", "lr": 1, "lr": 2}}',
        'not JSON: key "lr" stands twice in one object',
    ),
    # types
    "text_for_integer": (changed(epochs="10"), 'epochs is "10"; must be a valid integer'),
    "fraction_for_integer": (changed(epochs=10.0), "epochs is 10.0; must be a valid integer"),
    "bool_for_integer": (changed(batch_size=True), "batch_size is true; must be a valid integer"),
    "null_for_integer": (changed(seed=None), "seed is null; must be a valid integer"),
    "text_for_number": (optimizer(lr="0.1"), 'optimizer.lr is "0.1"; must be a valid number'),
    "bool_for_number": (optimizer(lr=True), "optimizer.lr is true; must be a valid number"),
    "array_for_number": (optimizer(lr=[0.1]), "optimizer.lr is [0.1]; must be a valid number"),
    "number_for_bool": (optimizer(amsgrad=1), "optimizer.amsgrad is 1; must be true or false, without quotes"),
    "text_for_bool": (changed(deterministic="yes"), 'deterministic is "yes"; must be true or false, without quotes'),
    "number_for_text": (changed(name=5), "name is 5; must be a valid string"),
    "text_for_optimizer": (changed(optimizer="adam"), 'optimizer is "adam"; must be an object with a name'),
    "text_for_model": (changed(model="resnet18"), 'model is "resnet18"; must be an object with a name'),
    "null_for_dataset": (changed(dataset=None), "dataset is null; must be an object with a name"),
    # numbers that are none
    "nan": (
        b'{"name": "Infinity",\n "optimizer": {"name": "adam",\n  "lr": NaN}}',
        "optimizer.lr is NaN in line 3; must be a finite number",
    ),
    "infinity": (b'{"name": "a", "seed": -Infinity}', "seed is -Infinity in line 1; must be a finite number"),
    "nan_in_a_list": (optimizer(betas=[0.9, math.nan]), "optimizer.betas[1] is NaN in line 1; must be a finite"),
    "nan_in_a_sweep": (
        vary(**{"optimizer.lr": [0.1, math.nan]}),
        'blocks[0].vary."optimizer.lr"[1] is NaN in line 1; must be a finite number',
    ),
    "nan_that_a_block_covers": (
        sweep(defaults={"label_smoothing": math.nan}, blocks=[{"base": VALID | {"label_smoothing": 0}}]),
        "defaults.label_smoothing is NaN in line 1; must be a finite number",
    ),
    "nan_of_an_unknown_key": (changed(zzz=math.nan), "zzz is NaN in line 1; must be a finite number"),
    "overflow": (
        b'{"name": "a", "optimizer": {"name": "adam", "lr": 1e999}}',
        "optimizer.lr is Infinity in line 1; must be a finite number",
    ),
    "huge_integer": (changed(seed=10**4000), f"seed is 1{'0' * 76}...; must be < 4294967296"),
    "huge_integer_for_number": (optimizer(lr=10**4000), f"optimizer.lr is 1{'0' * 76}...; must be a finite number"),
    "integer_beyond_python": (b'{"seed": ' + b"9" * 5000 + b"}", "not JSON: Exceeds the limit (4300 digits)"),
    # ranges
    "lr_zero": (optimizer(lr=0), "optimizer.lr is 0; must be > 0"),
    "lr_negative": (optimizer(lr=-0.1), "optimizer.lr is -0.1; must be > 0"),
    "lr_huge": (optimizer(lr=1e7), "optimizer.lr is 10000000.0; must be <= 1000000"),
    "eps_negative": (optimizer(eps=-1e-8), "optimizer.eps is -1e-08; must be >= 0"),
    "weight_decay_negative": (optimizer(weight_decay=-1), "optimizer.weight_decay is -1; must be >= 0"),
    "beta_one": (optimizer(betas=[0.9, 1]), "optimizer.betas[1] is 1; must be < 1"),
    "betas_too_short": (optimizer(betas=[0.9]), "optimizer.betas[1] is missing in [0.9]"),
    "betas_too_long": (optimizer(betas=[0, 0, 0]), "optimizer.betas is [0, 0, 0]; must have at most 2 items"),
    "betas_number": (optimizer(betas=0.9), "optimizer.betas is 0.9; must be a list, such as [0.9]"),
    "rho": (optimizer("adadelta", rho=1.1), "optimizer.rho is 1.1; must be <= 1"),
    "alpha": (optimizer("rmsprop", alpha=1), "optimizer.alpha is 1; must be < 1"),
    "momentum": (optimizer("sgd", momentum=1), "optimizer.momentum is 1; must be < 1"),
    "dampening": (optimizer("sgd", dampening=-0.5), "optimizer.dampening is -0.5; must be >= 0"),
    "lr_decay": (optimizer("adagrad", lr_decay=-1), "optimizer.lr_decay is -1; must be >= 0"),
    "accumulator": (
        optimizer("adagrad", initial_accumulator_value=-1),
        "optimizer.initial_accumulator_value is -1; must be >= 0",
    ),
    "muon_without_kernels": (
        changed(optimizer={"name": "muon"}, model={"freeze_backbone": True}),
        "optimizer muon trains kernels of convolutions, and model.freeze_backbone leaves none of them; take another",
    ),
    "step_sizes": (
        optimizer("rprop", step_sizes=[2, 1]),
        "optimizer: step_sizes is [2, 1]; the first must be at most the second",
    ),
    "momentum_decay": (optimizer("nadam", momentum_decay=-1), "optimizer.momentum_decay is -1; must be >= 0"),
    "epochs_zero": (changed(epochs=0), "epochs is 0; must be >= 1"),
    "epochs_many": (changed(epochs=10_000), "epochs is 10000; must be <= 9999"),
    "batch_of_one": (changed(batch_size=1), "batch_size is 1; must be >= 2"),
    "seed_negative": (changed(seed=-1), "seed is -1; must be >= 0"),
    "seed_large": (changed(seed=2**32), "seed is 4294967296; must be < 4294967296"),
    "image_size_small": (changed(image_size=8), "image_size is 8; must be >= 16"),
    "image_size_text": (changed(image_size="big"), 'image_size is "big"; must be a valid integer'),
    "label_smoothing": (changed(label_smoothing=1), "label_smoothing is 1; must be < 1"),
    "validation_fraction": (
        changed(dataset={"name": "stl10", "validation_fraction": 0.6}),
        "dataset.validation_fraction is 0.6; must be <= 0.5",
    ),
    "synthetic_size": (changed(dataset={"name": "synthetic", "size": 8}), "dataset.size is 8; must be >= 16"),
    "weights_empty": (changed(model={"weights": ""}), 'model.weights is ""; must have at least 1 character'),
    "weights_long": (
        changed(model={"weights": "w" * 1025}),
        f'model.weights is "{"w" * 76}...; must have at most 1024',
    ),
    "div_factor": (
        changed(schedule={"name": "onecycle", "div_factor": 0.5}),
        "schedule.div_factor is 0.5; must be >= 1",
    ),
    "final_fraction": (
        changed(schedule={"name": "cosine", "final_fraction": -0.1}),
        "schedule.final_fraction is -0.1; must be >= 0",
    ),
    # choices
    "optimizer_typo": (
        optimizer("adm"),
        "optimizer.name is \"adm\"; did you mean 'adam'? accepted: adam, adamw, adamax, nadam, radam, adagrad,",
    ),
    "optimizer_in_torch_s_letters": (
        optimizer("AdamW"),
        "optimizer.name is \"AdamW\"; did you mean 'adamw'? accepted: adam, adamw,",
    ),
    "optimizer_in_capitals": (optimizer("ADAM"), "optimizer.name is \"ADAM\"; did you mean 'adam'? accepted:"),
    "optimizer_in_other_letters": (optimizer("RMSProp"), "optimizer.name is \"RMSProp\"; did you mean 'rmsprop'?"),
    "optimizer_with_a_dash": (optimizer("Adam-W"), "optimizer.name is \"Adam-W\"; did you mean 'adamw'? accepted:"),
    "key_in_capitals": (optimizer(LR=0.1), "optimizer.LR is not known; did you mean 'lr'? accepted: name, lr,"),
    "key_in_camel_case": (changed(batchSize=8), "batchSize is not known; did you mean 'batch_size'? accepted:"),
    "key_with_a_dash": (optimizer(**{"weight-decay": 0}), 'optimizer."weight-decay" is not known; did you mean \'w'),
    "optimizer_unknown": (optimizer("newton"), 'optimizer.name is "newton"; accepted: adam, adamw,'),
    "optimizer_number": (changed(optimizer={"name": 5}), "optimizer.name is 5; accepted: adam, adamw,"),
    "optimizer_unnamed": (changed(optimizer={"lr": 1}), 'optimizer is {"lr": 1}; must be an object with a name'),
    "dataset_typo": (
        changed(dataset={"name": "stl-10"}),
        "dataset.name is \"stl-10\"; did you mean 'stl10'? accepted: stl10, cifar10, cifar100, folder, synthetic",
    ),
    "schedule_typo": (
        changed(schedule={"name": "cosin"}),
        "schedule.name is \"cosin\"; did you mean 'cosine'? accepted: none, cosine, onecycle",
    ),
    "dataset_in_capitals": (
        changed(dataset={"name": "STL10"}),
        "dataset.name is \"STL10\"; did you mean 'stl10'? accepted: stl10,",
    ),
    "model_unknown": (
        changed(model={"name": "vgg16"}),
        "model.name is \"vgg16\"; must be 'resnet18', 'resnet34' or 'resnet50'",
    ),
    "model_in_torchvision_s_letters": (
        changed(model={"name": "ResNet18"}),
        "model.name is \"ResNet18\"; did you mean 'resnet18'? must be 'resnet18', 'resnet34' or 'resnet50'",
    ),
    "augmentation": (
        changed(augmentation="flips"),
        "augmentation is \"flips\"; did you mean 'flip'? must be 'none', 'flip' or 'crop_flip'",
    ),
    "precision_in_capitals": (changed(precision="BF16"), "precision is \"BF16\"; did you mean 'bf16'? must be 'auto',"),
    "weights_in_capitals": (
        changed(model={"weights": "ImageNet"}),
        "model.weights: is \"ImageNet\"; did you mean 'imagenet'?",
    ),
    "weights_none": (changed(model={"weights": "None"}), "model.weights: is \"None\"; did you mean 'none'?"),
    # places that are none
    "weights_with_one_slash": (
        changed(model={"weights": "s3:/bucket/w.pth"}),
        'model.weights: "s3:/bucket/w.pth" is neither a path nor an s3:// URI; did you mean s3://bucket/w.pth?',
    ),
    "weights_by_arn": (
        changed(model={"weights": "arn:aws:s3:::bucket/w.pth"}),
        'model.weights: "arn:aws:s3:::bucket/w.pth" is neither a path nor an s3:// URI; did you mean s3://bucket/w.pth?',
    ),
    "weights_on_the_web": (
        changed(model={"weights": "https://host/w.pth"}),
        'model.weights: "https://host/w.pth" is neither a path nor an s3:// URI; accepted: a path, or s3://',
    ),
    "varied_weights_elsewhere": (
        vary(**{"model.weights": ["none", "gs://bucket/w.pth"]}),
        'blocks[0]: model.weights: "gs://bucket/w.pth" is neither a path nor an s3:// URI; accepted:',
    ),
    "precision": (changed(precision="fp8"), "precision is \"fp8\"; must be 'auto', 'bf16', 'fp16', 'tf32' or 'fp32'"),
    # fields that contradict each other
    "nesterov": (optimizer("sgd", nesterov=True), "optimizer: nesterov needs momentum above 0 and dampening 0"),
    "nesterov_dampened": (
        optimizer("sgd", nesterov=True, momentum=0.9, dampening=0.1),
        "optimizer: nesterov needs momentum above 0 and dampening 0",
    ),
    "warmup": (
        changed(epochs=2, schedule={"name": "cosine", "warmup_epochs": 3}),
        "schedule.warmup_epochs is 3, more than the 2 epochs",
    ),
    # names that would leave their place in a path
    "name_parent": (changed(name="../x"), f'name is "../x"; {NAME_RULE}'),
    "name_absolute": (changed(name="/etc"), f'name is "/etc"; {NAME_RULE}'),
    "name_nul": (changed(name="a\0b"), rf'name is "a\u0000b"; {NAME_RULE}'),
    "name_line_break": (changed(name="a\n"), rf'name is "a\n"; {NAME_RULE}'),
    "name_unicode": (changed(name="é"), rf'name is "\u00e9"; {NAME_RULE}'),
    "name_unicode_digit": (changed(name="a٣"), rf'name is "a\u0663"; {NAME_RULE}'),
    "name_upper_case": (changed(name="Adam"), f'name is "Adam"; {NAME_RULE}'),
    "name_long": (changed(name="a" * 41), f'name is "{"a" * 41}"; {NAME_RULE}'),
    "name_empty": (changed(name=""), f'name is ""; {NAME_RULE}'),
    "name_dash_first": (changed(name="-a"), f'name is "-a"; {NAME_RULE}'),
    "name_dash_last": (changed(name="a-"), f'name is "a-"; {NAME_RULE}'),
    "name_of_dots": (changed(name=".."), f'name is ".."; {NAME_RULE}'),
    "name_backslash": (changed(name="a\\b"), rf'name is "a\\b"; {NAME_RULE}'),
    "name_combining": (changed(name="e\u0301"), rf'name is "e\u0301"; {NAME_RULE}'),
    "name_full_width": (changed(name="ａ"), rf'name is "\uff41"; {NAME_RULE}'),
    "name_cyrillic": (changed(name="аdam"), rf'name is "\u0430dam"; {NAME_RULE}'),
    "name_invisible": (changed(name="a\u200bb"), rf'name is "a\u200bb"; {NAME_RULE}'),
    "name_of_a_megabyte": (changed(name="a" * 1_000_000), f'name is "{"a" * 76}...; {NAME_RULE}'),
    "weights_nul": (changed(model={"weights": "a\0b"}), r'model.weights: "a\u0000b" holds characters that cannot be'),
    "weights_escape": (changed(model={"weights": "\x1b[2J"}), r'model.weights: "\u001b[2J" holds characters'),
    "weights_right_to_left": (changed(model={"weights": "\u202ehtp.w"}), r'model.weights: "\u202ehtp.w" holds'),
    "weights_with_credentials": (
        changed(model={"weights": "s3://me:secret@bucket/w.pth"}),
        "model.weights: must hold no credentials; they come from the environment",
    ),
    # sweeps
    "seeds_twice": (sweep(seeds=[1, 1]), "seeds [1, 1] must differ"),
    "sweep_name_parent": (sweep(name="../x"), f'name is "../x"; {NAME_RULE}'),
    "sweep_key_twice": (b'{"blocks": [], "blocks": []}', 'not JSON: key "blocks" stands twice in one object'),
    "name_in_a_block": (sweep(blocks=[{"base": VALID | {"name": "/a"}}]), f'blocks[0]: name is "/a"; {NAME_RULE}'),
    "varied_name": (vary(name=["a", "../b"]), f'blocks[0]: name is "../b"; {NAME_RULE}'),
    "more_runs_than_can_be_written": (
        vary(**{f"a{index}": [1, 2] for index in range(20_000)}),
        "blocks and seeds give billions of runs; must be at most 10000",
    ),
    # files that are no manifests
    "empty_file": (b"", "is empty; must be a JSON object"),
    "blank_file": (b" \n\n", "is empty; must be a JSON object"),
    "python_s_true": (
        b'{"name": "a",\n "deterministic": True}',
        "not JSON: True must be written true, or in quotes where a text is meant, at line 2, column 19",
    ),
    "python_s_false": (b'{"a": [1, False]}', "not JSON: False must be written false, or in quotes"),
    "python_s_none": (b'{"image_size": None}', "not JSON: None must be written null, or in quotes"),
    "true_in_capitals": (b'{"freeze_backbone":TRUE}', "not JSON: TRUE must be written true, or in quotes"),
    "null_in_capitals": (b'{"image_size":NULL}', "not JSON: NULL must be written null, or in quotes"),
    "bare_none": (b'{"augmentation":none}', "not JSON: none must be written null, or in quotes where a text is meant"),
    "word_as_a_key": (b"{True: 1}", "not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
    "word_behind_a_value": (b'{"a": 1 true}', "not JSON: Expecting ',' delimiter at line 1, column 9"),
    "none_for_null": (
        changed(image_size="None"),
        'image_size is "None"; must be a valid integer, or null, without quotes',
    ),
    "not_json": (b"name: adam", "not JSON: Expecting value at line 1, column 1"),
    "cut_off": (changed()[:-1], "not JSON: Expecting ',' delimiter at line 1, column 47"),
    "two_documents": (changed() + changed(), "not JSON: Extra data at line 1, column 48"),
    "trailing_nul": (changed() + b"\0", "not JSON: Extra data at line 1, column 48"),
    "not_utf8": (b'{"name": "\xff"}', "not UTF-8 text (byte 10)"),
    "utf16": (changed().decode().encode("utf-16"), "not UTF-8 text (byte 0)"),
    "lone_surrogate": (changed(model={"weights": "\ud800"}), "not JSON: unexpected end of hex escape"),
    "array": (b"[]", "must be a JSON object, is []"),
    "number": (b"5", "must be a JSON object, is 5"),
    "null": (b"null", "must be a JSON object, is null"),
    "nested_deeply": (b"[" * 100_000, "nested too deeply"),
    "objects_nested_deeply": (b'{"a":' * 100_000, "nested too deeply"),
    "nested_for_pydantic": (b'{"name": ' + b"[" * 300 + b"]" * 300 + b"}", "not JSON: recursion limit exceeded"),
}


@pytest.mark.parametrize(("content", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_fault_is_named_with_file_field_and_what_is_accepted(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    """Within a second of CPU time, the start of the interpreter aside, and without a trace."""
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_bytes(content)
    for command in (("validate", "bad.json"), ("run", "--manifest", "bad.json", "--output", "out")):
        start = time.process_time()
        answer = job(*command)
        assert time.process_time() - start < UNDER_COVERAGE * slowness() * 1
        assert answer.exit_code == 65
        assert answer.stdout == ""
        (line,) = answer.stderr.splitlines()
        assert line.startswith(f"error: bad.json: {message}")
        assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]
    assert Path("bad.json").read_bytes() == content


def test_bad_manifest_leaves_the_bucket_as_it_was(job: Job, bucket: str) -> None:
    store = open_store(bucket)
    for content in (changed(name="../up"), b"\xff", sweep(name="../up")):
        store.write("bad.json", content)
        answer = job("run", "--manifest", f"{bucket}/bad.json", "--output", f"{bucket}/study")
        assert answer.exit_code == 65
        assert answer.stderr.startswith(f"error: {bucket}/bad.json: ")
        assert store.list_keys("") == ["bad.json"]


LARGE = {
    "keys": changed(**{f"k{index}": 0 for index in range(60_000)}),
    "word": optimizer("a" * 1_000_000),
    "blocks": b'{"name": "s", "blocks": [' + b"{}," * 300_000 + b"{}]}",
    "faulty_blocks": sweep(blocks=[{}] * 9_000),
    "varied_fields": vary(**{f"k{index}": [0] for index in range(50_000)}),
    "deep_path": vary(**{"a." * 400_000 + "a": [0]}),
    "faulty_values": vary(**{"optimizer.lr": list(range(-10_000, 0))}),
    "faulty_combinations": sweep(
        defaults={"k": [0] * 250_000}, blocks=[{"base": VALID, "vary": {"epochs": list(range(9_000))}}]
    ),
}
"""A megabyte that is as slow to refuse as we could make it."""


@pytest.mark.parametrize("content", LARGE.values(), ids=LARGE.keys())
def test_megabyte_is_refused_in_seconds_and_on_a_page(job: Job, tmp_path: Path, content: bytes) -> None:
    """Unlike what the 100 MB of the test below are, it has to be read."""
    assert len(content) <= MAX_BYTES
    (tmp_path / "large.json").write_bytes(content)
    start = time.process_time()
    answer = job("run", "--manifest", tmp_path / "large.json", "--output", tmp_path / "out")
    assert time.process_time() - start < UNDER_COVERAGE * slowness() * 5
    assert answer.exit_code == 65
    assert len(answer.stderr.splitlines()) <= 103
    assert not (tmp_path / "out").exists()


def test_several_faults_are_reported_together(job: Job, tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_bytes(changed(epochs=0, seeds=1, optimizer={"name": "adam", "lr": -1, "betas": [2, 0.9]}))
    two.write_bytes(changed(name="Two"))
    answer = job("validate", one, two)
    assert answer.exit_code == 65
    assert [line.partition("; ")[0] for line in answer.stderr.splitlines()] == [
        f"error: {one}: optimizer.lr is -1",
        f"error: {one}: optimizer.betas[0] is 2",
        f"error: {one}: epochs is 0",
        f"error: {one}: seeds is not known",
        f'error: {two}: name is "Two"',
    ]


def test_valid_manifest_beside_a_bad_one_is_still_confirmed(job: Job, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(changed())
    bad.write_bytes(b"")
    answer = job("validate", bad, good)
    assert answer.exit_code == 65
    assert answer.stdout.startswith(f"{good}: valid, run id mine-s0-")
    assert str(bad) in answer.stderr


def test_thousands_of_faults_are_counted_and_not_listed() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(changed(**{f"key{index}": 0 for index in range(20_000)}), source="many.json")
    assert len(caught.value.faults) == 101
    assert caught.value.faults[-1] == "many.json: and 19900 faults more"


def test_missing_file_is_a_bad_manifest(job: Job, tmp_path: Path) -> None:
    answer = job("validate", tmp_path / "absent.json")
    assert answer.exit_code == 65
    assert answer.stderr == f"error: {tmp_path}/absent.json: no such manifest\n"


def test_hundred_megabytes_are_refused_within_a_second(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    path.touch()
    os.truncate(path, 100 * 1024 * 1024)
    start = time.process_time()
    answer = job("validate", path)
    assert time.process_time() - start < UNDER_COVERAGE * slowness() * 1
    assert answer.exit_code == 65
    assert answer.stderr == f"error: {path}: 104857600 bytes is too large; a manifest has at most 1048576\n"


def test_megabyte_long_key_does_not_fill_the_screen() -> None:
    for content in (changed(**{"k" * 1_000_000: 0}), b'{"%(k)b": 0, "%(k)b": 0}' % {b"k": b"k" * 400_000}):
        with pytest.raises(ManifestError) as caught:
            parse_manifest(content, source="long.json")
        assert len(str(caught.value)) < 400


def test_run_with_a_bad_manifest_writes_nothing(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(changed(epochs=0))
    answer = job("run", "--manifest", path, "--output", tmp_path / "out")
    assert answer.exit_code == 65
    assert answer.stderr == f"error: {path}: epochs is 0; must be >= 1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_byte_order_mark_is_no_fault() -> None:
    assert parse_manifest(b"\xef\xbb\xbf" + changed(), source="windows.json").name == "mine"


# Properties

rates = st.floats(min_value=0, max_value=1, exclude_max=True)


def values(field: dict[str, Any], schema: dict[str, Any]) -> st.SearchStrategy[object]:
    """What `field` of a JSON Schema accepts."""
    match field:
        case {"$ref": str(reference)}:
            return values(schema["$defs"][reference.rpartition("/")[2]], schema)
        case {"const": value} | {"enum": value}:
            return st.sampled_from(value if isinstance(value, list) else [value])
        case {"anyOf": [*choices]}:
            return st.one_of([values(choice, schema) for choice in choices])
        case {"prefixItems": [*items]}:
            return st.tuples(*[values(item, schema) for item in items]).map(list)
        case {"properties": dict(properties)}:
            fields = dict(properties)
            required = {name: values(fields.pop(name), schema) for name in field.get("required", ())}
            optional = {name: values(content, schema) for name, content in fields.items()}
            return st.fixed_dictionaries(required, optional=optional)
        case _:
            return plain_values(field)


def plain_values(field: dict[str, Any]) -> st.SearchStrategy[object]:
    lowest, highest = (field.get(key, field.get(f"exclusive{key.title()}")) for key in ("minimum", "maximum"))
    return {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(lowest, highest),
        "number": st.floats(
            lowest, highest, exclude_min="exclusiveMinimum" in field, exclude_max="exclusiveMaximum" in field
        ),
    }[field["type"]]


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)


def _as_rules_between_fields_demand(attributes: Any) -> dict[str, object]:
    if attributes["name"] in ("sgd", "lars", "sgdw") and attributes.get("nesterov"):
        return attributes | {"momentum": 0.5, "dampening": 0}
    return attributes | {key: sorted(attributes[key]) for key in ("step_sizes",) if key in attributes}


def optimizers(name: str) -> st.SearchStrategy[dict[str, object]]:
    """Every optimizer of this name that the schema accepts."""
    schema = OURS[name].model_json_schema()
    return values(schema, schema).map(_as_rules_between_fields_demand)


def _leaves_muon_weights_to_train(document: dict[str, Any]) -> bool:
    return document["optimizer"]["name"] != "muon" or not document.get("model", {}).get("freeze_backbone")


manifests: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": NAMES, "optimizer": st.sampled_from(sorted(OURS)).flatmap(optimizers)},
    optional={
        "epochs": st.integers(10, 9_999),
        "batch_size": st.integers(2, 65_536),
        "seed": st.integers(0, 2**32 - 1),
        "dataset": st.one_of(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["stl10", "cifar100"])},
                optional={"validation_fraction": st.floats(min_value=0, max_value=0.5)},
            ),
            st.fixed_dictionaries({"name": st.just("folder")}, optional={"size": st.integers(16, 512)}),
            st.fixed_dictionaries({"name": st.just("synthetic")}, optional={"num_train": st.integers(20, 100_000)}),
        ),
        "model": st.fixed_dictionaries(
            {},
            optional={
                "name": st.just("resnet18"),
                "weights": st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1),
                "freeze_backbone": st.booleans(),
                "batch_norm": st.none() | st.sampled_from(["batch", "running"]),
            },
        ),
        "schedule": st.one_of(
            st.fixed_dictionaries({"name": st.just("none")}, optional={"warmup_epochs": st.floats(0, 10)}),
            st.fixed_dictionaries({"name": st.just("cosine")}, optional={"final_fraction": rates}),
            st.fixed_dictionaries({"name": st.just("onecycle")}, optional={"div_factor": st.floats(1, 1e9)}),
        ),
        "label_smoothing": rates,
        "augmentation": st.sampled_from(["none", "flip", "crop_flip"]),
        "image_size": st.none() | st.integers(16, 512),
        "normalization": st.sampled_from(["imagenet", "none"]),
        "precision": st.sampled_from(["auto", "bf16", "fp16", "tf32", "fp32"]),
        "deterministic": st.booleans(),
    },
).filter(_leaves_muon_weights_to_train)


def as_json(document: object) -> bytes:
    return json.dumps(document).encode()


@settings(deadline=None)
@given(manifests)
def test_valid_manifest_survives_its_round_trip(document: dict[str, Any]) -> None:
    manifest = parse_manifest(as_json(document), source="generated")
    resolved = manifest.model_dump_json()
    again = parse_manifest(resolved.encode(), source="resolved")
    assert again == manifest
    assert configuration_digest(again) == configuration_digest(manifest)
    assert again.model_dump_json() == resolved
    written = json.loads(resolved)
    for key, value in document.items():
        assert written[key] == (written[key] | value if isinstance(value, dict) else value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_attribute_survives_the_round_trip_of_its_optimizer(name: str) -> None:
    @settings(deadline=None, max_examples=20)
    @given(optimizers(name))
    def check(attributes: dict[str, object]) -> None:
        manifest = parse_manifest(changed(optimizer=attributes), source="generated")
        assert parse_manifest(manifest.model_dump_json().encode(), source="resolved") == manifest
        written = manifest.optimizer.model_dump(mode="json")
        assert written == written | attributes

    check()


def test_what_the_command_accepts_the_schema_accepts() -> None:
    validator = jsonschema.Draft202012Validator(Manifest.model_json_schema())

    @settings(deadline=None, max_examples=50)
    @given(manifests)
    def check(document: dict[str, Any]) -> None:
        parse_manifest(as_json(document), source="generated")
        validator.validate(document)

    check()


def ends_in_manifest_or_manifest_error(content: bytes, setting: str = "seed=0") -> None:
    parsed: object
    try:
        parsed = parse_document(content, source="any", overrides=[setting])
        if not isinstance(parsed, Manifest):
            parsed = build_plan(as_sweep(parsed), source="any")
    except ManifestError as error:
        lines = error.faults
    else:
        lines = (f"any: {type(parsed).__name__}",)
    assert lines
    assert all(line.startswith(("any: ", "--set ")) for line in lines)


@settings(deadline=None)
@given(st.binary())
@example(b"\xef\xbb\xbf")
@example(b'{"a":' * 990 + b"1" + b"}" * 990)
@example(b'{"a":' * 330 + b"1" + b"}" * 330)
@example(changed(**{"\ud800": 1}))
def test_any_bytes_end_in_a_manifest_or_a_manifest_error(content: bytes) -> None:
    ends_in_manifest_or_manifest_error(content)


@settings(deadline=None)
@given(manifests, st.data())
def test_damaged_manifest_ends_in_a_manifest_or_a_manifest_error(document: dict[str, Any], data: st.DataObject) -> None:
    content = as_json(document)
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    ends_in_manifest_or_manifest_error(content[:start] + data.draw(st.binary(max_size=5)) + content[end:])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "lr", "betas", "size"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(Manifest.model_fields)), json_values))
def test_any_values_end_in_a_manifest_or_a_manifest_error(document: dict[str, object]) -> None:
    ends_in_manifest_or_manifest_error(as_json(VALID | document))


paths = st.sampled_from(["optimizer", "optimizer.lr", "name", "seed", "epochs.x"]) | st.text()


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"blocks": json_values},
        optional={
            "name": json_values,
            "seeds": json_values,
            "defaults": st.just(VALID) | json_values,
            "containers": json_values,
        },
    )
    | st.fixed_dictionaries(
        {
            "name": st.just("mine"),
            "defaults": st.just(VALID) | json_values,
            "blocks": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "base": st.dictionaries(paths, json_values, max_size=2),
                        "vary": st.dictionaries(paths, st.lists(json_values, min_size=1, max_size=3), max_size=3),
                        "design": st.sampled_from(["grid", "one_at_a_time"]),
                    },
                ),
                min_size=1,
                max_size=2,
            ),
        }
    )
)
def test_any_sweep_ends_in_a_plan_or_a_manifest_error(document: dict[str, object]) -> None:
    ends_in_manifest_or_manifest_error(as_json(document))


@settings(deadline=None)
@given(st.text() | st.builds("{}={}".format, st.sampled_from(["optimizer", "name.x", "model.weights"]), st.text()))
@example("seed=" + "[" * 100_000)
@example("a" + ".a" * 5000 + "=1")
@example("name=\udcff")
def test_any_setting_ends_in_a_manifest_or_a_manifest_error(setting: str) -> None:
    ends_in_manifest_or_manifest_error(changed(), setting)


# torch


def test_every_optimizer_of_the_union_is_compared_with_its_library() -> None:
    assert OURS.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_attributes_and_defaults_are_those_of_the_library(name: str) -> None:
    parameters = inspect.signature(OPTIMIZERS[name].__init__).parameters
    expected = {key: value.default for key, value in parameters.items() if key not in SWITCHES}
    if name == "muon":  # which leaves the other weights to AdamW
        adamw = inspect.signature(OPTIMIZERS["adamw"].__init__).parameters
        expected |= {f"adamw_{key}": adamw[key].default for key in ("lr", "betas", "eps", "weight_decay")}
    fields = OURS[name].model_fields
    assert {key: field.default for key, field in fields.items() if key != "name"} == expected


# Schema


def test_schema_is_valid_and_names_every_optimizer(job: Job) -> None:
    answer = job("schema")
    assert answer.exit_code == 0
    schema = json.loads(answer.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["optimizer"]["discriminator"]["mapping"].keys() == OPTIMIZERS.keys()
    validator = jsonschema.Draft202012Validator(schema)
    for name in OPTIMIZERS:
        assert validator.is_valid(VALID | {"optimizer": {"name": name}})
    for wrong in ({"optimizer": {"name": "lbfgs"}}, {"epochs": 0}, {"epoch": 1}, {"name": "Adam"}):
        assert not validator.is_valid(VALID | wrong)


def test_every_field_of_the_schema_is_described() -> None:
    schema = Manifest.model_json_schema()
    owners = {"Manifest": schema} | schema["$defs"]
    bare = [
        f"{owner}.{field}"
        for owner, model in owners.items()
        for field, content in model["properties"].items()
        if not content.get("description") and "const" not in content  # a tag says what it is itself
    ]
    assert bare == []
    assert all(model.get("description") for model in owners.values())


# --set


def test_setting_replaces_one_field_and_keeps_the_others() -> None:
    manifest = parse_manifest(
        optimizer(lr=0.1, eps=0.5), source="m.json", overrides=["optimizer.lr=0.01", "optimizer.betas=[0.8, 0.9]"]
    )
    assert manifest.optimizer.model_dump(include={"lr", "eps", "betas"}) == {
        "lr": 0.01,
        "eps": 0.5,
        "betas": (0.8, 0.9),
    }


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("epochs=3", "epochs", 3),
        ("deterministic=true", "deterministic", True),
        ("image_size=null", "image_size", None),
        ("name=other", "name", "other"),
        ('name="other"', "name", "other"),
    ],
)
def test_setting_takes_json_or_else_text(setting: str, field: str, value: object) -> None:
    assert getattr(parse_manifest(changed(image_size=64), source="m.json", overrides=[setting]), field) == value


def test_setting_makes_the_object_it_needs_and_keeps_further_equals_signs() -> None:
    made = parse_manifest(
        changed(), source="m.json", overrides=["schedule.name=cosine", "schedule.warmup_epochs=1", "model.weights=a=b"]
    )
    assert made.schedule.model_dump() == {"name": "cosine", "warmup_epochs": 1.0, "final_fraction": 0.0}
    assert made.model.weights == "a=b"


@pytest.mark.parametrize("field", ["weight_decay", "eps", "betas"])
def test_minus_zero_is_zero_in_a_file_and_in_a_setting(field: str) -> None:
    """Equal configurations that had two run ids would be trained twice."""
    zero, minus = ([0.0, 0.9], [-0.0, 0.9]) if field == "betas" else (0.0, -0.0)
    expected = run_id(parse_manifest(optimizer(**{field: zero}), source="m.json"))
    assert run_id(parse_manifest(optimizer(**{field: minus}), source="m.json")) == expected
    setting = f"optimizer.{field}={json.dumps(minus)}"
    assert run_id(parse_manifest(changed(), source="m.json", overrides=[setting])) == expected
    varied = parse_document(vary(**{f"optimizer.{field}": [zero, minus]}), source="s")
    assert isinstance(varied, Sweep)
    [planned] = build_plan(varied, source="s").runs
    assert run_id(planned.manifest) == expected


def test_of_two_settings_of_one_field_the_last_counts() -> None:
    assert parse_manifest(changed(), source="m.json", overrides=["seed=1", "seed=2"]).seed == 2


def test_settings_leave_the_file_alone_and_change_the_run_id(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(changed())
    plain = job("validate", path)
    set_seed = job("validate", path, "--set", "seed=7", "--set", "name=other")
    assert "run id mine-s0-" in plain.stdout
    assert "run id other-s7-" in set_seed.stdout
    assert path.read_bytes() == changed()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.lr", "--set optimizer.lr: must be KEY=VALUE, such as optimizer.lr=0.01"),
        ("=1", "--set =1: must be KEY=VALUE"),
        ("optimizer..lr=1", "--set optimizer..lr=1: must be KEY=VALUE"),
        ("name.x=1", '--set name.x=1: name is "mine", it has no fields'),
        ("optimizer.lr=-1", "m.json: optimizer.lr is -1; must be > 0"),
        ("optimizer.lr=NaN", "--set optimizer.lr=NaN: numbers must be finite"),
        ("optimizer.lr=1e999", "--set optimizer.lr=1e999: numbers must be finite"),
        ("optimizer.betas=[0.9, -Infinity]", "--set optimizer.betas=[0.9, -Infinity]: numbers must be finite"),
        (
            "optimizer.betas=0.9,0.99",
            'm.json: optimizer.betas is "0.9,0.99"; must be a list, such as [0.9,0.99]; '
            "on the command line: --set optimizer.betas=[0.9,0.99]\n",
        ),
        (
            "optimizer.betas=(0.9, 0.99)",
            'm.json: optimizer.betas is "(0.9, 0.99)"; must be a list, such as [0.9,0.99];',
        ),
        ("optimizer.betas=small", 'm.json: optimizer.betas is "small"; must be a list, in brackets\n'),
        ("optimizer.name=AdamW", "m.json: optimizer.name is \"AdamW\"; did you mean 'adamw'? accepted: adam,"),
        ("optimizer.amsgrad=yes", 'm.json: optimizer.amsgrad is "yes"; must be true or false, without quotes\n'),
        ("deterministic=True", '--set deterministic=True: JSON writes true; a text is "True", in quotes\n'),
        ("deterministic=FALSE", '--set deterministic=FALSE: JSON writes false; a text is "FALSE", in quotes\n'),
        ("image_size=None", '--set image_size=None: JSON writes null; a text is "None", in quotes\n'),
        ("image_size=none", 'm.json: image_size is "none"; must be a valid integer, or null, without quotes\n'),
        ("defaults.model.weights=None", '--set defaults.model.weights=None: write none; a text is "None", in quotes\n'),
        ("model.weights=None", '--set model.weights=None: write none; a text is "None", in quotes\n'),
        ("augmentation=NULL", '--set augmentation=NULL: write none; a text is "NULL", in quotes\n'),
        ("optimizer.lr=None", '--set optimizer.lr=None: JSON writes null; a text is "None", in quotes\n'),
        ('image_size="None"', 'm.json: image_size is "None"; must be a valid integer, or null, without quotes\n'),
        ("model.weights=True", '--set model.weights=True: JSON writes true; a text is "True", in quotes\n'),
        ("model.weights=s3:/bucket/w.pth", 'm.json: model.weights: "s3:/bucket/w.pth" is neither a path nor'),
        ("optimizer.lr=fast", 'm.json: optimizer.lr is "fast"; must be a valid number'),
        ("optimizer.lrs=1", "m.json: optimizer.lrs is not known; did you mean 'lr'?"),
        ("optimiser.lr=1", "m.json: optimiser is not known; did you mean 'optimizer'?"),
        ("seed=", 'm.json: seed is ""; must be a valid integer'),
        (
            'optimizer={"name": "adam", "lr": 1, "lr": 2}',
            '--set optimizer={"name": "adam", "lr": 1, "lr": 2}: key "lr" stands twice in one object',
        ),
        ("model.weights=https://me:secret@host/w.pth", "m.json: model.weights: must hold no credentials"),
    ],
)
def test_wrong_setting_is_named(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.json").write_bytes(changed())
    answer = job("validate", "m.json", "--set", setting)
    assert answer.exit_code == 65
    assert answer.stderr.startswith(f"error: {message}")


# Bundled manifests


@pytest.mark.parametrize("path", sorted((ROOT / "manifests/jobs").glob("*.json")), ids=lambda path: path.stem)
def test_bundled_manifest_is_valid_and_named_like_its_file(job: Job, path: Path) -> None:
    answer = job("validate", path)
    assert answer.exit_code == 0, answer.stderr
    assert f"run id {path.stem}-s0-" in answer.stdout


@pytest.mark.parametrize("name", REPORTED)
def test_manifest_of_the_report_differs_from_torch_in_the_learning_rate_alone(name: str) -> None:
    path = ROOT / f"manifests/jobs/{name}.json"
    manifest = parse_manifest(path.read_bytes(), source=str(path))
    parameters = inspect.signature(OPTIMIZERS[name].__init__).parameters
    attributes = manifest.optimizer.model_dump(exclude={"name"})
    assert attributes.pop("lr") == 0.001
    assert attributes == {key: parameters[key].default for key in attributes}
    assert manifest.model_dump(exclude={"name", "optimizer"}) == {
        "epochs": 10,
        "batch_size": 50,
        "seed": 0,
        "dataset": {"name": "stl10", "validation_fraction": 0.0},
        "model": {"name": "resnet18", "weights": "imagenet", "freeze_backbone": False, "batch_norm": None},
        "schedule": {"name": "none", "warmup_epochs": 0.0},
        "label_smoothing": 0.0,
        "augmentation": "none",
        "image_size": None,
        "normalization": "imagenet",
        "precision": "auto",
        "deterministic": False,
    }
