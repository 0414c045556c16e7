"""The report's page in a real browser."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import browser
import pictures

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.installed(), reason="needs chromium and chromedriver"),
]
CUT = "return getComputedStyle(document.querySelector('.slider')).getPropertyValue('--cut')"
SHOWN = (
    "return [...document.querySelectorAll('figure:first-of-type .slider img')]"
    ".filter(image => getComputedStyle(image).display != 'none').map(image => image.alt + ' ' + image.className)"
)


@pytest.fixture
def page(lowlight, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, gain in enumerate((0.9, 0.5, 0.7)):
        scene = pictures.scene(seed, 240, 360)
        for folder, light in (("high", 1.0), ("low", 0.15), ("done", gain)):
            Path(folder).mkdir(exist_ok=True)
            Image.fromarray((scene * light).astype(np.uint8)).save(f"{folder}/a {seed}.png")
    arguments = ("--low", "low", "--reference", "high", "--metrics", "psnr", "-o", "report")
    assert lowlight("evaluate", "done", *arguments)[0] == 0
    return Path("report/report.html").resolve().as_uri()


def test_the_slider_moves_by_mouse_and_keys_and_nothing_is_loaded(page):
    with browser.Browser() as window:
        window.open(page)
        names = "return [...document.querySelectorAll('figcaption b')].map(name => name.textContent)"
        assert window.run(names) == ["a 1", "a 2", "a 0"]  # worst first
        window.run("document.querySelector('.slider').scrollIntoView()")
        box = window.run("return document.querySelector('.slider').getBoundingClientRect()")
        assert window.run(CUT) == "50%"
        middle = box["y"] + box["height"] / 2
        for share in (0.9, 0.2):
            window.drag((box["x"] + box["width"] / 2, middle), (box["x"] + share * box["width"], middle))
            assert float(window.run(CUT).rstrip("%")) == pytest.approx(100 * share, abs=1)
        for key, cut in ((browser.END, "100%"), (browser.HOME, "0%"), (browser.RIGHT, "0.5%")):
            window.type(".slider input", key)
            assert window.run(CUT) == cut
        assert window.run(SHOWN) == ["output left", "reference right"]
        window.type("select", "input | reference")
        assert window.run(SHOWN) == ["input left", "reference right"]
        loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0)"
        assert window.run(loaded)
        assert window.run("return document.images.length") == 3 * 4 + 3
        assert {url for url in window.requested() if not url.startswith("data:image/jpeg")} == {page}
        assert window.complaints() == []


def test_the_page_fits_a_phone(page):
    with browser.Browser() as window:
        window.resize(390, 844)
        window.open(page)
        assert window.run("return document.documentElement.scrollWidth") == 390
        widths = "return [...document.querySelectorAll('figure img')].map(image => image.getBoundingClientRect().right)"
        assert max(window.run(widths)) <= 390
