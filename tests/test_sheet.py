"""Sheets of pictures, and the Markdown that reports and studies share."""

import numpy as np

from lowlight import markdown, sheet


def plain(height: int, width: int, level: int) -> sheet.Pixels:
    return np.full((height, width, 3), level, np.uint8)


def test_pictures_stand_in_columns_at_one_height() -> None:
    rows = [
        [("", plain(40, 30, 10)), ("", plain(40, 80, 20))],
        [("", plain(10, 10, 30)), ("", plain(20, 40, 40))],
    ]
    drawn = sheet.draw(rows, height=20)
    assert drawn.shape == (6 + 2 * 26, 6 + 26 + 46, 3)
    assert (drawn[6:26, 6:21] == 10).all()
    assert (drawn[6:26, 32:72] == 20).all()
    assert (drawn[32:52, 6:26] == 30).all()
    assert (drawn[32:52, 32:72] == 40).all()
    assert (drawn[6:26, 21:32] == 255).all()


def test_a_title_stands_above_its_picture() -> None:
    rows = [[("before", plain(20, 90, 10)), ("", plain(20, 90, 20))], [("", plain(20, 90, 30))]]
    drawn = sheet.draw(rows, height=20)
    assert drawn.shape == (6 + 2 * 26 + 20, 6 + 2 * 96, 3)
    assert (drawn[26:46, 6:96] == 10).all()
    assert (drawn[6:26, 6:96] < 128).any()
    assert (drawn[6:26, 96:] == 255).all()
    assert (drawn[52:72, 6:96] == 30).all()


def test_no_cell_breaks_a_table() -> None:
    found = markdown.table(["a|b", "c"], [["`<b>`\n", "*1*"]])
    head, line, row = found.splitlines()
    assert (head, line) == ("| a&#124;b | c |", "| --- | --- |")
    assert row == "| &#96;&#60;b>&#96;\\\\n | &#42;1&#42; |"
