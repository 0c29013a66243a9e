"""A group of equal processes that train one network, each on its share of every batch.

Not DistributedDataParallel: it averages the processes' gradients as if their shares were equal, and
here shares are uneven, and empty ones are allowed. One sum of all gradients and of what the shares
weigh is a single message a step, after which every process clips and steps with the same numbers.
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, ProcessGroup, Store
from torch.distributed.rendezvous import rendezvous

from eyesight.classifier import Classifier
from eyesight.data.images import Images
from eyesight.distributed import launch
from eyesight.distributed.launch import RESUME, Place
from eyesight.errors import TrainingFailedError, UserError
from eyesight.results.any_task import Results
from eyesight.system.environment import shared_versions
from eyesight.system.files import scratch

JOINING = timedelta(minutes=5)  # in which all processes must have found each other
STEP = timedelta(
    minutes=10
    # After which a process that is silent during training is given up; one that was killed is
    # noticed
    # at once.
)
PATIENCE = timedelta(
    days=1
)  # for what one process does while the others wait: preparing pictures, computing features
ENDED = "eyesight ended"
Value = TypeVar("Value")
Problem = tuple[str, str, int]  # the arguments of a UserError


class GoneError(TrainingFailedError):
    """Another process of the group no longer answers."""


class Group:
    """This process among `size` equal ones.

    A group of one does nothing. `busy` is 0 while a batch has no picture for this process.
    """

    def __init__(
        self,
        where: Place | None = None,
        store: Store | None = None,
        patient: ProcessGroup | None = None,
    ) -> None:
        self.where, self.store, self.patient = where or Place(), store, patient
        self.rank, self.size = self.where.rank, self.where.size
        self.busy = 1.0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the group; when this process fails by itself, the first one is to say why."""
        if self.size == 1:
            return
        with suppress(RuntimeError):  # the others may be gone
            if error is None:
                dist.destroy_process_group()
            elif self.store is not None and not isinstance(error, GoneError):
                reason = (
                    [error.message, error.hint]
                    if isinstance(error, UserError)
                    else [f"{type(error).__name__}: {error}", ""]
                )
                self.store.set(ENDED, json.dumps([self.rank, socket.gethostname(), *reason]))

    def share(self, count: int) -> range:
        """The indices of this process's share of `count` images; shares differ by one at most."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    # Sums and messages: every process must ask for the same ones in the same order.

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError:
            raise self._gone() from None

    def _gone(self) -> GoneError:
        with suppress(RuntimeError):
            if self.first and self.store is not None and self.store.check([ENDED]):
                rank, node, message, hint = json.loads(self.store.get(ENDED))
                return GoneError(
                    f"process {rank} of {self.size} (on {node}) ended: {message}", hint or RESUME
                )
        why = "it was killed, or its machine or network failed"
        return GoneError(
            f"another of the {self.size} processes of this training ended unexpectedly: {why}",
            RESUME,
        )

    def sum(self, values: Tensor) -> Tensor:
        """The sum of the processes' tensors of one shape, in place."""
        if self.size > 1:
            with self._talking():
                dist.all_reduce(values)
        return values

    def total(self, tally: Tensor) -> Tensor:
        """The sum of the processes' vectors.

        A process that saw no picture has a scalar 0 instead, and so do all if none saw any.
        """
        if self.size == 1:
            return tally
        length = torch.tensor(tally.numel() if tally.ndim else 0)
        with self._talking():
            dist.all_reduce(length, dist.ReduceOp.MAX)
        wide = (
            tally
            if tally.ndim or not int(length)
            else torch.zeros(int(length), dtype=torch.float64)
        )
        return self.sum(wide.cpu()) if int(length) else tally

    def agree(self, number: float) -> float:
        """The first process's number: what a clock decides must be decided alike."""
        return (
            float(self._of_first(torch.tensor(number, dtype=torch.float64)))
            if self.size > 1
            else number
        )

    def _of_first(self, values: Tensor) -> Tensor:
        """The first process's tensor, in place."""
        with self._talking():
            dist.broadcast(values, 0)
        return values

    def _bytes(self, content: bytes, source: int) -> bytes:
        with self._talking():
            length = torch.tensor(len(content))
            dist.broadcast(length, source, group=self.patient)
            sent = torch.zeros(int(length), dtype=torch.uint8)
            if self.rank == source and content:
                sent = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            if int(length):
                dist.broadcast(sent, source, group=self.patient)
        return sent.numpy().tobytes()

    def everyone(self, value: Value) -> list[Value]:
        """What each process says, JSON values, in their order."""
        message = json.dumps(value).encode()
        return [
            json.loads(self._bytes(message if rank == self.rank else b"", rank))
            for rank in range(self.size)
        ]

    def once(self, make: Callable[[], Value]) -> Value:
        """What `make` gives in the first process (JSON values), or its UserError, in all."""
        if self.size == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.first:
            try:
                answer = [make(), None]
            except UserError as error:
                answer = [None, [error.message, error.hint, error.code]]
        value: Value
        value, problem = json.loads(
            self._bytes(json.dumps(answer).encode() if self.first else b"", 0)
        )
        if problem:
            raise UserError(*problem)
        return value

    def in_turn(self, make: Callable[[], Value]) -> Value:
        """The result of `make`, called on every machine in one process first.

        The others then find what it has cached. A UserError of one process is raised in all.
        """
        if self.size == 1:
            return make()
        made: list[Value] = []
        problem: Problem | None = None
        for turn in (True, False):
            if turn == (self.where.local == 0):
                try:
                    with self.every_core() if turn else nullcontext():
                        made.append(make())
                except UserError as error:
                    problem = error.message, error.hint, error.code
            for rank, failure in enumerate(self.everyone(problem)):
                if failure:
                    message, hint, code = failure
                    if rank:
                        message = f"process {rank}: {message}"
                    raise UserError(message, hint, code)
        return made[0]

    def same(self, facts: Callable[[], Mapping[str, object]]) -> None:
        """Raise UserError in all processes when their facts, JSON values, differ."""
        if self.size == 1:
            return
        answers = self.everyone((socket.gethostname(), facts()))
        for rank, (node, values) in enumerate(answers):
            for name, value in values.items():
                if value != (expected := answers[0][1][name]):
                    raise UserError(
                        f"process {rank} (on {node}) has a different {name} than process 0 (on "
                        f"{answers[0][0]}): {value} instead of {expected}",
                        "every machine needs the same images at the same path, the same recipe "
                        "and the same versions",
                    )

    # What training asks for.

    def alike(self, network: nn.Module) -> None:
        """Give the network the weights and buffers of rank 0."""
        for tensor in network.state_dict().values() if self.size > 1 else ():
            tensor.copy_(self._of_first(tensor.contiguous()))

    def backward(
        self, loss: Tensor, weight: Callable[[Tensor], Tensor], targets: Tensor, network: nn.Module
    ) -> None:
        """Leave in the network the gradient of the mean over the whole batch.

        `loss` is the mean over this share, which weighs `weight(targets)`.
        """
        if self.size == 1:
            loss.backward()  # type: ignore[no-untyped-call]
            return
        heavy = weight(targets).detach().to(loss) * self.busy
        (loss * heavy).backward()  # type: ignore[no-untyped-call]
        gradients = [
            parameter.grad for parameter in network.parameters() if parameter.grad is not None
        ]
        flat = self.sum(torch.cat([*(gradient.reshape(-1) for gradient in gradients), heavy[None]]))
        for gradient, part in zip(
            gradients,
            torch.split(flat[:-1], [gradient.numel() for gradient in gradients]),
            strict=True,
        ):
            gradient.copy_((part / flat[-1]).view_as(gradient))

    def even_out(self, states: Iterable[dict[str, Tensor]]) -> None:
        """Average the running statistics of batch normalisation over all processes.

        By their differences from the first process's: what is frozen is the same in all, and must
        stay so to the last bit.
        """
        statistics = [
            tensor
            for state in states
            for name, tensor in state.items()
            if name.endswith(("running_mean", "running_var"))
        ]
        if self.size == 1 or not statistics:
            return
        own = torch.cat([tensor.reshape(-1) for tensor in statistics])
        first = self._of_first(own.clone())
        flat = first + self.sum(own - first) / self.size
        for tensor, part in zip(
            statistics, torch.split(flat, [tensor.numel() for tensor in statistics]), strict=True
        ):
            tensor.copy_(part.view_as(tensor))

    def infer(self, classifier: Classifier, images: Images) -> Results:
        """What the classifier says of the pictures, each looked at by one process.

        Whole in the first process, elsewhere only its share.
        """
        if self.size == 1:
            return classifier.infer(images)
        mine: Any = classifier.infer(
            images.subset(np.asarray(self.share(len(images)), dtype=np.int64))
        )
        arrays = {
            field.name: value
            for field in fields(mine)
            if isinstance(value := getattr(mine, field.name), np.ndarray)
        }
        joined = {name: self._gathered(array) for name, array in arrays.items()}
        results: Results = mine
        if self.first:
            results = replace(mine, ids=images.ids, **joined)
        return results

    def _gathered(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """In the first process the rows of all, in their order; elsewhere the process's own."""
        shapes = self.everyone(array.shape)
        sent = torch.from_numpy(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        if not self.first:
            with self._talking():
                if array.size:
                    dist.send(sent, 0, group=self.patient)
            return array
        parts = [array] if array.size or not any(math.prod(shape) for shape in shapes) else []
        for rank, shape in enumerate(shapes[1:], 1):
            if math.prod(shape):
                got = torch.empty(math.prod(shape) * array.itemsize, dtype=torch.uint8)
                with self._talking():
                    dist.recv(got, rank, group=self.patient)
                parts.append(got.numpy().view(array.dtype).reshape(shape))
        return np.concatenate(parts)

    @contextmanager
    def folder(self, path: Path) -> Iterator[Path]:
        """The first process's run folder.

        For the others a copy that is thrown away, so that all do the same and only one stays.
        """
        if self.size == 1:
            yield path
            return
        files = (
            [*path.glob("*.json"), *path.glob("log.jsonl"), *path.glob("checkpoint/*.safetensors")]
            if self.first
            else []
        )
        names = self.once(lambda: [file.relative_to(path).as_posix() for file in files])
        with scratch() as thrown_away:
            for name in names:
                content = self._bytes((path / name).read_bytes() if self.first else b"", 0)
                if not self.first:
                    (thrown_away / name).parent.mkdir(exist_ok=True)
                    (thrown_away / name).write_bytes(content)
            yield path if self.first else thrown_away

    @contextmanager
    def every_core(self) -> Iterator[None]:
        """For what one process of a machine does while the others wait."""
        if self.size == 1:
            yield
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(threads * self.where.local_size)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def check_shares(self, network: nn.Module, least: int, *, together: bool) -> None:
        """Raise UserError when a share of the smallest batch is too small for batch
        normalisation.
        """
        norms = any(
            isinstance(layer, nn.modules.batchnorm._BatchNorm)
            and any(part.requires_grad for part in layer.parameters())
            for layer in network.modules()
        )
        if self.size > 1 and norms and not together and least // self.size < 2:
            raise UserError(
                f"with batches of {least}, one of {self.size} processes has fewer than two "
                "images, too few for batch normalisation",
                "use fewer processes, a larger training.batch, or --set training.sync_norm=true",
            )


def versions() -> dict[str, str]:
    """What the processes of a group must have in common besides recipe and pictures."""
    return {f"version of {name}": version for name, version in shared_versions().items()}


def join() -> Group:
    """Join the group that RANK, WORLD_SIZE and MASTER_ADDR describe; a group of one without them.

    A GPU for each process where there are enough, and NCCL between them; else gloo. Raises
    UserError when they do not find each other.
    """
    where = launch.place()
    if where.size == 1:
        return Group()
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(where.local % torch.cuda.device_count())
        if dist.is_nccl_available() and where.local_size <= torch.cuda.device_count():
            backend = "cpu:gloo,cuda:nccl"
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=JOINING)))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=STEP)
        patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(patient, ProcessGroup), "every process is in it"
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the {where.size} processes cannot connect: {str(error).splitlines()[0]}",
            "set MASTER_ADDR and MASTER_PORT to the first machine, reachable by the others; "
            "torchrun sets them",
        ) from None
    os.environ[launch.MET] = "1"
    return Group(where, PrefixStore("eyesight", store), patient)
