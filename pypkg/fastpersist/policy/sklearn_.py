"""What is approved of scikit-learn, from 1.4 on: its public estimators, and what they are made of.

An estimator's state is its attributes, which scikit-learn sets without a look. Methods in Python
and NumPy check what they index; where compiled code does not, the row has a rule of its own. Every
rule goes through `rules_small.model_state`: no attribute that hides a method, no functions but
those listed in `functions`, no ``memory``.
"""

from __future__ import annotations

from fastpersist.policy import functions, rules_sklearn, rules_small
from fastpersist.policy.rows import ARGUMENT, BUILD, CALL, ITEMS, NEW, WHOLE, Row, StateCheck, rows

_ESTIMATOR = "a public estimator: its methods are Python, and NumPy checks what they index"
_META = "a public estimator that holds others; its methods are Python and call theirs"
_TREES = (
    "trees: compiled code follows their nodes, so that the trees have to be whole and of one width"
)
_NEIGHBOURS = "compiled searches give numbers of points: points, labels and tree have to agree"
_VECTORS = "libsvm takes lengths from its arrays: they have to agree"
_CENTERS = "compiled code measures distances to centers: they have to be as wide as the input"
_TABLE = "writes the columns of a sparse matrix: its numbers have to be below their count"
_PART = "what an estimator keeps of its fit; attributes only"
_SPLITTER = "splits samples by number; attributes only"
_KERNEL = "a kernel of Gaussian processes; attributes only, evaluated by NumPy"
_FUNCTION = "a function that a model holds as a parameter"
_LOSS = "a loss: the parts are compiled, and have to be its own"
_METRIC = "a metric of KDTree and BallTree, not PyFuncDistance, which calls a function"
_BINARY_TREE = "nodes, points and bounds have to agree before compiled code follows them"


def _models(
    reason: str, classes: dict[str, str], state: StateCheck | None = None
) -> tuple[Row, ...]:
    rule = rules_small.model_state if state is None else rules_small.model_and(state)
    return tuple(
        row
        for module, names in classes.items()
        for row in rows(
            f"sklearn.{module}", names, NEW | BUILD, reason, state=rule, plain=state or True
        )
    )


