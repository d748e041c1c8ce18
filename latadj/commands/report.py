"""latadj report: one HTML page of all that a run's folder holds."""

import logging
from dataclasses import dataclass
from pathlib import Path

from latadj.config import ReportConfig
from latadj.reporting.html.report import html_report
from latadj.reporting.html.sources import Sources
from latadj.utils.files import write_text

log = logging.getLogger("latadj")


@dataclass
class Prepared:
    """A page that is ready to be written."""

    path: Path
    html: str


def prepare(config: ReportConfig) -> Prepared:
    """Read the folder and make the page; nothing is written."""
    folder = Path(config.folder)
    return Prepared(folder / "report" / "report.html", html_report(Sources.of(folder)))


def run(prepared: Prepared) -> Path:
    """Write the page.

    Returns
    -------
    where it is
    """
    write_text(prepared.path, prepared.html)
    log.info("wrote %s, %.0f KB: open it in any browser", prepared.path, len(prepared.html.encode()) / 1000)
    return prepared.path
