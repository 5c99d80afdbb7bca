"""Comparisons as JUnit XML: one test case a comparison, so that CI shows and gates verdicts."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from xml.etree import ElementTree

from s2robot.reporting.comparisons import Comparison
from s2robot.reporting.conclusions import statement
from s2robot.reporting.run_files import Problem

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not have."""


def junit(
    families: Sequence[tuple[str, Sequence[Comparison]]],
    problems: Sequence[Problem],
    metric: str,
    fail_on: Collection[str],
) -> str:
    """Return comparisons as the text of a JUnit file.

    A comparison with a verdict of ``fail_on`` is a failed test. A run that was left out is a test
    with an error, in the suite "runs".

    Args:
        families: names and comparisons, one suite each.
        problems: what was left out or noticed.
        metric: one of ``METRICS``; the comparisons were made on it.
        fail_on: verdicts that fail.
    """
    root = ElementTree.Element("testsuites", name="s2robot")
    for name, pairs in families:
        suite = ElementTree.SubElement(root, "testsuite", name=_text(name))
        for pair in pairs:
            case = _case(suite, name, f"{pair.second.label} against {pair.first.label}")
            text = _text(statement(pair, metric))
            if pair.verdict in fail_on:
                found = ElementTree.SubElement(case, "failure", type=pair.verdict, message=text)
            else:
                found = ElementTree.SubElement(case, "system-out")
            found.text = f"{pair.verdict}: {text}"
    if problems:
        _add_problems(ElementTree.SubElement(root, "testsuite", name="runs"), problems)
    for element in (*root, root):
        for kind, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
            element.set(kind, str(len(list(element.iter(tag)))))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_problems(suite: ElementTree.Element, problems: Sequence[Problem]) -> None:
    for problem in problems:
        if problem.left_out:
            case = _case(suite, "runs", problem.where)
            message = _text(problem.text)
            ElementTree.SubElement(case, "error", type="left out", message=message).text = message
    noticed = [_text(str(problem)) for problem in problems if not problem.left_out]
    if noticed:
        ElementTree.SubElement(suite, "system-out").text = "\n".join(noticed)


def _case(suite: ElementTree.Element, family: str, name: str) -> ElementTree.Element:
    place = f"s2robot.{family}".replace(", ", ".")
    return ElementTree.SubElement(suite, "testcase", classname=_text(place), name=_text(name))


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