_PLAIN = {
    "calibration": "_SigmoidCalibration _TemperatureScaling",
    "cluster._affinity_propagation": "AffinityPropagation",
    "cluster._agglomerative": "AgglomerativeClustering FeatureAgglomeration",
    "cluster._bicluster": "SpectralBiclustering SpectralCoclustering",
    "cluster._dbscan": "DBSCAN",
    "cluster._mean_shift": "MeanShift",
    "cluster._optics": "OPTICS",
    "cluster._spectral": "SpectralClustering",
    "covariance._elliptic_envelope": "EllipticEnvelope",
    "covariance._empirical_covariance": "EmpiricalCovariance",
    "covariance._graph_lasso": "GraphicalLasso GraphicalLassoCV",
    "covariance._robust_covariance": "MinCovDet",
    "covariance._shrunk_covariance": "LedoitWolf OAS ShrunkCovariance",
    "cross_decomposition._pls": "CCA PLSCanonical PLSRegression PLSSVD",
    "decomposition._dict_learning": "DictionaryLearning MiniBatchDictionaryLearning SparseCoder",
    "decomposition._factor_analysis": "FactorAnalysis",
    "decomposition._fastica": "FastICA",
    "decomposition._incremental_pca": "IncrementalPCA",
    "decomposition._kernel_pca": "KernelPCA",
    "decomposition._lda": "LatentDirichletAllocation",
    "decomposition._nmf": "MiniBatchNMF NMF",
    "decomposition._pca": "PCA",
    "decomposition._sparse_pca": "MiniBatchSparsePCA SparsePCA",
    "decomposition._truncated_svd": "TruncatedSVD",
    "discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
    "dummy": "DummyClassifier DummyRegressor",
    "feature_extraction.image": "PatchExtractor",
    "feature_extraction.text": "TfidfTransformer",
    "feature_selection._univariate_selection": (
        "GenericUnivariateSelect SelectFdr SelectFpr SelectFwe SelectKBest SelectPercentile"
    ),
    "feature_selection._variance_threshold": "VarianceThreshold",
    "gaussian_process._gpc": ("GaussianProcessClassifier _BinaryGaussianProcessClassifierLaplace"),
    "gaussian_process._gpr": "GaussianProcessRegressor",
    "impute._base": "MissingIndicator SimpleImputer",
    "impute._knn": "KNNImputer",
    "isotonic": "IsotonicRegression",
    "kernel_approximation": (
        "AdditiveChi2Sampler Nystroem PolynomialCountSketch RBFSampler SkewedChi2Sampler"
    ),
    "kernel_ridge": "KernelRidge",
    "linear_model._base": "LinearRegression",
    "linear_model._bayes": "ARDRegression BayesianRidge",
    "linear_model._coordinate_descent": (
        "ElasticNet ElasticNetCV Lasso LassoCV MultiTaskElasticNet MultiTaskElasticNetCV "
        "MultiTaskLasso MultiTaskLassoCV"
    ),
    "linear_model._glm.glm": "GammaRegressor PoissonRegressor TweedieRegressor",
    "linear_model._huber": "HuberRegressor",
    "linear_model._least_angle": "Lars LarsCV LassoLars LassoLarsCV LassoLarsIC",
    "linear_model._logistic": "LogisticRegression LogisticRegressionCV",
    "linear_model._omp": "OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV",
    "linear_model._passive_aggressive": "PassiveAggressiveClassifier PassiveAggressiveRegressor",
    "linear_model._perceptron": "Perceptron",
    "linear_model._quantile": "QuantileRegressor",
    "linear_model._ridge": (
        "Ridge RidgeCV RidgeClassifier RidgeClassifierCV _RidgeGCV _IdentityRegressor "
        "_IdentityClassifier"
    ),
    "linear_model._stochastic_gradient": "SGDClassifier SGDOneClassSVM SGDRegressor",
    "linear_model._theil_sen": "TheilSenRegressor",
    "manifold._classical_mds": "ClassicalMDS",
    "manifold._isomap": "Isomap",
    "manifold._locally_linear": "LocallyLinearEmbedding",
    "manifold._mds": "MDS",
    "manifold._spectral_embedding": "SpectralEmbedding",
    "manifold._t_sne": "TSNE",
    "mixture._bayesian_mixture": "BayesianGaussianMixture",
    "mixture._gaussian_mixture": "GaussianMixture",
    "naive_bayes": "BernoulliNB CategoricalNB ComplementNB GaussianNB MultinomialNB",
    "neighbors._nca": "NeighborhoodComponentsAnalysis",
    "neighbors._nearest_centroid": "NearestCentroid",
    "neural_network._multilayer_perceptron": "MLPClassifier MLPRegressor",
    "neural_network._rbm": "BernoulliRBM",
    "preprocessing._data": (
        "Binarizer KernelCenterer MaxAbsScaler MinMaxScaler Normalizer PowerTransformer "
        "QuantileTransformer RobustScaler StandardScaler"
    ),
    "preprocessing._discretization": "KBinsDiscretizer",
    "preprocessing._encoders": "OrdinalEncoder",
    "preprocessing._function_transformer": "FunctionTransformer",
    "preprocessing._label": "LabelBinarizer LabelEncoder",
    "preprocessing._polynomial": "PolynomialFeatures SplineTransformer",
    "preprocessing._target_encoder": "TargetEncoder",
    "random_projection": "GaussianRandomProjection SparseRandomProjection",
    "semi_supervised._label_propagation": "LabelPropagation LabelSpreading",
    "svm._classes": "LinearSVC LinearSVR",
}

