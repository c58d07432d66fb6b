"""How a token is chosen: operations against transformers', each model's order against upstream's, and the limits."""

import inspect
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tts_service.errors import CallerError, Reason
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.upstream import upstream
from tts_service.speech.sampling import (
    Sampling,
    above_min_p,
    check_sampling,
    default_sampling,
    guided,
    penalised,
    weighed,
    within_top_k,
    within_top_p,
)
from tts_service.speech.session_config import SETTING_RANGES

VOCABULARY = 300
NONE_SAID = torch.zeros(0, dtype=torch.int64)
logits_seeds = st.integers(0, 2**31)
shares = st.floats(0.01, 0.99)


def _logits(seed: int) -> torch.Tensor:
    """Return logits with ties and a token ruled out."""
    logits = 4 * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed))
    logits[10:14] = logits[10]
    logits[20] = -math.inf
    return logits


def _said(ids: list[int]) -> torch.Tensor:
    said = torch.zeros(VOCABULARY, dtype=torch.bool)
    said[ids] = True
    return said


@settings(deadline=None, max_examples=60)
@given(seed=logits_seeds, share=shares, count=st.integers(1, 400), penalty=st.floats(0.5, 3.0))
def test_each_operation_equals_transformers(seed: int, share: float, count: int, penalty: float) -> None:
    """Filters and the penalty give bit by bit what upstream's logits processors give."""
    logits, ids = _logits(seed), [3, 20, 77, 77, 299]
    said_ids = torch.tensor([ids])

    assert torch.equal(TopPLogitsWarper(share)(NONE_SAID, logits[None])[0], within_top_p(logits, share))
    assert torch.equal(MinPLogitsWarper(share)(NONE_SAID, logits[None])[0], above_min_p(logits, share))
    assert torch.equal(TopKLogitsWarper(count)(NONE_SAID, logits[None])[0], within_top_k(logits, count))
    assert torch.equal(
        RepetitionPenaltyLogitsProcessor(penalty)(said_ids, logits[None].clone())[0],
        penalised(logits, _said(ids), penalty),
    )


@pytest.mark.parametrize("model", [ChatterboxModel.ENGLISH, ChatterboxModel.MULTILINGUAL])
@settings(deadline=None, max_examples=30)
@given(seed=logits_seeds, share=shares, temperature=st.sampled_from([0.3, 1.0, 1.7]))
def test_llamas_order_is_penalty_temperature_min_p_top_p(
    model: ChatterboxModel, seed: int, share: float, temperature: float
) -> None:
    """English and Multilingual weigh logits as the loop in upstream's `inference` does."""
    sampling = Sampling(temperature=temperature, min_p=share / 5, top_p=share, repetition_penalty=1.5)
    ids = torch.tensor([[1, 50, 60]])
    logits = _logits(seed)[None]
    expected = RepetitionPenaltyLogitsProcessor(1.5)(ids, logits.clone()) / temperature
    expected = TopPLogitsWarper(share)(ids, MinPLogitsWarper(share / 5)(ids, expected))

    assert torch.equal(expected[0], weighed(logits[0], _said([1, 50, 60]), sampling, model))


@settings(deadline=None, max_examples=30)
@given(seed=logits_seeds, share=shares, temperature=st.sampled_from([0.3, 1.0, 1.7]))
def test_turbos_order_ends_with_the_penalty(seed: int, share: float, temperature: float) -> None:
    """Turbo weighs logits as the processors in upstream's `inference_turbo` do."""
    sampling = Sampling(temperature=temperature, top_k=40, top_p=share, repetition_penalty=1.5)
    ids = torch.tensor([[1, 50, 60]])
    logits = _logits(seed)[None]
    expected = TopKLogitsWarper(40)(ids, TemperatureLogitsWarper(temperature)(ids, logits))
    expected = RepetitionPenaltyLogitsProcessor(1.5)(ids, TopPLogitsWarper(share)(ids, expected))

    assert torch.equal(expected[0], weighed(logits[0], _said([1, 50, 60]), sampling, ChatterboxModel.TURBO))


