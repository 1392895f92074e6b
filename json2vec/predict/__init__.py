"""Predicting with ranks: the job that they share, what each of them does, and the progress that it prints."""

from json2vec.predict.job import PredictJob, PredictJobs, job_settings_digest, plan_job

__all__ = ["PredictJob", "PredictJobs", "job_settings_digest", "plan_job"]
