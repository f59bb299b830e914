"""Versions of the model while the robot drives: loaded by all, then switched by all, or by nobody.

The world model's node owns the model; perception, memory, cost and actor work with what it announces.  A new version goes
through two phases.  First it is a candidate: everybody loads it beside the old one and reports.  When all are ready it is
announced as current; if one can't load it, or does not answer in time, the candidate is dropped and the old one stays.

    owner     current n ──propose──► current n, candidate m ──all ready──► current m
                                            └──one failed, or too late──► current n, refused: who and why
    follower  hears the candidate: loads it, reports   hears it as current: switches

Announcements hold the whole state, so a late or restarted module needs only the last one; a follower that hears of a current
version that it does not have loads it and switches at once.  Numbers only grow; an owner that was restarted learns the current
version from its followers.  What decides which version a state belongs to is the sha256 that it carries, so no two modules need
to switch at the same instant: until the first representation of the new version comes the old ones are good, afterwards they
are ignored.

Pure: no clock, no threads, no ROS.  `nodes/model_swap.py` and `nodes/model_owner.py` carry it over topics.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from objective_agent.config import Strict

GRACE = 1.0
"""What was under way when the version changed counts for so long, s."""


class Version(Strict):
    """One numbered version.  Number 1 is what the parameter files say; the others were taken over at run time."""

    number: int = Field(ge=0)
    model: str = Field("", max_length=4096, description="the model's folder; empty: the world model has none")
    world_model: str = Field(max_length=256, description="sha256 of the predictor, or the plugin's name and version")
    representation: str | None = Field(None, max_length=256, description="the encoder's; None: any representation serves")
    features: int | None = Field(None, description="of a token of the representation")

    def same_weights(self, other: Version) -> bool:
        return (self.world_model, self.representation) == (other.world_model, other.representation)

    def __str__(self) -> str:
        return f"version {self.number} ({self.model or 'no folder'}: world model {short(self.world_model)})"


class Announcement(Strict):
    """What the owner says (topic `model_version`, JSON)."""

    current: Version
    candidate: Version | None = None
    refused: str = Field("", max_length=4096, description="why the last candidate was not taken over")


class Report(Strict):
    """What a follower says (topic `model_version/report`, JSON)."""

    node: str = Field(max_length=256)
    current: Version | None = None
    ready: Version | None = Field(None, description="the candidate, when it is loaded")
    failed: Version | None = Field(None, description="the version that could not be loaded")
    error: str = Field("", max_length=4096, description="why")


def short(model: str) -> str:
    """How a model is named in a frame_id: a sha256 by its first 12 digits, other names as they are."""
    return model[:12] if len(model) == 64 else model


class Owner:
    """The owner's side: `announcement` is what everybody must know; publish it whenever it has changed."""

    def __init__(self, current: Version, followers: Iterable[str], patience: float):
        """`patience`: seconds that the followers have to load a candidate."""
        self.current, self.candidate, self.refused = current, None, ""
        self.patience = patience
        self._followers = frozenset(followers)
        self._ready: set[str] = set()
        self._highest, self._deadline = current.number, 0.0

    @property
    def announcement(self) -> Announcement:
        return Announcement(current=self.current, candidate=self.candidate, refused=self.refused)

    @property
    def waiting_for(self) -> list[str]:
        """Who has not yet loaded the candidate."""
        return sorted(self._followers - self._ready) if self.candidate is not None else []

    def propose(self, version: Version, now: float) -> Version:
        """A version that the owner itself has loaded becomes the candidate, with a new number; replaces an older candidate."""
        self._highest += 1
        self.candidate = version.model_copy(update={"number": self._highest})
        self._ready, self._deadline, self.refused = set(), now + self.patience, ""
        self._switch_when_ready()
        return self.candidate

    def refuse(self, why: str) -> None:
        """Nobody switches."""
        self.candidate, self.refused = None, why

    def hear(self, report: Report) -> Version | None:
        """Takes a report; gives a version newer than the current one that the reporter works with: load it and `adopt` it."""
        self._highest = max(self._highest, *_numbers(report.current, report.ready, report.failed), 0)
        if report.current is not None and report.current.number > self.current.number:
            if self.candidate is not None:
                self.refuse(f"{self.candidate.model}: {report.node} works with {report.current} already; set it again")
            return report.current
        if self.candidate is not None and report.node in self._followers:
            if report.failed == self.candidate:
                self.refuse(f"{self.candidate.model}: {report.node}: {report.error}")
            elif report.ready == self.candidate:
                self._ready.add(report.node)
                self._switch_when_ready()
        return None

    def adopt(self, version: Version) -> None:
        """After a restart: what the followers already work with, loaded here too."""
        self.current, self.candidate = version, None
        self._highest = max(self._highest, version.number)

    def tick(self, now: float) -> None:
        """Gives up when the time is over."""
        if self.candidate is not None and now > self._deadline:
            late = ", ".join(self.waiting_for)
            self.refuse(f"{self.candidate.model}: {late} did not load it within {self.patience:g} s")

    def _switch_when_ready(self) -> None:
        if self.candidate is not None and self._followers <= self._ready:
            self.current, self.candidate = self.candidate, None


