"""`latadj report`: a run's folder as one HTML page."""

from latadj.report.html.build import html_report
from latadj.report.html.sources import Sources

__all__ = ["Sources", "html_report"]
