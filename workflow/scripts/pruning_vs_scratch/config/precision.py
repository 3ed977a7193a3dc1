"""The arithmetic of passes through a model."""

from typing import Literal

Precision = Literal["fp32", "bf16"]
WantedPrecision = Literal["auto", "fp32", "bf16"]
"""``auto`` is bf16 where the device multiplies bf16 natively, else fp32."""
