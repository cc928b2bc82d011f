"""Preference losses: log-probabilities of answers -> one loss per pair (or per answer, KTO). Pure functions.

chosen, rejected (P,): log p(answer | prompt), summed over the answer's tokens; for ORPO and SimPO their mean per
token. reference_…: the same under the model before training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def dpo(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor,
        beta: float) -> Tensor:
    """-log sigmoid(beta * margin), margin = how much more the model prefers `chosen` than the reference did.

    arXiv:2305.18290, equation 7. ln 2 where nothing has changed yet.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -F.logsigmoid(beta * margin)


def orpo(chosen: Tensor, rejected: Tensor, negative_log_likelihood: Tensor, beta: float) -> Tensor:
    """The language-model loss of the chosen answer, and -beta log sigmoid of the log odds ratio. No reference.

    arXiv:2403.07691, equations 4 to 7; chosen and rejected are means per token, negative_log_likelihood (P,) too.
    """
    log_odds = (chosen - rejected) - (log_of_rest(chosen) - log_of_rest(rejected))
    return negative_log_likelihood - beta * F.logsigmoid(log_odds)


def log_of_rest(log_p: Tensor) -> Tensor:
    """log(1 - p), by the form that keeps its digits on either side of p = 1/2."""
    near_one = torch.log(-torch.expm1(log_p.clamp(max=-1e-10)))
    return torch.where(log_p > -0.6931472, near_one, torch.log1p(-torch.exp(log_p)))


def simpo(chosen: Tensor, rejected: Tensor, beta: float, gamma: float) -> Tensor:
    """-log sigmoid(beta * (chosen - rejected) - gamma), with means per token. No reference. arXiv:2405.14734, (6)."""
    return -F.logsigmoid(beta * (chosen - rejected) - gamma)


def kto(ratio: Tensor, desirable: Tensor, kl: Tensor, beta: float) -> Tensor:
    """(N,): 1 - sigmoid(beta * (ratio - kl)) of desirable answers, 1 - sigmoid(beta * (kl - ratio)) of the others.

    ratio (N,): log p - log p of the reference; kl: how far the model has moved on mismatched answers, >= 0, a
    constant for the gradient. arXiv:2402.01306, equation 8.
    """
    sign = torch.where(desirable, 1.0, -1.0).to(ratio.dtype)
    return 1 - torch.sigmoid(beta * sign * (ratio - kl))
