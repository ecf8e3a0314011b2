"""Freed memory is kept where the C library can."""

import ctypes
import resource

import pytest
import torch

from spikepropamine.training.allocator import keep_freed_memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_a_large_tensor_is_not_paged_in_twice():
    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(4_000_000)  # 16 MB, of which each page would be a fault
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    faults()
    assert faults() < 100


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_freed_memory()
