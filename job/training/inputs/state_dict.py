"""Finds the network's tensors in a file of weights, however the program that wrote the file has wrapped them.

Some programs nest the tensors, as in `{"state_dict": …}` or `{"model": …}`. Others put a prefix before every name:
`DataParallel` puts `module.`, `torch.compile` puts `_orig_mod.`, and Lightning puts the name of the attribute. A file
may combine these. All of them keep the network's own names, so this module searches for those names. The log says
where it found them, and how many other tensors lie beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from job.errors import DataError
from job.logs import get_logger
from job.training.engine.resnet import NETWORKS as BUILDERS

State = dict[str, Tensor]
MAX_DEPTH = 4
"""How deep dicts within dicts are searched. Training programs nest the state dict once or twice."""
NETWORKS: dict[tuple[str, tuple[int, ...]], str] = {
    ("conv2", (2, 2, 2, 2)): "resnet18",
    ("conv2", (3, 4, 6, 3)): "resnet34",
    ("conv3", (3, 4, 6, 3)): "resnet50",
    ("conv3", (3, 4, 23, 3)): "resnet101",
    ("conv3", (3, 8, 36, 3)): "resnet152",
}
"""The networks of the family, by the last convolution of a block and the number of blocks in each layer
(He et al. 2015, arXiv:1512.03385, table 1). A ResNet34 has every tensor of a ResNet18, and more."""
TOP = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}
"""The network's own modules."""


@dataclass(frozen=True)
class _Wanted:
    """The network that is looked for."""

    name: str
    tensors: State
    """All tensors of its backbone, on the meta device, so without memory. Old files lack the counters of batches."""

    @classmethod
    def named(cls, name: str) -> Self:
        with torch.device("meta"):
            state: State = BUILDERS[name](1000).state_dict()
        return cls(name, {key: tensor for key, tensor in state.items() if not key.startswith("fc.")})


@dataclass(frozen=True)
class _Candidate:
    """A part of the file that may be the network: some of its tensors have the network's names."""

    keys: tuple[str, ...]
    """The keys that lead to the dict in which it lies."""
    prefix: str
    """What stands before every name."""
    state: State
    """Its tensors, by the network's own names."""
    num_others: int
    """The number of other tensors in the same dict."""

    @property
    def place(self) -> str:
        """Where it lies in the file, for people."""
        return " ".join([*(f"[{key!r}]" for key in self.keys), *([f"{self.prefix}*"] if self.prefix else [])])


def find_network(content: object, *, network: str, source: str) -> State:
    """The tensors of `network` in `content`, by the network's own names. Those of fc may have any shape, or be missing.

    The log says where they were found, unless `content` is the bare state dict. Raises `DataError`, in one line, if
    `content` holds no such network, several of them, another network, or a value that no network can compute with.
    """
    wanted = _Wanted.named(network)
    candidates = [candidate for keys, state in _states(content, ()) for candidate in _candidates(keys, state)]
    fitting = [candidate for candidate in candidates if _misfit(candidate.state, wanted) is None]
    if len(fitting) > 1:
        places = ", ".join(candidate.place or "the names as they are" for candidate in fitting)
        raise DataError(
            f"weights {source}: hold {len(fitting)} networks ({places}), and it is not clear which one is meant; "
            "save one of them alone, with torch.save(model.state_dict(), FILE)"
        )
    if not fitting:
        raise DataError(f"weights {source}: not a state dict of {network}: {_fault(content, candidates, wanted)}")
    (found,) = fitting
    _check_values({name: found.state[name] for name in wanted.tensors if name in found.state}, source=source)
    if found.place or found.num_others:
        get_logger().info(
            "weights_unwrapped", source=source, found=found.place or "as it is", num_tensors=len(found.state),
            num_left_out=found.num_others,
        )  # fmt: skip
    return found.state


def _states(content: object, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], State]]:
    """Every dict in `content` that holds named tensors: the keys that lead to it, and these tensors."""
    if not isinstance(content, dict) or len(keys) > MAX_DEPTH:
        return
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if state:
        yield keys, state
    for key, value in content.items():
        yield from _states(value, (*keys, str(key)))


