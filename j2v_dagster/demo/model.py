"""The demo's model: its schema, its training, its checkpoint.

What is known before an aircraft's day begins is an input; ``day_delay`` and ``legs/arr_delay`` are targets.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from j2v_dagster.demo.observations import RECENT_LEGS

if TYPE_CHECKING:
    import torch
    from lightning.pytorch.callbacks import Callback

    from json2vec.model.model import Model

DAY_DELAY = "record/day_delay"
ARR_DELAY = "record/legs/arr_delay"
SHUFFLE_ROWS = 16_384  # more than three weeks have: every batch mixes all days
LEG_SLOTS = 5  # no aircraft has more legs from New York on one day


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How the model is built and trained.

    Attributes:
        d_model: features of a vector.
        n_layers, n_heads: of the root's encoder.
        dropout: of every array and target, in training.
        batch_size: rows of a training step, and of a prediction step.
        epochs: passes over the training days.
        lr: highest learning rate of AdamW; it rises over the first tenth of the epochs and falls as a cosine.
        weight_decay: of AdamW.
        threads: CPU threads of the training process.
        seed: of weights, order and dropout.
        padding: of the lists of legs, see `json2vec.Array`.
    """

    d_model: int = 32
    n_layers: int = 1
    n_heads: int = 4
    dropout: float = 0.3
    batch_size: int = 128
    epochs: int = 4
    lr: float = 1e-3
    weight_decay: float = 0.05
    threads: int = 2
    seed: int = 2013
    padding: Literal["attend", "skip"] = "attend"

    def fingerprint(self, days: Sequence[date], files: Sequence[tuple[str, int]]) -> str:
        """SHA-256 (hex) over the settings, the training days, the shards (path, bytes) and this file's text."""
        parts = [asdict(self), [str(day) for day in days], [list(file) for file in files], Path(__file__).read_text()]
        return sha256(json.dumps(parts).encode()).hexdigest()


def build_model(settings: TrainingSettings) -> Model:
    """An untrained model of an aircraft's day."""
    import json2vec

    j2v: Any = json2vec  # type checkers see pydantic's own signature of the options, without the positional name

    def category(name: str, size: int, query: str | None = None) -> Any:
        return j2v.Category(name, max_vocab_size=size, query=query)

    def number(name: str, query: str | None = None) -> Any:
        # Delays and distances have no fine structure worth high frequencies, which only memorise single minutes.
        return j2v.Number(name, query=query, n_bands=6, offset=1)

    drop: dict[str, Any] = {"dropout": settings.dropout}
    return j2v.Model.from_schema(
        j2v.DateParts("date", dateparts=["day_of_week"]),
        category("manufacturer", 64, "[*].plane.manufacturer"),
        category("engine", 8, "[*].plane.engine"),
        number("seats", "[*].plane.seats"),
        number("built", "[*].plane.year"),
        category("station", 4, "[*].weather.origin"),
        number("temp", "[*].weather.temp"),
        number("wind_speed", "[*].weather.wind_speed"),
        number("precip", "[*].weather.precip"),
        number("visib", "[*].weather.visib"),
        number("pressure", "[*].weather.pressure"),
        j2v.Array(
            category("carrier", 32),
            category("origin", 4),
            category("dest", 128),
            j2v.DateParts("sched_dep", dateparts=["hour_of_day"]),
            number("distance"),
            j2v.Number("arr_delay", target=True, objective="mae", **drop),
            name="legs",
            max_length=LEG_SLOTS,
            padding=settings.padding,
            **drop,
        ),
        j2v.Array(
            number("days_ago"),
            category("carrier", 32),
            category("origin", 4),
            category("dest", 128),
            number("dep_delay"),
            number("arr_delay"),
            name="recent",
            max_length=RECENT_LEGS,
            padding=settings.padding,
            **drop,
        ),
        # topk is below max_vocab_size, and all three probabilities are wanted.
        j2v.Category("day_delay", target=True, max_vocab_size=4, topk=[3], p_unavailable=0.0, **drop),
        d_model=settings.d_model,
        n_layers=settings.n_layers,
        n_heads=settings.n_heads,
        batch_size=settings.batch_size,
        optimizer=_adamw(settings),
        scheduler=_warm_cosine(settings),
        **drop,
    )


def train_model(settings: TrainingSettings, root: Path, days: Sequence[date]) -> Model:
    """Fit a new model on the shards of ``days`` below ``root`` with Lightning, on the CPU."""
    import lightning.pytorch as lit
    import torch
    from lightning.pytorch.plugins.environments import LightningEnvironment

    from json2vec import StreamingDataModule

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_num_threads(settings.threads)
    lit.seed_everything(settings.seed, verbose=False)
    model = build_model(settings)
    datamodule = StreamingDataModule(
        model=model, root=str(root), suffix="parquet", train=_any_of(days), num_workers=0, persistent_workers=False,
        pin_memory=False, observation_buffer_size=SHUFFLE_ROWS, seed=settings.seed,
    )  # fmt: skip
    # The environment is said, as where Slurm's `srun` is installed Lightning would advise to use it.
    trainer = lit.Trainer(
        plugins=[LightningEnvironment()], accelerator="cpu", devices=1, max_epochs=settings.epochs,
        gradient_clip_val=1.0, logger=False,
        enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
        callbacks=[_progress_bar(settings)],
    )  # fmt: skip
    with warnings.catch_warnings():
        # Of Lightning to itself, and about the validate split, which there is none of.
        warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated")
        warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
        trainer.fit(model, datamodule=datamodule)
    undo_class_weights(model)
    return model


def undo_class_weights(model: Model) -> None:
    """Make the probabilities of ``day_delay`` calibrated.

    json2vec weights the classes of a Category by count^-1/2 while it trains, which draws the learned probabilities
    towards rare classes by just that factor. Adding log(count)/2 to the logits takes it out again.
    """
    import torch

    node: Any = model.nodes[DAY_DELAY]
    with torch.no_grad():
        counts = node.embedder.counters["content"].counts
        node.decoder.linears["content"].bias += counts.double().log().mul(0.5).float()


def _any_of(days: Sequence[date]) -> str:
    """A pattern that finds the shards of these days."""
    return rf"/dt=({'|'.join(map(str, days))})/"


def _adamw(settings: TrainingSettings) -> Callable[[Model], torch.optim.Optimizer]:
    def make(model: Model) -> torch.optim.Optimizer:
        import torch

        return torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)

    return make


def _warm_cosine(
    settings: TrainingSettings,
) -> Callable[[Model, torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]:
    def factor(epoch: int) -> float:
        warm = max(1, settings.epochs // 10)
        return min((epoch + 1) / (warm + 1), 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs)))

    def make(model: Model, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        import torch

        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    return make


def _progress_bar(settings: TrainingSettings) -> Callback:
    """One tqdm bar over the batches of all epochs, with the epoch's mean loss."""
    from lightning.pytorch.callbacks import Callback
    from tqdm import tqdm

    class Bar(Callback):
        bar: tqdm

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            rows = trainer.datamodule.snapshot("train").rows
            total = settings.epochs * -(-rows // settings.batch_size)
            self.bar = tqdm(total=total, desc="train   ", unit="batch", file=sys.stderr)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.bar.update()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            loss = float(trainer.callback_metrics.get("loss/train", math.nan))
            self.bar.set_postfix_str(f"epoch {trainer.current_epoch + 1}/{settings.epochs}, loss {loss:.3f}")

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.bar.close()

    return Bar()
