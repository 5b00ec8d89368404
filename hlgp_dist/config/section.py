"""What every section of the configuration is: frozen, closed to unknown names, each field with its role."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
ProperFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
"""Of a whole: neither nothing nor all."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Blocks = tuple[NonNegativeInt, ...]
"""Indices of a backbone's blocks."""
FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def operational(default: Any, **constraints: Any) -> Any:
    """A field that never changes a result."""
    return Field(default, json_schema_extra={"role": "operational"}, **constraints)


class Section(BaseModel):
    """A frozen group of options that refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def refuse_without_effect(self, field: str, because: str) -> None:
        """A value that was given, differs from the default and would be ignored is an error."""
        default = type(self).model_fields[field].get_default(call_default_factory=True)
        if field in self.model_fields_set and getattr(self, field) != default:
            raise ValueError(f"{field} has no effect: {because}")


class MethodOptions(Section):
    """The options of one method. Subclasses have a `kind`."""

    takes_gradients: ClassVar[bool] = True
    """Else nothing of `train`, `optimizer` and `alignment` applies."""
    trains_prompts: ClassVar[bool] = True
    """Else `optimizer.prompt_lr` does not apply."""
    trains_trunk: ClassVar[bool] = False


def check_blocks(field: str, blocks: Blocks) -> None:
    """Raise ValueError unless ascending and without repetition."""
    if list(blocks) != sorted(set(blocks)):
        raise ValueError(f"{field} must be ascending block indices without repetition")
