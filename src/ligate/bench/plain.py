"""What `--json` prints: the summary and the comparison as plain data, scores in the metric's own numbers."""

from __future__ import annotations

from typing import Any

from ligate.bench.compare import Comparison
from ligate.bench.statistics import Estimate
from ligate.bench.summary import Line, Summary


def summary(told: Summary) -> dict[str, Any]:
    results = told.results
    return {
        "suite": results.suite,
        "tier": results.tier,
        "seeds": list(results.seeds),
        "budget": results.budget,
        "metric": results.metric.name,
        "higher_is_better": results.metric.higher,
        "ranks": results.ranks,
        "baseline": told.baseline.id if told.baseline else None,
        "best": told.best.row.id if told.best else None,
        "rows": {line.row.id: _line(line) for line in told.lines},
        "seconds": results.seconds,
    }


def comparison(found: Comparison) -> dict[str, Any]:
    return {
        "settings": {one.name: [one.one, one.other] for one in found.settings},
        "only_in_first": [row.id for row in found.only_one],
        "only_in_second": [row.id for row in found.only_other],
        "rows": {
            change.row.id: {
                "first": _estimate(change.one),
                "second": _estimate(change.other),
                "second_minus_first": _estimate(change.difference),
                "paired": change.paired,
                "note": change.note,
            }
            for change in found.changes
        },
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "title": line.row.title,
        "group": line.row.group,
        "uses": list(line.row.uses),
        "average": _estimate(line.average),
        "minus_baseline": _estimate(line.against),
        "tasks": dict(line.scores),
        "gap_closed": line.closed,
        "outside": _estimate(line.outside),
        "robustness": {paper: _estimate(each) for paper, each in line.robustness.items()},
        "coefficient": line.row.coefficient,
        "chosen": {str(one.seed): one.value for one in line.chosen},
        "cost": line.cost._asdict() if line.cost else None,
        "failed": {str(one.seed): one.reason for one in line.failures},
    }


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return {"mean": found.mean, "low": found.low, "high": found.high} if found else None
