"""The metrics of several processes as one text."""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from shared.exposition import merged

STRANGE = 'a{b} "c"\\ \n# HELP d'


def of_one_process(count):
    registry = CollectorRegistry()
    Gauge("size", "How much", registry=registry).set(count)
    answers = Counter("answers", "What was said", ["to"], registry=registry)
    answers.labels(STRANGE).inc(count)
    answers.labels("b").inc(2 * count)
    Histogram("took", "How long", buckets=(1, 2), registry=registry).observe(1.5)
    return prometheus_client.generate_latest(registry).decode()


def read(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_sample_is_told_once_for_each_process_with_its_name():
    alone = {name: of_one_process(count) for name, count in (("0", 1), ("1", 10))}
    expected = {
        (metric, tuple(sorted((*labels, ("worker", name))))): value
        for name, text in alone.items()
        for (metric, labels), value in read(text).items()
    }

    found = merged(alone, "worker")

    assert read(found) == expected
    assert found.count("# TYPE answers_total counter") == 1
    assert expected["answers_total", (("to", STRANGE), ("worker", "1"))] == 10


def test_a_process_that_told_nothing_is_left_out():
    text = of_one_process(1)
    assert merged({"0": "", "1": text}, "worker") == merged({"1": text}, "worker")
    assert merged({}, "worker") == ""
