"""Functions that models may hold as parameters, by exact names.

A load only refers to them; a model calls them later, with the data of whoever uses it. None runs
text, opens a file or takes a function of its own.
"""

from __future__ import annotations

UFUNCS = (
    "absolute add arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh deg2rad divide "
    "exp exp2 expm1 fabs floor isfinite isnan log log10 log1p log2 maximum minimum multiply "
    "negative positive power rad2deg reciprocal rint sign sin sinh sqrt square subtract tan tanh "
    "trunc"
)

NUMPY = (
    "average clip max mean median min nan_to_num nanmax nanmean nanmedian nanmin nanstd nansum "
    "nanvar prod ravel std sum var"
)

SCIPY = {
    # As scipy 1.14 and later, and as those before name them.
    "scipy.special._special_ufuncs": "expit logit log_expit",
    "scipy.special._ufuncs": "expit logit log_expit boxcox1p boxcox inv_boxcox inv_boxcox1p",
    # Splines keep the asarray() of the library that made their arrays.
    "scipy._lib.array_api_compat.numpy._aliases": "asarray",
    "scipy._external.array_api_compat.numpy._aliases": "asarray",
}

SKLEARN = {
    "sklearn.feature_selection._mutual_info": "mutual_info_classif mutual_info_regression",
    "sklearn.feature_selection._univariate_selection": (
        "chi2 f_classif f_regression f_oneway r_regression"
    ),
    "sklearn.metrics._classification": (
        "accuracy_score balanced_accuracy_score brier_score_loss class_likelihood_ratios "
        "cohen_kappa_score d2_brier_score d2_log_loss_score f1_score fbeta_score hamming_loss "
        "hinge_loss jaccard_score log_loss matthews_corrcoef precision_score recall_score "
        "zero_one_loss"
    ),
    "sklearn.metrics._ranking": (
        "average_precision_score coverage_error dcg_score label_ranking_average_precision_score "
        "label_ranking_loss ndcg_score roc_auc_score top_k_accuracy_score"
    ),
    "sklearn.metrics._regression": (
        "d2_absolute_error_score d2_pinball_score d2_tweedie_score explained_variance_score "
        "max_error mean_absolute_error mean_absolute_percentage_error mean_gamma_deviance "
        "mean_pinball_loss mean_poisson_deviance mean_squared_error mean_squared_log_error "
        "mean_tweedie_deviance median_absolute_error r2_score root_mean_squared_error "
        "root_mean_squared_log_error"
    ),
    "sklearn.metrics._scorer": "negative_likelihood_ratio positive_likelihood_ratio",
    "sklearn.metrics.cluster._supervised": (
        "adjusted_mutual_info_score adjusted_rand_score completeness_score "
        "fowlkes_mallows_score homogeneity_score mutual_info_score normalized_mutual_info_score "
        "rand_score v_measure_score"
    ),
    "sklearn.metrics.cluster._unsupervised": (
        "calinski_harabasz_score davies_bouldin_score silhouette_score"
    ),
    "sklearn.metrics.pairwise": (
        "additive_chi2_kernel chi2_kernel cosine_distances cosine_similarity "
        "euclidean_distances haversine_distances laplacian_kernel linear_kernel "
        "manhattan_distances nan_euclidean_distances polynomial_kernel rbf_kernel sigmoid_kernel"
    ),
    # BisectingKMeans keeps the one it was fitted with; fitting anew sets it again.
    "sklearn.cluster._kmeans": "_kmeans_single_elkan _kmeans_single_lloyd",
    # What HistGradientBoosting looks at its input with, where some columns are categories.
    "sklearn.utils.validation": "check_array",
}

NAMES = frozenset(
    (module, name)
    for table in (SCIPY, SKLEARN, {"numpy": f"{NUMPY} {UFUNCS}"})
    for module, names in table.items()
    for name in names.split()
)
"""As the functions present themselves."""

CLASSES = frozenset(
    ("builtins", name) for name in "bool int float complex str bytes object list tuple dict".split()
) | {("sklearn.model_selection._split", name) for name in ("KFold", "StratifiedKFold")}
"""Classes as parameters: for dtypes, beside NumPy's scalars, and what RepeatedKFold repeats."""
