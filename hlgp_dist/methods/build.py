"""From `method:` of a configuration to the method."""

from __future__ import annotations

from typing import Any

from hlgp_dist.config import classifier_options, hlgp_options, method_options
from hlgp_dist.config.plugins import load_plugin, plugin_names
from hlgp_dist.errors import ConfigError
from hlgp_dist.methods.apt import Apt
from hlgp_dist.methods.base import Method, Setting
from hlgp_dist.methods.classifiers import closed_form
from hlgp_dist.methods.coda import Coda
from hlgp_dist.methods.dualprompt import DualPrompt
from hlgp_dist.methods.hlgp import Hlgp
from hlgp_dist.methods.l2p import L2p
from hlgp_dist.methods.linear import Linear
from hlgp_dist.methods.unprompted import Unprompted


def build_method(options: method_options.Method, setting: Setting) -> Method:
    """The method that `method.kind` names.

    Raises:
        ConfigError: groups, layers or components that do not fit the trunk.
    """
    if options.kind in plugin_names():  # asked first: its options may extend those of a method below
        return _of_plugin(options, setting)
    match options:
        case hlgp_options.Hlgp():
            return Hlgp(options, setting)
        case hlgp_options.Independent():
            return Hlgp(_one_group_per_layer(options, setting), setting)
        case method_options.L2p():
            return L2p(options, setting)
        case method_options.DualPrompt():
            return DualPrompt(options, setting)
        case method_options.Coda():
            return Coda(options, setting)
        case method_options.Apt():
            return Apt(options, setting)
        case method_options.Linear() | method_options.FullFineTuning():
            return Linear()
        case classifier_options.UnpromptedClassifier():
            return Unprompted(closed_form(options, setting))
    raise AssertionError(f"the configuration has a kind that nobody builds: {options.kind}")


def _of_plugin(options: method_options.Method, setting: Setting) -> Method:
    plugin: Method = load_plugin(options.kind)(options, setting)
    if plugin.has_gradients != options.takes_gradients:
        raise ConfigError(f"method.kind = {options.kind}: takes_gradients of its options is not its has_gradients")
    return plugin


def _one_group_per_layer(options: hlgp_options.Independent, setting: Setting) -> hlgp_options.Hlgp:
    """The independent baseline in HLGP's terms: as many groups as layers, free sub-prompts, no position."""
    given = options.model_fields_set & set(hlgp_options.PromptAccumulation.model_fields)
    shared: dict[str, Any] = {name: getattr(options, name) for name in given}
    if options.carry_over == "none":
        shared["carry_over"] = "none"
    return hlgp_options.Hlgp(
        **shared,
        num_groups=len(setting.layers("layers", options.layers)),
        generator=hlgp_options.DirectGenerator(kind="direct"),
        position=hlgp_options.NoPosition(kind="none"),
    )
