#!/usr/bin/env python3
"""Prints nanoseconds of an insert, milliseconds of 100,000 merges (from 1,000 measured) and encoded bytes of PyPI ddsketch."""

import random
import time

from ddsketch import DDSketch

INSERTS = 100_000
WINDOW = 1_000
MERGES = 1_000


def of(values):
    sketch = DDSketch(0.01)
    for value in values:
        sketch.add(value)
    return sketch


def main():
    random.seed(1)
    values = [8 * random.lognormvariate(0, 0.3) for _ in range(INSERTS)]
    began = time.perf_counter_ns()
    of(values)
    insert_ns = (time.perf_counter_ns() - began) / INSERTS
    sketches = [of(values[at : at + WINDOW]) for at in range(0, INSERTS, WINDOW)]
    merged = DDSketch(0.01)
    began = time.perf_counter_ns()
    for at in range(MERGES):
        merged.merge(sketches[at % len(sketches)])
    merge_ms = (time.perf_counter_ns() - began) / 1e6 * (100_000 / MERGES)
    print(insert_ns, merge_ms, encoded(sketches[0]))


def encoded(sketch):
    try:
        from ddsketch.pb.proto import DDSketchProto
    except ImportError:
        return 0
    return len(DDSketchProto.to_proto(sketch).SerializeToString())


if __name__ == "__main__":
    main()
