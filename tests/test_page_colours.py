"""The colours of the page of `spikepropamine play`: all of us can tell them apart, and
read what is written in them.
"""

import re

import numpy as np
import pytest
from saved_runs import ROOT

SOURCES = ROOT / "web" / "src"
# how the colour-blind see linear red, green and blue: Machado, Oliveira and Fernandes
# 2009, severity 1
SEEN = {
    "all colours": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ]
)
APART = 20  # in CIELAB; what differs by 2 is just told apart side by side
READABLE, VISIBLE = 4.5, 3.0  # contrasts that WCAG 2 asks of texts and of graphics


def schemes():
    """Colours by name, of the light page and the dark one."""
    style = (SOURCES / "page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    return [dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in blocks]


def linear(colour):
    """Red, green and blue as light, of #rrggbb or three numbers up to 255."""
    if isinstance(colour, str):
        colour = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    parts = np.array(colour) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(light):
    """CIELAB of linear red, green and blue."""
    x, y, z = np.cbrt(TO_XYZ @ light.clip(0, 1) / (TO_XYZ @ np.ones(3)))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    brightness = [0.05 + (TO_XYZ @ linear(colour))[1] for colour in (one, other)]
    return max(brightness) / min(brightness)


@pytest.mark.parametrize("sight", SEEN)
def test_what_differs_in_colour_differs_for_everybody(sight):
    light, dark = schemes()
    source = (SOURCES / "colours.ts").read_text()
    ends = re.findall(r"const (?:BELOW|ABOVE): Rgb = \[([\d, ]+)\]", source)
    weights = [tuple(map(int, end.split(","))) for end in ends]
    pairs = [weights]
    for scheme in (light, dark):
        learn = scheme["learn"]
        twin = scheme["twin"]
        mark = scheme["mark"]
        pairs += [(learn, twin), (learn, mark), (twin, mark)]
    for one, other in pairs:
        seen = [lab(SEEN[sight] @ linear(colour)) for colour in (one, other)]
        assert np.linalg.norm(seen[0] - seen[1]) > APART, (one, other)


def test_texts_and_curves_stand_out_from_the_paper():
    for scheme in schemes():
        for name in ("ink", "soft"):
            assert contrast(scheme[name], scheme["paper"]) >= READABLE, name
        for name in ("learn", "twin", "mark"):
            assert contrast(scheme[name], scheme["paper"]) >= VISIBLE, name