_METAS = {
    "calibration": "CalibratedClassifierCV _CalibratedClassifier",
    "compose._column_transformer": "ColumnTransformer make_column_selector",
    "compose._target": "TransformedTargetRegressor",
    "ensemble._bagging": "BaggingClassifier BaggingRegressor",
    "ensemble._stacking": "StackingClassifier StackingRegressor",
    "ensemble._voting": "VotingClassifier VotingRegressor",
    "ensemble._weight_boosting": "AdaBoostClassifier AdaBoostRegressor",
    "feature_selection._from_model": "SelectFromModel",
    "feature_selection._rfe": "RFE RFECV",
    "feature_selection._sequential": "SequentialFeatureSelector",
    "frozen._frozen": "FrozenEstimator",
    "impute._iterative": "IterativeImputer",
    "linear_model._ransac": "RANSACRegressor",
    "model_selection._classification_threshold": (
        "FixedThresholdClassifier TunedThresholdClassifierCV"
    ),
    "model_selection._search": "GridSearchCV RandomizedSearchCV",
    "model_selection._search_successive_halving": "HalvingGridSearchCV HalvingRandomSearchCV",
    "multiclass": (
        "OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier _ConstantPredictor"
    ),
    "multioutput": "ClassifierChain MultiOutputClassifier MultiOutputRegressor RegressorChain",
    "pipeline": "FeatureUnion Pipeline",
    "semi_supervised._self_training": "SelfTrainingClassifier",
}

_LOSSES = (
    "AbsoluteError ExponentialLoss HalfBinomialLoss HalfGammaLoss HalfMultinomialLoss "
    "HalfPoissonLoss HalfSquaredError HalfTweedieLoss HalfTweedieLossIdentity HuberLoss "
    "PinballLoss"
)
# The compiled half of each, and how many numbers it keeps.
_COMPILED = {
    "CyAbsoluteError": 0,
    "CyExponentialLoss": 0,
    "CyHalfBinomialLoss": 0,
    "CyHalfGammaLoss": 0,
    "CyHalfMultinomialLoss": 0,
    "CyHalfPoissonLoss": 0,
    "CyHalfSquaredError": 0,
    "CyHalfTweedieLoss": 1,
    "CyHalfTweedieLossIdentity": 1,
    "CyHuberLoss": 1,
    "CyPinballLoss": 1,
}
_COMPILED_MODULE = "sklearn._loss._loss"


def _compiled_losses() -> tuple[Row, ...]:
    """Builds of scikit-learn 1.5 to 1.8 call the module "_loss", and enter it under that name."""
    out = []
    for module, other in ((_COMPILED_MODULE, "_loss"), ("_loss", _COMPILED_MODULE)):
        for name, count in _COMPILED.items():
            unpickle = f"__pyx_unpickle_{name}"
            out += [
                Row(
                    module,
                    name,
                    CALL | BUILD,
                    _LOSS,
                    call=rules_sklearn.loss_call,
                    state=rules_small.no_state,
                    means=((other, name),),
                ),
                Row(
                    module,
                    unpickle,
                    CALL | BUILD,
                    "makes its own class only, as it would fill any other",
                    call=rules_small.pyx_unpickle_numbers(_COMPILED_MODULE, name, count)
                    if count
                    else rules_sklearn.pyx_unpickle(_COMPILED_MODULE, name),
                    state=rules_small.no_state,
                    means=((other, unpickle),),
                ),
            ]
    return tuple(out)


_SGD_LOSSES = (
    "EpsilonInsensitive Hinge Huber Log ModifiedHuber SquaredEpsilonInsensitive SquaredHinge "
    "SquaredLoss"
)
_METRICS = tuple(
    f"{name}Distance{suffix}"
    for name in (
        "BrayCurtis Canberra Chebyshev Dice Euclidean Hamming Haversine Jaccard Mahalanobis "
        "Manhattan Minkowski RogersTanimoto RussellRao SEuclidean SokalMichener SokalSneath"
    ).split()
    for suffix in ("", "32", "64")
)


