"""The options of classifiers in closed form: methods of their own, and what task matching asks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from hlgp_dist.config.section import MethodOptions


class UnpromptedClassifier(MethodOptions):
    """A classifier in closed form on un-prompted features.

    features: the pooled one; with the mean patch token behind it; or (`several_blocks`) with those behind the blocks at
    six and eight tenths of the depth, too.
    """

    takes_gradients: ClassVar[bool] = False

    features: Literal["pooled", "pooled_and_patches", "several_blocks"] = "pooled"


class NearestMean(UnpromptedClassifier):
    """Nearest class mean by cosine (SimpleCIL)."""

    kind: Literal["ncm"]


class Gaussian(UnpromptedClassifier):
    """Linear discriminant analysis: one Gaussian a class with a common covariance."""

    kind: Literal["gaussian"] = "gaussian"


class RanPac(UnpromptedClassifier):
    """Ridge regression behind a random projection and ReLU (RanPAC).

    projection_width: random features. ridge: in units of the mean diagonal of the Gram matrix, so that it does not
    depend on widths and counts.
    """

    kind: Literal["ranpac"]
    projection_width: PositiveInt = 4000
    ridge: PositiveFloat = 0.01


Unprompted = Annotated[Gaussian | RanPac | NearestMean, Field(discriminator="kind")]
