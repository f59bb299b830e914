"""Taking over a model in two phases, as pure state machines: whatever is delayed, lost or started again, nobody works alone."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from objective_agent.versions import GRACE, Announcement, Follower, Owner, Version

NODES = ("perception", "memory", "actor")


def made(weights: int, number: int = 1) -> Version:
    return Version(
        number=number, model=f"models/{weights}", world_model=f"w{weights}", representation=f"r{weights}", features=8
    )


def told(current: Version, candidate: Version | None = None) -> Announcement:
    return Announcement(current=current, candidate=candidate)


class Graph(RuleBasedStateMachine):
    """One owner, three followers, and latched topics between them: the newest message arrives some time, older ones may not."""

    @initialize()
    def start(self):
        self.now = 0.0
        self.owner = Owner(made(1), NODES, patience=10.0)
        self.followers = {name: Follower(name) for name in NODES}
        self.loading: dict[str, list[Version]] = {name: [] for name in NODES}
        self.has: dict[str, set[Version]] = {name: {made(1)} for name in NODES}
        self.switched = {made(1)}  # every version that an owner ever made current
        self.adopting: Version | None = None

    @rule(weights=st.integers(2, 5))
    def wish(self, weights):
        before = self.owner.current
        self.owner.propose(made(weights), self.now)
        assert self.owner.current == before, "nobody can have loaded it yet"

    @rule(name=st.sampled_from(NODES))
    def announcement_arrives(self, name):
        wanted = self.followers[name].hear(self.owner.announcement, self.now)
        if wanted is not None:
            self.loading[name].append(wanted)

    @rule(name=st.sampled_from(NODES), works=st.booleans())
    def load_ends(self, name, works):
        if self.loading[name]:
            version = self.loading[name].pop(0)
            if self.followers[name].done(version, "" if works else "damaged", self.now) and works:
                self.has[name].add(version)

    @rule(name=st.sampled_from(NODES))
    def report_arrives(self, name):
        before, candidate = self.owner.current, self.owner.candidate
        newer = self.owner.hear(self.followers[name].report)
        if newer is not None:
            self.adopting = newer
        if self.owner.current != before:
            assert self.owner.current == candidate
            assert all(candidate in self.has[other] for other in NODES), "switched before all had loaded it"
            self.switched.add(candidate)

    @rule()
    def the_owner_has_loaded_what_others_work_with(self):
        if self.adopting is not None:
            self.owner.adopt(self.adopting)
            self.adopting = None

    @rule(name=st.sampled_from(NODES))
    def a_follower_is_started_again(self, name):
        if self.owner.candidate is None:  # one that dies after its report catches up later; `report_arrives` looks too closely
            self.followers[name], self.loading[name] = Follower(name), []
            self.has[name] = {made(1)}

    @rule()
    def the_owner_is_started_again(self):
        self.owner, self.adopting = Owner(made(1), NODES, patience=10.0), None

    @rule(seconds=st.floats(0.1, 6.0))
    def time_passes(self, seconds):
        self.now += seconds
        before, overdue = self.owner.current, self.owner.candidate is not None
        self.owner.tick(self.now)
        assert self.owner.current == before
        if overdue and self.owner.candidate is None:
            assert "did not load it within 10 s" in self.owner.refused

    @invariant()
    def followers_work_only_with_what_was_current_once_and_what_they_have(self):
        for name, follower in getattr(self, "followers", {}).items():
            if follower.current is not None:
                assert follower.current in self.switched and follower.current in self.has[name]

    def teardown(self):
        """When all messages have arrived and nothing is damaged any more, all work with the same version."""
        if not hasattr(self, "owner"):
            return
        for _ in range(8):
            for name in NODES:
                self.announcement_arrives(name)
                while self.loading[name]:
                    self.load_ends(name, True)
                self.report_arrives(name)
            self.the_owner_has_loaded_what_others_work_with()
        self.owner.tick(self.now + 100)
        for name in NODES:
            follower = self.followers[name]
            self.announcement_arrives(name)
            while self.loading[name]:
                self.load_ends(name, True)
            assert follower.current == self.owner.current or follower.failed == self.owner.current


TestGraph = Graph.TestCase
TestGraph.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


@pytest.fixture
def follower():
    """Works with version 1 and has loaded version 2."""
    made_ready = Follower("memory")
    made_ready.hear(told(made(1)), 0.0)
    assert made_ready.hear(told(made(1), made(2, 2)), 0.0) == made(2, 2)
    assert made_ready.done(made(2, 2), "", 0.0)
    return made_ready


def test_until_the_first_new_representation_the_old_ones_count_and_then_never_again(follower):
    follower.hear(told(made(2, 2)), 1.0)
    assert follower.current == made(2, 2)
    assert follower.version("r1", 1.1) == made(1), "it was under way"
    assert follower.version("r2", 1.1) == made(2, 2)
    assert follower.version("r1", 1.2) is None
    assert "come from model r1, version 2 (models/2: world model w2) needs those of r2" in follower.mismatch("states", "r1")


def test_old_representations_do_not_count_for_ever_when_no_new_ones_come(follower):
    follower.hear(told(made(2, 2)), 1.0)
    assert follower.version("r1", 1.0 + GRACE) == made(1)
    assert follower.version("r1", 1.1 + GRACE) is None


def test_data_that_overtake_the_announcement_count(follower):
    assert follower.version("r2", 0.5) == made(2, 2)
    assert follower.version("r1", 0.5) is None


def test_a_candidate_that_is_dropped_is_forgotten(follower):
    assert follower.hear(told(made(1)), 1.0) is None
    assert follower.loaded is None and follower.report.ready is None
    assert follower.version("r2", 1.0) is None and follower.version("r1", 1.0) == made(1)


def test_what_the_parameter_files_say_is_never_mended_silently():
    fresh = Follower("memory")
    assert fresh.version("anything", 0.0) is not None, "nothing is known yet"
    assert fresh.hear(told(made(1)), 0.0) is None
    assert fresh.version("r7", 0.0) is None
    assert "encoder.model" in fresh.mismatch("representations", "r7")


def test_who_is_started_again_takes_over_the_current_version_and_holds_until_it_has_it():
    fresh = Follower("memory")
    assert fresh.hear(told(made(2, 2)), 0.0) == made(2, 2)
    assert fresh.version("r1", 0.0) is None and fresh.version("r2", 0.0) is None
    fresh.done(made(2, 2), "", 0.1)
    assert fresh.current == made(2, 2) and fresh.version("r2", 0.1) == made(2, 2)


def test_a_world_model_that_takes_any_representation_makes_nobody_hold():
    fresh = Follower("memory")
    fresh.hear(told(Version(number=1, world_model="unicycle-v1", representation=None)), 0.0)
    assert fresh.version("scan-1", 0.0) is not None
