"""What of Numba is not documented and used all the same: each still does what it is used for."""

import subprocess
import sys

import numpy as np
import pytest

from spikepropamine.policies.compiled import numba_private
from spikepropamine.policies.compiled.numba_private import at, constant, inlined, kernel, log


def test_an_array_is_made_of_an_address():
    @kernel()
    def add(like, address):
        numbers = at(address, (2, 3), like)
        for i in range(2):
            numbers[i, 2] += numbers[i, 0]

    numbers = np.arange(6.0).reshape(2, 3)
    add(np.float64(0), numbers.ctypes.data)
    assert numbers.tolist() == [[0, 1, 2], [3, 4, 8]]


@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_a_constant_has_the_type_and_precision_that_is_asked_for(number):
    @kernel()
    def tenth(like):
        return constant(0.1, like)

    assert tenth(number(0)) == float(number(0.1))


@pytest.mark.parametrize(("number", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_the_logarithm_is_numpys(number, tolerance):
    @kernel()
    def logarithms(like, count, source, target):
        for i in range(count):
            at(target, (count,), like)[i] = log(at(source, (count,), like)[i])

    x = np.append(np.geomspace(1e-30, 1e30, 1001), [1.0, -1.0, np.nan]).astype(number)
    y = np.empty_like(x)
    logarithms(number(0), len(x), x.ctypes.data, y.ctypes.data)
    exact = np.append(np.log(x[:-2].astype(float)), [np.nan, np.nan])
    np.testing.assert_allclose(y, exact, rtol=tolerance, atol=tolerance)


@inlined
def _scale(source, factors, target):
    for j in range(64):
        target[j] += source[j] * factors[j]


def test_arrays_that_are_handed_over_are_known_to_be_distinct():
    """Without `noalias`, a loop that writes to one of several arrays is not vectorised freely."""

    @kernel()
    def scale(like, a, b, c):
        _scale(at(a, (64,), like), at(b, (64,), like), at(c, (64,), like))

    scale(np.float32(0), *(x.ctypes.data for x in np.zeros((3, 64), np.float32)))
    scale.recompile()  # one that comes from the disk has no code to look at
    code = "".join(_scale.inspect_llvm().values())
    assert "noalias" in code


def test_references_are_not_counted():
    @kernel()
    def total(table):
        return table[0] + table[1]

    total(np.arange(2))
    total.recompile()
    code = "".join(total.inspect_llvm().values()).split("define i8*")[0]
    assert "total" in code and "NRT_incref" not in code and "NRT_decref" not in code


def test_a_kernel_is_found_on_disk_by_another_process_until_a_source_changes(tmp_path):
    program = """
import sys
from spikepropamine.policies.compiled import numba_private
if sys.argv[1] != "-":
    numba_private.SOURCES = sys.argv[1]
from spikepropamine.policies.compiled import static
static.count_active(__import__("numpy").float64(0), 0, 0)
print(sum(static.count_active.stats.cache_hits.values()))
"""

    def hits(sources):
        result = subprocess.run(
            [sys.executable, "-c", program, sources],
            env={**__import__("os").environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(result.stdout)

    assert [hits("-"), hits("-"), hits("others"), hits("others")] == [0, 1, 0, 1]
    assert numba_private.SOURCES  # of all files there, so that it changes with any of them
