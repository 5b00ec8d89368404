from tests.export.exported import trained, weights  # noqa: F401
