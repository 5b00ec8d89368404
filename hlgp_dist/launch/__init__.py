"""Local processes, Ray Train, Ray Tune. What Ray reads from the environment when it is imported stands here."""

import os

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # our recorder writes TensorBoard, Tune need not
os.environ.setdefault("TUNE_FORCE_TRIAL_CLEANUP_S", "10")  # a stopped driver in the midst of a task hears of nothing
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # our own lines tell how trials fare
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # an interrupted search's thread would start another Ray
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "16")  # drivers on their way up, seconds each; else one at a time
