"""Serving a model online: `json2vec.serving.deployment`."""
