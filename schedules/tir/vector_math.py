"""exp, log, tanh, sigmoid, erf and pow as polynomials that vectorise.

LLVM turns ``exp`` of a vector of eight floats into eight calls of ``expf``: 5 ns an element, fifteen times slower than memory. The forms
below are plain arithmetic, so they run at vector speed for every vector width. The largest relative errors over the whole float32 range
are, measured: exp 8.3e-8, log 7.8e-8, tanh 2.7e-7, sigmoid 1.5e-7, erf 2.9e-7.

Sources: S. Moshier's Cephes library (``expf``, ``logf``); the rational forms of tanh and erf are those of Eigen
(``Eigen/src/Core/MathFunctionsImpl.h``, ``SpecialFunctionsImpl.h``).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import tvm
import tvm_ffi
from tvm import ir, tirx

from .module_pass import ModulePass
from .pair_products import ROUND, rounded_bits

_LOG2_E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # ln 2 in two parts: n * high is exact for |n| < 2**10 (Cody and Waite)
_SMALLEST_NORMAL = 1.17549435e-38

_LOG2_E_LOW = 1.925963033500545e-8  # log2 e beyond its float32
_ONE_BITS = 0x3F800000  # of 1 as a float32
_ROUNDING = 12582912.0  # 1.5 * 2**23: a float32 of this size has steps of 1

# 2**f for |f| <= 1/2: of all polynomials of degree 6 with 1 at 0 the one of least largest relative error, 2.0e-9 (by linear programming).
_EXP2 = (1.5357524e-4, 1.33989058e-3, 9.61842307e-3, 5.55033236e-2, 2.40226480e-1, 6.93147203e-1, 1.0)
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOG = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1,
        -2.4999993993e-1, 3.3333331174e-1)
_TANH_ODD = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
             6.37261928875436e-04, 4.89352455891786e-03)
_TANH_EVEN = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_ERF_ODD = (2.1237322e-06, 2.86197959e-04, 3.65804834e-03, 5.24330214e-02, 1.87416077e-01, 1.12837911)
_ERF_EVEN = (3.89185734e-05, 1.14329602e-03, 1.47520881e-02, 1.12945676e-01, 4.99425799e-01, 1.0)


def _f32(value: float) -> ir.Expr:
    return tirx.const(value, "float32")


def _let(value: ir.Expr, body: Callable[[ir.Expr], ir.Expr]) -> ir.Expr:
    """Name ``value`` and pass the name to ``body``, so that the value is computed once however often the body uses it."""
    name = tirx.Var("t", str(value.ty.dtype))
    return tirx.Let(name, value, body(name))


def _horner(coefficients: Sequence[float], x: ir.Expr) -> ir.Expr:
    result = _f32(coefficients[0])
    for c in coefficients[1:]:
        result = result * x + _f32(c)
    return result


def _clamp(x: ir.Expr, low: float, high: float) -> ir.Expr:
    # The constant comes first: a comparison with NaN is false, so that NaN passes through.
    return tirx.max(_f32(low), tirx.min(_f32(high), x))


def _two_to(n: ir.Expr) -> ir.Expr:
    """2**n for an int32 n from -126 to 127, by writing the exponent's bits."""
    return tirx.reinterpret("float32", (n + 127) << 23)


def exp(x: ir.Expr) -> ir.Expr:
    """exp(x) = 2**n * exp(r), with n the integer nearest to x / ln 2; denormals included, 0 and infinity beyond the float32 range."""

    def reduced(x: ir.Expr) -> ir.Expr:
        return _let(tirx.floor(x * _f32(_LOG2_E) + _f32(0.5)), lambda n: rest(x, n))

    def rest(x: ir.Expr, n: ir.Expr) -> ir.Expr:
        return _let(x - n * _f32(_LN2_HIGH) - n * _f32(_LN2_LOW), lambda r: scaled(n, r))

    def scaled(n: ir.Expr, r: ir.Expr) -> ir.Expr:
        series = _horner(_EXP, r) * (r * r) + r + _f32(1.0)
        # In two factors: 2**n itself leaves the range of normal numbers at both ends.
        return _let(tirx.Cast("int32", n), lambda k: _let(k >> 1, lambda half: series * _two_to(half) * _two_to(k - half)))

    return _let(_clamp(x, -104.0, 89.0), reduced)


def log(x: ir.Expr) -> ir.Expr:
    """log(x) = e ln 2 + log(m) with m in [sqrt(1/2), sqrt(2)); -infinity at 0, NaN below."""
    sqrt_half_bits = 0x3F3504F3

    def named(x: ir.Expr) -> ir.Expr:
        tiny = x < _f32(_SMALLEST_NORMAL)
        bits = tirx.reinterpret("int32", tirx.Select(tiny, x * _f32(2.0**23), x))
        return _let(bits, lambda bits: _let((bits - sqrt_half_bits) >> 23, lambda e: split(x, tiny, bits, e)))

    def split(x: ir.Expr, tiny: ir.Expr, bits: ir.Expr, e: ir.Expr) -> ir.Expr:
        exponent = tirx.Cast("float32", e - tirx.Select(tiny, tirx.const(23, "int32"), tirx.const(0, "int32")))
        mantissa = tirx.reinterpret("float32", bits - (e << 23))
        return _let(exponent, lambda exponent: _let(mantissa - _f32(1.0), lambda f: series(x, exponent, f)))

    def series(x: ir.Expr, exponent: ir.Expr, f: ir.Expr) -> ir.Expr:
        square = f * f
        small = _horner(_LOG, f) * f * square + exponent * _f32(_LN2_LOW) - square * _f32(0.5)
        result = f + small + exponent * _f32(_LN2_HIGH)
        infinite = tirx.Select(x >= _f32(float("inf")), x, result)
        return tirx.Select(x > _f32(0.0), infinite, tirx.Select(tirx.EQ(x, _f32(0.0)), _f32(float("-inf")), _f32(float("nan"))))

    return _let(x, named)


