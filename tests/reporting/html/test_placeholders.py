"""Names and texts that look like a template's fields are shown, and fill nothing in."""

from helpers.run_folders import prediction, sweep, write

from latadj.inference.explain import Explanation, Reading
from latadj.inference.explained_text import Word
from latadj.reporting.html.explain_page import explain_page
from latadj.reporting.html.report import html_report
from latadj.reporting.html.sources import Sources

# Plain text -> what stands in its place.
FIELDS = {
    "alpha": "%SUBJECT%",
    "bravo": "%MEANING%",
    "charlie": "{{ meaning }}",
    "delta": "{% raw %}",
    "echo": "{# no #}",
}


def filled(page):
    page = str(page)
    for plain, field in FIELDS.items():
        page = page.replace(plain, field)
    return page


def explanation(names):
    alpha, bravo, charlie, delta, echo = names
    reading = Reading(1.0, (1.0,), 0.0, (1, 1), ((0.5, 0.5),), (2,), (0.0,), 1.0, (0.6, 0.4))
    words = (Word(delta, "", (0,)), Word(echo, " ", (1,)))
    return Explanation(alpha, bravo, "classification", (bravo, charlie), words, 2, None, "flops", (reading,), 0)


def test_the_page_of_explain():
    assert str(explain_page(explanation(FIELDS.values()))) == filled(explain_page(explanation(FIELDS)))


def test_the_page_of_report(tmp_path):
    def report(names):
        alpha, bravo, charlie, delta, echo = names
        rows = [
            prediction(f"{charlie} {delta} {echo}", bravo, {"1": (bravo, 0.9), "2": (alpha, 0.8)}),
            *[prediction(f"film {number}", bravo, {"1": (bravo, 0.9), "2": (bravo, 0.8)}) for number in range(9)],
        ]
        return html_report(Sources.of(write(tmp_path / "run", sweep=sweep(model=alpha, task=bravo), predictions=rows)))

    shown = report(FIELDS.values())
    assert "%SUBJECT%" in shown
    assert "{% raw %}" in shown
    assert str(shown) == filled(report(FIELDS))
