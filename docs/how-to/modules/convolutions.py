"""A small convolutional net, and pictures for it."""

import torch
from torch import nn


def model():
    """Return the net and its inputs."""
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.GELU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.SiLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10), nn.Softmax(dim=-1),
    )  # fmt: skip
    return net, torch.randn(8, 3, 32, 32)
