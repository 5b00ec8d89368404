"""DeepSpeed behind the Engine protocol: one engine a task, over the trainable parameters alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hlgp_dist.config import optimizer_options, schema
from hlgp_dist.engine.import_deepspeed import (
    FWD_MODULE_STACK,
    deepspeed,
    safe_get_full_optimizer_state,
    safe_set_full_optimizer_state,
)
from hlgp_dist.engine.options import deepspeed_config, state_keys, torch_optimizer


class _Root(nn.Module):
    """What one engine wraps. DeepSpeed hooks its root module and leaves the hooks there, and with them the engine."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: object) -> object:
        return self.module(*args)


class DeepSpeedEngine:
    """Owns accumulation, clipping, gradient averaging and ZeRO for one task's parameters.

    kept: what this task may not train, and a checkpoint and later tasks need whole nevertheless.
    """

    def __init__(
        self,
        module: nn.Module,
        parameters: Mapping[str, Sequence[nn.Parameter]],
        *,
        kept: Iterable[nn.Parameter] = (),
        optimizer: optimizer_options.Optimizer,
        options: schema.EngineOptions,
        accumulation: int,
    ) -> None:
        self._stage, self._max_grad_norm = options.zero_stage, optimizer.max_grad_norm
        self._state_keys = state_keys(optimizer)
        self._module = module
        names = {parameter: name for name, parameter in module.named_parameters()}
        self._parameters = {names[parameter]: parameter for group in parameters.values() for parameter in group}
        self._whole = self._parameters | {names[parameter]: parameter for parameter in kept}
        num_trained = sum(parameter.numel() for parameter in self._parameters.values())
        self._engine, *_ = deepspeed.initialize(
            model=_Root(module),
            optimizer=torch_optimizer(optimizer, parameters),
            config=deepspeed_config(options, optimizer.max_grad_norm, accumulation, num_trained),
            dist_init_required=False,
        )

    def __call__(self, *args: object) -> tuple[Tensor, Tensor]:
        return self._engine(*args)  # type: ignore[no-any-return]

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    def step(self, learning_rates: Mapping[str, float]) -> Tensor | None:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rates[group["name"]]
        is_boundary = self._engine.is_gradient_accumulation_boundary()
        norm = self._clipped() if is_boundary and self._stage == 0 else None
        self._engine.step()
        if is_boundary and norm is None:
            norm = torch.as_tensor(self._engine.get_global_grad_norm())
        return norm

    def _clipped(self) -> Tensor:
        """The norm of the gradients before they were. Stage 0 keeps the averaged ones in `.grad`."""
        parameters = list(self._parameters.values())
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if self._max_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self._max_grad_norm, norm)
        return norm

    @contextmanager
    def whole_parameters(self) -> Iterator[None]:
        """Inside, trained and kept parameters are whole and may be changed; under ZeRO 3 they are else in parts."""
        if self._stage < 3:
            yield
            return
        with deepspeed.zero.GatheredParameters(list(self._whole.values()), modifier_rank=0):
            yield

    def state(self) -> dict[str, Tensor]:
        self._link_optimizer_state()
        state = {
            f"{key}.{name}": self._moment(parameter, key).detach().cpu().clone()
            for name, parameter in self._parameters.items()
            for key in self._state_keys
        }
        return state | {"step": torch.tensor(self._engine.global_steps)}

    def _moment(self, parameter: nn.Parameter, key: str) -> Tensor:
        if self._stage == 0:
            return self._engine.optimizer.state[parameter][key]  # type: ignore[no-any-return]
        return safe_get_full_optimizer_state(parameter, key)  # type: ignore[no-any-return]

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See Engine. Optimizers make their state at the first step, hence one at rate zero that is thrown away."""
        self._step_at_rate_zero()
        self._link_optimizer_state()
        for name, parameter in self._parameters.items():
            for key in self._state_keys:
                value = state[f"{key}.{name}"].to(parameter.device)
                if self._stage == 0:
                    self._engine.optimizer.state[parameter][key].copy_(value)
                else:
                    safe_set_full_optimizer_state(parameter, value, key)
        self._set_step_count(int(state["step"]))

    def _step_at_rate_zero(self) -> None:
        for _ in range(self._engine.gradient_accumulation_steps()):
            with self.whole_parameters(), torch.enable_grad():
                nothing = torch.stack([parameter.sum() * 0.0 for parameter in self._parameters.values()]).sum()
                self._engine.backward(nothing)
            self._engine.step()

    def _link_optimizer_state(self) -> None:
        """DeepSpeed 0.19.8 maps state to parameters after the first *group* has stepped, and misses the others."""
        if self._stage in (1, 2):
            self._engine.optimizer._hp_optimizer_states_linked = False
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()

    def _set_step_count(self, count: int) -> None:
        """Adam's bias correction counts steps in the innermost optimizer's state."""
        innermost = self._engine.optimizer if self._stage == 0 else self._engine.optimizer.optimizer
        for state in innermost.state.values():
            if "step" in state:
                state["step"].fill_(count)
        self._engine.global_steps = count

    def close(self) -> None:
        whole = {name: _copied(parameter) for name, parameter in self._whole.items()} if self._stage == 3 else {}
        self._engine.destroy()
        if self._stage == 3:
            self._empty()
        for name, value in whole.items():
            owner, _, leaf = name.rpartition(".")
            setattr(self._module.get_submodule(owner), leaf, nn.Parameter(value))

    def _empty(self) -> None:
        """Divided modules keep references to every engine they were ever in: leave them shells without tensors."""
        FWD_MODULE_STACK.clear()  # at its bottom lies the root of every engine
        for part in self._module.modules():
            vars(part).pop("_external_params", None)  # of former tasks, too; they would be gathered in each pass
        vars(self._engine.optimizer).clear()
        vars(self._engine).clear()


def _copied(parameter: nn.Parameter) -> Tensor:
    """One at a time: all of them whole beside their copies would be twice what trains."""
    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().clone()
