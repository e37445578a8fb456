"""Whose requests are looked for, and which values of a label are which track's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from analysis.scrapes.samples import UNKNOWN
from backends.profiles.source_profile import Profile
from backends.profiles.template import Pattern, escaped, filled, names_in
from rollout.errors import PlanError
from rollout.model import Track


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose requests are looked for."""

    service: str
    versions: Mapping[Track, str]
    namespace: str = ""
    """Empty where it is not known."""
    destinations: Mapping[Track, str] = field(default_factory=dict)
    """The tracks' own Services, where they have them."""
    subsets: Mapping[Track, str] = field(default_factory=dict)
    """The tracks' subsets, where they have them."""

    def names(self, track: Track) -> dict[str, str]:
        """Return what a template's names stand for."""
        return {
            "service": self.service,
            "namespace": self.namespace,
            "version": self.versions[track],
            "track": str(track),
            "destination": self.destinations.get(track, ""),
            "subset": self.subsets.get(track, ""),
        }


@dataclass(frozen=True, slots=True)
class Tracks:
    """Which values of a label are which track's."""

    patterns: tuple[tuple[Pattern, str], ...]
    """The most particular first."""

    @classmethod
    def of(cls, profile: Profile, subject: Subject) -> Tracks:
        """Return the values of the profile's label that a subject's tracks have."""
        label = profile.track
        templates = {Track.STABLE: label.stable or label.value, Track.CANARY: label.canary or label.value}
        known = [
            (pattern, str(track))
            for track in subject.versions
            for text in templates.get(track, label.value)
            if (pattern := filled(text, subject.names(track)))
        ]
        known += [(Pattern(escaped(text), len(text)), UNKNOWN) for text in label.unknown]
        return cls(tuple(sorted(known, key=lambda entry: -entry[0].fixed)))

    def track_of(self, value: str) -> str | None:
        """Return whose a value is; None when it is nobody's here."""
        return next((track for pattern, track in self.patterns if re.fullmatch(pattern.regex, value)), None)


def check_names(profile: Profile, subject: Subject, tracks: Tracks, services: tuple[str, ...]) -> None:
    """Raise PlanError where a track, or the service, is told by a name that is not known here."""
    told = {track for _, track in tracks.patterns}
    if all(str(track) in told for track in subject.versions) and (services or not profile.service):
        return
    templates = (*profile.track.templates, *(profile.service.value if profile.service else ()))
    unknown = {
        name
        for text in templates
        for name in names_in(text)
        if not all(subject.names(t)[name] for t in subject.versions)
    }
    if "namespace" in unknown and not subject.namespace:
        raise PlanError("metrics.namespace: missing, it has to be given: this profile tells the tracks apart with it")
    listed = " or ".join(f"{{{name}}}" for name in sorted(unknown))
    raise PlanError(f"metrics.profile: got one that tells the tracks apart by {listed}, allowed here: one without")


def regexes(templates: Iterable[str], subject: Subject) -> tuple[str, ...]:
    """Return the patterns of templates whose names are known, of all tracks."""
    patterns = (filled(text, subject.names(track)) for text in templates for track in subject.versions)
    return tuple(dict.fromkeys(pattern.regex for pattern in patterns if pattern))
