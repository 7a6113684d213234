"""What torchmetrics does not say of its classes: tables, by name.

Names are those that the library exports; in `DIRECTIONS` and `BOUNDS` without the task that
classification puts before them (Binary, Multiclass, Multilabel).
"""

from __future__ import annotations

#: Where the classes stand -> the kind of output that they score; see also `classes.kind_of`.
KINDS = {
    "classification": "label",
    "regression": "scalar",
    "text": "text",
    "retrieval": "match",
    "nominal": "label",
    "clustering": "label",
}
#: Where other classes stand -> what they need that no output here has.
ELSEWHERE = {
    "aggregation": "numbers that were computed before",
    "audio": "waveforms",
    "detection": "boxes or panoptic masks",
    "image": "the pixels of images",
    "multimodal": "meshes, or images beside texts and a network that compares them",
    "segmentation": "masks of images",
    "shape": "point clouds",
    "video": "the frames of videos",
    "wrappers": "another metric inside: name that one",
}
#: Classes of known domains that need what no output here has.
LACKING = {
    "BERTScore": "a language model, which it downloads",
    "BinaryFairness": "groups of people; report subgroups of the items instead",
    "BinaryGroupStatRates": "groups of people; report subgroups of the items instead",
    "CalinskiHarabaszScore": "points that were clustered",
    "ContinuousRankedProbabilityScore": "an ensemble of predictions for each item",
    "CosineSimilarity": "vectors",
    "DaviesBouldinScore": "points that were clustered",
    "DunnIndex": "points that were clustered",
    "FleissKappa": "several raters for each item",
    "InfoLM": "a language model, which it downloads",
    "JensenShannonDivergence": "distributions on both sides",
    "KLDivergence": "distributions on both sides",
    "MulticlassExactMatch": "several answers for each item",
    "Perplexity": "the probabilities of tokens",
    "RetrievalPrecisionRecallCurve": "a curve, which is no number",
    "RetrievalRecallAtFixedPrecision": "a curve over all queries, which is no mean over them",
}
LACKING |= {
    name: ELSEWHERE[domain]  # the library exports these only where yet other packages are there
    for domain, names in {
        "audio": (
            "DeepNoiseSuppressionMeanOpinionScore",
            "NonIntrusiveSpeechQualityAssessment",
            "PerceptualEvaluationSpeechQuality",
            "ShortTimeObjectiveIntelligibility",
            "SpeechReverberationModulationEnergyRatio",
        ),
        "detection": (
            "CompleteIntersectionOverUnion",
            "DistanceIntersectionOverUnion",
            "GeneralizedIntersectionOverUnion",
            "IntersectionOverUnion",
            "MeanAveragePrecision",
        ),
        "image": (
            "FrechetInceptionDistance",
            "InceptionScore",
            "KernelInceptionDistance",
            "LearnedPerceptualImagePatchSimilarity",
            "MemorizationInformedFrechetInceptionDistance",
            "PerceptualPathLength",
        ),
        "multimodal": ("CLIPImageQualityAssessment", "CLIPScore"),
        "video": ("VideoMultiMethodAssessmentFusion",),
    }.items()
    for name in names
}
#: Whether higher is better, of classes that do not say it; and of `WordInfoPreserved`, which says
#: of the share that is preserved, 1 minus `WordInfoLost`, that lower were better.
DIRECTIONS = {
    "AdjustedMutualInfoScore": True,
    "AdjustedRandScore": True,
    "EER": False,
    "KendallRankCorrCoef": True,
    "NegativePredictiveValue": True,
    "NormalizedMutualInfoScore": True,
    "PearsonCorrCoef": True,
    "PrecisionAtFixedRecall": True,
    "RandScore": True,
    "RecallAtFixedPrecision": True,
    "SensitivityAtSpecificity": True,
    "Specificity": True,
    "SpecificityAtSensitivity": True,
    "TweedieDevianceScore": False,
    "WordInfoPreserved": True,
}
_SHARES = (
    "AUROC",
    "Accuracy",
    "AveragePrecision",
    "BLEUScore",
    "CHRFScore",
    "CalibrationError",
    "ClusterAccuracy",
    "CompletenessScore",
    "EER",
    "ExactMatch",
    "F1Score",
    "FBetaScore",
    "HammingDistance",
    "HomogeneityScore",
    "JaccardIndex",
    "MatchErrorRate",
    "NegativePredictiveValue",
    "Precision",
    "PrecisionAtFixedRecall",
    "RandScore",
    "RankingAveragePrecision",
    "Recall",
    "RecallAtFixedPrecision",
    "RetrievalAUROC",
    "RetrievalFallOut",
    "RetrievalHitRate",
    "RetrievalMAP",
    "RetrievalMRR",
    "RetrievalNormalizedDCG",
    "RetrievalPrecision",
    "RetrievalRPrecision",
    "RetrievalRecall",
    "SacreBLEUScore",
    "SensitivityAtSpecificity",
    "Specificity",
    "SpecificityAtSensitivity",
    "VMeasureScore",
    "WordInfoLost",
    "WordInfoPreserved",
)
_CORRELATIONS = (
    "CohenKappa",
    "ConcordanceCorrCoef",
    "KendallRankCorrCoef",
    "MatthewsCorrCoef",
    "PearsonCorrCoef",
    "SpearmanCorrCoef",
)
_ERRORS = (
    "CharErrorRate",
    "CoverageError",
    "EditDistance",
    "HingeLoss",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogError",
    "MinkowskiDistance",
    "RankingLoss",
    "RelativeSquaredError",
    "TranslationEditRate",
    "WeightedMeanAbsolutePercentageError",
    "WordErrorRate",
)
#: Bounds that follow from the definitions. Those that the library gives for its plots do not: 0 to
#: 1 for error rates that exceed 1, for correlations and for explained variance.
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(_SHARES, (0.0, 1.0)),
    **dict.fromkeys(_CORRELATIONS, (-1.0, 1.0)),
    **dict.fromkeys(_ERRORS, (0.0, None)),
    "ExplainedVariance": (None, 1.0),
    "R2Score": (None, 1.0),
    "SymmetricMeanAbsolutePercentageError": (0.0, 2.0),
}
#: What the library takes about processes and caches, which no definition has a say in.
RUNNING = {
    "compute_on_cpu",
    "compute_with_cache",
    "dist_sync_fn",
    "dist_sync_on_step",
    "distributed_available_fn",
    "process_group",
    "sync_on_compute",
    "validate_args",
}
