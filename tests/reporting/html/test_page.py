"""The page that every report stands in: whole in one file, safe with any text, readable anywhere."""

import json
import re

import pytest
from helpers.browser import Browser
from markupsafe import Markup

from latadj.reporting.html.charts import Series, heat_map, line_chart
from latadj.reporting.html.page import facts, island, page, table, text

NASTY = "</script><script>window.broken=1</script><!-- <b>&amp;\u2028\u2029\"' 🦆"


def chart() -> str:
    return line_chart(
        [
            Series("measured <b>", [1, 2, 3], [0.9, None, 0.8], [0.88, None, 0.7], [0.92, None, 0.85]),
            Series("asked", [1, 3], [1, 0.5], dashed=True, dots=False),
        ],
        title='accuracy & "speed"',
        x_label="speedup",
        y_label="accuracy",
        diagonal=True,
        baseline=(0.9, "full model"),
    )


def grid() -> str:
    return heat_map(
        [[1.0, 0.5, None], [0.25, 0.0, 0.125]],
        title="left",
        rows=["1x", "2x"],
        columns=["1", "2", "3"],
        x_label="layer",
        y_label="speedup",
    )


def sample() -> str:
    wide = table([f"column {n}" for n in range(30)], [["value"] * 30], numbers={1}, caption="wide")
    body = f"<h1>{text(NASTY)}</h1><p class='note'>note</p>{wide}{facts({'a<': NASTY})}{chart()}{grid()}"
    script = (
        'document.querySelector("h1").dataset.read = JSON.parse(document.getElementById("data").textContent)["said"];'
    )
    return page(NASTY, Markup(f'<div class="card">{body}</div>'), script=script, data={"said": NASTY})


def test_data_come_back_as_they_were_and_cannot_end_their_element() -> None:
    written = island({"said": NASTY})
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"said": NASTY}


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        island([float("nan")])


@pytest.mark.parametrize("part", ["style", "script"])
def test_a_style_or_script_that_would_end_its_element_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match=f"this {part} would end"):
        page("t", Markup(), **{part: f"/* </{part.upper()} */"})


def test_a_line_breaks_at_a_gap_and_its_band_leaves_it_out() -> None:
    drawn = chart()
    measured = re.search(r'<path class="line" d="([^"]+)"', drawn)
    band = re.search(r'<polygon class="band" points="([^"]+)"', drawn)
    assert measured and band
    assert measured[1].count("M") == 2 and "L" not in measured[1]
    assert len(band[1].split()) == 4
    assert "measured &lt;b&gt;, 1: 0.9 (0.88 to 0.92)" in drawn and "accuracy &amp; &#34;speed&#34;" in drawn


def test_a_chart_of_nothing_or_of_more_lines_than_hues_is_refused() -> None:
    for lines, said in (([Series("a", [1], [None])], "nothing to draw"), ([Series("a", [1], [1])] * 7, "6 hues")):
        with pytest.raises(ValueError, match=said):
            line_chart(lines, title="t", x_label="x", y_label="y")


def test_a_heat_map_shades_each_cell_by_its_value() -> None:
    drawn = grid()
    assert re.findall(r'fill-opacity="([\d.]+)"', drawn) == ["1.000", "0.500", "0.250", "0.000", "0.125"]
    assert drawn.count('class="hole"') == 1 and "<title>2x, 3: 12%</title>" in drawn


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_without_error_network_or_sideways_scrolling(
    chromium: Browser, tmp_path, width: int, dark: bool
) -> None:
    file = tmp_path / "page.html"
    file.write_text(sample(), encoding="utf-8")
    chromium.open(file, (width, 800), dark=dark)
    assert chromium.errors == []
    assert [url for url in chromium.requests if not url.startswith("data:")] == [file.as_uri()]
    assert chromium.run("document.title.replace(/\\s+/g, '')") == "".join(NASTY.split())
    assert chromium.run("document.querySelector('h1').dataset.read") == NASTY
    assert chromium.run("window.broken") is None
    assert chromium.overflow() == 0
    assert chromium.run("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    for selector in ("h1", ".note", "td", "dt", "figcaption, .legend li"):
        assert chromium.contrast(selector) >= 4.5, selector


def test_its_policy_stops_what_would_go_to_the_network(chromium: Browser, tmp_path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page("t", Markup('<img src="http://127.0.0.1:9/x.png">')), encoding="utf-8")
    chromium.open(file)
    assert any("Content Security Policy" in error for error in chromium.errors)
