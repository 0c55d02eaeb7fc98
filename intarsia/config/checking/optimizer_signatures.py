"""What torch's optimizers take, as signatures without bodies, since reading torch's own files is slow.

The parameters to optimise are left out. `lr` is asked for although torch has a default, since no one number suits two
networks. ``tests/config/test_signatures.py`` compares the rest with the torch that is installed.
"""

from __future__ import annotations

OPTIMIZERS = """
def ASGD(lr: float, lambd: float = 0.0001, alpha: float = 0.75, t0: float = 1000000.0, weight_decay: float = 0,
         foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
         capturable: bool = False): ...
def Adadelta(lr: float, rho: float = 0.9, eps: float = 1e-06, weight_decay: float = 0, foreach: bool | None = None,
             capturable: bool = False, maximize: bool = False, differentiable: bool = False): ...
def Adafactor(lr: float, beta2_decay: float = -0.8, eps: tuple[float | None, float] = (None, 0.001), d: float = 1.0,
              weight_decay: float = 0.0, foreach: bool | None = None, maximize: bool = False): ...
def Adagrad(lr: float, lr_decay: float = 0, weight_decay: float = 0, initial_accumulator_value: float = 0,
            eps: float = 1e-10, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
            fused: bool | None = None): ...
def Adam(lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0,
         amsgrad: bool = False, foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
         differentiable: bool = False, fused: bool | None = None, decoupled_weight_decay: bool = False): ...
def AdamW(lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0.01,
          amsgrad: bool = False, maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
          differentiable: bool = False, fused: bool | None = None): ...
def Adamax(lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0,
           foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
           capturable: bool = False): ...
def Muon(lr: float, weight_decay: float = 0.1, momentum: float = 0.95, nesterov: bool = True,
         ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315), eps: float = 1e-07,
         ns_steps: int = 5, adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None): ...
def NAdam(lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0,
          momentum_decay: float = 0.004, decoupled_weight_decay: bool = False, foreach: bool | None = None,
          maximize: bool = False, capturable: bool = False, differentiable: bool = False): ...
def RAdam(lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-08, weight_decay: float = 0,
          decoupled_weight_decay: bool = False, foreach: bool | None = None, maximize: bool = False,
          capturable: bool = False, differentiable: bool = False): ...
def RMSprop(lr: float, alpha: float = 0.99, eps: float = 1e-08, weight_decay: float = 0, momentum: float = 0,
            centered: bool = False, capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
            differentiable: bool = False): ...
def Rprop(lr: float, etas: tuple[float, float] = (0.5, 1.2), step_sizes: tuple[float, float] = (1e-06, 50),
          capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
          differentiable: bool = False): ...
def SGD(lr: float, momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool = False,
        maximize: bool = False, foreach: bool | None = None, differentiable: bool = False,
        fused: bool | None = None): ...
"""
