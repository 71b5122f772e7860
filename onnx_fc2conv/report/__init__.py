"""What was found, done and checked: a report of each direction, for a terminal, as Markdown, and as JSON."""

from .build import Checked, build, check_row
from .cells import percent
from .data import LeftRow, Report
from .findings import print_findings
from .products import ProductRow, RestoredRow, ReverseReport
from .render import markdown, print_report
from .reverse import markdown_reverse, print_estimate, print_reverse

__all__ = [
    "Checked",
    "LeftRow",
    "ProductRow",
    "Report",
    "RestoredRow",
    "ReverseReport",
    "build",
    "check_row",
    "markdown",
    "markdown_reverse",
    "percent",
    "print_estimate",
    "print_findings",
    "print_report",
    "print_reverse",
]
