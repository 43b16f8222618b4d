"""What is approved of SciPy."""

from __future__ import annotations

from fastpersist.policy import functions, rules_scipy, rules_small
from fastpersist.policy.rows import ARGUMENT, BUILD, NEW, Row, rows

_SPARSE = "a sparse matrix: its compiled code follows indices, which the rule holds to the shape"
_PIECEWISE = "piecewise polynomials: breakpoints and coefficients have to agree"
_DISTRIBUTION = (
    "a distribution, as RandomizedSearchCV holds one; its own state is text that it executes, so "
    "it gets that of scipy's own object of the name"
)

_STATES = {
    "bsr": rules_scipy.bsr_state,
    "coo": rules_scipy.coo_state,
    "csc": rules_scipy.csc_state,
    "csr": rules_scipy.csr_state,
    "dia": rules_scipy.dia_state,
    "dok": rules_scipy.dok_state,
    "lil": rules_scipy.lil_state,
}


def _sparse() -> tuple[Row, ...]:
    out = []
    for form, state in _STATES.items():
        for kind in ("matrix", "array"):
            out.append(
                Row(f"scipy.sparse._{form}", f"{form}_{kind}", NEW | BUILD, _SPARSE, state=state)
            )
            # As scipy before 1.8 named them.
            if kind == "matrix":
                out.append(
                    Row(
                        f"scipy.sparse.{form}",
                        f"{form}_matrix",
                        NEW | BUILD,
                        _SPARSE,
                        state=state,
                        means=((f"scipy.sparse._{form}", f"{form}_matrix"),),
                    )
                )
    return tuple(out)


ROWS: tuple[Row, ...] = (
    # dok_matrix was a dict until scipy 1.11: then it takes no items here, as its own methods check.
    *_sparse(),
    Row(
        "scipy.interpolate._bsplines",
        "BSpline",
        NEW | BUILD,
        "a spline, as SplineTransformer has them: knots in order, and coefficients to each",
        state=rules_scipy.bspline_state,
    ),
    *rows(
        "scipy.interpolate._interpolate",
        "PPoly BPoly",
        NEW | BUILD,
        _PIECEWISE,
        state=rules_scipy.ppoly_state,
    ),
    *rows(
        "scipy.interpolate._cubic",
        "CubicSpline PchipInterpolator Akima1DInterpolator CubicHermiteSpline",
        NEW | BUILD,
        _PIECEWISE,
        state=rules_scipy.ppoly_state,
    ),
    Row(
        "scipy.interpolate._interpolate",
        "interp1d",
        NEW | BUILD,
        "as IsotonicRegression has it; indexes through NumPy, which checks",
        state=rules_scipy.interp1d_state,
    ),
    # Functions of the class that its instances refer to. Protocols 0 to 3 write them with getattr,
    # which is not allowed.
    *rows(
        "scipy.interpolate._interpolate",
        "interp1d._call_linear interp1d._call_linear_np interp1d._call_nearest "
        "interp1d._call_previousnext interp1d._call_spline interp1d._call_nan_spline",
        ARGUMENT,
        "which kind of interpolation an interp1d does",
    ),
    *(
        row
        for module, names in functions.SCIPY.items()
        for row in rows(
            module,
            names,
            ARGUMENT,
            "a function of arrays, as FunctionTransformer and splines hold one",
            means="scipy.special._special_ufuncs scipy.special._ufuncs numpy"
            if "special" in module
            else "",
        )
    ),
    *rows(
        "scipy.stats._continuous_distns",
        "norm_gen uniform_gen reciprocal_gen expon_gen gamma_gen beta_gen lognorm_gen "
        "truncnorm_gen triang_gen halfnorm_gen laplace_gen",
        NEW | BUILD,
        _DISTRIBUTION,
        state=rules_small.distribution_state,
    ),
    *rows(
        "scipy.stats._distn_infrastructure",
        "rv_continuous_frozen",
        NEW | BUILD,
        "a distribution with its arguments",
        state=rules_small.frozen_state,
    ),
    # Opt-in, as their compiled code takes indices and lengths as they come: cKDTree, KDTree,
    # Delaunay, ConvexHull, LinearNDInterpolator, CloughTocher2DInterpolator, NdPPoly, NdBSpline,
    # RegularGridInterpolator, RBFInterpolator, AAA, UnivariateSpline and its like (FITPACK),
    # Rotation. For want of use: Rbf, gaussian_kde, lti, results of statistics. Distributions of
    # other classes than these, as each executes text; discrete ones hold a numpy.vectorize.
)
