"""What a Lightning trainer is about to predict, and why it could not become a complete folder.

Everything here is known before the first row, and is refused while the predictions of earlier runs are still there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from json2vec.errors import IncompletePredictions, Json2VecError
from json2vec.rank_files.settings import check_precision

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from json2vec.reading.plan import Plan


def datamodule_of(trainer: Trainer) -> Any:
    """The trainer's data module; None where it was given loaders."""
    return getattr(trainer, "datamodule", None)


def dataset_of(trainer: Trainer) -> Any:
    """The dataset of the predict loader; None where it has none."""
    loaders = _loaders(trainer)
    return getattr(loaders[0], "dataset", None) if loaders else None


def plan_of(trainer: Trainer, world_size: int) -> Plan:
    """The plan of the rows to predict.

    Raises:
        Json2VecError: the loader has none, or one for another number of ranks.
    """
    datamodule = datamodule_of(trainer)
    if hasattr(datamodule, "predict_plan"):
        return datamodule.predict_plan(world_size)
    plan = getattr(dataset_of(trainer), "plan", None)
    if plan is None:
        raise Json2VecError(
            "Writer cannot tell which rows are to be predicted: the predict dataloader has no plan. Remedy: predict "
            "with PolarsDataModule or StreamingDataModule, or a DataLoader over a PlannedDataset"
        )
    if plan.world_size != world_size:
        raise Json2VecError(f"the predict dataloader's plan is for {plan.world_size} ranks; {world_size} are running")
    return plan


def check_whole(trainer: Trainer, plan: Plan, rank: int) -> None:
    """Refuse what Lightning would predict in part, from several loaders, or in an arithmetic that does not work.

    Args:
        trainer: about to predict.
        plan: the rows of all ranks.
        rank: global rank of this process.

    Raises:
        IncompletePredictions: the trainer stops before this rank's last batch.
        Json2VecError: there are several predict loaders.
        ValueError: the trainer's precision is none of `json2vec.rank_files.settings.PRECISIONS`.
    """
    check_precision(str(trainer.precision))
    loaders = _loaders(trainer)
    if len(loaders) > 1:
        raise Json2VecError(
            f"there are {len(loaders)} predict dataloaders; Writer serves one, whose rows a plan numbers. Nothing was "
            "changed. Remedy: predict each with a Writer and a folder of its own"
        )
    rows = sum(end - start for start, end in plan.share(rank))
    limit = trainer.limit_predict_batches
    # A batch has at least one row. A whole number counts batches, a fraction is a share of them.
    if limit is None or limit == math.inf or (isinstance(limit, float) and limit == 1.0):
        return
    if isinstance(limit, int) and limit >= rows:
        return
    cause = "fast_dev_run" if getattr(trainer, "fast_dev_run", False) else f"limit_predict_batches={limit}"
    raise IncompletePredictions(
        f"rank {rank} would predict a part of its {rows} rows, because of {cause}; expected all of them. Nothing was "
        f"changed in the folder. Remedy: predict without {cause.partition('=')[0]}; to try a model, predict a small "
        "input into a folder of its own",
        ranks=(rank,),
    )


def _loaders(trainer: Trainer) -> list[Any]:
    loaders = trainer.predict_dataloaders
    loaders = getattr(loaders, "iterables", loaders)  # of a CombinedLoader
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return list(loaders) if isinstance(loaders, list | tuple) else [] if loaders is None else [loaders]
