"""From the options of an un-prompted classifier to the classifier."""

from __future__ import annotations

from hlgp_dist.config import classifier_options
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.gaussian import Gaussian
from hlgp_dist.methods.nearest_mean import NearestMean
from hlgp_dist.methods.ranpac import RanPac
from hlgp_dist.methods.unprompted import ClosedForm


def closed_form(options: classifier_options.Unprompted, setting: Setting) -> ClosedForm:
    """The classifier that `kind` names."""
    if isinstance(options, classifier_options.NearestMean):
        return NearestMean(options, setting)
    if isinstance(options, classifier_options.RanPac):
        return RanPac(options, setting)
    return Gaussian(options, setting)
