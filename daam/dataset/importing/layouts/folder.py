"""A user's own folder: any tree of images, such as the crops of a detector or a tracker.

Nothing about an image is known unless a pattern finds it in the image's path, or the folder that it
lies in is named after it.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

from daam.dataset.importing.dataset_index import DatasetIndex
from daam.dataset.importing.layouts.files import files_below
from daam.dataset.importing.layouts.own_images import KNOWN, MEANINGS, OwnImages, known_text
from daam.dataset.pixels.image_file import SUFFIXES
from daam.errors import LayoutError

EXAMPLE = r"'cam(?P<camera>\d+)_(?P<time>\d+)'"
GROUPS = (*KNOWN, "split")
SHOWN = 3


def read_folder(
    root: Path,
    *,
    pattern: str | None = None,
    camera: Literal["folder"] | None = None,
    identity: Literal["folder"] | None = None,
) -> DatasetIndex:
    """Index all images below a folder.

    Hidden files and folders are skipped, and links to folders not followed. A track that a pattern
    finds is one of its folder and camera: the same number elsewhere is another track.

    Args:
        root: the folder.
        pattern: a regular expression that is searched in each image's path, relative to the folder
            and with slashes. Its named groups say what they hold: camera, person (or identity),
            track, time, split.
        camera: `folder` if the folder that an image lies in is named after its camera.
        identity: likewise after the person.

    Raises:
        LayoutError: the pattern is no regular expression, has no such groups or does not match all
            images; something is found twice; the folder cannot be read or holds no image.
        DataError: something is found for some images of a split only.
    """
    rule, meanings = _compiled(pattern)
    given = {"pattern": pattern, "camera": camera, "identity": identity}
    options = {name: value for name, value in given.items() if value is not None}
    by_folder = [name for name in ("camera", "identity") if name in options]
    _check_sources(by_folder, options=options, found_by_pattern=meanings.values())
    images = OwnImages(
        layout="folder", root=root, options=options, place=lambda path, _: str(root / path)
    )
    num_images = 0
    unmatched: list[str] = []
    not_found = {*meanings.values(), *by_folder}
    for path in files_below("", index=images, notes_links=True):
        folder, _, name = path.rpartition("/")
        if any(part.startswith(".") for part in path.split("/")):
            images.skip(path, "hidden")
            continue
        if not name.lower().endswith(SUFFIXES):
            images.skip(path, "not an image file")
            continue
        num_images += 1
        match = None if rule is None else rule.search(path)
        if rule is not None and match is None:
            unmatched.append(path)
            continue
        values = {meaning: match[group] for group, meaning in meanings.items()} if match else {}
        values |= dict.fromkeys(by_folder, folder.rpartition("/")[2])
        if known_text(values.get("track")) is not None:
            values["track"] = f"{folder}/{values['track']}"
        not_found -= {meaning for meaning in not_found if known_text(values.get(meaning))}
        images.add(path, values=values)
    if not num_images:
        raise LayoutError(
            f"{root} holds no image ({', '.join(SUFFIXES)}){_others(images)}; check --root, or "
            "convert the images"
        )
    if unmatched:
        raise _mismatch(sorted(unmatched), pattern=pattern, num_images=num_images, root=root)
    if not_found:
        raise LayoutError(
            f"no image of {root} has a {' or a '.join(sorted(not_found))}, although an option says "
            "where it is; correct or leave out --pattern, --camera or --identity"
        )
    if "camera" not in (*meanings.values(), *by_folder):
        images.notes.append(
            f"cameras are unknown: --pattern takes them from paths (for example {EXAMPLE}), "
            "--camera folder from the folders' names"
        )
    return images.build()


def _check_sources(
    by_folder: Collection[str], *, options: Mapping[str, str], found_by_pattern: Collection[str]
) -> None:
    for name in by_folder:
        if options[name] != "folder":
            raise LayoutError(f"--{name} is folder or left out, not {options[name]!r}")
        if name in found_by_pattern:
            raise LayoutError(
                f"both --pattern and --{name} folder say what the {name} is; leave one out"
            )
    if len(by_folder) > 1:
        raise LayoutError(
            "the folder of an image cannot be both its camera and its person; name other levels "
            r"of the path with --pattern, for example '^(?P<camera>[^/]+)/(?P<person>[^/]+)/'"
        )


def _compiled(pattern: str | None) -> tuple[re.Pattern[str] | None, dict[str, str]]:
    """The expression, and what each of its groups means."""
    if pattern is None:
        return None, {}
    known = "camera, person, track, time and split"
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise LayoutError(
            f"--pattern '{pattern}' is no regular expression: {error}; an example is {EXAMPLE}"
        ) from error
    meanings = {group: MEANINGS.get(group.lower(), "") for group in rule.groupindex}
    unknown = [group for group, meaning in meanings.items() if meaning not in GROUPS]
    if unknown or not meanings:
        problem = f"has a group {unknown[0]!r}" if unknown else "has no named group"
        raise LayoutError(
            f"--pattern '{pattern}' {problem}; groups are {known}, for example {EXAMPLE}"
        )
    if len(set(meanings.values())) < len(meanings):
        raise LayoutError(f"--pattern '{pattern}' has two groups of one meaning; leave one out")
    return rule, meanings


def _mismatch(
    unmatched: list[str], *, pattern: str | None, num_images: int, root: Path
) -> LayoutError:
    if len(unmatched) == num_images:
        shell = "" if "\\" in str(pattern) else "; in a shell, put it into single quotes"
        return LayoutError(
            f"--pattern '{pattern}' matches none of the {num_images:,} images of {root}, whose "
            f"paths there are like {_first(unmatched)}{shell}"
        )
    return LayoutError(
        f"--pattern '{pattern}' does not match {len(unmatched):,} of {num_images:,} images of "
        f"{root}: {_first(unmatched)}; correct the pattern, or move these images away"
    )


def _others(images: OwnImages) -> str:
    if not images.skipped:
        return ""
    paths = sorted(file.path for file in images.skipped)
    return f", but {len(paths):,} other files: {_first(paths)}"


def _first(paths: Iterable[str]) -> str:
    paths = list(islice(paths, SHOWN + 1))
    return ", ".join(paths[:SHOWN]) + (", …" if len(paths) > SHOWN else "")
