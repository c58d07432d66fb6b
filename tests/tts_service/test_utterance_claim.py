"""What keeps an utterance's modules at home: all of them while it speaks, T3's not while its tokens are away."""

from tests.fakes.served_arenas import SCRATCH, Served
from tts_service.residency.types import Directive, Placement, Tier, Urgency
from tts_service.types import ModuleName
from tts_service.utterance_claim import UtteranceClaim

A, B = ModuleName("a"), ModuleName("b")


def away(*modules: ModuleName) -> Directive:
    """Return a word that wants modules away once nobody is interested in them."""
    return Directive(
        epoch=1,
        version=1,
        valid_for_seconds=1e6,
        placements=tuple(Placement(module=each, tier=Tier.HOST, urgency=Urgency.WHEN_UNCLAIMED) for each in modules),
    )


def tiers(served: Served) -> list[Tier]:
    """Return where tokens' weights, their scratch memory, and another stage's weights are."""
    return [served.status(each).tier for each in (A, SCRATCH, B)]


def test_pages_keep_what_they_are_in_and_their_leaving_lets_weights_and_scratch_go() -> None:
    """A governor wants all away: nothing moves while the utterance speaks, T3's part once its tokens are away."""
    served = Served()
    served.bring(A, B, SCRATCH)
    claim = UtteranceClaim(served.manager.claim, frozenset({A, B, SCRATCH}), frozenset({A, SCRATCH}))
    with served.manager.lease({SCRATCH}, timeout_seconds=1):
        taken = served.pages.take(2)
    served.manager.set_directive(away(A, B, SCRATCH))
    served.settle()
    speaking, is_wanted = tiers(served), served.manager.room.is_wanted(frozenset({A}))
    with served.manager.lease({SCRATCH}, timeout_seconds=1):
        served.pages.give(taken)
    claim.rest()
    served.settle()
    resting = tiers(served)
    claim.release()
    served.settle()

    assert [Tier.DEVICE] * 3 == speaking
    assert is_wanted
    assert [Tier.HOST, Tier.DEVICE] == [resting[0], resting[2]]
    assert Tier.DEVICE is not resting[1]
    assert Tier.DEVICE not in tiers(served)
    assert not served.manager.room.is_wanted(frozenset({A, B}))


def test_claim_is_whole_again_after_a_rest_and_gone_after_its_end_whatever_follows() -> None:
    """Also where somebody says twice that tokens are away, or back."""
    served = Served()
    served.bring(A, B, SCRATCH)
    claim = UtteranceClaim(served.manager.claim, frozenset({A, B}), frozenset({A, SCRATCH}))
    counts = []
    for act in (claim.rest, claim.rest, claim.resume, claim.resume, claim.release, claim.resume, claim.release):
        act()
        counts.append((served.status(A).claims, served.status(B).claims))

    assert [(0, 1), (0, 1), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)] == counts