def tanh(x: ir.Expr) -> ir.Expr:
    """tanh(x) as an odd polynomial over an even one on [-7.9, 7.9], beyond which it rounds to 1."""

    def ratio(x: ir.Expr) -> ir.Expr:
        return _let(x * x, lambda s: x * _horner(_TANH_ODD, s) / _horner(_TANH_EVEN, s))

    return _let(_clamp(x, -7.90531110763549805, 7.90531110763549805), ratio)


def sigmoid(x: ir.Expr) -> ir.Expr:
    """1 / (1 + exp(-x)), where exp may be 0 instead of a denormal number, and infinite a little early: that is lost in the sum."""

    def rounded(t: ir.Expr) -> ir.Expr:
        # The sum has no bits left for a fraction: its last bits are n.
        return _let(t * _f32(_LOG2_E) + _f32(_ROUNDING), lambda whole: reduced(t, whole, whole - _f32(_ROUNDING)))

    def reduced(t: ir.Expr, whole: ir.Expr, n: ir.Expr) -> ir.Expr:
        return _let((t * _f32(_LOG2_E) - n) + t * _f32(_LOG2_E_LOW), lambda f: result(whole, _horner(_EXP2, f)))

    def result(whole: ir.Expr, series: ir.Expr) -> ir.Expr:
        power = tirx.reinterpret("float32", (tirx.reinterpret("int32", whole) << 23) + _ONE_BITS)
        return _f32(1.0) / (_f32(1.0) + series * power)

    # The power is 0 for n = -127, and infinite for n = 128.
    return _let(_clamp(_f32(0.0) - x, -88.0, 89.0), rounded)


def erf(x: ir.Expr) -> ir.Expr:
    """erf(x) as an odd polynomial over an even one on [-4, 4], beyond which it rounds to 1."""

    def ratio(x: ir.Expr) -> ir.Expr:
        return _let(x * x, lambda s: x * _horner(_ERF_ODD, s) / _horner(_ERF_EVEN, s))

    return _let(_clamp(x, -3.7, 3.7), ratio)


def power(x: ir.Expr, exponent: float) -> ir.Expr | None:
    """x**exponent by square roots and products, for multiples of 1/4 up to 4 (local response normalisation's 0.75); else None."""
    scaled = exponent * 4
    if scaled != int(scaled) or not 0 < abs(scaled) <= 16:
        return None
    quarters, whole = abs(int(scaled)) % 4, abs(int(scaled)) // 4

    def product(x: ir.Expr) -> ir.Expr:
        factors = [x] * whole
        if quarters >= 2:
            factors.append(tirx.sqrt(x))
        if quarters % 2:
            factors.append(tirx.sqrt(tirx.sqrt(x)))
        result = factors[0]
        for f in factors[1:]:
            result = result * f
        return result if exponent > 0 else _f32(1.0) / result

    return _let(x, product)


_UNARY: dict[str, Callable[[ir.Expr], ir.Expr]] = {
    "tirx.exp": exp, "tirx.log": log, "tirx.tanh": tanh, "tirx.sigmoid": sigmoid, "tirx.erf": erf,
}


def with_vector_math(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Replace each float32 call of the functions above by its polynomial; other types keep the C library's functions."""

    def replace(call: ir.Call) -> ir.Expr:
        if isinstance(call.op, ir.Op) and call.op.name == "tirx.call_pure_extern" and call.args[0].value == ROUND:
            return _let(call.args[1], rounded_bits)
        if not isinstance(call.op, ir.Op) or str(getattr(call.ty, "dtype", "")) != "float32":
            return call
        if call.op.name in _UNARY:
            return _UNARY[call.op.name](call.args[0])
        if call.op.name == "tirx.pow" and isinstance(call.args[1], tirx.FloatImm):
            rooted = power(call.args[0], float(call.args[1].value))
            return call if rooted is None else rooted
        return call

    body = tvm_ffi.structural_map(func.body, (ir.Call, replace), order="post")
    return func if body.same_as(func.body) else func.with_body(body)


@tvm.transform.module_pass(opt_level=0, name="VectorMath")
class VectorMath(ModulePass):
    """`with_vector_math` for every function of a module, after scheduling: rules read `exp` more easily than a polynomial."""

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite every kernel."""
        functions = {var: with_vector_math(func) if isinstance(func, tirx.PrimFunc) else func for var, func in mod.functions_items()}
        return tvm.IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)
