"""`latadj report`: a run's folder as one HTML page."""

from latadj.reporting.html.build import html_report
from latadj.reporting.html.sources import Sources

__all__ = ["Sources", "html_report"]
