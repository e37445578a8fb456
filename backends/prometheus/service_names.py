"""What the service and its tracks are called, and which values of a label are which track's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from analysis.scrapes.samples import UNKNOWN
from backends.profiles.source_profile import Profile
from backends.profiles.template import Pattern, escape_regex, fill, names_in
from rollout.errors import PlanError
from rollout.model import Track


@dataclass(frozen=True, slots=True)
class ServiceNames:
    """What a service, its namespace, its versions and destinations are called."""

    service: str
    versions: Mapping[Track, str]
    namespace: str = ""
    """Empty where it is not known."""
    destinations: Mapping[Track, str] = field(default_factory=dict)
    """The tracks' own Services, where they have them."""
    subsets: Mapping[Track, str] = field(default_factory=dict)
    """The tracks' subsets, where they have them."""

    def of_track(self, track: Track) -> dict[str, str]:
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
class TrackPatterns:
    """Which values of a label are which track's."""

    patterns: tuple[tuple[Pattern, str], ...]
    """The most particular first."""

    @classmethod
    def of(cls, profile: Profile, names: ServiceNames) -> TrackPatterns:
        """Return the values of the profile's label that these tracks have."""
        label = profile.track
        templates = {Track.STABLE: label.stable or label.value, Track.CANARY: label.canary or label.value}
        known = [
            (pattern, str(track))
            for track in names.versions
            for text in templates.get(track, label.value)
            if (pattern := fill(text, names.of_track(track)))
        ]
        known += [(Pattern(escape_regex(text), len(text)), UNKNOWN) for text in label.unknown]
        return cls(tuple(sorted(known, key=lambda entry: -entry[0].fixed)))

    def track_of(self, value: str) -> str | None:
        """Return whose a value is; None when it is nobody's here."""
        return next((track for pattern, track in self.patterns if re.fullmatch(pattern.regex, value)), None)


def check_names(profile: Profile, names: ServiceNames, tracks: TrackPatterns, services: tuple[str, ...]) -> None:
    """Raise PlanError where a track, or the service, is told by a name that is not known here."""
    known_tracks = {track for _, track in tracks.patterns}
    if all(str(track) in known_tracks for track in names.versions) and (services or not profile.service):
        return
    templates = (*profile.track.templates, *(profile.service.value if profile.service else ()))
    unknown = {
        name
        for text in templates
        for name in names_in(text)
        if not all(names.of_track(t)[name] for t in names.versions)
    }
    if "namespace" in unknown and not names.namespace:
        raise PlanError("metrics.namespace: missing, it has to be given: this profile tells the tracks apart with it")
    listed = " or ".join(f"{{{name}}}" for name in sorted(unknown))
    raise PlanError(f"metrics.profile: got one that tells the tracks apart by {listed}, allowed here: one without")


def regexes(templates: Iterable[str], names: ServiceNames) -> tuple[str, ...]:
    """Return the patterns of templates whose names are known, of all tracks."""
    patterns = (fill(text, names.of_track(track)) for text in templates for track in names.versions)
    return tuple(dict.fromkeys(pattern.regex for pattern in patterns if pattern))
