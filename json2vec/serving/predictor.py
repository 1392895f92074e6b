"""Records to answers, worked on together and failing alone: `Predictor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from json2vec.enums import Strata, TensorKey
from json2vec.errors import EncodeError, Json2VecError, ProcessorError
from json2vec.model.model import Model
from json2vec.model.predictions import python_view
from json2vec.processors import Postprocessor, Preprocessor, apply_postprocessor
from json2vec.profile.missing import foreign_keys
from json2vec.reading.limits import MAX_DEPTH, depth_message, too_deep
from json2vec.reading.records import records as json_records
from json2vec.schema.schema import Schema

Record = dict[str, Any]


class BadRecord(Json2VecError, ValueError):
    """A record that cannot be predicted, through no fault of the service; says why."""


class Predictor:
    """Predicts a list of records and gives one result for each: its predictions, or what was wrong with it.

    Args:
        model: the model, in eval mode, on its device.
        preprocessor: makes exactly one observation of each record.
        postprocessor: makes the answer of the predictions. It is called for each record by itself, so that no answer
            holds anything of another request. Its context has the keys ``"request"`` (the record as it came),
            ``"observations"``, ``"input"``, ``"batch"`` and ``"metadata"`` (a list with the processed record).
        reconstruct: addresses of further leaves to predict.
    """

    def __init__(
        self,
        model: Model,
        *,
        preprocessor: Preprocessor | None = None,
        postprocessor: Postprocessor | None = None,
        reconstruct: Sequence[str] = (),
    ) -> None:
        model.written(reconstruct)  # names that are no leaf fail here, before the first request
        self._model, self._reconstruct = model, tuple(reconstruct)
        self._preprocessor, self._postprocessor = preprocessor, postprocessor

    @property
    def schema(self) -> Schema:
        """The schema of the model."""
        return self._model.schema

    def __call__(self, records: Sequence[Record]) -> list[Record | Exception]:
        """For each record address -> payload without a row dimension, or an exception (`BadRecord`: its own fault)."""
        results: list[Any] = [self._observation(record) for record in records]
        good = [index for index, result in enumerate(results) if not isinstance(result, Exception)]
        observations = [results[index] for index in good]
        for index, predicted in zip(good, self._predict(observations), strict=True):
            if self._postprocessor is not None and not isinstance(predicted, Exception):
                predicted = self._postprocessed(self._postprocessor, records[index], results[index], predicted)
            results[index] = predicted
        return results

    def _predict(self, observations: list[Record]) -> list[Any]:
        """A prediction or an exception for each of M observations.

        What fails together is tried again in halves, so that a record never suffers from its neighbours, and a batch
        too large for the device's memory is made smaller.
        """
        if not observations:
            return []
        try:
            batch = self._model.encode(observations).to(self._model.device)
            columns = self._model.infer(batch, self._reconstruct).cpu().columns()
        except Exception as exc:
            if len(observations) > 1:
                half = len(observations) // 2
                return self._predict(observations[:half]) + self._predict(observations[half:])
            if isinstance(exc, EncodeError | RecursionError):
                return [BadRecord(str(exc).removesuffix(" (at row 0 of the batch)"))]
            return [exc]
        if self._postprocessor is None:
            return columns.to_pylist(maps_as_pydicts="strict")
        return [columns.slice(row, 1) for row in range(len(columns))]

    def _observation(self, record: Record) -> Record | Exception:
        if too_deep([record], MAX_DEPTH + 1):  # no parser and no function is to see it
            return BadRecord(depth_message())
        preprocessor = self._preprocessor
        if preprocessor is None:
            why = foreign_keys(self._model.schema, record)
            return record if why is None else BadRecord(why)
        try:
            argument: Any = dict(record)
            if preprocessor.columnar:
                argument = pa.RecordBatch.from_struct_array(pa.array([record]))
        except Exception as exc:  # Arrow's and Python's, whichever finds the value
            return BadRecord(f"the record cannot be a row of columns ({type(exc).__name__}: {exc!s:.200})")
        try:
            result = preprocessor(argument, **preprocessor.call_kwargs(Strata.predict))
            if preprocessor.columnar:
                several = _dicts(result)
            else:
                several = list(result or ()) if preprocessor.yields else [] if result is None else [result]
        except Exception as exc:  # user code may raise anything; here the record is what it could not take
            return BadRecord(f"preprocessor {preprocessor.name!r} raised {type(exc).__name__}: {exc}")
        if len(several) != 1 or not isinstance(several[0], dict):
            outcome = f"{len(several)} rows" if len(several) != 1 else type(several[0]).__name__
            return BadRecord(f"preprocessor {preprocessor.name!r} made {outcome} of the record; expected one dict")
        return several[0]

    def _postprocessed(
        self, postprocessor: Postprocessor, record: Record, observation: Record, columns: pa.StructArray
    ) -> Record | Exception:
        context = {
            "request": record,
            "observations": [observation],
            "input": [observation],
            "batch": [record],
            TensorKey.metadata: [observation],
        }
        try:
            predictions = columns if postprocessor.columnar else python_view(columns)
            result = apply_postprocessor(postprocessor, context, predictions, 1)
        except ProcessorError as exc:
            return exc
        return {str(address): _only(value) for address, value in result.items()}


def _dicts(result: Any) -> list[Record]:
    """The rows of a frame, a table or a batch."""
    if hasattr(result, "to_dicts"):
        return result.to_dicts()
    batches = result.to_batches() if isinstance(result, pa.Table) else [result]
    return [row for batch in batches for row in json_records(batch)]


def _only(value: Any) -> Any:
    """The value of the only row of a column, or of every column in nested mappings."""
    if isinstance(value, Mapping):
        return {str(key): _only(child) for key, child in value.items()}
    first = value[0]
    if isinstance(first, pa.Scalar):
        return first.as_py(maps_as_pydicts="strict")
    return first.tolist() if hasattr(first, "tolist") else first
