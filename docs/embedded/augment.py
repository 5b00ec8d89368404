"""Turns clean glyphs into pictures like small scanned signs: bent, thick or thin, coarse, noisy.

Letters: B pictures, S = 64 canvas pixels, R = 32 pixels the backbone sees. `strength`, 0 to 1, scales every distortion.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

PICTURE = 32
COARSE_SIDES = (8, 8, 10, 12, 12, 16, 32)  # one is drawn for each slice of a batch
BEND_KNOTS = 5
NUM_SLICES = 16


def uniform(count: int, low: float, high: float) -> Tensor:
    """[B,1,1,1], one draw per picture."""
    return torch.empty(count, 1, 1, 1).uniform_(low, high)


def vary_stroke(images: Tensor, strength: float) -> Tensor:
    """[B,1,S,S] -> the same shape, each stroke blended towards its dilation or its erosion."""
    thicker = F.max_pool2d(images, 7, stride=1, padding=3)
    thinner = -F.max_pool2d(-images, 3, stride=1, padding=1)
    amount = strength * uniform(len(images), -0.8, 1.0)
    return images + amount.clamp(min=0) * (thicker - images) + amount.clamp(max=0) * (images - thinner)


def affine(count: int, strength: float) -> Tensor:
    """[B,2,3] sampling matrices: a rotation up to 20 degrees, a shear, two scales and a shift."""
    angle, shear, shift_x, shift_y = (
        strength * uniform(count, -span, span).flatten() for span in (math.radians(20), 0.3, 0.1, 0.1)
    )
    # The ink fills 3/4 of the canvas: 0.75 makes it touch the border, as a digit does in its 8x8 box.
    width, height = (uniform(count, 0.72, 0.85 + 0.3 * strength).flatten() for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([cos * width, (shear * cos - sin) * height, shift_x], dim=1)
    second = torch.stack([sin * width, (shear * sin + cos) * height, shift_y], dim=1)
    return torch.stack([first, second], dim=1)


def warp(images: Tensor, strength: float) -> Tensor:
    """[B,1,S,S] -> the same shape, moved by a random affine map plus a smooth random bend."""
    count = len(images)
    grid = F.affine_grid(affine(count, strength), list(images.shape), align_corners=False)
    knots = torch.randn(count, 2, BEND_KNOTS, BEND_KNOTS) * strength * uniform(count, 0, 0.09)
    bend = F.interpolate(knots, size=images.shape[-2:], mode="bicubic", align_corners=True)
    return F.grid_sample(images, grid + bend.permute(0, 2, 3, 1), mode="bilinear", align_corners=False)


def coarsen(images: Tensor) -> Tensor:
    """[B,1,S,S] -> [B,1,R,R] by box means to a few pixels and bicubic back up: the way the 8x8 digits were made."""
    slices = []
    for part in images.chunk(NUM_SLICES):
        side = COARSE_SIDES[int(torch.randint(len(COARSE_SIDES), ()))]
        means = F.adaptive_avg_pool2d(part, side)
        slices.append(F.interpolate(means, size=PICTURE, mode="bicubic", align_corners=False))
    return torch.cat(slices).clamp(0, 1)


def vary_contrast(images: Tensor, strength: float) -> Tensor:
    """[B,1,R,R] -> the same shape: brightest pixel to one, then gamma, contrast, now and then inverted, noise."""
    count = len(images)
    images = images / images.amax(dim=(1, 2, 3), keepdim=True).clamp(min=0.1)
    images = images.clamp(min=1e-4) ** torch.exp2(strength * uniform(count, -0.7, 0.7))
    images = images * (1 - strength * uniform(count, 0, 0.3))
    images = torch.where(uniform(count, 0, 1) < 0.15 * strength, 1 - images, images)
    return (images + strength * torch.randn_like(images) * uniform(count, 0, 0.08)).clamp(0, 1)


def augment(pictures: Tensor, strength: float = 1.0) -> Tensor:
    """uint8 [B,S,S] -> float [B,3,R,R] in [-1,1], that is normalised by mean 0.5 and std 0.5."""
    images = pictures[:, None].float() / 255
    images = vary_contrast(coarsen(warp(vary_stroke(images, strength), strength)), strength)
    return ((images - 0.5) / 0.5).expand(-1, 3, -1, -1)
