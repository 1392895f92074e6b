"""Attention, pooling and encoders: the arithmetic of the network, free of schemas."""
