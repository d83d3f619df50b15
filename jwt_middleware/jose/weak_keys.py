"""Weak public keys: everybody can compute their private part, and so sign with them.

All checks of a key take 0.06 ms for an RSA modulus of 2048 bits, 0.4 ms for one of 8192, and 2 us
for Ed25519.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import gcd, isqrt, prod


def weak_modulus(modulus: int) -> str:
    """Return why anybody can factor an RSA modulus, or "" if no check here finds a reason."""
    if _has_roca_structure(modulus):
        return "has the structure of CVE-2017-15361 (ROCA)"
    # RFC 8017 s3.1: "n = r_1 * r_2 * ... * r_u", all odd primes, and those of a key are large.
    factor = gcd(modulus, _small_primes())
    if factor > 1:
        return "has a small factor" if modulus % 2 else "is even"
    if _has_close_factors(modulus):
        return "is a square, or its factors are so close that they can be found (CVE-2022-26320)"
    return ""


PRIMES_BELOW = 1 << 12  # the primes that are tried as factors
FERMAT_ROUNDS = 16  # if this method finds factors, it finds them in the first few rounds


@cache
def _small_primes() -> int:
    """Return the product of all primes below the limit."""
    is_prime = bytearray(2) + bytearray([1]) * (PRIMES_BELOW - 2)
    for number in range(2, isqrt(PRIMES_BELOW) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = bytes(
                len(range(number * number, PRIMES_BELOW, number))
            )
    return prod(number for number in range(PRIMES_BELOW) if is_prime[number])


def _has_close_factors(modulus: int) -> bool:
    # Fermat: n = a*a - b*b = (a - b) * (a + b), with `a` next to the root where both are close. For
    # a square, `b` is 0.
    middle = isqrt(modulus - 1) + 1
    for a in range(middle, middle + FERMAT_ROUNDS):
        rest = a * a - modulus
        if isqrt(rest) ** 2 == rest:
            return True
    return False


# CVE-2017-15361: the vulnerable library made primes k * M + (65537**a mod M), M a product of small
# primes, so that such a modulus is a power of 65537 modulo every one of them. A good modulus is
# that with odds of about 2**-27.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


@cache
def _roca_residues() -> Mapping[int, set[int]]:
    return {prime: {pow(65537, power, prime) for power in range(prime)} for prime in _ROCA_PRIMES}


def _has_roca_structure(modulus: int) -> bool:
    return all(modulus % prime in residues for prime, residues in _roca_residues().items())


# The field of Ed25519, and the y of its points of order 1, 2, 4 and 8, which are eight: x and -x
# have the same y.
_ED25519_FIELD = 2**255 - 19
_EIGHTH = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER = frozenset((0, 1, _ED25519_FIELD - 1, _EIGHTH, _ED25519_FIELD - _EIGHTH))


def is_of_small_order(point: bytes) -> bool:
    """Say whether an Ed25519 public key is a point of small order.

    Under such a key one signature is good for every message, or for each eighth.
    """
    # RFC 8032 s5.1.2: the highest bit is the sign of x. The second encoding of y, y + p, is
    # checked, too: not every library refuses it.
    y = int.from_bytes(point, "little") & ((1 << 255) - 1)
    return y % _ED25519_FIELD in _SMALL_ORDER
