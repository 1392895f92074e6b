"""The contract between those who write shards and a trained model: what must be as it was in training."""

from json2vec.contract.breach import Breach, Limits, Severity
from json2vec.contract.check import NO_PROFILE, SAMPLE_ROWS, Outcome, check_contract, check_shards

__all__ = ["NO_PROFILE", "SAMPLE_ROWS", "Breach", "Limits", "Outcome", "Severity", "check_contract", "check_shards"]