def _candidates(keys: tuple[str, ...], state: State) -> Iterator[_Candidate]:
    """A candidate for every prefix that stands before the names of a ResNet."""
    for prefix in sorted({prefix for name in state if (prefix := _prefix(name)) is not None}):
        inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        own = {name: tensor for name, tensor in inner.items() if name.partition(".")[0] in TOP}
        yield _Candidate(keys, prefix, own, len(state) - len(own))


def _prefix(name: str) -> str | None:
    """What stands before the first convolution or BatchNorm of a ResNet; None for the name of another tensor."""
    found = re.fullmatch(r"(|.*\.)(conv1|bn1)\.weight", name)
    return found[1] if found and not re.search(r"(^|\.)layer\d\.\d+\.$", found[1]) else None


def _misfit(state: State, wanted: _Wanted) -> str | None:
    """Why `state` is not the wanted network, in a few words; None if it is."""
    expected = wanted.tensors
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    strange = [name for name in state if name not in expected and not name.startswith("fc.")]
    if missing or strange:
        network = _name_network(state)
        if network not in (None, wanted.name):
            return f"these are the weights of a {network}"
    if missing:
        return f"{len(missing)} of its {len(expected)} tensors are missing, the first is {missing[0]}"
    if strange:
        more = f", nor are {len(strange) - 1} others" if len(strange) > 1 else ""
        return f"{strange[0]} is no part of {wanted.name}{more}"
    odd = [name for name in expected if name in state and not _is_plain(state[name])]
    if odd:
        return f"{odd[0]} is no plain tensor of real numbers"
    shapes = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    if shapes:
        first = shapes[0]
        seen, needed = tuple(state[first].shape), tuple(expected[first].shape)
        more = f" and {len(shapes) - 1} more have another shape" if len(shapes) > 1 else ""
        return f"{first} is {seen}, must be {needed}{more}"
    return None


def _is_plain(tensor: Tensor) -> bool:
    is_dense = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    return is_dense and not tensor.is_complex()


def _name_network(state: State) -> str | None:
    """The name of the network that `state` belongs to, judged by its blocks; None if it is not in `NETWORKS`."""
    blocks = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{layer}.")}) for layer in range(1, 5)
    )
    last = "conv3" if "layer1.0.conv3.weight" in state else "conv2"
    return NETWORKS.get((last, blocks))


def _fault(content: object, candidates: list[_Candidate], wanted: _Wanted) -> str:
    """Why nothing in the file is the network. If there are candidates, the nearest one is described."""
    if candidates:
        nearest = max(candidates, key=lambda candidate: len(candidate.state.keys() & wanted.tensors.keys()))
        where = f" at {nearest.place}" if nearest.place else ""
        return f"{_misfit(nearest.state, wanted)}{where}"
    names = [name for _, state in _states(content, ()) for name in state]
    if not names:
        return "names mapped to tensors are expected"
    return f"none of its {len(wanted.tensors)} tensors is there; the first of {len(names)} others is {names[0]}"


def _check_values(state: State, *, source: str) -> None:
    """Raises `DataError` for values that make the first step give NaN, because the run would count as diverged."""
    for name, tensor in state.items():
        values = tensor.to(torch.float32)  # as the network will hold it
        finite = torch.isfinite(values)
        if not finite.all():
            wrong = tensor.numel() - int(finite.sum())
            raise DataError(
                f"weights {source}: {wrong} of the {tensor.numel()} values of {name} are NaN or infinite; "
                "take a checkpoint from before that training diverged"
            )
        if name.endswith(".running_var") and (values < 0).any():  # BatchNorm takes its root
            raise DataError(
                f"weights {source}: {int((values < 0).sum())} of the {tensor.numel()} values of {name} are negative, "
                "and a variance is not; the file is damaged, or was averaged wrongly: take another checkpoint"
            )
