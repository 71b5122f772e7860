"""What was found, done and checked: one Report, rendered for a terminal, as Markdown, and as JSON."""

from .build import Checked, build
from .data import Report
from .findings import print_findings
from .render import markdown, print_report

__all__ = ["Checked", "Report", "build", "markdown", "print_findings", "print_report"]