def test_settings_that_change_nothing_leave_the_logits_alone() -> None:
    """Off is off: no filter and no penalty touches a logit."""
    off = Sampling(temperature=1.0, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
    logits = _logits(1)

    assert all(torch.equal(logits, weighed(logits, _said([1]), off, model)) for model in ChatterboxModel)


@pytest.mark.parametrize("filtered", [within_top_p, above_min_p], ids=["top_p", "min_p"])
def test_strictest_filter_keeps_the_likeliest_token(filtered: object) -> None:
    """Something is always left to choose."""
    assert callable(filtered)
    logits = torch.tensor([0.0, 2.0, 1.0])
    kept = filtered(logits, 0.0 if filtered is within_top_p else 1.0)

    assert [1] == torch.isfinite(kept).nonzero().flatten().tolist()


def test_guidance_leads_away_from_the_second_row() -> None:
    """Two rows give the first plus the weighted difference; one row is taken as it is."""
    rows = torch.tensor([[1.0, 2.0], [0.0, 4.0]])

    assert [1.5, 1.0] == guided(rows, 0.5).tolist()
    assert [1.0, 2.0] == guided(rows[:1], 0.5).tolist()


@pytest.mark.parametrize(
    ("model", "module", "name"),
    [
        (ChatterboxModel.ENGLISH, "tts", "ChatterboxTTS"),
        (ChatterboxModel.MULTILINGUAL, "mtl_tts", "ChatterboxMultilingualTTS"),
        (ChatterboxModel.TURBO, "tts_turbo", "ChatterboxTurboTTS"),
    ],
)
def test_defaults_are_those_of_upstreams_generate(model: ChatterboxModel, module: str, name: str) -> None:
    """Who says nothing gets what upstream's caller gets, and all of it is within the limits."""
    parameters = inspect.signature(getattr(upstream(module), name).generate).parameters
    sampling = default_sampling(model)
    names = ["temperature", "top_p", "min_p", "repetition_penalty", "cfg_weight", "exaggeration"]
    names += ["top_k"] if model is ChatterboxModel.TURBO else []
    check_sampling(sampling, model)

    assert {each: parameters[each].default for each in names} == {each: getattr(sampling, each) for each in names}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 10_001.0, 10**400, "0.5", None, True, []])
@pytest.mark.parametrize("field", SETTING_RANGES)
def test_bad_setting_is_the_callers_and_named(field: str, value: object) -> None:
    """What is no number or out of its limits is refused with the name of the field."""
    with pytest.raises(CallerError) as caught:
        check_sampling(replace(Sampling(), **{field: value}), ChatterboxModel.ENGLISH)

    assert Reason.BAD_CONFIG is caught.value.reason
    assert [f"sampling.{field}"] == [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize("field", ["top_k", "max_segment_tokens"])
def test_fraction_of_a_token_is_refused(field: str) -> None:
    """Counts are whole numbers."""
    with pytest.raises(CallerError, match=f"sampling.{field}: is 1.5, which is not a whole number"):
        check_sampling(replace(default_sampling(ChatterboxModel.TURBO), **{field: 1.5}), ChatterboxModel.TURBO)


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (ChatterboxModel.TURBO, "min_p", 0.05),
        (ChatterboxModel.TURBO, "cfg_weight", 0.5),
        (ChatterboxModel.TURBO, "exaggeration", 0.7),
        (ChatterboxModel.ENGLISH, "top_k", 50),
        (ChatterboxModel.MULTILINGUAL, "top_k", 50),
    ],
)
def test_setting_that_a_model_has_not_is_refused(model: ChatterboxModel, field: str, value: float) -> None:
    """Nothing that is asked for is ignored in silence."""
    with pytest.raises(CallerError, match=f"the {model} model does not have it"):
        check_sampling(replace(default_sampling(model), **{field: value}), model)


@pytest.mark.parametrize("end", [0, 1], ids=["lowest", "highest"])
def test_ends_of_the_limits_are_allowed(end: int) -> None:
    """A limit is itself a good value, and a whole one may be written as such."""
    values = {name: limits[end] for name, limits in SETTING_RANGES.items() if name != "top_k"}
    check_sampling(Sampling(**values), ChatterboxModel.ENGLISH)
    logits = weighed(_logits(3), _said([1]), Sampling(**values), ChatterboxModel.ENGLISH)

    assert torch.isfinite(logits.max())
