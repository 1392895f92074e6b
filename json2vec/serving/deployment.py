"""`Deployment`: a model behind HTTP, one prediction for each record whatever else is asked at the same time.

    POST /predict   an object -> {"predictions": {address: {...}}}; an array of objects -> an array of such, in order
    GET /health     {"status": "ok"}

An array is one request: it is answered as a whole, or refused as a whole. A refusal has the body
``{"predictions": {}, "error": {"status_code", "message", "items"}}``; ``items`` says which records were wrong, and why.

    400  the body is not JSON
    408  the request did not arrive in time (`ServiceSettings.body_timeout`)
    413  more bytes or records than the service ever takes (`ServiceSettings.max_body_bytes`, ``max_waiting``)
    422  not an object or an array of objects, a record that the request model or the preprocessor refuses, or a value
         that its field cannot encode
    503  too many records are waiting beside them (`ServiceSettings.max_waiting`)
    500  a fault of the service: the postprocessor, the response model or the model itself failed
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Self

import torch
from pydantic import BaseModel

from json2vec.errors import ProcessorError, SchemaError, missing_extra
from json2vec.model.model import Model
from json2vec.processors import (
    Postprocessor,
    PostprocessorLike,
    Preprocessor,
    PreprocessorLike,
    as_postprocessor,
    as_preprocessor,
    preprocessor_mismatch,
)
from json2vec.profile.missing import unread_leaves
from json2vec.schema.schema import Schema
from json2vec.serving.batcher import Batcher
from json2vec.serving.predictor import Predictor
from json2vec.serving.settings import ServiceSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

if missing := missing_extra("serving", "json2vec.Deployment"):
    raise ModuleNotFoundError(missing)

# Seconds. A worker answers its supervisor only after importing torch; with uvicorn's 5 it may be killed for ever.
_STARTUP_S = 120


class Deployment:
    """Serves a model.

    Every setting may also come from the environment as ``JSON2VEC_`` and its name in capitals; see
    `json2vec.serving.settings.ServiceSettings` for what they mean and their defaults.

    Args:
        checkpoint: path of the model's checkpoint.
        model: a model in memory, instead of a checkpoint.
        reconstruct: further leaves to predict, by address or by path below the root.
        trusted_modules: modules that the checkpoint may import; see `Model.load`.
        strict_preprocessor: raise where the preprocessor is not the one the model was trained with (default: warn).

    Raises:
        SchemaError: an unknown setting, a value out of range, model and checkpoint both given, or several workers for
            a model in memory.
    """

    def __init__(
        self,
        checkpoint: str | PathLike[str] | None = None,
        *,
        model: Model | None = None,
        max_batch_size: int | None = None,
        batch_timeout: float | None = None,
        max_waiting: int | None = None,
        max_body_bytes: int | None = None,
        body_timeout: float | None = None,
        accelerator: str | None = None,
        host: str | None = None,
        port: int | None = None,
        workers: int | None = None,
        log_level: str | None = None,
        reconstruct: Sequence[str] = (),
        trusted_modules: Sequence[str] = (),
        strict_preprocessor: bool = False,
        **unknown: Any,
    ) -> None:
        self.settings = ServiceSettings.read({
            "checkpoint": None if checkpoint is None else fspath(checkpoint), "max_batch_size": max_batch_size,
            "batch_timeout": batch_timeout, "max_waiting": max_waiting, "max_body_bytes": max_body_bytes,
            "body_timeout": body_timeout, "accelerator": accelerator, "host": host, "port": port, "workers": workers,
            "log_level": log_level, **unknown,
        })  # fmt: skip
        if model is not None and checkpoint is not None:
            raise SchemaError("Deployment takes a checkpoint or a model, not both")
        if model is not None and self.settings.workers > 1:
            raise SchemaError(
                f"workers={self.settings.workers} needs a checkpoint, which each process loads; got a model in memory. "
                "Remedy: model.save(path) and Deployment(path, workers=...)"
            )
        self.model, self.reconstruct = model, tuple(reconstruct)
        self.trusted_modules, self.strict_preprocessor = tuple(trusted_modules), strict_preprocessor
        self.preprocessor: Preprocessor | None = None
        self.postprocessor: Postprocessor | None = None
        self.request: type[BaseModel] | None = None
        self.response: type[BaseModel] | None = None

    def forge(self, *, request: type[BaseModel] | None = None, response: type[BaseModel] | None = None) -> Self:
        """Declare what goes in and out.

        Args:
            request: the pydantic model that validates each record; the model sees its fields, by their names.
            response: the pydantic model that validates and shapes each ``predictions`` object.

        Raises:
            SchemaError: an argument is not a pydantic model.
        """
        for name, model_class in (("request", request), ("response", response)):
            if model_class is not None and not (isinstance(model_class, type) and issubclass(model_class, BaseModel)):
                raise SchemaError(f"forge({name}=) must be a pydantic model class; got {model_class!r}")
        self.request, self.response = request or self.request, response or self.response
        return self

    def preprocess(self, preprocessor: PreprocessorLike, **kwargs: Any) -> Self:
        """Set what is applied to each record first; it must make exactly one row of it. See docs/processors.md."""
        self.preprocessor = as_preprocessor(preprocessor, **kwargs)
        return self

    def postprocess(self, postprocessor: PostprocessorLike) -> Self:
        """Set what makes the answer of the predictions; see `json2vec.serving.predictor.Predictor`."""
        self.postprocessor = as_postprocessor(postprocessor)
        return self

    def app(self) -> FastAPI:
        """The application, its model loaded.

        Raises:
            CheckpointError: the checkpoint cannot be loaded.
            SchemaError: the accelerator is not there, ``reconstruct`` names no leaf, or the request model lacks a field
                that the model reads.
            ProcessorError: the preprocessor is not that of training, with ``strict_preprocessor``.
        """
        from json2vec.serving.application import application

        predictor = Predictor(
            self._loaded_model().to(_device(self.settings.accelerator)).eval(),
            preprocessor=self.preprocessor, postprocessor=self.postprocessor, reconstruct=self.reconstruct,
        )  # fmt: skip
        self._compare_request(predictor.schema)
        chosen = self.settings
        batcher = Batcher(
            predictor, max_batch_size=chosen.max_batch_size, batch_timeout=chosen.batch_timeout,
            max_waiting=chosen.max_waiting,
        )  # fmt: skip
        return application(
            batcher, self.request, self.response, max_body_bytes=chosen.max_body_bytes,
            body_timeout=chosen.body_timeout,
        )  # fmt: skip

    def _compare_request(self, schema: Schema) -> None:
        """Refuse a request model that takes away what the model reads: every value would be null."""
        request = self.request
        if request is None or self.preprocessor is not None or request.model_config.get("extra") == "allow":
            return
        if absent := unread_leaves(schema, request.model_fields):
            raise SchemaError(
                f"forge(request={request.__name__}): it has no field for {absent}, which the model reads; its fields "
                f"are {list(request.model_fields)}. Remedy: declare each, with `| None = None` where it may be absent"
            )

    def serve(self) -> None:
        """Serve until interrupted.

        Raises:
            SchemaError: there are several workers, and something cannot be handed to another process. What `app` raises
                is raised here too.
        """
        import uvicorn
        from uvicorn.supervisors import Multiprocess

        chosen = self.settings
        common: dict[str, Any] = {"host": chosen.host, "port": chosen.port, "log_level": chosen.log_level}
        if chosen.workers == 1:
            uvicorn.run(self.app(), **common)
            return
        self._check_transferable()
        # What would fail in every worker, and start it again for ever, fails here once.
        self._loaded_model().written(self.reconstruct)
        _device(chosen.accelerator)
        config = uvicorn.Config(
            self.app, factory=True, workers=chosen.workers, timeout_worker_healthcheck=_STARTUP_S, **common
        )
        Multiprocess(config, sockets=[config.bind_socket()]).run()

    def _check_transferable(self) -> None:
        for name in ("preprocessor", "postprocessor", "request", "response"):
            try:
                pickle.dumps(getattr(self, name))
            except (pickle.PicklingError, AttributeError, TypeError) as exc:
                raise SchemaError(
                    f"workers={self.settings.workers}: the {name} cannot be handed to another process: {exc}. Remedy: "
                    "define it at the top of a module, or use workers=1"
                ) from exc

    def _loaded_model(self) -> Model:
        model = self.model
        if model is None:
            model = Model.load(self.settings.checkpoint, trusted_modules=self.trusted_modules)
        self._compare_preprocessor(model)
        return model

    def _compare_preprocessor(self, model: Model) -> None:
        message = preprocessor_mismatch(model.preprocessor_fingerprint, self.preprocessor, "Deployment")
        if message is None:
            return
        if self.strict_preprocessor:
            raise ProcessorError(message)
        warnings.warn(message, UserWarning, stacklevel=4)


def _device(accelerator: str) -> torch.device:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        accelerator = next(name for name, available in there.items() if available)
    if not there[accelerator]:
        raise SchemaError(
            f"accelerator={accelerator!r} is not available; there is "
            f"{', '.join(name for name, available in there.items() if available)}. Remedy: accelerator='auto'"
        )
    return torch.device(accelerator)
