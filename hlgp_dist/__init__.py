"""Hierarchical layer-grouped prompt tuning as a distributed training system."""

__version__ = "0.1.0"
