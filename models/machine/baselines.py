"""Simpler methods on the same features, for the network to be measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from models.machine.simulator import Array

SHRINKAGE = 0.05
COMPONENTS = 6


def mahalanobis(training: Array, inputs: Array) -> Array:
    """Give the squared Mahalanobis distance from the training, its covariance shrunk a little; float [n]."""
    covariance = np.cov(training.T) + SHRINKAGE * np.eye(training.shape[1])
    centred = inputs - training.mean(axis=0)
    distances: Array = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(covariance), centred) / training.shape[1]
    return distances


def left_by_pca(training: Array, inputs: Array) -> Array:
    """Give the mean square of what the training's first principal components leave; float [n]."""
    mean = training.mean(axis=0)
    _, _, axes = np.linalg.svd(training - mean, full_matrices=False)
    centred = inputs - mean
    left: Array = np.square(centred - centred @ axes[:COMPONENTS].T @ axes[:COMPONENTS]).mean(axis=1)
    return left
