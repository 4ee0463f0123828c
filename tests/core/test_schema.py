"""What people write is read strictly, and what is wrong with it is told where it stands."""

import tomllib
from pathlib import PurePosixPath
from typing import Annotated, Literal

import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from appliance.schema import Section, describe, hide_credentials, key_lines

FILE = "appliance.toml"
HINT = "the manual"


class Disc(Section):
    kind: Literal["disc"]
    radius_px: int = Field(ge=1, le=100)


class Square(Section):
    kind: Literal["square"]
    side_px: int = Field(ge=1, le=100)


class Drawing(Section):
    """A little of everything that configurations are made of."""

    title: str = Field(min_length=1)
    scale: float = Field(default=1.0, gt=0.0, le=10.0)
    shapes: tuple[Annotated[Disc | Square, Field(discriminator="kind")], ...] = ()
    layers: dict[str, Square] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _layers_are_scaled(self) -> "Drawing":
        if self.layers and self.scale > 5.0:
            msg = "scale must not be above 5 where there are layers"
            raise ValueError(msg)
        return self


def faults(text: str) -> list[str]:
    """What is wrong with a drawing."""
    tree = tomllib.loads(text)
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate(tree)
    return describe(caught.value, FILE, tree=tree, lines=key_lines(text), hint=HINT).splitlines()


TITLE = 'title = "plan"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            TITLE + "\nscael = 2.0\n",
            "appliance.toml:3: scael: unknown key; remove it or correct its spelling (the manual lists every key)",
        ),
        ("scale = 2.0\n", "appliance.toml: title: missing; this key is required"),
        (
            TITLE + "# a comment\nscale = 11\n",
            "appliance.toml:3: scale: input should be less than or equal to 10 (it is 11)",
        ),
        (TITLE + "scale = nan\n", "appliance.toml:2: scale: input should be a finite number (it is nan)"),
        (TITLE + "scale = inf\n", "appliance.toml:2: scale: input should be a finite number (it is inf)"),
        (
            TITLE + '[[shapes]]\nkind = "disc"\nradius_px = 5\n[[shapes]]\nkind = "disc"\nradius_px = 0\n',
            "appliance.toml:7: shapes.1.radius_px: input should be greater than or equal to 1 (it is 0)",
        ),
        (
            TITLE + '[[shapes]]\nkind = "disc"\n',
            "appliance.toml:2: shapes.0.radius_px: missing; this key is required",
        ),
        (
            TITLE + '[[shapes]]\nkind = "disk"\n',
            "appliance.toml:2: shapes.0: kind 'disk' is not known; choose one of 'disc', 'square'",
        ),
        (
            TITLE + "[[shapes]]\nradius_px = 2\n",
            "appliance.toml:2: shapes.0: kind is missing; it says what this is about (the manual lists every kind)",
        ),
        (
            TITLE + '[layers."top floor"]\nkind = "square"\nside_px = 0\n',
            "appliance.toml:4: layers.top floor.side_px: input should be greater than or equal to 1 (it is 0)",
        ),
        (
            TITLE + 'scale = 6.0\nlayers.top = { kind = "square", side_px = 3 }\n',
            "appliance.toml:2: scale must not be above 5 where there are layers",
        ),
    ],
)
def test_a_fault_is_told_with_its_file_line_key_and_what_would_be_right(text: str, told: str) -> None:
    assert faults(text) == [told]


def test_every_fault_is_told_at_once_each_on_its_line() -> None:
    told = faults('titel = "plan"\nscale = -1\n[[shapes]]\nkind = "square"\nside_px = 101\n')
    assert [line.split(": ")[0:2] for line in told] == [
        ["appliance.toml", "title"],
        ["appliance.toml:2", "scale"],
        ["appliance.toml:5", "shapes.0.side_px"],
        ["appliance.toml:1", "titel"],
    ]


def test_a_long_wrong_value_is_cut_and_a_password_in_it_hidden() -> None:
    [told] = faults(f'{TITLE}scale = "rtsp://admin:hunter2@camera/{"x" * 500}"\n')
    assert "hunter2" not in told
    assert "rtsp://***@camera" in told
    assert len(told) < 250


def test_what_was_read_cannot_be_changed() -> None:
    drawing = Drawing(title="plan")
    with pytest.raises(ValidationError, match="frozen"):
        drawing.scale = 2.0


NAMES = st.text("abcdefgh_", min_size=1, max_size=6)
TREES = st.recursive(
    st.integers() | st.booleans() | st.text("xyz", max_size=3),
    lambda below: st.dictionaries(NAMES, below, min_size=1, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, TREES, min_size=1, max_size=4))
def test_the_line_of_a_key_is_the_line_it_stands_on(tree: dict[str, object]) -> None:
    text = tomli_w.dumps(tree)
    lines = text.splitlines()
    for path, number in key_lines(text).items():
        line = lines[number - 1]
        if line.startswith("["):
            assert line == f"[{'.'.join(path)}]"
        else:
            assert line.startswith(f"{path[-1]} = ")
        assert _holds(tree, path)


def _holds(tree: object, path: tuple[str, ...]) -> bool:
    for part in path:
        assert isinstance(tree, dict)
        tree = tree[part]
    return True


@given(st.dictionaries(NAMES, TREES, min_size=1, max_size=4))
def test_no_written_value_is_without_a_line(tree: dict[str, object]) -> None:
    found = key_lines(tomli_w.dumps(tree))
    for path in _leaves(tree, ()):
        assert path in found


def _leaves(tree: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(tree, dict):
        return [leaf for key, below in tree.items() for leaf in _leaves(below, (*path, key))]
    return [path]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://192.0.2.7:554/stream", "rtsp://192.0.2.7:554/stream"),
        ("rtsp://admin:hunter2@192.0.2.7:554/stream", "rtsp://***@192.0.2.7:554/stream"),
        ("rtsp://admin@192.0.2.7/stream", "rtsp://***@192.0.2.7/stream"),
        ("rtsp://admin:p@ss/w?rd#1@192.0.2.7/stream", "rtsp://***@192.0.2.7/stream"),
        ("http://192.0.2.7/video.cgi?user=admin&pwd=hunter2", "http://192.0.2.7/video.cgi?***"),
        ("http://admin:hunter2@192.0.2.7/v?pwd=hunter2\nhunter2", "http://***@192.0.2.7/v?***"),
        ("/dev/video0", "/dev/video0"),
        ("pictures/who?.jpg", "pictures/who?.jpg"),
        ("someone@example.com", "someone@example.com"),
    ],
)
def test_credentials_of_a_url_are_hidden_and_nothing_else(source: str, shown: str) -> None:
    assert hide_credentials(source) == shown


@example("admin", "two\nlines")
@given(user=st.text(min_size=1), password=st.text())
def test_no_password_is_too_strange_to_be_hidden(user: str, password: str) -> None:
    assert hide_credentials(f"rtsp://{user}:{password}@camera/stream") == "rtsp://***@camera/stream"


@given(st.text().filter(lambda text: "://" not in text))
def test_what_is_no_url_is_shown_as_it_is(text: str) -> None:
    assert hide_credentials(text) == text
    assert hide_credentials(str(PurePosixPath("/srv") / "film.avi")) == "/srv/film.avi"