def _binary_trees() -> tuple[Row, ...]:
    """Since 1.3 KDTree and BallTree are subclasses of KDTree64 and BallTree64."""
    out: list[Row] = []
    for module, name in (("_kd_tree", "KDTree"), ("_ball_tree", "BallTree")):
        full = f"sklearn.neighbors.{module}"
        out += rows(
            full,
            "newObj",
            CALL | BUILD | WHOLE,
            "makes an empty tree",
            call=rules_sklearn.binary_tree_new,
            state=rules_sklearn.binary_tree_state,
        )
        out += rows(
            full,
            f"{name} {name}32 {name}64",
            BUILD,
            _BINARY_TREE,
            state=rules_sklearn.binary_tree_state,
        )
    return tuple(out)


ROWS: tuple[Row, ...] = (
    *_models(_ESTIMATOR, _PLAIN),
    *_models(_META, _METAS),
    # --------------------------------------------- whose compiled code trusts numbers
    *_models(
        _TREES,
        {
            "tree._classes": (
                "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier "
                "ExtraTreeRegressor"
            )
        },
        rules_sklearn.decision_tree_state,
    ),
    *_models(
        _TREES,
        {
            "ensemble._forest": (
                "ExtraTreesClassifier ExtraTreesRegressor RandomForestClassifier "
                "RandomForestRegressor RandomTreesEmbedding"
            )
        },
        rules_sklearn.forest_state,
    ),
    *_models(_TREES, {"ensemble._iforest": "IsolationForest"}, rules_sklearn.isolation_state),
    *_models(
        _TREES,
        {"ensemble._gb": "GradientBoostingClassifier GradientBoostingRegressor"},
        rules_sklearn.gradient_boosting_state,
    ),
    *_models(
        _TREES,
        {
            "ensemble._hist_gradient_boosting.gradient_boosting": (
                "HistGradientBoostingClassifier HistGradientBoostingRegressor"
            )
        },
        rules_sklearn.hist_boosting_state,
    ),
    *_models(
        _NEIGHBOURS,
        {
            "neighbors._classification": "KNeighborsClassifier RadiusNeighborsClassifier",
            "neighbors._graph": "KNeighborsTransformer RadiusNeighborsTransformer",
            "neighbors._lof": "LocalOutlierFactor",
            "neighbors._regression": "KNeighborsRegressor RadiusNeighborsRegressor",
            "neighbors._unsupervised": "NearestNeighbors",
        },
        rules_sklearn.neighbors_state,
    ),
    *_models(_NEIGHBOURS, {"neighbors._kde": "KernelDensity"}, rules_sklearn.kernel_density_state),
    *_models(
        _VECTORS,
        {"svm._classes": "NuSVC NuSVR OneClassSVM SVC SVR"},
        rules_sklearn.svm_state,
    ),
    *_models(
        _CENTERS,
        {
            "cluster._bisect_k_means": "BisectingKMeans",
            "cluster._kmeans": "KMeans MiniBatchKMeans",
        },
        rules_small.centers_state(rules_sklearn.kmeans_state),
    ),
    *_models(_CENTERS, {"cluster._birch": "Birch"}, rules_sklearn.birch_state),
    *_models(
        "its tree is cut anew by compiled code",
        {"cluster._hdbscan.hdbscan": "HDBSCAN"},
        rules_sklearn.hdbscan_state,
    ),
    *_models(
        _TABLE,
        {
            "feature_extraction._dict_vectorizer": "DictVectorizer",
            "preprocessing._label": "MultiLabelBinarizer",
        },
        rules_sklearn.vocabulary_state,
    ),
    *_models(_TABLE, {"preprocessing._encoders": "OneHotEncoder"}, rules_sklearn.one_hot_state),
    *_models(_TABLE, {"feature_extraction._hash": "FeatureHasher"}, rules_sklearn.hasher_state),
    *rows(
        "sklearn.feature_extraction.text",
        "CountVectorizer TfidfVectorizer",
        NEW | BUILD,
        _TABLE,
        state=rules_small.text_state(rules_sklearn.vocabulary_state),
    ),
    Row(
        "sklearn.feature_extraction.text",
        "HashingVectorizer",
        NEW | BUILD,
        _TABLE,
        state=rules_small.text_state(rules_sklearn.hasher_state),
    ),
    # ------------------------------------------------- what estimators are made of
    Row(
        "sklearn.tree._tree",
        "Tree",
        CALL | BUILD | WHOLE,
        "nodes of a decision tree: each is reached once, and asks for a column that there is",
        call=rules_sklearn.tree_call,
        state=rules_sklearn.tree_state,
    ),
    *_models(
        "nodes of a boosted tree, followed by compiled code",
        {"ensemble._hist_gradient_boosting.predictor": "TreePredictor"},
        rules_sklearn.predictor_state,
    ),
    *_models(
        "bins of boosted trees: a row of each for every column",
        {"ensemble._hist_gradient_boosting.binning": "_BinMapper"},
        rules_sklearn.bin_mapper_state,
    ),
    *_binary_trees(),
    Row(
        "sklearn.metrics._dist_metrics",
        "newObj",
        CALL | BUILD | WHOLE,
        "makes a metric before its state, of the listed classes only",
        call=rules_sklearn.metric_new,
        state=rules_sklearn.metric_state,
    ),
    *rows(
        "sklearn.metrics._dist_metrics",
        " ".join(_METRICS),
        BUILD,
        _METRIC,
        state=rules_sklearn.metric_state,
    ),
    *_models(_LOSS, {"_loss.loss": _LOSSES}, rules_sklearn.loss_state),
    *_models(
        "the link of a loss; attributes only",
        {"_loss.link": "HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit"},
    ),
    *_compiled_losses(),
    *rows(
        "sklearn.linear_model._sgd_fast",
        _SGD_LOSSES,
        CALL,
        "a loss of stochastic gradient descent, made of a number",
        call=rules_sklearn.loss_call,
    ),
    # A tree of a clustering holds rows, which NumPy checks; its numbers are not followed.
    *_models(
        _PART,
        {
            "cluster._birch": "_CFNode _CFSubcluster",
            "cluster._bisect_k_means": "_BisectingTree",
            "compose._column_transformer": "_RemainderColsList",
            "neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
            "utils._metadata_requests": "MetadataRequest MethodMetadataRequest",
        },
    ),
    Row(
        "sklearn.impute._iterative",
        "_ImputerTriplet",
        NEW,
        "a named tuple of three",
        call=rules_small.triplet,
    ),
    Row(
        "sklearn.utils._bunch",
        "Bunch",
        NEW | BUILD | ITEMS,
        "a dict whose keys are attributes as well; it takes no state",
    ),
    *_models(
        _KERNEL,
        {
            "gaussian_process.kernels": (
                "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern "
                "PairwiseKernel Product RBF RationalQuadratic Sum WhiteKernel"
            )
        },
    ),
    *_models(
        _SPLITTER,
        {
            "model_selection._split": (
                "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut "
                "LeavePOut PredefinedSplit RepeatedKFold RepeatedStratifiedKFold ShuffleSplit "
                "StratifiedGroupKFold StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit "
                "_CVIterableWrapper"
            )
        },
    ),
    *_models(
        "calls a metric of the list with what a model predicts",
        {
            "metrics._scorer": (
                "_CurveScorer _MultimetricScorer _PassthroughScorer _Scorer _PredictScorer "
                "_ProbaScorer _ThresholdScorer"
            )
        },
    ),
    Row(
        "sklearn.model_selection._classification_threshold",
        "_CurveScorer",
        NEW | BUILD,
        "as scikit-learn 1.5 named it",
        state=rules_small.model_state,
        means=(("sklearn.metrics._scorer", "_CurveScorer"),),
    ),
    *(
        row
        for module, names in functions.SKLEARN.items()
        for row in rows(module, names, ARGUMENT, _FUNCTION)
    ),
    # Opt-in: PyFuncDistance (calls a function). Refused whatever is listed: functools.partial,
    # which HistGradientBoosting has where some columns are categories (its _preprocessor), and
    # scikit-learn's own text analyzers where a model keeps one.
)