class Follower:
    """A module that works with the model.  `hear` and `done` say what to load; `current` changes when it has switched."""

    def __init__(self, node: str):
        self.node = node
        self.current: Version | None = None
        self.previous: Version | None = None
        self.loading: Version | None = None
        self.loaded: Version | None = None
        self.failed: Version | None = None
        self.error = ""
        self._announced: Announcement | None = None
        self._since, self._arrived = 0.0, 0

    @property
    def report(self) -> Report:
        return Report(node=self.node, current=self.current, ready=self.loaded, failed=self.failed, error=self.error)

    def hear(self, announcement: Announcement, now: float) -> Version | None:
        """Takes what the owner says; gives the version to load from here on, None for nothing new."""
        told = announcement.current
        if self.current is not None and told.number < self.current.number:
            return None  # a restarted owner: the report tells it better
        self._announced = announcement
        if told.number <= 1:  # as configured: what does not fit together holds, and says so
            self.current = told
        elif self.loaded == told:
            self._switch(now)
        wanted = announcement.candidate if self.current == told else told
        if self.loaded != wanted:
            self.loaded = None
        if wanted is None or wanted in (self.failed, self.loading, self.loaded):
            self.loading = self.loading if wanted == self.loading else None
            return None
        self.loading, self.failed, self.error = wanted, None, ""
        return wanted

    def done(self, version: Version, error: str, now: float) -> bool:
        """A load has ended (`error`: why it failed, or empty); False when nobody waits for it any more."""
        if version != self.loading:
            return False
        self.loading = None
        if error:
            self.failed, self.error = version, error
            return True
        self.loaded = version
        if self._announced is not None and self._announced.current == version:
            self._switch(now)
        return True

    def _switch(self, now: float) -> None:
        self._since = now  # first: another thread may ask meanwhile
        self.previous, self.current, self.loaded = self.current, self.loaded, None

    # --- which version a representation belongs to --------------------------------------------------------------------------

    def version(self, model: str, now: float) -> Version | None:
        """The version that made a representation named `model` (as in its frame_id), when it may be used now; None otherwise.

        Before any announcement nothing is known, and a world model that takes any representation takes any: then it is the
        current version, or number 0.
        """
        if self.current is None:
            return None if self._announced is not None else Version(number=0, world_model="", representation=model)
        if self.current.representation is None:
            return self.current
        under_way = self.previous if now - self._since <= GRACE else None
        for version in (self.current, self.loaded, under_way):
            if version is not None and version.representation is not None and short(version.representation) == short(model):
                if version.number < self._arrived:
                    return None
                self._arrived = version.number
                return version
        return None

    def mismatch(self, what: str, model: str) -> str:
        """Why a representation named `model` is not used, and the mend."""
        if self.current is None:
            wait = f"could not be loaded: {self.error}" if self.error else "is being loaded"
            return f"{what} come from model {short(model)}; {self.failed or self.loading} {wait}"
        needed = f"{self.current} needs those of {short(self.current.representation or '')}"
        mend = "set world_model.model of the node world_model to the folder that all shall use"
        if self.current.number <= 1:
            mend = "give perception's encoder.model and the world model's world_model.model the same folder"
        return f"{what} come from model {short(model)}, {needed}; {mend}"


def _numbers(*versions: Version | None) -> tuple[int, ...]:
    return tuple(version.number for version in versions if version is not None)
